# SPDX-License-Identifier: Apache-2.0
"""What a person does with a running VM: logs, ps, stats, events, wait, health, restart, ttl."""

import json
import os
import re
import signal
import stat
import subprocess
import time
import unittest

import guests
import harness

# says hello, then serves; `touch /tmp/sick` makes it unhealthy
CONFIG = """
template_id = "web"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/busybox", "sh", "-c", '''
echo hello from the workload
echo and this is stderr >&2
printf 'no newline'
exec /bin/busybox httpd -f -p 8080 -h /www''']

[health]
exec        = ["/bin/busybox", "sh", "-c", "test ! -e /tmp/sick || { echo it is sick; exit 1; }"]
interval_ms = 1000

""" + guests.VARIANT

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "


class TestCase(guests.TestCase):
    config = CONFIG

    def logs(self, name, *options):
        return self.mvm_ok("logs", *options, name)

    def events(self, name=None):
        events = [json.loads(line) for line in self.mvm_ok("events", "--json").splitlines()]
        return [e for e in events if name in (None, e["instance"])]

    def wait_for_event(self, name, event, seconds=30.0):
        self.assertTrue(guests.wait_until(
            lambda: event in [e["event"] for e in self.events(name)], seconds),
            f"no {event}: {self.events(name)}")


@harness.needs_guests
class Logs(TestCase):
    def test_console_and_workload_are_kept_apart(self):
        name = self.run_detached("web-worker", "--cold")["name"]
        self.exec(name, "sh", "-c", "echo to-the-console >/dev/console")
        self.assertTrue(guests.wait_until(lambda: "to-the-console" in self.logs(name)))
        workload = self.logs(name, "--workload")
        self.assertEqual(workload, "hello from the workload\nand this is stderr\nno newline")
        self.assertNotIn("hello", self.logs(name, "--console"))
        self.assertIn("to-the-console\n", self.logs(name, "--console"))
        both = self.logs(name)
        self.assertIn("hello from the workload\n", both)
        self.assertIn("no newline\nto-the-console\n", both)

        self.assertEqual(self.logs(name, "--workload", "--tail", "2"),
                         "and this is stderr\nno newline")
        self.assertEqual(self.logs(name, "--tail", "1"), "to-the-console\n")
        self.assertEqual(self.logs(name, "--tail", "0"), "")
        self.assertEqual(self.logs(name, "--since", "2099-01-01T00:00:00Z"), "")
        self.assertEqual(self.logs(name, "--since", "10m"), both)
        self.mvm_fails(2, "logs", name, "--since", "teatime", says="'teatime' is no time")
        line = self.logs(name, "--timestamps", "--tail", "1")
        self.assertRegex(line, "^" + TIME + "to-the-console\n$")
        self.assertEqual(self.logs(name, "--since", line.split()[0][:19] + "Z", "--tail", "1"),
                         "to-the-console\n")

    def test_a_clone_does_not_repeat_what_its_twin_printed(self):
        name = self.run_detached()["name"]
        self.assertEqual(self.logs(name, "--workload"), "")

    def test_follow_ends_with_the_instance(self):
        name = self.run_detached()["name"]
        follower = self.start_mvm("logs", "-f", name)
        self.exec(name, "sh", "-c", "echo one >/dev/console; sleep 0.3; echo two >/dev/console")
        self.mvm_ok("stop", name)
        out, _ = follower.communicate(timeout=20)
        self.assertIn("one\ntwo\n", out)
        self.assertEqual(follower.returncode, 0)

    def test_a_log_is_rotated_at_its_limit(self):
        name = self.run_detached("web-worker", "--log-size", "1M")["name"]
        self.exec(name, "sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo "
                  "line-$i-of-a-text-that-is-long-enough-to-fill-the-log-quickly; done "
                  ">/dev/console; echo the-end >/dev/console", timeout=120)
        self.assertTrue(guests.wait_until(lambda: self.logs(name, "--tail", "1") == "the-end\n",
                                          60))
        sizes = [os.path.getsize(self.data("instances", name, file))
                 for file in ("console.log", "console.log.1")]
        self.assertLessEqual(max(sizes), 1 << 20)
        lines = [line for line in self.logs(name).splitlines() if line.startswith("line-")]
        numbers = [int(line.split("-")[1]) for line in lines]
        self.assertEqual(numbers, list(range(30000 - len(numbers) + 1, 30001)))
        self.assertFalse(os.path.exists(self.data("instances", name, "console.log.2")))


if __name__ == "__main__":
    guests.main()
