# SPDX-License-Identifier: Apache-2.0
"""A boot on a host that is busy in the wrong moment: the guest's kernel finds no timer."""

import glob
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import guests
import harness

# A virtual CPU that rests so long, so often, rests at the start of a measurement of 100 ms.
REST_S, WORK_S = 0.15, 0.012
TRIES = 5
AFTERWARDS = "Memory block size" # what the kernel says next
NO_TIMER = "Attempted to kill init! exitcode=0x00004500"


def qemu_of(prefix):
    """The VMM of the instance whose name begins so, and that name."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for arg in file.read().split("\0"):
                    if arg.startswith(f"guest={prefix}"):
                        return int(path.split("/")[2]), arg.removeprefix("guest=")
        except OSError:
            continue
    return None


@harness.needs_guests
@unittest.skipUnless(harness.why_no_kvm(), "KVM: the timer is told, not measured")
class BusyBoot(guests.TestCase):
    config = guests.CONFIG
    snapshot = False

    def console(self, name):
        """What the guest has printed, without times."""
        try:
            with open(self.data("instances", name, "console.log"), encoding="utf-8") as file:
                entries = [line.rstrip("\n").split(" ", 2) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return ""
        return "".join(text + "\n" * (kind == "F") for _, kind, text in entries)

    def boot_with_rests(self, prefix, *command):
        """Let the VMM rest at first.  Returns what its console has said until then."""
        run = self.start_mvm(*command)
        self.assertTrue(guests.wait_until(lambda: qemu_of(prefix) or run.poll() is not None))
        qemu, name = qemu_of(prefix)
        said = ""
        while run.poll() is None and AFTERWARDS not in said and NO_TIMER not in said:
            try:
                os.kill(qemu, signal.SIGSTOP)
                time.sleep(REST_S)
                os.kill(qemu, signal.SIGCONT)
            except ProcessLookupError: # its kernel has panicked
                break
            time.sleep(WORK_S)
            said = self.console(name)
        _, err = run.communicate(timeout=2 * harness.PATIENCE_S)
        self.assertEqual(run.returncode, 0, err)
        return said + self.console(name)

    def test_a_guest_without_a_timer_is_booted_again(self):
        for i in range(TRIES):
            name = f"busy-{i}"
            said = self.boot_with_rests(name, "run", "-T", "web-worker", "-d", "--name", name)
            self.assertEqual(self.exec(name, "hostname"), name + "\n")
            if NO_TIMER in said:
                return
            self.mvm_ok("rm", "--force", name)
        self.skipTest("the kernel has always found its timer")

    def test_a_guest_that_is_to_be_captured_is_booted_again_as_well(self):
        for _ in range(TRIES):
            if NO_TIMER in self.boot_with_rests("web-worker-", "template", "snapshot",
                                                "web-worker"):
                return
        self.skipTest("the kernel has always found its timer")


if __name__ == "__main__":
    guests.main()
