# SPDX-License-Identifier: Apache-2.0
"""The rows of the benchmark.

sample() returns {"total": ms, "stages": {stage: ms}} and, for mvm, "command" (the whole `mvm run -d`),
"first_exec" (a first `mvm exec` after it) and perhaps "third_exec".  memory() returns the private memory of
one more clone.
"""

import os
import shutil
import time

import libvirt_row
import measure
import mvm_cli

IDLE_SETTLE_S = 15 # the first health check, five seconds after the start, runs much new code
IDLE_S = 20

Unavailable = libvirt_row.Unavailable

LABELS = {
    "cold_boot": "mvm: cold boot, to healthy",
    "cold_boot.command": "mvm: cold boot, whole command",
    "restore": "mvm: restore, to the agent's acknowledgement",
    "restore.command": "mvm: restore, whole command",
    "restore.first_exec": "mvm: first exec in it, whole command",
    "restore_open": "mvm: restore without isolation",
    "restore_open.command": "mvm: without isolation, whole command",
    "restore_open.first_exec": "mvm: first exec in that VM",
    "restore_cold": "mvm: restore, snapshot not in the page cache",
    "restore_cold.command": "mvm: the same, whole command",
    "restore_cold.first_exec": "mvm: first exec in that",
    "restore_plain_cold": "mvm: the same without the working set",
    "restore_plain_cold.command": "mvm: that, whole command",
    "restore_plain_cold.first_exec": "mvm: first exec in that one too",
    "pool": "mvm: restore from the pool",
    "pool.command": "mvm: from the pool, whole command",
    "pool.first_exec": "mvm: first exec in that one",
    "pool.third_exec": "mvm: third exec in that one",
    "pool_run_command": "mvm: run -- true from the pool, VM and all",
    "run_command": "mvm: run -- true, VM and all",
    "floor": "bare floor: QEMU with these flags, to a ping",
    "floor_cold": "bare floor, snapshot not in the page cache",
    "loadvm": "QEMU -loadvm from qcow2, to a ping",
    "incoming": "QEMU -incoming with all memory, to a ping",
    "q35_incoming": "QEMU q35 -incoming with all memory, to a ping",
    "libvirt": "libvirt restore (q35), to a ping",
}


class Row:
    key = ""

    def memory(self):
        return None

    def idle(self):
        """CPU time and wake-ups of a clone that nobody talks to."""

    def end(self):
        """End everything that a sample has started."""


class MvmRow(Row):
    options = ()
    env = None

    def __init__(self, mvm):
        self.mvm = mvm

    def take(self):
        """Start an instance; returns its record and the sample."""
        record, wall = self.mvm.start(*self.options, env=self.env)
        stages, total = mvm_cli.stages_ms(record)
        return record, {"total": total, "stages": stages, "command": wall}


class ColdBoot(MvmRow):
    key = "cold_boot"
    options = ("--cold",)

    def sample(self):
        record, sample = self.take()
        self.mvm.remove(record)
        return sample


class Restore(MvmRow):
    key = "restore"
    options = ("--require-snapshot",)

    def sample(self):
        record, sample = self.take()
        sample["first_exec"] = self.exec(record)
        self.more(record, sample)
        self.mvm.remove(record)
        return sample

    def exec(self, record):
        return self.mvm.timed("exec", record["name"], "--", "true")

    def more(self, record, sample):
        """Measure more in the VM of a sample."""

    def idle(self):
        if self.key != "restore": # walls and pools change nothing in a clone that sleeps
            return None
        record, _ = self.take()
        try:
            time.sleep(IDLE_SETTLE_S)
            return measure.idle(IDLE_S, record["vmm_pid"], record["supervisor_pid"])
        finally:
            self.mvm.remove(record)

    def memory(self):
        records = [self.take()[0] for _ in range(2)]
        try:
            return measure.memory_mib(records[1]["vmm_pid"], records[1]["mem_mib"])
        finally:
            self.mvm.remove(*records)


class RestoreOpen(Restore):
    """What the walls cost: a restore without them, but with QEMU's own user and sandbox."""

    key = "restore_open"
    env = {"MVM_ISOLATION": "off"}


class FromPool(Restore):
    """The VM is ready before the sample begins.  The pool makes none ready during other samples."""

    key = "pool"

    def __init__(self, mvm):
        super().__init__(mvm)
        if not mvm.knows("pool serve"):
            raise Unavailable("this mvm has no pool")
        self.pool = mvm_cli.Pool(mvm)

    def sample(self):
        self.pool.filled()
        sample = super().sample()
        self.pool.emptied()
        return sample

    def more(self, record, sample):
        self.exec(record)
        sample["third_exec"] = self.exec(record)

    def memory(self):
        return None

    def end(self):
        self.pool.end()


class RunCommand(MvmRow):
    key = "run_command"

    def sample(self):
        wall = self.mvm.timed("run", "--template", self.mvm.template, "--backend",
                              self.mvm.backend, "--require-snapshot", "--", "true")
        return {"total": wall, "stages": {}}


class PoolRunCommand(FromPool):
    key = "pool_run_command"

    def sample(self):
        self.pool.filled()
        sample = RunCommand.sample(self)
        self.pool.emptied()
        return sample


class RestorePlain(Restore):
    """A restore without the recorded working set, which this row moves out of the way."""

    def __init__(self, mvm, path):
        super().__init__(mvm)
        self.path = path
        if not os.path.exists(path):
            raise Unavailable("this snapshot has no working set")

    def sample(self):
        os.rename(self.path, self.path + ".hidden")
        try:
            return super().sample()
        finally:
            os.rename(self.path + ".hidden", self.path)


class Cold(Row):
    """Another row's sample with the snapshot's files out of the page cache."""

    def __init__(self, key, row, files):
        self.key, self.row, self.files = key, row, files
        measure.cool(*files)
        if any(measure.resident_bytes(path) for path in files):
            raise Unavailable("the snapshot cannot be dropped from the page cache here")

    def sample(self):
        measure.cool(*self.files)
        sample = self.row.sample()
        measure.warm(*self.files)
        return sample


class Qemu(Row):
    """QEMU driven by floor.py, with any way to load its state."""

    def __init__(self, key, make, guest_mib):
        if not shutil.which("qemu-img"):
            raise Unavailable("qemu-img is not installed (package qemu-utils)")
        self.key = key
        self.machine = make()
        self.guest_mib = guest_mib

    def sample(self):
        spawned, resumed, answered = self.machine.sample()
        return {"total": answered, "stages": {"spawn": spawned, "load": resumed - spawned,
                                              "agent": answered - resumed}}

    def memory(self):
        clones = []
        try:
            for _ in range(1 if self.key == "loadvm" else 2): # one file, one VM
                clones.append(self.machine.start()[0])
                self.machine.answer(clones[-1])
            return measure.memory_mib(clones[-1].pid, self.guest_mib)
        finally:
            for clone in clones:
                clone.end()


class Libvirt(Row):
    key = "libvirt"

    def __init__(self, guest, revision_record, revision, folder, kvm):
        self.guest_mib = revision_record["mem_mib"]
        self.libvirt = libvirt_row.Libvirt(guest, revision_record, revision, folder, kvm)

    def sample(self):
        restored, answered = self.libvirt.sample()
        return {"total": answered, "stages": {"restore": restored, "agent": answered - restored}}

    def memory(self):
        sock, _, _ = self.libvirt.start()
        try:
            return measure.memory_mib(self.libvirt.pid(), self.guest_mib)
        finally:
            sock.close()
            self.libvirt.stop()

    def end(self):
        self.libvirt.end()
