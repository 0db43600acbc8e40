# SPDX-License-Identifier: Apache-2.0
"""Shared by the crash tests: a data folder, copies of it, and the faults at a program's calls.

Environment: MVM, FAULTS (the preloaded library), CRASH_STEP (every how many calls).
"""

import os
import subprocess
import tempfile

import harness
from tiny_kernel import tiny_kernel

FAULTS = os.environ["FAULTS"]
STEP = int(os.environ.get("CRASH_STEP", "1"))
KILLS = ("kill-before", "kill-after", "kill-half")
ERRORS = ("EIO", "ENOSPC")


def names_of(log):
    """The names of the calls that a program has written to its log."""
    with open(log, encoding="ascii") as file:
        return [line.split()[1] for line in file]


def points(calls):
    """(fault, number of the call) for every fault at every call (CRASH_STEP)."""
    for n, what in enumerate(KILLS + ERRORS):
        for at in range(1 + n % STEP, len(calls) + 1, STEP):
            if what != "kill-half" or "write" in calls[at - 1]:
                yield what, at


class FaultCase(harness.TestCase):
    """self.base is the data folder before the faults.  It has a kernel."""

    def setUp(self):
        super().setUp()
        self.base = self.path("base")
        with open(self.path("vmlinux"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.in_base("kernel", "add", self.path("vmlinux"))

    def in_base(self, *args):
        self.mvm_ok(*args, env={"MVM_DATA_DIR": self.base})

    def copy_of_base(self):
        data = tempfile.mkdtemp(prefix="d", dir=self.folder)
        os.rmdir(data)
        subprocess.run(["cp", "-a", self.base, data], check=True)
        return data
