#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tree of forks of a Python process that holds much memory: what its VMs share, and what each has for itself.

usage: tree.py MVM [--kernel NAME] [--mib 200] [--forks 3] [--rounds N] [--json FILE]

Builds a template in MVM_DATA_DIR with the host's /usr/bin/python3 (Debian's), without a registry.  Rows: forks of a VM
whose snapshot has the process and its memory; forks of a VM whose process has taken the memory since; forks of these;
and clones of a revision that `commit --snapshot` has made of that VM.
"""

import argparse
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE]
import measure # pylint: disable=wrong-import-position
import mvm_cli # pylint: disable=wrong-import-position

PYTHON = "/usr/bin/python3"
HOLD = """
import _signal, os, sys, time
def read(*_):
    for block in held:
        sum(block[::4096])
    open(sys.argv[2] + ".read", "w").close()
held = [bytes([i % 251 + 1]) * (1 << 20) for i in range(int(sys.argv[1]))]
_signal.signal(_signal.SIGUSR1, read)
with open(sys.argv[2], "w") as file:
    file.write(str(os.getpid()))
while True:
    time.sleep(3600)
"""
CONFIG = """
template_id = "bench"
flake_ref   = "dir:root"
kernel      = "{kernel}"
command     = ["{python}", "-IS", "/hold.py", "{mib}", "/ready"]

[health]
exec        = ["/bin/busybox", "test", "-e", "/ready"]
interval_ms = 200
timeout_s   = 600

