# SPDX-License-Identifier: Apache-2.0
"""A snapshot leaves its host as a file, and comes to another one."""

import json
import os
import unittest

import guests
import harness
import registries

ELSEWHERE = "the snapshot was made elsewhere, and no key that you trust has signed it"


@harness.needs_guests
@harness.needs_program("busybox")
class Snapshots(guests.TestCase):
    config = guests.CONFIG

    def export(self, *options, name="web.tar"):
        path = self.path(name)
        return path, self.mvm_json("template", "export", "web-worker", path, "--force", *options)

    def other_host(self):
        self.own_data(kernel_only=True)

    def snapshot_files(self, template="web-worker"):
        folder = self.current(template, "snapshot")
        return {name: guests.sha256(os.path.join(folder, name)) for name in sorted(os.listdir(folder))}

    def test_a_foreign_snapshot_is_kept_and_not_run(self):
        path, made = self.export()
        self.assertTrue(made["has_snapshot"])
        files, memory = self.snapshot_files(), os.stat(self.current("web-worker", "snapshot/mem.bin"))
        self.other_host()
        got = self.mvm_json("template", "import", path)
        self.assertEqual((got["new_snapshot"], got["digest"]), (True, made["digest"]))
        self.assertEqual(self.snapshot_files(), files)
        here = os.stat(self.current("web-worker", "snapshot/mem.bin"))
        self.assertEqual(here.st_size, memory.st_size)
        self.assertLess(here.st_blocks, memory.st_blocks * 1.1) # its holes are holes
        self.mvm_ok("template", "verify")
        with open(self.current("web-worker", "revision.json"), encoding="utf-8") as file:
            snapshot = json.load(file)["snapshot"]
        self.assertEqual(snapshot["origin"], made["digest"])
        # it would match this host, but strangers' memory does not run
        run = self.mvm_json("template", "info", "web-worker")["run"]
        self.assertEqual((run["start"], run["reason"]), ("boot", ELSEWHERE))
        [here] = self.mvm_json("node", "status")["templates"]
        self.assertEqual((here["start"], here["reason"]), ("boot", ELSEWHERE))
        self.assertNotIn("snap_web-worker", self.mvm_json("node", "features"))
        self.mvm_fails(125, "run", "--template", "web-worker", "--require-snapshot", "--", "true", says=ELSEWHERE)
        # exported again it is the same artifact; imported again nothing changes
        self.assertEqual(self.export()[1]["digest"], made["digest"])
        self.assertFalse(self.mvm_json("template", "import", path)["new_snapshot"])
        # a boot works, and so does a snapshot that is made here
        self.assertEqual(self.mvm_ok("run", "--template", "web-worker", "--", "echo", "hello"), "hello\n")
        self.mvm_ok("template", "snapshot", "web-worker")
        self.mvm_ok("run", "--template", "web-worker", "--require-snapshot", "--", "true")
        done = self.mvm("template", "import", path, status=0)
        self.assertIn("keeps its snapshot, which was made on this host", done.stderr)
        self.mvm_ok("run", "--template", "web-worker", "--require-snapshot", "--", "true")

    def test_a_snapshot_that_a_trusted_key_signed_runs(self):
        self.own_data() # the key is this test's
        public = self.mvm_json("key", "generate", "mine")["path"]
        path, _ = self.export("--sign", "mine")
        _, unsigned = self.export(name="plain.tar")
        self.data_dir = self.path("other")
        guests.copy_data(guests.Kernel.data(), self.data_dir)
        self.mvm_ok("template", "import", path)
        start = ("run", "--template", "web-worker", "--require-snapshot", "--", "true")
        self.mvm_fails(125, *start, says=ELSEWHERE)
        # the key must be trusted when the snapshot comes, and when it starts
        self.mvm_ok("key", "trust", public)
        self.mvm_fails(125, *start, says=ELSEWHERE)
        got = self.mvm_json("template", "import", path)
        self.assertEqual((got["new_snapshot"], got["new_revision"], got["digest"]), (True, False, unsigned["digest"]))
        self.mvm_ok(*start)
        self.assertEqual(self.mvm_json("template", "info", "web-worker")["run"]["start"], "restore")
        self.assertLessEqual({"tpl_web-worker", "snap_web-worker"}, set(self.mvm_json("node", "features")))
        labels = self.mvm_json("node", "labels")
        self.assertEqual(labels["snapshots.mvm.dev/web-worker"], labels["templates.mvm.dev/web-worker"])
        self.mvm_ok("key", "untrust", "mine")
        self.mvm_fails(125, *start, says=ELSEWHERE)

    @unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
    def test_a_snapshot_made_anew_moves_what_differs(self):
        self.own_data()
        here, there = self.data_dir, self.path("there")
        with registries.Registry(self.folder) as registry:
            ref = f"{registry.host}/team/web-worker:v1"
            self.mvm_ok("template", "push", "web-worker", ref)
            self.data_dir = there
            first = self.mvm_json("template", "pull", ref)
            self.data_dir = here
            self.mvm_ok("template", "snapshot", "web-worker")
            self.mvm_ok("template", "push", "web-worker", ref)
            files = self.snapshot_files()
            self.data_dir = there
            registry.requests()
            second = self.mvm_json("template", "pull", ref)
            ranges = [status for _, status, _ in registry.answers() if status == 206]
        self.assertEqual((second["new_snapshot"], second["new_revision"]), (True, False))
        self.assertEqual(self.snapshot_files(), files)
        # two thirds of the memory are alike (the image is not moved at all)
        self.assertLess(second["moved_bytes"], first["moved_bytes"] / 2)
        self.assertGreater(second["reused_bytes"], 8 << 20)
        self.assertLessEqual(len(ranges), 40)
        self.mvm_ok("template", "verify")

    def test_an_image_alone_has_no_snapshot(self):
        path, made = self.export("--image-only", name="image.tar")
        self.assertFalse(made["has_snapshot"])
        whole, _ = self.export()
        self.other_host()
        self.assertFalse(self.mvm_json("template", "import", path, "a")["has_snapshot"])
        self.assertFalse(self.mvm_json("template", "import", whole, "b", "--image-only")["has_snapshot"])
        self.assertFalse(os.path.exists(self.current("b", "snapshot")))


if __name__ == "__main__":
    guests.main()
