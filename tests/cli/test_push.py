# SPDX-License-Identifier: Apache-2.0
"""Templates go to a real registry, Debian's docker-registry, and come back.  Nothing boots."""

import base64
import hashlib
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
        users = self.path("users")
        with open(users, "w", encoding="ascii") as out:
            subprocess.run(["htpasswd", "-Bbn", "me", "secret"], stdout=out, check=True)
        registry = self.serve(auth=f"auth:\n  htpasswd: {{realm: here, path: {users}}}")
        self.mvm_fails(FAILED, "template", "push", "web", self.there(registry), says="asks for a user name")
        for password, status in ("wrong", FAILED), ("secret", 0):
            self.write(".docker/config.json", json.dumps({"auths": {registry.host: {
                "auth": base64.b64encode(f"me:{password}".encode()).decode()}}}))
            done = self.mvm("template", "push", "web", self.there(registry), status=status)
            if status:
                self.assertIn("log in as a user who may push", done.stderr)
        self.other_host()
        self.mvm_ok("template", "pull", self.there(registry))

    def test_what_is_missing_or_wrong(self):
        registry = self.serve()
        self.mvm_fails(NOT_FOUND, "template", "pull", self.there(registry), says="has no tag 'v1'")
        self.mvm_fails(NOT_FOUND, "template", "push", "gone", self.there(registry), says="no template")
        self.mvm_fails(FAILED, "template", "push", "web", "127.0.0.1:1/x/y:z", says="cannot push to")
        self.mvm_fails(FAILED, "template", "push", "web", self.there(registry, "Team/x"), says="")
        digest = "sha256:" + 64 * "a"
        self.mvm_fails(FAILED, "template", "push", "web", self.there(registry, "t/x@" + digest), says="name a tag")
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])


class Faults(PushCase):
    """A registry that takes uploads, and does so badly."""

    def serve(self, fault):
        """fault(request, body): may answer a request itself, and then returns True."""
        self.taken = {}

        def answer(request):
            body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
            if fault(request, body):
                return True
            if request.command == "HEAD":
                request.reply(404)
            elif request.command == "POST":
                request.reply(202, Location="/upload?state=a%2Fb")
            else:
                self.taken[request.path] = body
                request.reply(201)
            return True
        stub = registries.Stub(answer)
        self.enterContext(stub)
        return stub

    def push(self, stub, status=0):
        return self.mvm("template", "push", "web", f"{stub.host}/{stub.path}:v1", status=status)

    def assert_whole(self):
        self.assertEqual(len(self.taken), 6)
        for path, body in self.taken.items():
            if "digest=" in path:
                self.assertTrue(path.startswith("/upload?state=a%2Fb&digest=sha256:"), path)
                self.assertTrue(path.endswith(hashlib.sha256(body).hexdigest()), path)

    def test_what_fails_for_a_moment_is_tried_again(self):
        failed = set()

        def fault(request, _):
            kind = request.command, request.path.partition("?")[0]
            if kind in failed:
                return False
            failed.add(kind)
            if request.command == "PUT": # the connection breaks
                request.close_connection = True
            else:
                request.reply(503, Retry_After="1")
            return True
        stub = self.serve(fault)
        self.assertIn("trying again", self.push(stub).stderr)
        self.assert_whole()

    def test_a_refusal_says_why(self):
        def fault(request, _):
            if request.command != "PUT":
                return False
            request.reply(413, b'{"errors":[{"code":"TOO_BIG","message":"it is too big"}]}')
            return True
        self.assertIn("HTTP status 413 to PUT: TOO_BIG: it is too big", self.push(self.serve(fault), FAILED).stderr)

    def test_credentials_stay_with_the_registry(self):
        seen = []

        def other(request, body):
            seen.append(dict(request.headers))
            request.reply(201)
            return True
        thief = self.serve(other)

        def fault(request, _):
            if not request.headers.get("Authorization"):
                request.reply(401, WWW_Authenticate='Basic realm="x"')
            elif request.command == "POST":
                request.reply(202, Location=f"http://{thief.host}/upload?x")
            else:
                return False
            return True
        stub = self.serve(fault)
        self.write(".docker/config.json", json.dumps({"auths": {stub.host: {
            "auth": base64.b64encode(b"me:secret").decode()}}}))
        self.push(stub)
        self.assertEqual(len(seen), 5)
        self.assertEqual([headers for headers in seen if "Authorization" in headers], [])


if __name__ == "__main__":
    harness.main()
