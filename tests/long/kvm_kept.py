# SPDX-License-Identifier: Apache-2.0
"""The tests of what is kept and moved, on Firecracker: suspended VMs, forks, the snapshot of a running VM,
a snapshot in a file.  test_nested_kvm.py runs them in a VM with KVM."""

import os
import unittest

import guests
import harness
import test_artifact_guest
import test_commit_memory
import test_fork
import test_suspend

FIRECRACKER = os.environ.get("MVM_TEST_FIRECRACKER")


class OnFirecracker:
    @classmethod
    def setUpClass(cls):
        os.environ["MVM_FIRECRACKER"] = FIRECRACKER
        cls.addClassCleanup(os.environ.pop, "MVM_FIRECRACKER")
        super().setUpClass()

    def run_detached(self, *args, **kwargs):
        record = super().run_detached(*args, **kwargs)
        self.assertEqual(record["backend"], "firecracker")
        return record


@harness.needs_guests
@harness.needs_kvm
@unittest.skipUnless(FIRECRACKER, "MVM_TEST_FIRECRACKER names no firecracker")
class Suspend(OnFirecracker, test_suspend.Suspend):
    test_its_time_suspends_it = None # it cannot tell whether a VM is idle


@harness.needs_guests
@harness.needs_kvm
@unittest.skipUnless(FIRECRACKER, "MVM_TEST_FIRECRACKER names no firecracker")
class Fork(OnFirecracker, test_fork.Fork):
    pass


@harness.needs_guests
@harness.needs_kvm
@unittest.skipUnless(FIRECRACKER, "MVM_TEST_FIRECRACKER names no firecracker")
class Commit(OnFirecracker, test_commit_memory.CommitMemory):
    pass


@harness.needs_guests
@harness.needs_kvm
@unittest.skipUnless(FIRECRACKER, "MVM_TEST_FIRECRACKER names no firecracker")
class Moved(OnFirecracker, test_artifact_guest.Snapshots):
    pass


if __name__ == "__main__":
    guests.main()
