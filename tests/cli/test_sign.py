# SPDX-License-Identifier: Apache-2.0
"""Signatures of what is in a registry already, by keys that are here or elsewhere.  Nothing boots."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import unittest
import urllib.request

import harness
import registries
from registries import INDEX, MANIFEST, Registry, Stub
from test_key import BUNDLE, KeyCase
from test_push import PushCase

FAILED, USAGE, NOT_FOUND, DAMAGED, UNSUPPORTED = 1, 2, 3, 5, 6


class SignCase(PushCase, KeyCase):
    def verify(self, ref, status=0):
        done = self.mvm("template", "verify", "--remote", ref, "--json", status=status)
        return json.loads(done.stdout), done.stderr

    def openssl_key(self):
        """A P-256 pair of openssl's; its public half is trusted as 'kms'."""
        secret, public = self.path("far.pem"), self.path("kms.pub")
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", secret],
                       check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", secret, "-pubout", "-out", public], check=True)
        self.mvm_ok("key", "trust", public)
        return secret, public

    def signer_program(self, name, lines):
        return self.write(name, "#!/bin/sh\n" + lines, 0o755)


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class Signing(SignCase):
    def setUp(self):
        super().setUp()
        self.registry = self.enterContext(Registry(self.folder))
        self.there = f"{self.registry.host}/team/web:v1"

    def test_what_is_there_is_signed_and_verified(self):
        pushed = self.mvm_json("template", "push", "web", self.there)
        key = self.mvm_json("key", "generate", "mine", "--type", "p256")
        self.assertEqual(key["type"], "p256")
        found, error = self.verify(self.there, FAILED)
        self.assertEqual((found["digest"], found["key"], found["trusted_keys"], found["signatures"]),
                         (pushed["digest"], None, 0, 0))
        self.assertIn("no key that you trust has signed", error)
        signed = self.mvm_json("template", "sign", "docker://" + self.there, "--key", "mine")
        self.assertEqual((signed["digest"], signed["key"]), (pushed["digest"], "mine"))
        found, error = self.verify(self.there, FAILED)
        self.assertEqual((found["trusted_keys"], found["signatures"]), (0, 1))
        self.other_host()
        shutil.copy(key["path"], self.path("mine.pub"))
        self.mvm_ok("key", "trust", self.path("mine.pub"), "--for", "elsewhere.example/*")
        found, _ = self.verify(self.there, FAILED)
        self.assertEqual((found["key"], found["trusted_keys"]), (None, 0))
        scope = f"{self.registry.host}/team/*"
        self.mvm_ok("key", "trust", self.path("mine.pub"), "--for", scope)
        found, _ = self.verify(self.there)
        self.assertEqual((found["key"], found["signed_by"], found["for"], found["trusted_keys"], found["signatures"]),
                         ("mine", key["fingerprint"], scope, 1, 1))
        self.assertEqual(self.mvm_json("template", "list"), []) # nothing came here
        self.assertEqual(self.mvm_json("template", "pull", self.there)["signed_by"], key["fingerprint"])

    @harness.needs_program("openssl")
    def test_openssl_verifies_ours(self):
        key = self.mvm_json("key", "generate", "mine", "--type", "p256")
        with open(key["path"].replace(".pub", ".pem"), "rb") as secret, open(key["path"], "rb") as public:
            again = subprocess.run(["openssl", "pkey", "-pubout"], stdin=secret, capture_output=True, check=True).stdout
            self.assertEqual(public.read(), again)
        self.mvm_ok("template", "export", "web", self.path("web.tar"), "--sign", "mine")
        subprocess.run(["tar", "xf", self.path("web.tar"), "-C", self.folder], check=True)
        for blob in os.scandir(self.path("blobs/sha256")):
            with open(blob.path, "rb") as file:
                text = file.read(100000)
            if BUNDLE.encode() in text and b"dsseEnvelope" in text:
                envelope = json.loads(text)["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"])
        kind = envelope["payloadType"]
        with open(self.path("pae"), "wb") as out:
            out.write(b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload))
        with open(self.path("sig"), "wb") as out:
            out.write(base64.b64decode(envelope["signatures"][0]["sig"]))
        subprocess.run(["openssl", "dgst", "-sha256", "-verify", key["path"], "-signature", self.path("sig"), self.path("pae")],
                       check=True, capture_output=True)

    @harness.needs_program("openssl")
    def test_a_key_may_be_elsewhere(self):
        secret, _ = self.openssl_key()
        plain = self.signer_program("plain sign", f"exec openssl dgst -sha256 -sign {secret}\n") # no shell splits it
        coded = self.signer_program("coded", f"openssl dgst -sha256 -sign {secret} | base64\n")
        self.mvm_ok("template", "push", "web", self.there, "--sign", "kms", "--sign-command", plain)
        self.assertEqual(self.verify(self.there)[0]["key"], "kms")
        other = f"{self.registry.host}/team/other:v1"
        self.mvm_ok("template", "push", "web", other)
        self.mvm_ok("template", "sign", other, "--key", "kms", "--sign-command", coded)
        self.assertEqual(self.verify(other)[0]["key"], "kms")
        self.mvm_ok("template", "export", "web", self.path("web.tar"), "--sign", "kms", "--sign-command", coded)
        self.data_dir = self.path("third")
        self.mvm_ok("key", "trust", self.path("kms.pub"))
        self.assertIsNotNone(self.mvm_json("template", "import", self.path("web.tar"))["signed_by"])

    @harness.needs_program("openssl")
    def test_what_is_no_signature_goes_nowhere(self):
        secret, _ = self.openssl_key()
        self.mvm_ok("template", "push", "web", self.there)
        self.registry.requests()
        for lines, status, says in (("echo nonsense", DAMAGED, "prints no signature of the key 'kms'"),
                                    ("true", DAMAGED, "prints no signature"),
                                    (f"echo other | openssl dgst -sha256 -sign {secret}", DAMAGED, "prints no signature"),
                                    ("cat; exit 1", FAILED, "signs nothing: it failed"),
                                    ("yes", FAILED, "File too large")):
            with self.subTest(lines):
                program = self.signer_program("signer", lines + "\n")
                self.mvm_fails(status, "template", "sign", self.there, "--key", "kms", "--sign-command", program, says=says)
        self.mvm_fails(FAILED, "template", "sign", self.there, "--key", "kms", "--sign-command", "./gone", says="cannot run './gone'")
        self.mvm_fails(NOT_FOUND, "template", "sign", self.there, "--key", "kms", says="there is no key 'kms'") # to sign with
        self.mvm_fails(NOT_FOUND, "template", "sign", self.there, "--key", "gone", "--sign-command", "true", says="there is no key 'gone'")
        self.mvm_fails(USAGE, "template", "sign", self.there)
        self.mvm_fails(USAGE, "template", "push", "web", self.there, "--sign-command", "true", says="needs --sign")
        self.assertEqual([line for line in self.registry.requests() if line.startswith("P")], [])

    def test_settings_may_refuse_what_nobody_signed(self):
        self.mvm_ok("template", "push", "web", self.there)
        other = f"{self.registry.host}/dev/web:v1"
        self.mvm_ok("template", "push", "web", other)
        key = self.mvm_json("key", "generate", "mine")
        self.mvm_ok("key", "generate", "unknown")
        self.other_host()
        os.symlink(os.path.join(os.path.dirname(harness.MVM), "mvm-pull"), self.path("lib/mvm-pull"))
        self.mvm_ok("template", "pull", other, "dev")
        for wrong in "team/web:v1", "/team", "":
            self.write("other/registries.toml", f'[registry."{self.registry.host}"]\nsigned = ["{wrong}"]\n')
            self.mvm_fails(FAILED, "template", "pull", self.there, says="no repository has a name like")
        self.write("other/registries.toml", f'[registry."{self.registry.host}"]\ninsecure = true\nsigned = ["x/y", "team/**"]\n')
        self.mvm_ok("template", "pull", other, "dev") # another part of the registry
        refused = f"no key that you trust has signed {self.there}, and registries.toml refuses it then"
        for command in ["template", "pull", self.there], ["template", "pull", self.there, "--image-only"], \
                       ["template", "pull", self.there, "dev"]:
            self.mvm_fails(FAILED, *command, says=refused)
        self.mvm_fails(125, "run", "--template", self.there, "--", "true", says=refused)
        self.assertEqual([t["template_id"] for t in self.mvm_json("template", "list")], ["dev"])
        self.mvm_ok("key", "trust", key["path"])
        self.mvm_fails(FAILED, "template", "pull", self.there, says=refused)
        self.data_dir, here = self.path("data"), self.data_dir
        self.mvm_ok("template", "sign", self.there, "--key", "unknown")
        self.data_dir = here
        self.mvm_fails(FAILED, "template", "pull", self.there, says=refused) # by another key
        self.data_dir = self.path("data")
        self.mvm_ok("template", "sign", self.there, "--key", "mine")
        self.data_dir = here
        self.assertEqual(self.mvm_json("template", "pull", self.there)["signed_by"], key["fingerprint"])

    def test_a_snapshot_is_signed_by_its_digest(self):
        pushed = self.mvm_json("template", "push", "web", self.there)
        self.mvm_ok("key", "generate", "mine")
        url = f"http://{self.registry.host}/v2/team/web/manifests/"
        with urllib.request.urlopen(urllib.request.Request(url + "v1", headers={"Accept": MANIFEST})) as answer:
            manifest = json.load(answer)
        manifest["layers"].append(manifest["layers"][-1] | {"annotations": {"dev.mvm.file": "snapshot/mem.bin"}})
        text = json.dumps(manifest).encode()
        put = urllib.request.Request(url + "v2", text, {"Content-Type": MANIFEST}, method="PUT")
        urllib.request.urlopen(put).close()
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        name = self.there.removesuffix(":v1")
        self.mvm_fails(FAILED, "template", "sign", name + ":v2", "--key", "mine", says=f"by its digest: {name}@{digest}")
        self.mvm_ok("template", "sign", f"{name}@{digest}", "--key", "mine")
        self.mvm_fails(NOT_FOUND, "template", "sign", name + ":v3", "--key", "mine")
        self.mvm_ok("template", "sign", f"{name}@{pushed['digest']}", "--key", "mine")


