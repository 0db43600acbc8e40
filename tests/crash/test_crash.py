#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Commands are killed, or their calls fail, at every call that changes the file system.

After each: the next command works and sweeps the staging; every revision, blob, kernel and cache
entry is whole; `current` leads to a revision; and the same command, run again, succeeds.

Environment: MVM, FAULTS (the preloaded library), CRASH_DRIVER, CRASH_STEP (every how many calls).
"""

import concurrent.futures
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import harness
from fake_instance import FakeInstance
from tiny_kernel import tiny_kernel

FAULTS = os.environ["FAULTS"]
DRIVER = os.environ["CRASH_DRIVER"]
STEP = int(os.environ.get("CRASH_STEP", "1"))
KILLS = ("kill-before", "kill-after", "kill-half")
ERRORS = ("EIO", "ENOSPC")


class Crash(harness.TestCase):
    """Each test runs one command; self.base is the data folder before it."""

    def setUp(self):
        super().setUp()
        self.base = self.path("base")
        self.with_vm = False # a FakeInstance in each data folder
        self.vms = {} # of data folders
        self.addCleanup(lambda: [vm.close() for vm in self.vms.values()])
        self.config("web", 1)
        with open(self.path("vmlinux"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.write("root/etc/hostname", "one\n")
        self.in_base("kernel", "add", self.path("vmlinux"))
        self.in_base("template", "build", "--config", self.path("web.toml"))

    def config(self, name, vcpus):
        self.write(name + ".toml", f'template_id = "{name}"\nflake_ref = "dir:root"\n[[variants]]\n'
                   f'role = "worker"\nvcpus = {vcpus}\nmem_mib = 128\n')

    def in_base(self, *args):
        self.mvm_ok(*args, env={"MVM_DATA_DIR": self.base})

    def run_in(self, data, command, fault=None):
        env = self.environment({"MVM_DATA_DIR": data, **(fault or {})})
        if fault:
            env["LD_PRELOAD"] = FAULTS
        words = [word.replace("DATA", data) for word in command]
        return subprocess.run(words, env=env, cwd=self.folder, capture_output=True, text=True,
                              errors="replace", stdin=subprocess.DEVNULL, timeout=300, check=False)

    def whole(self, data, where):
        """Check that the next command sweeps, and that nothing is damaged."""
        done = self.run_in(data, [harness.MVM, "template", "list"])
        self.assertEqual(done.returncode, 0, f"{where}: the next command: {done.stderr}")
        self.assertEqual(os.listdir(data + "/tmp") if os.path.isdir(data + "/tmp") else [], [],
                         f"{where}: staging was left")
        for name in os.listdir(data + "/templates"):
            self.assertTrue(os.path.exists(f"{data}/templates/{name}/template.json"),
                            f"{where}: '{name}' is empty")
        done = self.run_in(data, [DRIVER, data, "check"])
        self.assertEqual(done.returncode, 0, f"{where}: {done.stderr}")

    def one(self, command, what, at, after):
        """Run the command once, with one fault."""
        where = f"{' '.join(command[1:])}: {what} at call {at}"
        data = self.copy_of_base()
        done = self.run_in(data, command, {"MVM_FAULT_AT": str(at), "MVM_FAULT_DO": what})
        if what in ERRORS:
            self.assertIn(done.returncode, range(0, 7), f"{where}: {done.stderr}")
            if done.returncode:
                self.assertRegex(done.stderr, r"\S+: \S.*\S", where)
        elif done.returncode != 0: # kill-half does nothing at calls other than a write
            self.assertEqual(done.returncode, -9, f"{where}: {done.stderr}")
        self.whole(data, where)
        removes = {"rm", "delete"} & set(command)
        self.assertTrue(os.path.exists(data + "/templates/web-worker/template.json") or removes,
                        where)
        again = self.run_in(data, command)
        good = {0, 3} if removes else {0} # 3: the first run has removed it
        self.assertIn(again.returncode, good, f"{where}: run again: {again.stderr}")
        self.whole(data, where + ", run again")
        after(data)
        self.remove(data)

    def meanwhile(self, command, other, at):
        """Stop the command at a call while another one runs; both must succeed."""
        data = self.copy_of_base()
        env = self.environment({"MVM_DATA_DIR": data, "LD_PRELOAD": FAULTS,
                                "MVM_FAULT_AT": str(at), "MVM_FAULT_DO": "stop"})
        with subprocess.Popen(command, env=env, cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True) as first:
            os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            with subprocess.Popen(other, env=self.environment({"MVM_DATA_DIR": data}),
                                  cwd=self.folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True) as second:
                try:
                    second.wait(0.5)
                except subprocess.TimeoutExpired:
                    pass # the other command waits for a lock
                first.send_signal(signal.SIGCONT)
                for each, name in (first, "stopped"), (second, "other"):
                    said = each.communicate(timeout=300)[1]
                    self.assertEqual(each.returncode, 0, f"at call {at}, {name}: {said}")
        self.whole(data, f"at call {at}")
        self.remove(data)

    def copy_of_base(self):
        data = tempfile.mkdtemp(prefix="d", dir=self.folder)
        os.rmdir(data)
        subprocess.run(["cp", "-a", self.base, data], check=True)
        if self.with_vm:
            self.vms[data] = FakeInstance(data, "vm", "web-worker", self.current(data))
        return data

    def remove(self, data):
        if data in self.vms:
            self.vms.pop(data).close()
        shutil.rmtree(data)

    def calls_of(self, command):
        """The names of the calls that a command makes."""
        log = self.path("calls")
        done = self.run_in(self.copy_of_base(), command, {"MVM_FAULT_LOG": log})
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(log, encoding="ascii") as file:
            return [line.split()[1] for line in file]

    def in_parallel(self, function, arguments):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for result in [pool.submit(function, *each) for each in arguments]:
                result.result()

    def everywhere(self, *command, after=lambda data: None):
        """Run the command with every fault at every call (CRASH_STEP)."""
        calls = self.calls_of(command)
        self.assertGreater(len(calls), 3)
        points = []
        for n, what in enumerate(KILLS + ERRORS):
            for at in range(1 + n % STEP, len(calls) + 1, STEP):
                if what != "kill-half" or "write" in calls[at - 1]:
                    points.append((what, at))
        self.in_parallel(self.one, [(command, what, at, after) for what, at in points])
        print(f"# {' '.join(command[1:])}: {len(calls)} calls, {len(points)} faults",
              file=sys.stdout, flush=True)

    def current(self, data):
        return os.path.basename(os.readlink(data + "/templates/web-worker/current"))

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

    def prune_beside(self, *command):
        calls = self.calls_of(command)
        prune = [harness.MVM, "template", "prune", "--keep", "1"]
        self.in_parallel(self.meanwhile, [(command, prune, at)
                                          for at in range(1, len(calls) + 1, STEP)])

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
        self.write("root/etc/hostname", "two\n")
        other, path = self.path("other"), self.path("web.tar")
        subprocess.run(["cp", "-a", self.base, other], check=True)
        for command in ([harness.MVM, "template", "build", "web-worker"],
                        [DRIVER, "DATA", "snapshot", "web-worker"],
                        [harness.MVM, "template", "export", "web-worker", path]):
            done = self.run_in(other, command)
            self.assertEqual(done.returncode, 0, done.stderr)
        return path, self.current(other)

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

    def test_pruning_beside_an_import(self):
        path, _ = self.artifact()
        self.prune_beside(harness.MVM, "template", "import", path, "web-worker")

    def test_pruning_beside_a_commit(self):
        self.with_vm = True
        self.prune_beside(harness.MVM, "commit", "vm", "web-worker")


if __name__ == "__main__":
    harness.main()
