# SPDX-License-Identifier: Apache-2.0
"""What a restore costs on KVM, in counts that do not depend on what emulates the CPU.

Needs root, debugfs and tracefs, as the VM of outer_vm.py has them.
"""

import collections
import contextlib
import glob
import os
import re

SYS_ENTER = "/sys/kernel/tracing/events/raw_syscalls/sys_enter"
# all; of these for ports, devices, sleep, and for pages that the guest touches first
EXITS = ("exits", "io_exits", "mmio_exits", "halt_exits", "pf_taken")
SAMPLES = 5
CALLS = re.compile(r"common_pid: *(\d+), id: sys_(\w+) *\[ *\d+\] *} hitcount: *(\d+)")


def why_not():
    if not os.path.exists(SYS_ENTER):
        return "the kernel's system call events cannot be read: tracefs, as root"
    return None if os.path.isdir("/sys/kernel/debug/kvm") else "KVM's numbers cannot be read: debugfs, as root"


@contextlib.contextmanager
def counted_calls():
    """The kernel counts the system calls of each thread."""
    def tell(text):
        with open(f"{SYS_ENTER}/trigger", "w", encoding="ascii") as file:
            file.write(text)
    tell("hist:keys=common_pid,id.syscall")
    try:
        yield
    finally:
        tell("!hist:keys=common_pid,id.syscall")


def calls_of(pid):
    """{name: number} of the system calls of a process's threads, from the first one's fork on."""
    threads, calls = set(os.listdir(f"/proc/{pid}/task")), collections.Counter()
    with open(f"{SYS_ENTER}/hist", encoding="ascii") as file:
        for thread, name, n in CALLS.findall(file.read()):
            calls[name] += int(n) if thread in threads else 0
    return calls


def faults_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[7])


def exits_of(pid):
    """KVM's numbers of the one VM of a process."""
    folder, = glob.glob(f"/sys/kernel/debug/kvm/{pid}-*")
    counts = {}
    for name in EXITS:
        with open(os.path.join(folder, name), encoding="ascii") as file:
            counts[name.replace("_", " ")] = int(file.read())
    return counts


def of_restores(run, remove):
    """{what: the counts of some restores, in order}, and {name: number} of the VMM's system calls in the
    last one; run() restores a VM and returns its record."""
    samples = []
    for _ in range(SAMPLES):
        with counted_calls():
            record = run()
            pid = record["vmm_pid"]
            calls = calls_of(pid)
            samples.append({**exits_of(pid), "page faults of the VMM": faults_of(pid),
                            "system calls of the VMM": calls.total(),
                            "system calls of the supervisor": calls_of(record["supervisor_pid"]).total()})
        remove(record["name"])
    return {what: sorted(sample[what] for sample in samples) for what in samples[0]}, calls
