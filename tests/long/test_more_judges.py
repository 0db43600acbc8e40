# SPDX-License-Identifier: Apache-2.0
"""Judges and registries that take minutes to build: cosign, and distribution 3.  Nothing boots.
cli/test_judges.py has the others."""

import json
import os
import subprocess
import sys

import harness

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "cli"))
# pylint: disable=wrong-import-position
from go_tools import needs_go_tools, tool
from oci_case import run
from registries import Referrers, Registry
from test_push import PushCase

PREDICATE = "https://sigstore.dev/cosign/sign/v1"


class Distribution3(PushCase):
    @needs_go_tools("registry", "oras")
    def test_a_template_goes_there_and_back(self):
        new = self.enterContext(Registry(self.folder, program=tool("registry")))
        key = self.mvm_json("key", "generate", "mine")
        there, copy = f"{new.host}/team/web:v1", f"{new.host}/copy/of:v2"
        pushed = self.mvm_json("template", "push", "web", there, "--sign", "mine")
        self.assertEqual(self.mvm_json("template", "push", "web", there, "--sign", "mine")["moved_bytes"], 0)
        run(tool("oras"), "cp", "-r", "--from-plain-http", "--to-plain-http", there, copy,
            env={**os.environ, "HOME": self.folder})
        self.other_host()
        self.mvm_ok("key", "trust", key["path"])
        for name, where in ("one", there), ("two", copy):
            got = self.mvm_json("template", "pull", where, name)
            self.assertEqual((got["digest"], got["signed_by"]), (pushed["digest"], key["fingerprint"]))
        self.mvm_ok("template", "verify")


class Cosign(PushCase):
    """Each side verifies the other's signatures, in a registry with the API for referrers and in one without."""

    def setUp(self):
        super().setUp()
        self.key = self.mvm_json("key", "generate", "mine")
        self.public = self.key["path"]
        self.other = self.mvm_json("key", "generate", "other")["path"]
        # no service of sigstore's: neither certificates nor logs nor time stamps
        self.services = self.write("services.json", json.dumps({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "rekorTlogConfig": {},
            "tsaConfig": {}}))

    def registries(self):
        yield self.enterContext(Registry(self.folder))
        yield self.enterContext(Referrers(tool("referrers")))

    def cosign(self, *args, status=0):
        env = {**os.environ, "HOME": self.folder, "COSIGN_PASSWORD": ""}
        done = subprocess.run([tool("cosign"), *args], env=env, cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual(done.returncode != 0, status != 0, f"{args}: {done.stdout}{done.stderr}")
        return done.stdout

    @needs_go_tools("cosign", "referrers")
    def test_cosign_verifies_ours(self):
        offline = "--insecure-ignore-tlog=true", "--private-infrastructure"
        for registry in self.registries():
            there = f"{registry.host}/team/web"
            digest = self.mvm_json("template", "push", "web", there + ":v1", "--sign", "mine")["digest"]
            verify = "verify", "--allow-http-registry", *offline, f"{there}@{digest}", "--key"
            self.cosign(*verify, self.public)
            self.cosign(*verify, self.other, status=1)
        self.export("--sign", "mine")
        layout = self.unpacked()
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
            artifact, signature = (each["digest"] for each in json.load(file)["manifests"])
        with open(self.blob(layout, signature), encoding="utf-8") as file:
            bundle = self.blob(layout, json.load(file)["layers"][0]["digest"])
        verify = "verify-blob-attestation", *offline, "--bundle", bundle, "--type", PREDICATE
        self.cosign(*verify, "--key", self.public, self.blob(layout, artifact))
        self.cosign(*verify, "--key", self.other, self.blob(layout, artifact), status=1)
        self.cosign(*verify, "--key", self.public, bundle, status=1)

    @needs_go_tools("cosign", "referrers")
    def test_we_verify_those_of_cosign(self):
        self.cosign("import-key-pair", "--key", self.public.replace(".pub", ".pem"), "--output-key-prefix", "theirs",
                    "--yes")
        pushed = []
        for registry in self.registries():
            there = f"{registry.host}/team/web"
            digest = self.mvm_json("template", "push", "web", there + ":v1")["digest"]
            self.cosign("sign", "--yes", "--allow-http-registry", "--signing-config", self.services,
                        "--key", "theirs.key", f"{there}@{digest}")
            pushed.append(there + ":v1")
        mine, other = self.public, self.other
        self.other_host()
        for n, there in enumerate(pushed):
            self.mvm_ok("key", "trust", other, "--name", "key")
            self.assertIsNone(self.mvm_json("template", "pull", there, f"t{n}")["signed_by"])
            self.mvm_ok("key", "untrust", "key")
            self.mvm_ok("key", "trust", mine, "--name", "key")
            self.assertEqual(self.mvm_json("template", "pull", there, f"t{n}")["signed_by"], self.key["fingerprint"])
            self.mvm_ok("key", "untrust", "key")


if __name__ == "__main__":
    harness.main()
