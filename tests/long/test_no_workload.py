# SPDX-License-Identifier: Apache-2.0
"""`run --no-workload`: a template whose command is broken, or never healthy, can be entered."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import guests
import harness

BROKEN = guests.CONFIG.replace('["/bin/busybox", "httpd",', '["/bin/no-such-server",')


@harness.needs_guests
class Broken(guests.TestCase):
    config = BROKEN
    snapshot = False

    def test_its_vm_can_be_entered_and_mended(self):
        self.mvm_fails(None, "run", "-T", "web-worker", "-d", "--name", "plain",
                       says="/bin/no-such-server")
        self.mvm_ok("rm", "plain")
        record = self.run_detached("web-worker", "--name", "look", "--no-workload", "-e", "A=b",
                                   "-v", f"{self.root}/www:/in", "--restart", "on-failure")
        self.assertEqual((record["no_workload"], record["health"], record["state"]),
                         (True, "healthy", "running"))
        self.assertEqual(self.exec("look", "sh", "-c", "echo $A; ls /in"), "b\ncgi-bin\nindex.html\n")
        # the command by hand, mended
        self.exec("look", "sh", "-c", "busybox httpd -p 8080 -h /www; "
                  "until busybox wget -qO- http://127.0.0.1:8080/ >/tmp/page; do :; done")
        self.assertIn("microVM", self.exec("look", "cat", "/tmp/page"))
        self.mvm_fails(125, "wait", "--workload", "look", says="it was started without")
        self.mvm_ok("stop", "look")
        self.mvm_ok("start", "look")
        self.assertTrue(self.inspect("look")["no_workload"])
        done = self.mvm("run", "-T", "web-worker", "--no-workload", "--", "sh", "-c", "exit 7")
        self.assertEqual(done.returncode, 7, done.stderr)


@harness.needs_guests
class FromSnapshot(guests.TestCase):
    config = guests.CONFIG + 'snapshot.point = "boot"\n'

    def test_a_clone_that_starts_its_workload_itself_leaves_it_out(self):
        record = self.run_detached("web-worker", "--name", "one", "--no-workload",
                                   "--require-snapshot", "-p", "0:8080", "-v", f"{self.root}/www:/in")
        self.assertEqual(record["start"], "restore")
        self.assertNotIn("httpd", self.mvm_ok("top", "one"))
        self.assertEqual(self.exec("one", "ls", "/in"), "cgi-bin\nindex.html\n")
        other = self.run_detached("web-worker", "--name", "two", "--require-snapshot")
        self.assertEqual(other["health"], "healthy")
        self.assertIn("httpd", self.mvm_ok("top", "two"))


if __name__ == "__main__":
    guests.main()