[[variants]]
role    = "{role}"
vcpus   = 1
mem_mib = {mem}
"""


def make_root(root):
    """An image of the interpreter, its libraries, and the encodings that it needs to start."""
    program = os.path.realpath(PYTHON)
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    library = glob.glob("/usr/lib/python3.[0-9]*/encodings")[0]
    for path in [program, *re.findall(r"(/\S+) \(0x", found)]:
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, root + path)
    shutil.copytree(library, root + library, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("os.py", "codecs.py", "io.py", "abc.py"):
        shutil.copy(os.path.join(os.path.dirname(library), name), root + os.path.dirname(library))
    os.makedirs(root + os.path.dirname(library) + "/lib-dynload") # which it looks for
    os.makedirs(root + "/bin")
    shutil.copy(shutil.which("busybox"), root + "/bin/busybox")
    with open(root + "/hold.py", "w", encoding="utf-8") as file:
        file.write(HOLD)
    return program


class Tree:
    def __init__(self, program, kernel, mib, forks):
        self.program, self.kernel, self.mib, self.forks = program, kernel, mib, forks

    def build(self, role, held_mib):
        mvm = mvm_cli.Mvm(self.program, f"bench-{role}")
        with tempfile.TemporaryDirectory() as folder:
            python = make_root(os.path.join(folder, "root"))
            path = os.path.join(folder, "template.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(CONFIG.format(kernel=self.kernel, python=python, mib=held_mib, role=role,
                                         mem=self.mib + 192))
            mvm.run("template", "build", "--config", path, "--snapshot", "--backend", "qemu")
        self.python = python
        return mvm

    def hold(self, mvm, name):
        """Take the memory in a VM that runs."""
        mvm.run("exec", name, "--", "/bin/busybox", "sh", "-c",
                f"{self.python} -IS /hold.py {self.mib} /held >/dev/null 2>&1 & "
                "until test -e /held; do /bin/busybox sleep 0.1; done")

    @staticmethod
    def sizes(mvm, names, ready):
        """What VMs have, once the process in each has read all that it holds."""
        rows = []
        for name in names:
            mvm.run("exec", name, "--", "/bin/busybox", "sh", "-c",
                    f"b=/bin/busybox; $b rm -f {ready}.read; $b kill -USR1 $($b cat {ready}); "
                    f"until test -e {ready}.read; do $b sleep 0.1; done")
            record = json.loads(mvm.run("inspect", name))
            rows.append(measure.memory_mib(record["vmm_pid"], record["mem_mib"]))
        return rows

    def fork(self, mvm, origin, name):
        """Forks at once, until each has answered."""
        began = time.perf_counter()
        names, _ = mvm.fork(origin, name, self.forks)
        for one in names:
            mvm.run("exec", one, "--", "/bin/busybox", "true")
        return names, (time.perf_counter() - began) * 1000

    def tree(self, mvm, name, ready, with_children):
        """{row: its samples} of the forks of a VM and, if wanted, of their forks."""
        names, took = self.fork(mvm, name, "bench-tree")
        rows = {"forks": self.sizes(mvm, names, ready), "ms": took, "pause_ms": mvm.paused_ms(name)}
        if with_children:
            more, took = self.fork(mvm, names[0], "bench-leaf")
            rows |= {"leaves": self.sizes(mvm, more, ready), "leaves_ms": took,
                     "leaves_pause_ms": mvm.paused_ms(names[0])}
            names += more
        mvm.remove_names(*names)
        return rows

    def committed(self, mvm, name):
        mvm.run("commit", name, "bench-kept", "--snapshot")
        kept = mvm_cli.Mvm(self.program, "bench-kept")
        clones = [kept.start("--require-snapshot") for _ in range(self.forks)]
        for record, _ in clones:
            kept.run("exec", record["name"], "--", "/bin/busybox", "true")
        sizes = self.sizes(kept, [record["name"] for record, _ in clones], "/held")
        kept.remove(*[record for record, _ in clones])
        kept.run("template", "delete", "bench-kept", "--force")
        return {"forks": sizes, "ms": sum(wall for _, wall in clones)}


def middle(rows, key):
    return round(statistics.median(row[key] for row in rows), 1)


def report(label, rounds, vms="forks", ms="ms", pause="pause_ms"):
    samples = [row for one in rounds for row in one[vms]]
    times, pauses = [one[ms] for one in rounds], [one[pause] for one in rounds if pause in one]
    print(f"{label}: private {middle(samples, 'guest_private_mib')} MiB, shared "
          f"{middle(samples, 'guest_shared_mib')} MiB; all have answered after {statistics.median(times):.0f} ms "
          f"({min(times):.0f} to {max(times):.0f})"
          + (f", the origin stood still for {statistics.median(pauses):.0f} ms "
             f"({min(pauses):.0f} to {max(pauses):.0f})" if pauses else ""), flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("mvm")
    options.add_argument("--kernel", default="debian-6.1")
    options.add_argument("--mib", type=int, default=200)
    options.add_argument("--forks", type=int, default=3)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", metavar="FILE")
    o = options.parse_args()
    target = o.json and os.path.abspath(o.json)
    machine = measure.machine()
    tree = Tree(o.mvm, o.kernel, o.mib, o.forks)
    result = {}
    before = tree.build("holds", o.mib)
    record, _ = before.start("--require-snapshot")
    result["before"] = [tree.tree(before, record["name"], "/ready", False) for _ in range(o.rounds)]
    before.remove(record)
    report(f"{o.forks} forks, {o.mib} MiB taken before the snapshot", result["before"])
    since = tree.build("takes", 1)
    record, _ = since.start("--require-snapshot")
    tree.hold(since, record["name"])
    result["since"] = [tree.tree(since, record["name"], "/held", True) for _ in range(o.rounds)]
    report(f"{o.forks} forks, {o.mib} MiB taken since the restore", result["since"])
    report(f"{o.forks} forks of one of these", result["since"], "leaves", "leaves_ms", "leaves_pause_ms")
    result["committed"] = [tree.committed(since, record["name"]) for _ in range(o.rounds)]
    report(f"{o.forks} clones of that VM, committed with its memory", result["committed"])
    since.remove(record)
    machine["load_after"] = os.getloadavg()[0]
    measure.write_json(target, {"machine": machine, "mib": o.mib, "forks": o.forks, "rounds": o.rounds, "rows": result})


if __name__ == "__main__":
    main()
