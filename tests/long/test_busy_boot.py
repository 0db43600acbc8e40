# SPDX-License-Identifier: Apache-2.0
"""A boot on a host that is busy at the wrong moment: the guest's kernel finds no timer, or hangs."""

import glob
import os
import re
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import guests
import harness

# With such long and frequent pauses, a virtual CPU pauses at the start of any measurement of 100 ms.
REST_S, WORK_S = 0.15, 0.012
TRIES = 5
DEADLINE_S = 120 # for a boot
ENTRY = re.compile(r"(?:\+|\S+ )([FP]) (.*)", re.DOTALL) # of a log: doc/instances.md
AFTERWARDS = "Memory block size" # the next kernel message


def qemu_of(name):
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                if f"guest={name}" in file.read().split("\0"):
                    return int(path.split("/")[2])
        except OSError:
            continue
    return None


@harness.needs_guests
@unittest.skipUnless(harness.why_no_kvm(), "KVM: the timer is told, not measured")
class BusyBoot(guests.TestCase):
    config = guests.CONFIG
    snapshot = False

    def console(self, name):
        """The guest's output, without times."""
        try:
            with open(self.data("instances", name, "console.log"), encoding="utf-8") as file:
                entries = [ENTRY.fullmatch(line.rstrip("\n")).groups()
                           for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return ""
        return "".join(text + "\n" * (kind == "F") for kind, text in entries)

    def boot_with_rests(self, name):
        run = self.start_mvm("run", "-T", "web-worker", "-d", "--name", name)
        self.assertTrue(guests.wait_until(lambda: qemu_of(name) or run.poll() is not None))
        qemu = qemu_of(name)
        while run.poll() is None and AFTERWARDS not in self.console(name):
            os.kill(qemu, signal.SIGSTOP)
            time.sleep(REST_S)
            os.kill(qemu, signal.SIGCONT)
            time.sleep(WORK_S)
        _, err = run.communicate(timeout=2 * harness.PATIENCE_S)
        self.assertEqual(run.returncode, 0, err)

    def test_a_guest_without_a_timer_is_booted_again(self):
        for i in range(TRIES):
            name = f"busy-{i}"
            self.boot_with_rests(name)
            self.assertEqual(self.exec(name, "hostname"), name + "\n")
            if "Attempted to kill init! exitcode=0x00004500" in self.console(name):
                return
            self.mvm_ok("rm", "--force", name)
        self.skipTest("the kernel has always found its timer")


@harness.needs_guests
class HungBoot(guests.TestCase):
    config = guests.CONFIG
    snapshot = False

    def test_a_guest_that_hangs_is_booted_once_more_for_a_snapshot(self):
        build = self.start_mvm("template", "snapshot", "web-worker")
        pattern = self.data("instances", "*", "console.log")
        self.assertTrue(guests.wait_until( # its kernel runs
            lambda: any(os.path.getsize(path) for path in glob.glob(pattern))
            or build.poll() is not None))
        name, = (os.path.basename(os.path.dirname(path)) for path in glob.glob(pattern))
        os.kill(qemu_of(name), signal.SIGSTOP) # the supervisor kills it when its time is over
        _, err = build.communicate(timeout=DEADLINE_S + 2 * harness.PATIENCE_S)
        self.assertEqual(build.returncode, 0, err)
        self.assertEqual(err.count("the guest hung while it booted; booting it once more"), 1, err)
        self.run_detached("web-worker", "--require-snapshot")


if __name__ == "__main__":
    guests.main()
