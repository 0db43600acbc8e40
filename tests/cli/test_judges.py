# SPDX-License-Identifier: Apache-2.0
"""Programs of others read what mvm pushes and exports, and mvm reads what they copied.  Nothing boots."""

import json
import os
import unittest

import harness
import registries
from go_tools import needs_go_tools, tool
from oci_case import run
from registries import Referrers, Registry
from test_push import PushCase


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class Judges(PushCase):
    """A signed template is in one registry; self.copied is a repository of another one."""

    def setUp(self):
        super().setUp()
        one, two = self.path("one"), self.path("two")
        os.mkdir(one)
        os.mkdir(two)
        self.one = self.enterContext(Registry(one))
        self.two = self.enterContext(Registry(two))
        self.pushed, self.copied = f"{self.one.host}/team/web:v1", f"{self.two.host}/copy/of:v2"
        self.key = self.mvm_json("key", "generate", "mine")
        self.digest = self.mvm_json("template", "push", "web", self.pushed, "--sign", "mine")["digest"]
        self.other_host()
        self.mvm_ok("key", "trust", self.key["path"])

    def tool(self, name, *args):
        """Run a judge, which reads and writes settings in the test's folder."""
        env = {**os.environ, "HOME": self.folder, "XDG_CONFIG_HOME": self.path("config"), "COSIGN_PASSWORD": ""}
        env.pop("DOCKER_CONFIG", None)
        return run(tool(name), *args, env=env, cwd=self.folder)

    def pull(self, there, signed, template="web"):
        got = self.mvm_json("template", "pull", there, template)
        self.assertEqual((got["revision_hash"], got["digest"]), (self.revision, self.digest))
        self.assertEqual(got["signed_by"], self.key["fingerprint"] if signed else None)
        self.mvm_ok("template", "verify")

    @needs_go_tools("oras")
    def test_oras(self):
        plain = "--from-plain-http", "--to-plain-http"
        listed = json.loads(self.tool("oras", "discover", "--plain-http", "--format", "json", self.pushed))
        self.assertEqual([each["artifactType"] for each in listed["referrers"]],
                         ["application/vnd.dev.sigstore.bundle.v0.3+json"])
        self.tool("oras", "cp", "-r", *plain, self.pushed, self.copied)
        self.pull(self.copied, True)
        self.tool("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout", self.pushed, "layout:web")
        got = self.mvm_json("template", "import", self.path("layout"), "two")
        self.assertEqual((got["revision_hash"], got["signed_by"]), (self.revision, self.key["fingerprint"]))
        # and a layout of ours into a registry
        self.mvm_ok("template", "export", "two", self.path("ours.tar"), "--tag", "web")
        again = f"{self.two.host}/from/file:v3"
        self.tool("oras", "cp", "--from-oci-layout", "--to-plain-http", self.path("ours.tar") + ":web", again)
        self.pull(again, False, "three")

    @needs_go_tools("oras")
    @harness.needs_program("zstd")
    def test_oras_pulls_files(self):
        self.tool("oras", "pull", "--plain-http", "-o", self.path("files"), self.pushed)
        run("zstd", "-q", "-d", self.path("files/rootfs.ext4.zst"))
        self.pull(self.pushed, True)
        with open(self.path("files/rootfs.ext4"), "rb") as theirs, \
                open(self.current("web", "rootfs.ext4"), "rb") as ours:
            self.assertEqual(theirs.read(), ours.read())

    def cosign(self, *args):
        return self.tool("cosign", *args, "--allow-http-registry")

    @needs_go_tools("cosign")
    def test_cosign(self):
        there = f"{self.one.host}/team/web@{self.digest}"
        # ours, of both kinds of keys
        curve = self.mvm_json("key", "generate", "curve", "--type", "p256")
        self.mvm_ok("template", "sign", "docker://" + self.pushed, "--key", "curve")
        for public in self.key["path"], curve["path"]:
            self.cosign("verify", "--key", public, "--insecure-ignore-tlog", there)
        # and its own, which has P-256
        self.tool("cosign", "generate-key-pair")
        self.cosign("sign", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--yes", there)
        self.mvm_ok("key", "untrust", "mine")
        self.mvm_ok("key", "trust", self.path("cosign.pub"))
        found = self.mvm_json("template", "verify", "--remote", self.pushed)
        self.assertEqual((found["key"], found["signatures"]), ("cosign", 3))

    @needs_go_tools("crane")
    def test_crane(self):
        self.tool("crane", "cp", "--insecure", self.pushed, self.copied)
        self.pull(self.copied, False)
        # the list of signatures is an ordinary index
        listed = self.digest.replace(":", "-")
        self.tool("crane", "cp", "--insecure", self.pushed.replace("v1", listed), self.copied.replace("v2", listed))
        self.pull(self.copied, True)
        self.assertEqual(self.tool("crane", "digest", "--insecure", self.pushed).strip(), self.digest)
        self.tool("crane", "pull", "--insecure", "--format", "oci", self.pushed, self.path("layout"))
        self.assertEqual(self.mvm_json("template", "import", self.path("layout"), "two")["digest"], self.digest)

    @needs_go_tools("regctl")
    def test_regctl(self):
        for registry in self.one, self.two:
            self.tool("regctl", "registry", "set", registry.host, "--tls", "disabled")
        self.tool("regctl", "image", "copy", "--referrers", self.pushed, self.copied)
        self.pull(self.copied, True)
        self.tool("regctl", "image", "copy", "--referrers", self.pushed, "ocidir://layout:web")
        got = self.mvm_json("template", "import", self.path("layout"), "two")
        self.assertEqual((got["revision_hash"], got["signed_by"]), (self.revision, self.key["fingerprint"]))
        self.assertEqual(self.tool("regctl", "image", "digest", self.pushed).strip(), self.digest)
        self.assertEqual(len(json.loads(self.tool("regctl", "artifact", "list", "--format", "body", self.pushed))
                             ["manifests"]), 1)

    @needs_go_tools("crane", "oras", "referrers")
    def test_a_registry_with_the_api_for_referrers(self):
        """There a signature need not be listed under a tag."""
        registry = self.enterContext(Referrers(tool("referrers")))
        copied = f"{registry.host}/copy/of"
        self.tool("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", self.pushed, copied + ":v2")
        self.pull(copied + ":v2", True)
        self.tool("crane", "delete", "--insecure", copied + ":" + self.digest.replace(":", "-"))
        self.pull(copied + ":v2", True, "two")

    @harness.needs_program("skopeo")
    def test_skopeo(self):
        insecure = "--src-tls-verify=false", "--dest-tls-verify=false"
        run("skopeo", "copy", "-q", *insecure, "docker://" + self.pushed, "docker://" + self.copied)
        self.pull(self.copied, False)
        listed = self.digest.replace(":", "-")
        run("skopeo", "copy", "-q", "--all", *insecure, "docker://" + self.pushed.replace("v1", listed),
            "docker://" + self.copied.replace("v2", listed))
        self.pull(self.copied, True)


if __name__ == "__main__":
    harness.main()
