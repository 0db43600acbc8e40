#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Commands are killed, or their calls fail, at every call that changes the file system.

After each: the next command works and sweeps the staging; every revision, blob, kernel and cache
entry is whole; `current` leads to a revision; and the same command, run again, succeeds.
"""

import glob
import json
import os

import harness
from crash_case import DRIVER, CrashCase
from fault_case import ERRORS, STEP
from tiny_kernel import tiny_kernel


class Crash(CrashCase):
    def test_adding_a_kernel(self):
        with open(self.path("vmlinux-new"), "wb") as file:
            file.write(tiny_kernel("6.2.0-test"))
        self.everywhere(harness.MVM, "kernel", "add", self.path("vmlinux-new"))

    def test_removing_a_kernel(self):
        with open(self.path("vmlinux-new"), "wb") as file:
            file.write(tiny_kernel("6.2.0-test"))
        self.in_base("kernel", "add", self.path("vmlinux-new"))
        self.everywhere(harness.MVM, "kernel", "rm", "6.2.0-test")

    def test_creating_a_template(self):
        self.config("new", 1)
        self.everywhere(harness.MVM, "template", "apply", self.path("new.toml"))

    def test_saving_a_spec(self):
        self.config("web", 2)
        self.everywhere(harness.MVM, "template", "apply", self.path("web.toml"))

    def test_creating_a_template_by_options(self):
        self.everywhere(harness.MVM, "template", "create", "made", "--flake",
                        "dir:" + self.path("root"), "--force")

    def test_editing_a_template(self):
        def after(data):
            with open(data + "/templates/web-worker/template.json", encoding="utf-8") as file:
                self.assertEqual(json.load(file)["vcpus"], 3)

        self.everywhere(harness.MVM, "template", "edit", "web-worker", "--cpus", "3", after=after)

    def test_deleting_a_template(self):
        def after(data):
            self.assertEqual(os.listdir(data + "/templates"), [])

        self.everywhere(harness.MVM, "template", "delete", "web-worker", "--force", after=after)

    def test_publishing_the_first_revision_from_the_cache(self):
        self.config("new", 1)
        self.everywhere(harness.MVM, "template", "build", "--config", self.path("new.toml"))

    def test_building_and_publishing_a_new_revision(self):
        self.explains_room = False
        old = self.current(self.base)
        self.write("root/etc/hostname", "two\n")

        def after(data):
            self.assertNotEqual(self.current(data), old)
            self.assertIn(old, os.listdir(data + "/templates/web-worker/artifacts"))

        self.everywhere(harness.MVM, "template", "build", "web-worker", after=after)

    def test_publishing_a_snapshot(self):
        def after(data):
            found = glob.glob(data + "/templates/web-worker/current/snapshot/mem.bin")
            self.assertEqual(len(found), 1)

        self.everywhere(DRIVER, "DATA", "snapshot", "web-worker", after=after)

    def test_replacing_a_snapshot(self):
        self.assertEqual(self.run_in(self.base, [DRIVER, "DATA", "snapshot", "web-worker"])
                         .returncode, 0)
        self.everywhere(DRIVER, "DATA", "snapshot", "web-worker")

    def test_removing_a_snapshot(self):
        self.assertEqual(self.run_in(self.base, [DRIVER, "DATA", "snapshot", "web-worker"])
                         .returncode, 0)

        def after(data):
            self.assertEqual(glob.glob(data + "/templates/web-worker/current/snapshot"), [])

        self.everywhere(harness.MVM, "template", "snapshot", "web-worker", "--rm", after=after)

    def two_revisions(self):
        old = self.current(self.base)
        self.write("root/etc/hostname", "two\n")
        self.in_base("template", "build", "web-worker")
        new = self.current(self.base)
        self.assertNotEqual(new, old)
        return old, new

    def test_rolling_back(self):
        old, _ = self.two_revisions()
        self.everywhere(harness.MVM, "template", "rollback", "web-worker", old,
                        after=lambda data: self.assertEqual(self.current(data), old))

    def test_pruning(self):
        _, new = self.two_revisions()

        def after(data):
            self.assertEqual(os.listdir(data + "/templates/web-worker/artifacts"), [new])
            blobs = os.listdir(data + "/blobs/sha256")
            self.assertEqual(len(blobs), 3, "kernel, image and initramfs")
            self.assertEqual(len(os.listdir(data + "/cache/builds")), 1)

        self.everywhere(harness.MVM, "template", "prune", "--keep", "1", after=after)

    def test_files_that_cannot_be_linked_are_copied_with_a_note(self):
        without = {"MVM_FAULT_AT": "1", "MVM_FAULT_DO": "no-links"}
        data = self.copy_of_base()
        self.write("root/etc/hostname", "two\n")
        build = [harness.MVM, "template", "build", "web-worker"]
        done = self.run_in(data, build, without)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("cannot link files, so artifacts were copied", done.stderr)
        image = os.stat(data + "/templates/web-worker/current/rootfs.ext4")
        self.assertEqual((image.st_nlink, image.st_mode & 0o7777), (1, 0o444))
        self.whole(data, "copied")
        for command in (build, [harness.MVM, "template", "prune", "--keep", "1"],
                        [harness.MVM, "template", "verify"], build,
                        [harness.MVM, "template", "delete", "web-worker", "--force"]):
            done = self.run_in(data, command, without)
            self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")
            self.whole(data, "copied, " + " ".join(command[1:]))

    def test_pruning_beside_a_build(self):
        self.write("root/etc/hostname", "two\n")
        self.prune_beside(harness.MVM, "template", "build", "web-worker")

    def test_pruning_beside_a_build_from_the_cache(self):
        self.config("new", 1)
        self.in_base("template", "delete", "web-worker", "--force")
        self.prune_beside(harness.MVM, "template", "build", "--config", self.path("new.toml"))

    def test_committing_to_a_template(self):
        self.with_vm, old = True, self.current(self.base)

        def after(data):
            self.assertNotEqual(self.current(data), old)
            self.assertEqual(len(os.listdir(data + "/templates/web-worker/artifacts")), 2)

        self.everywhere(harness.MVM, "commit", "vm", "web-worker", after=after)

    def test_committing_to_a_new_template(self):
        self.with_vm = True
        self.everywhere(harness.MVM, "commit", "vm", "new")

    def artifact(self):
        """A file with a new revision of web-worker and its snapshot."""
        path = self.path("web.tar")
        _, new = self.other_revision([harness.MVM, "template", "export", "web-worker", path])
        return path, new

    def test_importing_a_revision(self):
        path, new = self.artifact()

        def after(data):
            self.assertEqual(self.current(data), new)
            self.assertTrue(os.path.exists(data + "/templates/web-worker/current/snapshot/mem.bin"))

        self.everywhere(harness.MVM, "template", "import", path, "web-worker", after=after)

    def test_importing_a_new_template(self):
        path, _ = self.artifact()
        self.everywhere(harness.MVM, "template", "import", path, "new")

    def test_exporting(self):
        out = self.path("out.tar")
        self.everywhere(harness.MVM, "template", "export", "web-worker", out, "--force")

    def test_generating_a_key(self):
        command = [harness.MVM, "key", "generate", "mine"]

        def after(data):
            self.assertEqual(sorted(os.listdir(data + "/keys")), ["mine.pem", "mine.pub"])

        self.everywhere(*command, after=after)

    def test_trusting_a_key(self):
        self.in_base("key", "generate", "mine")

        def after(data):
            self.assertEqual(os.listdir(data + "/trust"), ["mine.pub"])

        self.everywhere(harness.MVM, "key", "trust", self.base + "/keys/mine.pub", after=after)

    @harness.needs_program("busybox")
    def test_a_folder_to_start_from_is_written_whole_or_not_at_all(self):
        calls = self.calls_of([harness.MVM, "template", "init", "DATA-web"])
        for what in ERRORS:
            for at in range(1, len(calls) + 1, STEP * 10): # most calls make a link to busybox
                data, folder = self.path(f"{what}-{at}"), self.path(f"{what}-{at}-web")
                done = self.run_in(data, [harness.MVM, "template", "init", folder],
                                   {"MVM_FAULT_AT": str(at), "MVM_FAULT_DO": what})
                where = f"{what} at call {at}: {done.stderr}"
                self.assertEqual((done.returncode, os.path.exists(folder)), (1, False), where)
                if what == "ENOSPC":
                    self.assertIn("hint: make room on its disk, or name a folder on another", done.stderr, where)

    def test_pruning_beside_an_import(self):
        path, _ = self.artifact()
        self.prune_beside(harness.MVM, "template", "import", path, "web-worker")

    def test_pruning_beside_a_commit(self):
        self.with_vm = True
        self.prune_beside(harness.MVM, "commit", "vm", "web-worker")


if __name__ == "__main__":
    harness.main()
