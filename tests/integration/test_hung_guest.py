# SPDX-License-Identifier: Apache-2.0
"""A guest can freeze its own agent.  Then no command on this host waits for the guest forever."""

import os
import pty
import re
import signal
import subprocess

import guests
import harness

# freezes the agent's cgroup from inside the guest, and tells by the guest's web server that it is frozen
FREEZE = ("busybox mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c;"
          "echo 1 > /tmp/c/mvm-agent/cgroup.freeze;"
          "until busybox grep -q 'frozen 1' /tmp/c/mvm-agent/cgroup.events; do sleep 0.1; done;"
          "echo yes > /www/frozen")
# of a command that has started, and ends only because its time after a signal is over
GRACE = "did not end within 10 s"


@harness.needs_guests
class HungGuest(guests.TestCase):
    config = guests.CONFIG
    snapshot = False

    def ends(self, process, status, at_once=True):
        """Check that mvm ends, with that status; returns its standard error."""
        self.assertEqual(process.wait(harness.PATIENCE_S), status)
        said = process.stderr.read() if process.stderr else ""
        self.assertEqual(GRACE not in said, at_once, said)
        return said

    def wait_frozen(self, name):
        port = self.inspect(name)["forwards"][0]["host_port"]

        def frozen():
            try:
                return guests.get(port, "/frozen") == "yes\n"
            except OSError: # it is not there yet
                return False
        self.assertTrue(guests.wait_until(frozen))

    def signal_once_ready(self, process, number):
        """Send mvm a signal once it takes signals as events."""
        def ready():
            with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                return int(re.search(r"SigBlk:\s*(\w+)", file.read())[1], 16) >> (number - 1) & 1
        self.assertTrue(guests.wait_until(ready))
        process.send_signal(number)

    def start_command(self, name, *options):
        process = self.start_mvm("exec", *options, name, "--", "sh", "-c", "echo on; exec sleep 4711")
        self.assertEqual(process.stdout.readline(), "on\n")
        return process

    def test_no_client_hangs_with_a_hung_guest(self):
        os.mkdir(self.path("host"))
        self.write("host/file", "old")
        name = self.run_detached("web-worker", "-p", "0:8080", "-v", f"{self.path('host')}:/v:rw")["name"]
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
        self.wait_frozen(name)

        # mvm ends at once while its command has not started, and during a copy
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for command in (["exec", name, "--", "true"], ["cp", f"{name}:/v/file", "."],
                            ["cp", self.path("host/file"), f"{name}:/v/other"]):
                with self.subTest(number=number, command=command):
                    process = self.start_mvm(*command)
                    self.signal_once_ready(process, number)
                    self.ends(process, 128 + number)
        self.assertEqual(sorted(os.listdir(self.folder)), ["host"])

        # a command that has started gets some time to end by itself, or until the second signal
        patient.send_signal(signal.SIGTERM)
        hasty.send_signal(signal.SIGINT)
        hasty.send_signal(signal.SIGTERM) # another one, so that both come
        self.ends(hasty, 143)
        self.ends(patient, 143, at_once=False)

        # keys on a terminal
        os.write(master, b"x\3\3\3~.\r")
        self.assertRaises(subprocess.TimeoutExpired, terminal.wait, 0.3)
        os.write(master, b"~.")
        self.ends(terminal, 130)

        done = self.mvm("stop", "--timeout", "2s", name, timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, 1)
        for says in (f"'/v' did not come back to '{self.path('host')}'", "runs on",
                     "mvm stop --timeout 0"):
            self.assertIn(says, done.stderr)
        self.assertEqual(self.inspect(name)["state"], "running")
        self.mvm_ok("stop", "--timeout", "0", name)

    def test_an_attached_vm_ends_with_its_client(self):
        os.mkdir(self.path("host"))
        process = self.start_mvm("run", "-T", "web-worker", "--name", "front", "-p", "0:8080", "-v",
                                 f"{self.path('host')}:/v:rw", "--",
                                 "sh", "-c", f"echo on; sleep 0.2; {FREEZE}; sleep 4711")
        self.assertEqual(process.stdout.readline(), "on\n")
        self.wait_frozen("front")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM) # another one, so that both come
        self.assertIn("nothing was copied back", self.ends(process, 143))
        self.assert_nothing_left()


if __name__ == "__main__":
    guests.main()
