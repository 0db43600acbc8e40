# SPDX-License-Identifier: Apache-2.0
"""Root disks in real guests: what a guest writes to its root lies on a disk of its own."""

import os
import subprocess

import guests
import harness

MIB = 1 << 20


@harness.needs_guests
@harness.needs_program("e2fsck")
class RootDisks(guests.TestCase):
    # the workload writes before the snapshot is taken
    config = guests.CONFIG.replace(
        'command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]',
        'command = ["/bin/sh", "-c", "echo early > /early; rm /www/index.html; '
        'echo changed > /www/index.html; exec busybox httpd -f -p 8080 -h /www"]'
    ) + "root_disk_mib = 512\n"

    def disk(self, name):
        return self.data("instances", name, "root.ext4")

    def taken(self, name):
        return os.stat(self.disk(name)).st_blocks * 512

    def assert_clean(self, disk):
        done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def write_mib(self, name, path, mib):
        self.exec(name, "busybox", "dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={mib}")
        self.exec(name, "busybox", "sync")

    def test_a_guest_writes_more_than_its_memory_and_gives_it_back(self):
        record = self.run_detached("web-worker", "--require-snapshot")
        name = record["name"]
        self.assertEqual(record["root_disk"]["size_mib"], 512)
        self.assertIn(record["root_disk"]["copy"], ("reflink", "sparse"))
        before = self.taken(name)
        self.assertLess(before, 32 * MIB)
        self.write_mib(name, "/big", 192) # of 128 MiB of memory
        full = self.taken(name)
        self.assertGreater(full, before + 190 * MIB)
        self.assertGreaterEqual(self.inspect(name)["usage"]["disk_bytes"], full)
        self.assertRegex(self.mvm_ok("ps", "--size"), rf"DISK\n{name} .* (19|2\d)\d MiB\n")
        self.exec(name, "busybox", "rm", "/big")
        self.exec(name, "busybox", "sync")
        self.assertTrue(guests.wait_until(lambda: self.taken(name) < before + 16 * MIB))
        self.mvm_ok("stop", "--timeout", "90s", name)
        self.assert_clean(self.disk(name))
        self.mvm_ok("rm", name)
        self.assert_nothing_left()

    def test_clones_begin_with_what_was_captured_and_are_alone(self):
        captured = self.current("web-worker", "snapshot", "root.ext4")
        self.assertEqual(os.stat(captured).st_size, 512 * MIB)
        self.assertLess(os.stat(captured).st_blocks * 512, 32 * MIB)
        frozen = guests.sha256(captured)
        one = self.run_detached("web-worker", "--require-snapshot")["name"]
        two = self.run_detached("web-worker", "--require-snapshot")["name"]
        for name in (one, two):
            self.assertEqual(self.exec(name, "cat", "/early", "/www/index.html"), "early\nchanged\n")
        self.exec(one, "sh", "-c", "echo one > /one; echo 1 > /early; busybox rm -r /www")
        self.assertEqual(self.exec(two, "sh", "-c", "cat /early; ls /www; echo /one*"),
                         "early\ncgi-bin\nindex.html\n/one*\n")
        cold = self.run_detached("web-worker", "--cold")["name"]
        self.assertEqual(self.exec(cold, "cat", "/early"), "early\n") # its workload's own
        for name in (one, two, cold):
            self.mvm_ok("stop", "--timeout", "90s", name)
            self.assert_clean(self.disk(name))
        self.assertEqual(guests.sha256(captured), frozen)
        self.mvm_ok("template", "verify", "web-worker")

    def test_what_it_wrote_is_there_after_a_start(self):
        name = self.run_detached("web-worker", "--require-snapshot", "--name", "again")["name"]
        self.exec(name, "sh", "-c", "echo kept > /kept; busybox chmod 711 /; busybox rm -r /www/cgi-bin; "
                  "busybox sync")
        self.mvm_ok("kill", name) # the journal mends what is half written
        self.mvm_ok("start", name)
        again = self.inspect(name)
        self.assertEqual((again["start"], again["root_disk"]["size_mib"]), ("boot", 512))
        self.assertEqual(self.exec(name, "sh", "-c", "cat /kept; busybox stat -c %a /; ls /www"),
                         "kept\n711\nindex.html\n")
        self.mvm_ok("stop", "--timeout", "90s", name)
        self.assert_clean(self.disk(name))

    def test_its_volumes_are_those_of_the_host_after_a_start(self):
        volume, single = self.path("volume"), self.write("app.conf", "first\n")
        os.mkdir(volume)
        for name in ("changed", "removed"):
            self.write("volume/" + name, "host\n")
        self.run_detached("web-worker", "--require-snapshot", "--name", "vols", "-v", volume + ":/www/vol",
                          "-v", single + ":/etc/app.conf")
        self.exec("vols", "sh", "-c", "echo guest > /www/vol/changed; echo guest > /www/vol/made; "
                  "echo kept > /etc/kept; echo kept > /www/kept; echo guest > /etc/app.conf")
        self.mvm_ok("fork", "vols", "--name", "f")
        os.unlink(volume + "/removed")
        self.write("volume/new", "host\n")
        self.write("app.conf", "second\n")
        for name in ("vols", "f"):
            self.mvm_ok("stop", "--timeout", "90s", name)
            self.mvm_ok("start", name)
        look = "cd /www/vol; echo *; cat changed /etc/app.conf /etc/kept /www/kept; ls /www/cgi-bin"
        self.assertEqual(self.exec("vols", "sh", "-c", look),
                         "changed new\nhost\nsecond\nkept\nkept\nwhoami\n")
        # a fork has its files, but no volumes
        self.assertEqual(self.exec("f", "sh", "-c", look),
                         "changed made removed\nguest\nguest\nkept\nkept\nwhoami\n")

    def test_a_restart_boots_with_the_disk(self):
        """A snapshot's memory knows another disk: on this one its writes would do damage."""
        name = self.run_detached("web-worker", "--require-snapshot", "--restart", "on-failure")["name"]
        self.exec(name, "sh", "-c", "echo kept > /kept; busybox sync")
        os.kill(self.inspect(name)["vmm_pid"], 9)
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["restarts"] == 1 and
                                          self.inspect(name)["state"] == "running"))
        again = self.inspect(name)
        self.assertEqual((again["start"], again["memory"]), ("boot", "own"))
        self.assertIn("its disk has changed", again["reason"])
        self.assertEqual(self.exec(name, "cat", "/kept"), "kept\n")
        self.mvm_ok("stop", "--timeout", "90s", name)
        self.assert_clean(self.disk(name))

    def test_a_size_of_its_own_means_a_boot(self):
        done = self.mvm("run", "-T", "web-worker", "--root-disk", "64M", "--", "busybox", "df", "-m", "/")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the snapshot was made with a root disk of 512 MiB, not of 64 MiB", done.stderr)
        self.assertRegex(done.stdout, r"overlay +(4|5|6)\d ")
        self.mvm_fails(6, "run", "-T", "web-worker", "-d", "--require-snapshot", "--root-disk", "64M",
                       says="a root disk of 512 MiB")
        self.mvm_fails(2, "run", "-T", "web-worker", "--root-disk", "7M", says="--root-disk")
        self.assert_nothing_left()

    def test_a_full_host_makes_the_disk_read_only(self):
        script = '''
import subprocess, sys
mvm = sys.argv[1]
def run(*args):
    return subprocess.run([mvm, *args], check=True, timeout=60, capture_output=True, text=True).stdout
run("run", "-T", "web-worker", "-d", "--name", "one")
run("exec", "one", "--", "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=100")
print(run("exec", "one", "--", "sh", "-c", "busybox sync; echo x > /more || busybox dmesg"))
print(run("ps"), run("inspect", "one"), run("events"))
run("stop", "one")
'''
        done = self.on_small_disk("40m", script)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Remounting filesystem read-only", done.stdout)
        why = "this host has no room for what the guest writes to the root disk"
        self.assertIn("running (disk error)", done.stdout)
        self.assertIn(f'"disk_problem": "{why}', done.stdout)
        self.assertRegex(done.stdout, f"disk-error +one: {why}")

    def test_a_damaged_captured_disk_is_not_used(self):
        self.own_data()
        disk = self.current("web-worker", "snapshot", "root.ext4")
        os.chmod(disk, 0o600)
        with open(disk, "r+b") as file:
            file.seek(1024)
            file.write(b"\xff")
        self.mvm_fails(5, "run", "-T", "web-worker", "-d", says="root.ext4")
        self.assert_nothing_left()


if __name__ == "__main__":
    guests.main()
