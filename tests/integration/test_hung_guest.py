# SPDX-License-Identifier: Apache-2.0
"""A guest can freeze its own agent.  Then no command on this host waits for the guest forever."""

import os
import pty
import signal
import time

import guests
import harness

# freezes the agent's cgroup from inside the guest, after this command's answer
FREEZE = ("busybox mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c;"
          "echo 1 > /tmp/c/mvm-agent/cgroup.freeze")


@harness.needs_guests
class HungGuest(guests.TestCase):
    config = guests.CONFIG
    snapshot = False

    def ends(self, process, status, seconds=5):
        """Check that mvm ends in time, with that status; returns its standard error."""
        began = time.monotonic()
        self.assertEqual(process.wait(harness.PATIENCE_S), status)
        self.assertLess(time.monotonic() - began, seconds)
        return process.stderr.read() if process.stderr else ""

    def start_command(self, name, *options):
        process = self.start_mvm("exec", *options, name, "--", "sh", "-c", "echo on; exec sleep 4711")
        self.assertEqual(process.stdout.readline(), "on\n")
        return process

    def test_no_client_hangs_with_a_hung_guest(self):
        os.mkdir(self.path("host"))
        self.write("host/file", "old")
        name = self.run_detached("web-worker", "-v", f"{self.path('host')}:/v:rw")["name"]
        self.exec(name, "sh", "-c", "echo new > /v/file")
        patient, hasty = self.start_command(name), self.start_command(name)
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        terminal = self.start_mvm("exec", "-it", name, "--", "sh", stdin=slave, stdout=slave,
                                  stderr=slave)
        os.close(slave)
        while b"# " not in os.read(master, 4096):
            pass
        self.exec(name, "sh", "-c", f"(sleep 0.5; {FREEZE}) >/dev/null 2>&1 &")
        time.sleep(1.5) # this host sees nothing of the freeze

        # mvm ends at once while its command has not started, and during a copy
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for command in (["exec", name, "--", "true"], ["cp", f"{name}:/v/file", "."],
                            ["cp", self.path("host/file"), f"{name}:/v/other"]):
                with self.subTest(number=number, command=command):
                    process = self.start_mvm(*command)
                    time.sleep(0.3)
                    process.send_signal(number)
                    self.ends(process, 128 + number)
        self.assertEqual(sorted(os.listdir(self.folder)), ["host"])

        # a command that has started gets some time to end by itself, or until the second signal
        patient.send_signal(signal.SIGTERM)
        hasty.send_signal(signal.SIGINT)
        time.sleep(0.2)
        hasty.send_signal(signal.SIGINT)
        self.ends(hasty, 130)
        self.assertIn("did not end within 10 s", self.ends(patient, 143, 15))

        # keys on a terminal
        os.write(master, b"x\3\3\3~.\r")
        time.sleep(0.3)
        self.assertIsNone(terminal.poll())
        os.write(master, b"~.")
        self.ends(terminal, 130)

        began = time.monotonic()
        done = self.mvm("stop", "--timeout", "2s", name)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(done.returncode, 1)
        for says in (f"'/v' did not come back to '{self.path('host')}'", "runs on",
                     "mvm stop --timeout 0"):
            self.assertIn(says, done.stderr)
        self.assertEqual(self.inspect(name)["state"], "running")
        self.mvm_ok("stop", "--timeout", "0", name)

    def test_an_attached_vm_ends_with_its_client(self):
        os.mkdir(self.path("host"))
        process = self.start_mvm("run", "-T", "web-worker", "-v", f"{self.path('host')}:/v:rw", "--",
                                 "sh", "-c", f"echo on; sleep 0.2; {FREEZE}; sleep 4711")
        self.assertEqual(process.stdout.readline(), "on\n")
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        self.assertIn("nothing was copied back", self.ends(process, 143))
        self.assert_nothing_left()


if __name__ == "__main__":
    guests.main()
