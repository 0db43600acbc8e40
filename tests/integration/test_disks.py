# SPDX-License-Identifier: Apache-2.0
"""Data disks in real guests: empty at first, frozen with a snapshot, private to each VM."""

import os
import shutil
import subprocess

import guests
import harness


@harness.needs_guests
@harness.needs_program("e2fsck")
class DataDisks(guests.TestCase):
    # the workload writes before the snapshot is taken
    config = guests.CONFIG.replace(
        'command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]',
        'command = ["/bin/sh", "-c", "echo early > /data/early; '
        'exec busybox httpd -f -p 8080 -h /www"]') + "data_disk_mib = 64\n"

    def assert_clean(self, disk):
        done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_vm_has_a_disk_of_its_own(self):
        revision = self.current("web-worker")
        empty = os.path.join(revision, "data.ext4")
        self.assertEqual(os.stat(empty).st_size, 64 << 20)
        self.assertLess(os.stat(empty).st_blocks * 512, 1 << 20) # holes
        self.assert_clean(empty)
        frozen = guests.sha256(os.path.join(revision, "snapshot", "data.ext4"))

        one = self.run_detached("web-worker", "--require-snapshot")
        two = self.run_detached("web-worker", "--require-snapshot")
        self.assertEqual(one["data_disk"]["size_mib"], 64)
        self.assertIn(one["data_disk"]["copy"], ("reflink", "sparse"))
        for record in (one, two):
            self.assertEqual(self.exec(record["name"], "cat", "/data/early"), "early\n")
        self.exec(one["name"], "sh", "-c", "echo one > /data/one; echo 1 > /data/early")
        self.exec(two["name"], "sh", "-c", "echo two > /data/two")
        self.assertEqual(self.exec(two["name"], "ls", "/data").split(),
                         ["early", "two"])
        self.assertEqual(self.exec(two["name"], "cat", "/data/early"), "early\n")
        self.assertIn("/dev/vdb /data ext4 rw,nosuid,nodev",
                      self.exec(one["name"], "cat", "/proc/mounts"))

        cold = self.run_detached("web-worker", "--cold")
        self.assertEqual(self.exec(cold["name"], "ls", "/data").split(), ["early"])

        for record in (one, two, cold):
            # the disk of a killed VM is consistent, but not clean
            self.mvm_ok("stop", "--timeout", "90s", record["name"])
            self.assert_clean(self.data("instances", record["name"], "data.ext4"))
        self.assertEqual(guests.sha256(os.path.join(revision, "snapshot", "data.ext4")), frozen)
        self.assert_clean(empty)
        self.mvm_ok("template", "verify", "web-worker")

    def test_a_disk_is_whole_after_a_kill(self):
        """The journal ensures this: without it, a kill during writes damages the file system."""
        name = self.run_detached()["name"]
        self.exec(name, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do mkdir -p /data/d$i; "
                  "cp /bin/busybox /data/d$i/; done; busybox sync; echo more > /data/d1/more"
                  .replace("mkdir", "busybox mkdir").replace("cp ", "busybox cp "))
        self.mvm_ok("stop", "--timeout", "0", name)
        disk = self.data("instances", name, "data.ext4")
        replayed = self.path("replayed")
        shutil.copy(disk, replayed)
        done = subprocess.run(["e2fsck", "-p", replayed], capture_output=True, text=True,
                              check=False)
        self.assertIn(done.returncode, (0, 1), done.stdout) # 1: the journal was replayed
        self.assert_clean(replayed)

    def test_a_damaged_frozen_disk_is_not_used(self):
        self.own_data()
        disk = self.current("web-worker", "snapshot", "data.ext4")
        os.chmod(disk, 0o600)
        with open(disk, "r+b") as file:
            file.seek(1024)
            file.write(b"\xff")
        self.mvm_fails(5, "run", "-T", "web-worker", "-d", says="data.ext4")
        self.assert_nothing_left()

    def test_sizes_that_no_disk_can_have_are_refused(self):
        toml = self.write("bad.toml", "")
        for size in (1, 5):
            with open(self.toml, encoding="utf-8") as file:
                text = file.read()
            with open(toml, "w", encoding="utf-8") as file:
                file.write(text.replace("data_disk_mib = 64", f"data_disk_mib = {size}")
                           .replace('"dir:root"', f'"dir:{self.root}"')
                           .replace('"web"', '"small"'))
            done = self.mvm("template", "build", "--config", toml)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("data_disk_mib", done.stderr)


if __name__ == "__main__":
    guests.main()