class Referring(SignCase):
    """A registry with an API for referrers."""

    def serve(self, lists=True):
        """lists: its list of referrers is true, or stays empty."""
        def answer(request):
            body = request.body
            path, _, query = request.path.partition("?")
            name = path.rpartition("/")[2]
            if "/referrers/" in path:
                found = [{"mediaType": MANIFEST, "digest": digest, "size": len(text)}
                         for digest, (text, _) in stub.manifests.items()
                         if lists and digest.startswith("sha256:") and json.loads(text).get("subject", {}).get("digest") == name]
                request.reply(200, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).encode())
            elif request.command == "POST":
                request.reply(202, Location="/upload")
            elif request.command == "PUT" and path == "/upload":
                stub.blobs[query.removeprefix("digest=")] = body
                request.reply(201)
            elif request.command == "PUT":
                media = request.headers["Content-Type"]
                stub.manifests["sha256:" + hashlib.sha256(body).hexdigest()] = stub.manifests[name] = body, media
                request.reply(201, OCI_Subject="sha256:x") # a word that proves nothing
            else:
                return False
            return True
        stub = self.enterContext(Stub(answer))
        return stub

    def test_the_list_of_the_api_is_enough(self):
        stub = self.serve()
        key, public = self.generate("mine")
        there = f"{stub.host}/team/web:v1"
        self.mvm_ok("template", "push", "web", there, "--sign", "mine")
        self.assertEqual([name for name in stub.manifests if name.startswith("sha256-")], [])
        self.other_host()
        self.mvm_ok("key", "trust", public)
        self.assertEqual(self.verify(there)[0]["signatures"], 1)
        self.assertEqual(self.mvm_json("template", "pull", there)["signed_by"], key["fingerprint"])

    def test_a_registry_that_forgets_referrers_gets_the_tag(self):
        stub = self.serve(lists=False)
        key, public = self.generate("mine")
        there = f"{stub.host}/team/web:v1"
        self.mvm_ok("template", "push", "web", there)
        self.mvm_ok("template", "sign", there, "--key", "mine")
        self.assertEqual(len([name for name in stub.manifests if name.startswith("sha256-")]), 1)
        self.other_host()
        self.mvm_ok("key", "trust", public)
        self.assertEqual(self.mvm_json("template", "pull", there)["signed_by"], key["fingerprint"])

    def test_a_tag_that_is_the_manifest_itself_is_no_list(self):
        """As GitLab answers."""
        stub = self.serve(lists=False)
        there = f"{stub.host}/team/web:v1"
        digest = self.mvm_json("template", "push", "web", there)["digest"]
        stub.manifests[digest.replace(":", "-")] = stub.manifests["v1"]
        _, public = self.generate("mine")
        self.mvm_ok("key", "trust", public)
        found, error = self.verify(there, FAILED)
        self.assertEqual(found["signatures"], 0)
        self.assertNotIn("cannot be read", error)
        self.mvm_ok("template", "sign", there, "--key", "mine")
        self.assertEqual(self.verify(there)[0]["key"], "mine")


if __name__ == "__main__":
    harness.main()
