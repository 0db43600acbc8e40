# SPDX-License-Identifier: Apache-2.0
"""Snapshots of one revision for several kinds of hosts, under one tag of a real registry.  Nothing boots.

A host is a data folder and a program that says it is QEMU of some version.
"""

import hashlib
import json
import os
import subprocess
import unittest
import unittest.mock
import urllib.request

import harness
import registries
from go_tools import needs_go_tools, tool
from oci_case import run
from registries import INDEX, MANIFEST, Registry, Stub
from test_push import PushCase

DRIVER = os.environ.get("CRASH_DRIVER", os.path.join(os.path.dirname(harness.MVM), "tests/crash/crash-driver"))
FAILED, NOT_FOUND, DAMAGED = 1, 3, 5


class VariantsCase(PushCase):
    """self.data_dir has the revision and no snapshot; hosts() are copies of it."""

    def setUp(self):
        self.qemu = None
        super().setUp()
        self.first = self.data_dir
        self.on("7.2.1")

    def environment(self, extra=None):
        qemu = {"MVM_ACCEL": "tcg", "MVM_QEMU": self.qemu} if self.qemu else {}
        return super().environment({**qemu, **(extra or {})})

    def on(self, version, number=None):
        """Go to the host with this QEMU.  number: of a snapshot that it makes; None: it is empty."""
        self.qemu = self.write("qemu-" + version, f"#!/bin/sh\necho 'QEMU emulator version {version}'\n", 0o755)
        self.data_dir = self.path("host-" + version)
        if number is not None and not os.path.exists(self.data_dir):
            run("cp", "-a", self.first, self.data_dir)
        if number is not None:
            subprocess.run([DRIVER, self.data_dir, "snapshot", "web", str(number)], check=True, env=self.environment())

    def push(self, version, number, ref, *options):
        self.on(version, number)
        return self.mvm_json("template", "push", "web", ref, *options)

    def keys(self):
        status = self.mvm_json("node", "status")
        return {"dev.mvm.cpu-hash": status["cpu_hash"], "dev.mvm.backend-hash": status["backend_hash"]}

    def snapshot(self, template="web"):
        """The digest of the memory that is here, and the artifact that it came with."""
        with open(self.current(template, "revision.json"), encoding="utf-8") as file:
            origin = json.load(file)["snapshot"]["origin"]
        with open(self.current(template, "snapshot/mem.bin"), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest(), origin


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class Variants(VariantsCase):
    def setUp(self):
        super().setUp()
        self.registry = self.enterContext(Registry(self.folder))
        self.there = f"{self.registry.host}/team/web:v1"

    def tag(self, tag="v1", name="team/web"):
        """What the tag names: (the document, its bytes)."""
        request = urllib.request.Request(f"http://{self.registry.host}/v2/{name}/manifests/{tag}",
                                         headers={"Accept": f"{INDEX}, {MANIFEST}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text), text

    def test_each_host_gets_its_own(self):
        one = self.push("7.2.1", 1, self.there)
        self.assertEqual((one["variants"], self.tag()[0]["mediaType"]), (1, MANIFEST))
        here = self.keys(), self.snapshot_here()
        two = self.push("7.2.2", 2, self.there)
        self.assertEqual((two["variants"], two["revision_hash"]), (2, one["revision_hash"]))
        self.assertIn("one of 2 snapshots there", self.mvm_ok("template", "push", "web", self.there))
        index, text = self.tag()
        self.assertEqual(index["annotations"], {"dev.mvm.revision": self.revision})
        entries = {entry["digest"]: entry["annotations"] for entry in index["manifests"]}
        self.assertEqual(entries, {one["digest"]: here[0], two["digest"]: self.keys()})
        # the same variants are the same bytes, whoever comes last
        self.push("7.2.1", 1, self.there)
        self.assertEqual(self.tag()[1], text)
        # a third host like the first one
        self.on("7.2.1")
        self.data_dir = self.path("third")
        self.registry.requests()
        got = self.mvm_json("template", "pull", self.there)
        self.assertEqual((got["digest"], got["new_snapshot"]), (one["digest"], True))
        self.assertEqual(self.snapshot(), (here[1], one["digest"]))
        asked = " ".join(self.registry.requests())
        self.assertIn(one["digest"][:15], asked)
        self.assertNotIn(two["digest"][:15], asked)
        os.symlink(os.path.join(os.path.dirname(harness.MVM), "mvm-pull"), self.path("lib/mvm-pull"))
        self.data_dir = self.path("fourth") # named as an image it is that template, too
        self.mvm("run", "docker://" + self.there, "--", "true", status=125)
        self.assertEqual([t["template_id"] for t in self.mvm_json("template", "list")], ["web"])
        self.assertEqual(self.snapshot(), (here[1], one["digest"]))
        # by the digest of one it is that one, by the index's what fits
        self.on("7.2.2")
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        self.assertEqual(self.mvm_json("template", "pull", f"{self.registry.host}/team/web@{digest}")["digest"], two["digest"])
        [row] = self.mvm_json("template", "list", "--remote", self.there)
        self.assertEqual((row["digest"], row["is_template"], row["has_snapshot"]), (digest, True, True))
        self.assertEqual({v["digest"]: v["cpu_hash"] for v in row["variants"]},
                         {digest: notes["dev.mvm.cpu-hash"] for digest, notes in entries.items()})
        self.assertIn("2 variants", self.mvm_ok("template", "list", "--remote", self.there))

    def snapshot_here(self):
        with open(self.current("web", "snapshot/mem.bin"), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def test_a_host_that_none_fits_takes_the_image_and_adds_its_own(self):
        pushed = [self.push(f"7.2.{n}", n, self.there)["digest"] for n in (1, 2)]
        self.on("7.2.3")
        self.registry.requests()
        done = self.mvm("template", "pull", self.there, status=0)
        self.assertIn("there is no snapshot for a host like this one", done.stderr)
        self.assertIn(f"'mvm template push web {self.there}' adds it there", done.stderr)
        self.assertIn("no snapshot", done.stdout)
        self.assertFalse(os.path.exists(self.current("web", "snapshot")))
        # a start finds it here, and asks for the tag alone
        self.registry.requests()
        self.mvm("run", "--template", self.there, "--", "true", status=125, env={"MVM_QEMU": "/nonexistent"})
        self.assertEqual(self.registry.requests(), ["HEAD /v2/team/web/manifests/v1"])
        subprocess.run([DRIVER, self.data_dir, "snapshot", "web", "3"], check=True, env=self.environment())
        own = self.mvm_json("template", "push", "web", self.there)
        self.assertEqual(own["variants"], 3)
        self.assertEqual({entry["digest"] for entry in self.tag()[0]["manifests"]}, {*pushed, own["digest"]})
        self.assertLess(own["moved_bytes"], 2 << 20) # its memory, and documents
        # its own snapshot stays, and a start knows it
        self.registry.requests()
        self.mvm("run", "--template", self.there, "--", "true", status=125, env={"MVM_ISOLATION": "x"})
        self.assertEqual([line for line in self.registry.requests() if "/blobs/" in line], [])
        self.assertIn("keeps its snapshot, which was made on this host", self.mvm("template", "pull", self.there, status=0).stderr)

    def test_one_that_stands_alone_is_compared_as_well(self):
        one = self.push("7.2.1", 1, self.there)
        self.on("7.2.2")
        got = self.mvm_json("template", "pull", self.there)
        self.assertEqual((got["digest"], got["has_snapshot"], got["new_snapshot"]), (one["digest"], False, False))
        self.assertLess(got["moved_bytes"], one["blob_bytes"] - (1 << 20)) # not the memory
        self.assertTrue(got["snapshot_unfit"])
        # nobody knows what a host without a VMM is for
        self.data_dir = self.path("none")
        self.assertTrue(self.mvm_json("template", "pull", self.there, env={"MVM_QEMU": "/none", "MVM_FIRECRACKER": "/none"})["new_snapshot"])

    def started(self, ref):
        """What a start of the reference asks the registry for."""
        self.registry.requests()
        self.mvm("run", "--template", ref, "--", "true", status=125, env={"MVM_ISOLATION": "x"})
        return self.registry.requests()

    def test_one_that_was_found_unfit_is_not_looked_at_again(self):
        for n in 1, 2:
            self.push(f"7.2.{n}", n, self.there)
        new = self.there.replace(":v1", ":v2")
        self.push("7.2.1", 5, new) # a single manifest of that revision
        self.on("7.2.3")
        os.symlink(os.path.join(os.path.dirname(harness.MVM), "mvm-pull"), self.path("lib/mvm-pull"))
        key = self.mvm_json("key", "generate", "mine") # a pull asks for signatures by it
        self.mvm_ok("key", "trust", key["path"])
        for ref in self.there, new:
            self.mvm_ok("template", "pull", ref)
            self.assertEqual(self.started(ref), [f"HEAD /v2/team/web/manifests/{ref[-2:]}"])
        # once it fits, it is pulled
        data = self.data_dir
        self.on("7.2.1")
        self.data_dir = data
        self.assertNotEqual([line for line in self.started(new) if "/blobs/" in line], [])
        self.assertIsNotNone(self.snapshot()[1])

    def test_the_digest_of_an_index_is_known_as_well(self):
        for n in 1, 2:
            self.push(f"7.2.{n}", n, self.there)
        digest = "sha256:" + hashlib.sha256(self.tag()[1]).hexdigest()
        ref = self.there.replace(":v1", "@" + digest)
        pull = ["template", "pull", "--if-missing", ref]
        for version in "7.2.1", "7.2.3": # one of them fits, and none
            self.on(version)
            self.data_dir = self.path("third-" + version)
            done = self.mvm(*pull, status=0)
            self.registry.requests()
            self.assertIsNone(self.mvm_json(*pull)["digest"])
            self.assertEqual(self.registry.requests(), [])
        # the tag to push to is the user's to name
        self.assertIn(f"push web {self.registry.host}/team/web:TAG'", done.stderr)
        # another index is not here
        self.push("7.2.2", 7, self.there)
        self.on("7.2.1")
        self.data_dir = self.path("third-7.2.1")
        digest = "sha256:" + hashlib.sha256(self.tag()[1]).hexdigest()
        self.assertIsNotNone(self.mvm_json("template", "pull", "--if-missing", self.there.replace(":v1", "@" + digest))["digest"])

    def test_what_replaces_what(self):
        one = self.push("7.2.1", 1, self.there)
        again = self.push("7.2.1", 2, self.there) # made anew: the only one again
        self.assertEqual((again["variants"], self.tag()[0]["mediaType"]), (1, MANIFEST))
        self.assertNotEqual(one["digest"], again["digest"])
        two = self.push("7.2.2", 1, self.there)
        three = self.push("7.2.2", 3, self.there)
        self.assertEqual({entry["digest"] for entry in self.tag()[0]["manifests"]}, {again["digest"], three["digest"]})
        # a deleted one does not come back, and is in nobody's way
        with unittest.mock.patch.dict(os.environ, REGISTRY_STORAGE_DELETE_ENABLED="true"):
            deleting = self.enterContext(Registry(self.folder))
        self.mvm_ok("template", "rm", "--remote", f"{deleting.host}/team/web@{again['digest']}", "--force")
        self.assertEqual(self.push("7.2.2", 1, self.there)["digest"], two["digest"])
        self.assertEqual((self.tag()[0]["mediaType"], self.tag()[1]), (MANIFEST, self.tag(two["digest"])[1]))
        # without a snapshot, and as another revision, a push replaces the tag
        self.push("7.2.1", 1, self.there)
        self.assertEqual(self.tag()[0]["mediaType"], INDEX)
        self.assertEqual(self.push("7.2.1", 1, self.there, "--image-only")["variants"], 0)
        self.assertEqual(self.tag()[0]["mediaType"], MANIFEST)
        for n in 1, 2:
            self.push(f"7.2.{n}", n, self.there)
        self.source("two")
        self.assertNotEqual(self.build(), self.revision)
        self.assertEqual(self.push("7.2.2", 4, self.there)["variants"], 1)
        self.assertEqual(self.tag()[0]["mediaType"], MANIFEST)

    def test_signatures_are_of_the_manifests(self):
        self.on("7.2.1", 1)
        key = self.mvm_json("key", "generate", "mine")
        self.mvm_ok("template", "push", "web", self.there, "--sign", "mine")
        two = self.push("7.2.2", 2, self.there)
        for ref in self.there, self.there.replace(":v1", "@sha256:" + hashlib.sha256(self.tag()[1]).hexdigest()):
            self.on("7.2.1")
            self.mvm_fails(FAILED, "template", "sign", ref, "--key", "mine", says="sign those that are yours by their digests")
        # who is asked for depends on the host
        for version, signer in ("7.2.1", "mine"), ("7.2.2", None):
            self.on(version)
            self.data_dir = self.path("third-" + version)
            self.mvm_ok("key", "trust", key["path"])
            done = self.mvm("template", "verify", "--remote", self.there, "--json", status=0 if signer else FAILED)
            self.assertEqual(json.loads(done.stdout)["key"], signer)
            self.assertEqual(self.mvm_json("template", "pull", self.there)["signed_by"], signer and key["fingerprint"])
        self.on("7.2.1")
        self.mvm_ok("template", "sign", self.there.replace(":v1", "@" + two["digest"]), "--key", "mine")
        self.on("7.2.2")
        self.data_dir = self.path("third-7.2.2")
        self.assertEqual(self.mvm_json("template", "pull", self.there)["signed_by"], key["fingerprint"])

    def other_programs_copy(self, copy):
        """Have another program copy both variants: copy(from, to).  Each host gets its own from there."""
        pushed = [self.push(f"7.2.{n}", n, self.there)["digest"] for n in (1, 2)]
        there = f"{self.registry.host}/other/place:x"
        copy(self.there, there)
        self.assertEqual(self.tag("x", "other/place")[1], self.tag()[1])
        for n in 1, 2:
            self.on(f"7.2.{n}")
            self.data_dir = self.path(f"third-{n}")
            self.assertEqual(self.mvm_json("template", "pull", there)["digest"], pushed[n - 1])

    @harness.needs_program("skopeo")
    def test_skopeo_takes_all_of_them(self):
        self.other_programs_copy(lambda one, two: run(
            "skopeo", "copy", "-q", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://" + one, "docker://" + two))

    def tool(self, name, *args):
        run(tool(name), *args, env={**os.environ, "HOME": self.folder, "XDG_CONFIG_HOME": self.path("config")}, cwd=self.folder)

    @needs_go_tools("oras")
    def test_oras_takes_all_of_them(self):
        self.other_programs_copy(lambda *refs: self.tool("oras", "cp", "--from-plain-http", "--to-plain-http", *refs))

    @needs_go_tools("crane")
    def test_crane_takes_all_of_them(self):
        self.other_programs_copy(lambda *refs: self.tool("crane", "cp", "--insecure", *refs))

    @needs_go_tools("regctl")
    def test_regctl_takes_all_of_them(self):
        def copy(*refs):
            self.tool("regctl", "registry", "set", "--tls", "disabled", self.registry.host)
            self.tool("regctl", "image", "copy", *refs)
        self.other_programs_copy(copy)

    @unittest.skipUnless(os.environ.get("MVM_TEST_LONG"), "on a busy host one may lose its variant: only in make check-long")
    def test_pushes_at_the_same_moment(self):
        """Of eight hosts none loses its snapshot."""
        commands = []
        for n in range(8):
            self.on(f"7.2.{n}", n)
            commands.append((["template", "push", "web", self.there], self.environment()))
        done = [subprocess.Popen([harness.MVM, *command], env=env, cwd=self.folder, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for command, env in commands]
        for process in done:
            said = process.communicate(timeout=self.timeout)[1]
            self.assertEqual(process.returncode, 0, said)
        self.assertEqual(len(self.tag()[0]["manifests"]), 8)


class Hostile(VariantsCase):
    """What a registry's index says only chooses a manifest."""

    def serve(self):
        """A registry that has this revision for two hosts."""
        stub = self.enterContext(Stub())
        ref = f"{stub.host}/{stub.path}:latest"
        self.one = self.push("7.2.1", 1, ref)["digest"]
        self.two = self.push("7.2.2", 2, ref)["digest"]
        return stub, ref

    def put(self, stub, change):
        index = json.loads(stub.manifests["latest"][0])
        change(index)
        text = json.dumps(index).encode()
        stub.manifests["latest"] = stub.manifests["sha256:" + hashlib.sha256(text).hexdigest()] = text, INDEX

    def test_wrong_indexes_are_refused(self):
        def key(value):
            def change(index):
                index["manifests"][0]["annotations"]["dev.mvm.cpu-hash"] = value
            return change

        def member(name, value):
            return lambda index: index["manifests"][0].update({name: value})
        changes = {
            "is no hash": key("../../x"), "is no hash of 16": key("A" * 16), "no hash of 16 digits": key(7),
            "for the same hosts": lambda index: index["manifests"].append(index["manifests"][0]),
            "more than 64 items": lambda index: index["manifests"].extend(index["manifests"] * 40),
            "has no template's snapshot": lambda index: index.update(manifests=[]),
            "expected an array": lambda index: index.update(manifests={}),
            "digest": member("digest", "sha256:x"), "whole number from 1 to": member("size", 1 << 40),
            "no template's snapshot": lambda index: [entry.update(annotations=[]) for entry in index["manifests"]],
            "is no revision": lambda index: index["annotations"].update({"dev.mvm.revision": "../x"}),
            "larger than 64 KiB": lambda index: index.update(x="x" * 70000),
        }
        stub, ref = self.serve()
        good = stub.manifests["latest"]
        for says, change in changes.items():
            with self.subTest(says):
                stub.manifests["latest"] = good
                self.put(stub, change)
                self.data_dir = self.path("fresh")
                done = self.mvm("template", "pull", ref)
                self.assertIn(says, done.stderr)
                self.assertIn(done.returncode, (FAILED, DAMAGED))
                self.assertEqual(self.mvm_json("template", "list"), [])
        # a push replaces what makes no sense
        self.assertEqual(self.push("7.2.1", 1, ref)["variants"], 1)
        self.assertEqual(stub.manifests["latest"][1], MANIFEST)

    def test_an_index_that_lies_starts_nothing(self):
        stub, ref = self.serve()

        def swap(index):
            one, two = index["manifests"]
            one["annotations"], two["annotations"] = two["annotations"], one["annotations"]
        self.put(stub, swap)
        self.on("7.2.1")
        self.data_dir = self.path("fresh")
        got = self.mvm_json("template", "pull", ref) # the snapshot's own facts count
        self.assertEqual((got["digest"], got["new_snapshot"]), (self.two, False))
        # a manifest of another revision
        self.put(stub, lambda index: index["annotations"].update({"dev.mvm.revision": "0" * 32}))
        self.data_dir = self.path("fresh2")
        self.mvm_fails(DAMAGED, "template", "pull", ref, says="and its index says 000000000000")
        self.assertEqual(self.mvm_json("template", "list"), [])

    def test_entries_of_other_kinds_are_left_out(self):
        stub, ref = self.serve()
        other = {"mediaType": MANIFEST, "digest": "sha256:" + 64 * "0", "size": 7, "platform": {"os": "x", "architecture": "y"}}
        self.put(stub, lambda index: index["manifests"].insert(0, other))
        self.on("7.2.1")
        self.data_dir = self.path("fresh")
        self.assertEqual(self.mvm_json("template", "pull", ref)["digest"], self.one)

    def test_another_revision_that_comes_in_between_stays(self):
        stub, ref = self.serve()
        image = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()

        def answer(request):
            if request.command != "PUT" or not request.path.endswith("/latest"):
                return False
            stub.take(request)
            stub.manifests["latest"] = image, MANIFEST
            return True
        stub.answer = answer
        self.on("7.2.3", 3)
        done = self.mvm("template", "push", "web", ref, status=0)
        self.assertIn("names something else already", done.stderr)
        self.assertEqual(stub.manifests["latest"][0], image)

    def test_a_variant_that_another_push_took_away_is_put_again(self):
        stub, ref = self.serve()
        old, puts = stub.manifests["latest"], []

        def answer(request):
            if request.command != "PUT" or not request.path.endswith("/latest"):
                return False
            stub.take(request)
            puts.append(request.path)
            if len(puts) == 1:
                stub.manifests["latest"] = old
            return True
        stub.answer = answer
        self.assertEqual((self.push("7.2.3", 3, ref)["variants"], len(puts)), (3, 2))

    def test_a_tag_that_always_changes_ends_a_push(self):
        stub, ref = self.serve()
        old = stub.manifests["latest"]

        def answer(request):
            if request.command != "PUT" or not request.path.endswith("/latest"):
                return False
            stub.take(request)
            stub.manifests["latest"] = old
            return True
        stub.answer = answer
        self.on("7.2.3", 3)
        self.mvm_fails(4, "template", "push", "web", ref, says="other pushes change it all the time")


if __name__ == "__main__":
    harness.main()
