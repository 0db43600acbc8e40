# SPDX-License-Identifier: Apache-2.0
"""Keys, and the signatures that they make.  Nothing boots; test_artifact_guest.py starts signed snapshots."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import unittest

import harness
import registries
from registries import Registry
from test_artifact import Artifacts
from test_push import PushCase

USAGE, NOT_FOUND, BUSY = 2, 3, 4
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class KeyCase(Artifacts):
    def generate(self, name):
        """A pair of this host; returns the description and a copy of its public key."""
        key = self.mvm_json("key", "generate", name)
        return key, shutil.copy(key["path"], self.path(name + ".pub"))

    def signer(self, *args):
        return self.mvm_json("template", "import", self.file, *args)["signed_by"]


class Keys(KeyCase):
    def test_a_pair_is_made_once(self):
        key, public = self.generate("mine")
        self.assertFalse(key["trusted"])
        secret = key["path"].replace(".pub", ".pem")
        self.assertEqual(os.stat(secret).st_mode & 0o777, 0o600)
        if shutil.which("openssl"):
            done = subprocess.run(["openssl", "pkey", "-in", secret, "-pubout", "-outform", "DER"],
                                  capture_output=True, check=True)
            self.assertEqual(hashlib.sha256(done.stdout).hexdigest(), key["fingerprint"])
            pem = subprocess.run(["openssl", "pkey", "-in", secret, "-pubout"], capture_output=True, check=True)
            with open(public, "rb") as file:
                self.assertEqual(file.read(), pem.stdout)
        self.mvm_fails(BUSY, "key", "generate", "mine", says="there is a key 'mine' already")
        self.mvm_fails(USAGE, "key", "generate", "../mine")

    def test_half_a_pair_is_made_whole(self):
        """A crash may leave the secret key alone; then nobody could be given the public one."""
        key, public = self.generate("mine")
        os.unlink(key["path"])
        self.mvm_fails(BUSY, "key", "generate", "mine", says="there is a key 'mine' already")
        with open(key["path"], "rb") as mended, open(public, "rb") as file:
            self.assertEqual(mended.read(), file.read())
        self.assertEqual(self.mvm_json("key", "list"), [key])

    def test_a_public_key_alone_is_not_replaced(self):
        key, public = self.generate("mine")
        secret = key["path"].replace(".pub", ".pem")
        os.unlink(secret)
        self.mvm_fails(BUSY, "key", "generate", "mine", says="'keys/mine.pub' in the data folder is in the way")
        self.assertFalse(os.path.exists(secret))
        with open(key["path"], "rb") as old, open(public, "rb") as file:
            self.assertEqual(old.read(), file.read())
        os.unlink(key["path"]) # the hint, followed
        self.mvm_ok("key", "generate", "mine")

    def test_the_list_has_own_and_trusted_keys(self):
        key, public = self.generate("mine")
        self.mvm_ok("key", "trust", public, "--name", "friend", "--for", "reg.example/team/*")
        own, trusted = self.mvm_json("key", "list")
        self.assertEqual((own["name"], own["trusted"], own["for"]), ("mine", False, None))
        self.assertEqual((trusted["name"], trusted["trusted"], trusted["for"], trusted["fingerprint"]),
                         ("friend", True, "reg.example/team/*", key["fingerprint"]))
        self.mvm_ok("key", "untrust", "friend")
        self.assertEqual(len(self.mvm_json("key", "list")), 1)
        self.mvm_fails(NOT_FOUND, "key", "untrust", "friend", says="no trusted key has the name 'friend'")

    def test_a_narrower_trust_says_what_it_leaves(self):
        _, public = self.generate("mine")
        self.assertEqual(self.mvm("key", "trust", public, status=0).stderr, "")
        narrower = self.mvm("key", "trust", public, "--for", "reg.example/team/*", status=0)
        self.assertIn("'mine' was trusted for everything: snapshots that it let in before still start", narrower.stderr)
        self.assertEqual(self.mvm("key", "trust", public, "--for", "reg.example/team/*", status=0).stderr, "")

    def test_only_public_keys_are_trusted(self):
        key, _ = self.generate("mine")
        for path in key["path"].replace(".pub", ".pem"), self.write("x.pub", "nonsense"):
            self.mvm(*("key", "trust", path, "--name", "x"), status=1)
        self.mvm_fails(NOT_FOUND, "key", "trust", self.path("gone.pub"), says="cannot read")

    def test_what_stands_before_a_scope_does_not_widen_it(self):
        _, public = self.generate("mine")
        path = self.mvm_json("key", "trust", public, "--name", "friend", "--for", "reg.example/*")["path"]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for odd in "\n" + text, "# a comment\n" + text, "\ufeff" + text, "for: other/*\n" + text, text.replace("for: ", "for:"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(odd)
            self.assertEqual([key for key in self.mvm_json("key", "list") if key["trusted"]], [], odd)
        # such a file, given to `trust`, is not for everything either
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.mvm("key", "trust", path, "--name", "copy", status=1)
        self.assertEqual(self.mvm_json("key", "trust", path, "--name", "copy", "--for", "x/*")["for"], "x/*")

    def test_a_scope_that_no_repository_matches_is_refused(self):
        _, public = self.generate("mine")
        for scope in ("docker://reg.example/web", "reg.example/web:v1", "reg.example/web@sha256:12", "reg.example//web",
                      "reg.example/team/", "/team/web", "web", "*"):
            self.mvm_fails(2, "key", "trust", public, "--for", scope, says=f"'{scope}' is no name of repositories")
        for scope in "**", "reg.example:5000/*", "**/web":
            self.mvm_ok("key", "trust", public, "--for", scope)

    def test_a_key_that_others_may_read_does_not_sign(self):
        key, _ = self.generate("mine")
        os.chmod(key["path"].replace(".pub", ".pem"), 0o644)
        self.mvm("template", "export", "web", self.file, "--sign", "mine", status=1)
        self.mvm_fails(NOT_FOUND, "template", "export", "web", self.file, "--sign", "gone", says="there is no key 'gone'")
        self.assertFalse(os.path.exists(self.file))
        # neither is found out only when all is packed
        for name in "mine", "gone":
            done = self.mvm("template", "push", "web", "127.0.0.1:1/web", "--sign", name)
            self.assertIn(done.returncode, (1, NOT_FOUND))
            self.assertNotIn("packing", done.stderr)


class Files(KeyCase):
    def setUp(self):
        super().setUp()
        self.key, self.public = self.generate("mine")
        self.export("--sign", "mine")
        self.own_host = self.data_dir
        self.other_host()

    def test_a_trusted_key_counts(self):
        done = self.mvm("template", "import", self.file, status=0)
        self.assertIn("no key that you trust has signed it", done.stderr)
        self.assertIsNone(self.signer())
        self.mvm_ok("key", "trust", self.public, "--for", "reg.example/*") # not for files
        self.assertIsNone(self.signer())
        self.mvm_ok("key", "trust", self.public)
        self.assertEqual(self.signer(), self.key["fingerprint"])
        self.assertIn(", signed by " + self.key["fingerprint"], self.mvm_ok("template", "import", self.file))
        self.mvm_ok("key", "untrust", "mine")
        self.assertIsNone(self.signer())

    def test_another_key_does_not(self):
        _, other = self.generate("other")
        self.mvm_ok("key", "trust", other)
        self.assertIsNone(self.signer())

    def bundle(self, layout):
        """The path of the layout's bundle, and what it says."""
        for name in os.listdir(layout + "/blobs/sha256"):
            path = os.path.join(layout, "blobs", "sha256", name)
            with open(path, "rb") as file:
                text = file.read(4096)
            if text.startswith(b"{") and json.loads(text).get("mediaType") == BUNDLE:
                return path, json.loads(text)
        raise AssertionError("no bundle")

    def replace(self, layout, bundle):
        """Put another bundle in the place of the layout's, with all digests right."""
        path, _ = self.bundle(layout)
        text = json.dumps(bundle).encode()
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
            index = json.load(file)
        entry = index["manifests"][1]
        with open(self.blob(layout, entry["digest"]), encoding="utf-8") as file:
            manifest = json.load(file)
        for target, data in (manifest["layers"][0], text), (entry, None):
            data = data or json.dumps(manifest).encode()
            target["digest"] = "sha256:" + hashlib.sha256(data).hexdigest()
            target["size"] = len(data)
            with open(self.blob(layout, target["digest"]), "wb") as file:
                file.write(data)
        with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as file:
            json.dump(index, file)
        if not os.path.samefile(path, self.blob(layout, manifest["layers"][0]["digest"])):
            os.unlink(path)

    @harness.needs_program("openssl")
    def test_openssl_verifies_it(self):
        _, bundle = self.bundle(self.unpacked())
        envelope = bundle["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"])
        kind = envelope["payloadType"]
        self.write("signature", "")
        with open(self.path("signature"), "wb") as file:
            file.write(base64.b64decode(envelope["signatures"][0]["sig"]))
        with open(self.path("signed"), "wb") as file:
            file.write(b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload))
        subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", self.public, "-rawin",
                        "-in", self.path("signed"), "-sigfile", self.path("signature")],
                       check=True, capture_output=True)
        hint = base64.b64decode(bundle["verificationMaterial"]["publicKey"]["hint"])
        self.assertEqual(hint.hex(), self.key["fingerprint"])

    def test_a_changed_bundle_is_no_signature(self):
        self.mvm_ok("key", "trust", self.public)
        layout = self.unpacked()
        _, good = self.bundle(layout)
        self.file = layout
        self.assertEqual(self.signer(), self.key["fingerprint"])

        def change(*path, to):
            bundle = json.loads(json.dumps(good))
            at = bundle
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = to
            return bundle
        statement = json.loads(base64.b64decode(good["dsseEnvelope"]["payload"]))
        statement["subject"][0]["digest"]["sha256"] = 64 * "a"
        other = base64.b64encode(json.dumps(statement).encode()).decode()
        for bundle in (change("dsseEnvelope", "payload", to=other),
                       change("dsseEnvelope", "payloadType", to="text/plain"),
                       change("dsseEnvelope", "signatures", to=[]),
                       change("dsseEnvelope", "signatures", to=[{"sig": base64.b64encode(bytes(64)).decode()}]),
                       change("mediaType", to="application/json")):
            shutil.rmtree(layout)
            self.file = self.path("web.tar")
            self.replace(self.unpacked(), bundle)
            self.file = layout
            self.assertIsNone(self.signer(), bundle)

    def test_a_signature_is_for_one_manifest(self):
        """The signature of one artifact beside another one signs nothing."""
        self.mvm_ok("key", "trust", self.public)
        signed = self.unpacked()
        with open(os.path.join(signed, "index.json"), encoding="utf-8") as file:
            theirs = json.load(file)["manifests"][1]
        self.data_dir, here = self.own_host, self.data_dir
        self.source("other")
        self.build()
        self.export("--force")
        shutil.move(signed, self.path("signed"))
        layout = self.unpacked()
        shutil.copytree(self.path("signed/blobs"), layout + "/blobs", dirs_exist_ok=True)
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
            index = json.load(file)
        index["manifests"].append(theirs)
        with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as file:
            json.dump(index, file)
        self.data_dir, self.file = here, layout
        self.assertIsNone(self.signer())


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class Registries(PushCase, KeyCase):
    def test_a_pushed_signature_comes_with_a_pull(self):
        registry = self.enterContext(Registry(self.folder))
        key, public = self.generate("mine")
        _, second = self.generate("second")
        there = f"{registry.host}/team/web:v1"
        self.mvm_ok("template", "push", "web", there, "--sign", "mine")
        self.mvm_ok("template", "push", "web", there, "--sign", "mine") # is listed once
        self.mvm_ok("template", "push", "web", there, "--sign", "second") # beside the first
        self.other_host()

        def signer():
            return self.mvm_json("template", "pull", there)["signed_by"]
        self.assertIsNone(signer())
        self.mvm_ok("key", "trust", public, "--for", "other.example/*")
        self.assertIsNone(signer())
        self.mvm_ok("key", "trust", public, "--for", f"{registry.host}/team/*")
        self.assertEqual(signer(), key["fingerprint"])
        self.mvm_ok("key", "untrust", "mine")
        self.assertIsNone(signer())
        self.mvm_ok("key", "trust", second)
        self.assertIsNotNone(signer())


if __name__ == "__main__":
    harness.main()
