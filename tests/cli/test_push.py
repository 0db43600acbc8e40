# SPDX-License-Identifier: Apache-2.0
"""Templates go to a real registry, Debian's docker-registry, and come back.  Nothing boots."""

import base64
import json
import os
import subprocess
import unittest

import harness
import registries
from oci_case import run
from registries import Registry
from test_artifact import Artifacts

FAILED, NOT_FOUND, UNSUPPORTED = 1, 3, 6


class PushCase(Artifacts):
    def setUp(self):
        super().setUp()
        os.symlink(os.path.join(os.path.dirname(harness.MVM), "mvm-registry"), self.path("lib/mvm-registry"))


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class Pushing(PushCase):
    def serve(self, **more):
        registry = Registry(self.folder, **more)
        self.enterContext(registry)
        return registry

    def there(self, registry, name="team/web:v1"):
        return f"{registry.host}/{name}"

    def requests(self, registry, method):
        return [line for line in registry.requests() if line.startswith(method)]

    def test_a_revision_goes_there_and_back(self):
        registry = self.serve()
        pushed = self.mvm_json("template", "push", "web", self.there(registry))
        self.assertEqual(pushed["digest"], self.export()["digest"])
        self.assertGreater(pushed["moved_bytes"], 1 << 20)
        rootfs = open(self.current("web", "rootfs.ext4"), "rb").read()
        # again: nothing is uploaded
        registry.requests()
        self.assertEqual(self.mvm_json("template", "push", "web", self.there(registry))["moved_bytes"], 0)
        self.assertEqual(self.requests(registry, "P"), ["PUT /v2/team/web/manifests/v1"])
        self.other_host()
        got = self.mvm_json("template", "pull", registry.ref("team/web:v1"))
        self.assertEqual((got["template_id"], got["revision_hash"], got["digest"]),
                         ("web", self.revision, pushed["digest"]))
        with open(self.current("web", "rootfs.ext4"), "rb") as file:
            self.assertEqual(file.read(), rootfs)
        self.mvm_ok("template", "verify")
        # by digest, and under another name: all is here
        registry.requests()
        got = self.mvm_json("template", "pull", f"{registry.host}/team/web@{pushed['digest']}", "two")
        self.assertEqual((got["template_id"], got["moved_bytes"]), ("two", 0))
        self.assertEqual(registry.requests(), [])

    def test_run_takes_a_template_where_an_image_is_named(self):
        registry = self.serve()
        self.mvm_ok("template", "push", "web", self.there(registry))
        self.other_host()
        os.symlink(os.path.join(os.path.dirname(harness.MVM), "mvm-pull"), self.path("lib/mvm-pull"))
        no_vmm = {"MVM_QEMU": "/nonexistent", "MVM_FIRECRACKER": "/nonexistent"}
        for _ in range(2): # there is no kernel but the template's
            self.mvm("run", registry.ref("team/web:v1"), "--", "true", env=no_vmm, status=125)
            self.assertEqual([t["template_id"] for t in self.mvm_json("template", "list")], ["web"])
            self.assertTrue(os.path.exists(self.current("web", "vmlinux")))

    def test_a_pull_of_what_is_missing(self):
        registry = self.serve()
        first = self.mvm_json("template", "push", "web", self.there(registry))
        self.source("two")
        newer = self.build()
        self.mvm_ok("template", "push", "web", self.there(registry))
        self.other_host()
        pull = ["template", "pull", "--if-missing"]
        got = self.mvm_json(*pull, f"{registry.host}/team/web@{first['digest']}")
        self.assertEqual((got["revision_hash"], got["new_revision"]), (self.revision, True))
        registry.requests()
        # a tag is content with any revision, a digest with its own
        for ref in self.there(registry), f"{registry.host}/team/web@{first['digest']}":
            got = self.mvm_json(*pull, ref)
            self.assertEqual((got["template_id"], got["revision_hash"], got["digest"], got["new_revision"]),
                             ("web", self.revision, None, False))
        self.assertEqual(registry.requests(), [])
        self.assertIn("is here", self.mvm_ok(*pull, self.there(registry)))
        self.assertTrue(self.mvm_json(*pull, self.there(registry), "two")["new_revision"])
        self.mvm_ok("template", "pull", self.there(registry))
        self.assertEqual(self.mvm_json("template", "info", "web")["revision"]["revision_hash"], newer)
        got = self.mvm_json(*pull, f"{registry.host}/team/web@{first['digest']}")
        self.assertEqual((got["revision_hash"], got["digest"]), (self.revision, first["digest"]))
        # one that cannot be read is not here
        os.unlink(self.current("web", "revision.json"))
        self.assertIsNotNone(self.mvm_json(*pull, self.there(registry))["digest"])

    def test_only_files_that_differ_move(self):
        registry = self.serve()
        first = self.mvm_json("template", "push", "web", self.there(registry))
        old_host = self.data_dir
        self.other_host()
        self.mvm_ok("template", "pull", self.there(registry))
        self.data_dir, here = old_host, self.data_dir
        self.source("two")
        newer = self.build()
        second = self.mvm_json("template", "push", "web", self.there(registry))
        self.assertLess(second["moved_bytes"], first["moved_bytes"]) # neither kernel nor initrd
        self.data_dir = here
        got = self.mvm_json("template", "pull", self.there(registry))
        self.assertEqual((got["revision_hash"], got["new_revision"]), (newer, True))
        self.assertGreater(got["reused_bytes"], 0)

    @harness.needs_program("skopeo")
    def test_skopeo_takes_it_further(self):
        one, two = self.serve(), self.path("copy.tar")
        self.mvm_ok("template", "push", "web", self.there(one))
        run("skopeo", "copy", "-q", "--src-tls-verify=false", one.ref("team/web:v1"), f"oci-archive:{two}:web")
        run("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci-archive:{two}:web", one.ref("other/place:x"))
        self.other_host()
        self.mvm_ok("template", "import", two, "a")
        self.mvm_ok("template", "pull", self.there(one, "other/place:x"), "b")
        self.assertEqual(self.mvm_json("template", "info", "a")["revision"]["revision_hash"], self.revision)
        self.assertEqual(self.mvm_json("template", "info", "b")["revision"]["revision_hash"], self.revision)

    @harness.needs_program("htpasswd")
    def test_a_login_is_used(self):
        registry = self.serve(auth=registries.only_for(self.folder, "me", "secret"))
        self.mvm_fails(FAILED, "template", "push", "web", self.there(registry), says="asks for a user name")
        for password, status in ("wrong", FAILED), ("secret", 0):
            self.write(".docker/config.json", json.dumps({"auths": {registry.host: {
                "auth": base64.b64encode(f"me:{password}".encode()).decode()}}}))
            done = self.mvm("template", "push", "web", self.there(registry), status=status)
            if status:
                self.assertIn("log in as a user who may do this: mvm login", done.stderr)
        self.other_host()
        self.mvm_ok("template", "pull", self.there(registry))

    def test_sixteen_pulls_of_overlapping_revisions(self):
        """All succeed, and they wait for each other's blobs: each alone would need five."""
        registry = self.serve()
        revisions = {}
        for n in range(4):
            self.source(f"revision {n}")
            revisions[f"v{n}"] = self.build()
            self.mvm_ok("template", "push", "web", self.there(registry, f"team/web:v{n}"))
        registry.requests()
        self.other_host()
        pulls = []
        for n in range(16):
            command = [harness.MVM, "template", "pull", self.there(registry, f"team/web:v{n % 4}"), f"t{n // 2}"]
            pulls.append(subprocess.Popen(command, env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        for process in pulls:
            said = process.communicate(timeout=self.timeout)[1]
            self.assertEqual(process.returncode, 0, said)
        fetched = [line for line in self.requests(registry, "GET") if "/blobs/" in line]
        self.assertLess(len(fetched), 16 * 5 // 2)
        for n in range(8): # of its two pulls one was the last
            found = {each["revision_hash"] for each in self.mvm_json("template", "history", f"t{n}")}
            self.assertEqual(found, {revisions[f"v{each % 4}"] for each in (2 * n, 2 * n + 1)})
        self.mvm_ok("template", "verify")
        for folder in "tmp", "cache/pulls":
            self.assertEqual(os.listdir(os.path.join(self.data_dir, folder)), [])

    def test_what_is_missing_or_wrong(self):
        registry = self.serve()
        self.mvm_fails(NOT_FOUND, "template", "pull", self.there(registry), says="has no tag 'v1'")
        self.mvm_fails(NOT_FOUND, "template", "push", "gone", self.there(registry), says="no template")
        said = self.mvm_fails(FAILED, "template", "push", "web", "127.0.0.1:1/x/y:z", says="cannot push to")
        self.assertIn("hint: check the name, the network", said)
        self.mvm_fails(2, "template", "push", "web", "http://127.0.0.1:1/x", says="begins with no scheme")
        self.mvm_fails(2, "template", "push", "web", self.there(registry, "Team/x"), says="names nothing")
        digest = "sha256:" + 64 * "a"
        self.mvm_fails(FAILED, "template", "push", "web", self.there(registry, "t/x@" + digest), says="name a tag")
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])


if __name__ == "__main__":
    harness.main()
