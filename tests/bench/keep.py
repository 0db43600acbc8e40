#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it takes to keep a VM that runs: suspend, resume and fork, beside QEMU's own savevm and migration to a file.

usage: keep.py MVM TEMPLATE [-n N] [--forks 1 10 50] [--dirty 0 32 64 96] [--depth 20] [--json FILE]

MVM_DATA_DIR must hold the built template with a snapshot by QEMU.  One round takes one sample of every row.  All
rows are of one guest, restored from one snapshot.  doc/benchmark.md describes them.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import floor # pylint: disable=wrong-import-position
import measure
import mvm_cli
import rivals

ROUNDS_OF_MANY = 3
LABELS = {
    "suspend": "mvm suspend, whole command",
    "resume": "mvm resume, whole command",
    "resume.first_exec": "first exec in it, whole command",
    "fork": "mvm fork, whole command",
    "fork.pause": "of that, the origin stands still",
    "fork.first_exec": "first exec in the fork, whole command",
    "savevm": "QEMU savevm to qcow2, its guest stands still",
    "loadvm": "QEMU -loadvm, to a ping",
    "migrate": "QEMU migrate to a file, its guest stands still",
    "incoming": "QEMU -incoming, to a ping",
}
RATIOS = (("QEMU migrate to mvm suspend", "migrate", "suspend"),
          ("QEMU savevm to mvm suspend", "savevm", "suspend"),
          ("QEMU -incoming to mvm resume", "incoming", "resume"),
          ("QEMU -loadvm to mvm resume", "loadvm", "resume"),
          ("QEMU migrate to the fork's pause", "migrate", "fork.pause"),
          ("QEMU savevm to the fork's pause", "savevm", "fork.pause"),
          ("QEMU migrate and -incoming to mvm fork", "migrate+incoming", "fork"))


class Vm:
    """One instance, which all samples of mvm's take in turn."""

    def __init__(self, mvm):
        self.mvm = mvm
        record, _ = mvm.start("--require-snapshot")
        self.name = record["name"]
        self.first_exec(self.name)

    def first_exec(self, name):
        return self.mvm.timed("exec", name, "--", "true")

    def suspend(self):
        result = {"suspend": self.mvm.timed("suspend", self.name),
                  "resume": self.mvm.timed("resume", self.name)}
        return result | {"resume.first_exec": self.first_exec(self.name)}

    def fork(self, origin=None, name="bench-fork"):
        _, wall = self.mvm.fork(origin or self.name, name)
        result = {"fork": wall, "fork.first_exec": self.first_exec(name)}
        return result | {"fork.pause": self.mvm.paused_ms(self.name)} if not origin else result

    def fork_and_remove(self):
        result = self.fork()
        self.mvm.remove_names("bench-fork")
        return result

    def end(self):
        self.mvm.remove_names(self.name)


class Rivals:
    """QEMU's own ways.  A machine that it saves is restored anew each time, outside of the sample."""

    def __init__(self, mvm, argv, folder):
        revision = mvm.revision()
        self.argv, self.folder = argv, folder
        self.state = os.path.join(mvm.folder(revision), "snapshot/vmstate.bin")

    def sample(self):
        result = {}
        for key, back, make in (("savevm", "loadvm", rivals.make_internal),
                                ("migrate", "incoming", rivals.make_stream)):
            took = []
            row = make(self.argv, self.state, self.folder, took)
            result[key] = took[0]
            result[back] = row.sample()[2]
        return result


def many(vm, n):
    """N forks at once: the whole command, until the first and then all have answered, and what each has for itself."""
    totals, first, answered, own, shared = [], [], [], [], []
    for _ in range(ROUNDS_OF_MANY):
        names, wall = vm.mvm.fork(vm.name, "bench-fork", n)
        totals.append(wall)
        took = [vm.first_exec(name) for name in names]
        first.append(totals[-1] + took[0])
        answered.append(totals[-1] + sum(took))
        for name in names:
            record = json.loads(vm.mvm.run("inspect", name))
            sizes = measure.memory_mib(record["vmm_pid"], record["mem_mib"])
            own.append(sizes["guest_private_mib"])
            shared.append(sizes["guest_shared_mib"])
        vm.mvm.remove_names(*names)
    return {"forks": n, "rounds": ROUNDS_OF_MANY, "total_p50_ms": round(statistics.median(totals), 1),
            "total_max_ms": round(max(totals), 1), "each_p50_ms": round(statistics.median(totals) / n, 1),
            "first_answer_p50_ms": round(statistics.median(first), 1),
            "all_answered_p50_ms": round(statistics.median(answered), 1),
            "guest_private_p50_mib": round(statistics.median(own), 1),
            "guest_private_max_mib": max(own), "guest_shared_p50_mib": round(statistics.median(shared), 1)}


def dirty(mvm, sizes, rounds):
    """The pause of a VM that has written so many MiB, and the rate that the pauses give."""
    result = {}
    for mib in sizes:
        vm = Vm(mvm)
        if mib:
            mvm.run("exec", vm.name, "--", "/bin/busybox", "dd", "if=/dev/urandom", "of=/tmp/dirty", "bs=1M",
                    f"count={mib}")
        pauses = [vm.fork_and_remove()["fork.pause"] for _ in range(rounds)]
        record = json.loads(mvm.run("inspect", vm.name))
        own = measure.memory_mib(record["vmm_pid"], record["mem_mib"])["guest_private_mib"]
        result[mib] = {"n": rounds, "private_mib": own, "p50_ms": round(statistics.median(pauses), 1),
                       "min_ms": min(pauses), "max_ms": max(pauses)}
        vm.end()
    ends = sorted(result.values(), key=lambda row: row["private_mib"])
    gained = ends[-1]["p50_ms"] - ends[0]["p50_ms"]
    rate = (ends[-1]["private_mib"] - ends[0]["private_mib"]) / gained * 1000 if gained > 0 else None
    return {"rows": result, "mib_per_s": rate and round(rate)}


def chain(vm, depth):
    """Forks of forks: the time of each generation's command, and what it has for itself."""
    rows, origin = [], vm.name
    for i in range(depth):
        name = f"bench-chain-{i + 1}"
        row = vm.fork(origin, name)
        record = json.loads(vm.mvm.run("inspect", name))
        row["guest_private_mib"] = measure.memory_mib(record["vmm_pid"], record["mem_mib"])["guest_private_mib"]
        rows.append({key: round(value, 1) for key, value in row.items()})
        if origin != vm.name:
            vm.mvm.remove_names(origin)
        origin = name
    if rows:
        vm.mvm.remove_names(origin)
    return rows


def ratios(table):
    p50 = {key: row["p50_ms"] for key, row in table.items()}
    p50["migrate+incoming"] = p50["migrate"] + p50["incoming"]
    return {name: round(p50[a] / p50[b], 2) for name, a, b in RATIOS if p50[b]}


def report(result):
    machine = result["machine"]
    print(f"machine  {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, load "
          f"{machine['load_before']:.1f} before, {machine['load_after']:.1f} after\n")
    print(f"{'milliseconds':52}{'n':>5}{'p50':>9}{'p95':>9}{'min':>9}{'max':>9}")
    for key, label in LABELS.items():
        row = result["rows"][key]
        print(f"{label:52}{row['n']:>5}" + "".join(
            f"{row[column]:>9.1f}" for column in ("p50_ms", "p95_ms", "min_ms", "max_ms")))
    for row in result["many"]:
        print(f"\n{row['forks']} forks at once, {row['rounds']} rounds: p50 {row['total_p50_ms']:.0f} ms "
              f"({row['each_p50_ms']:.1f} each), max {row['total_max_ms']:.0f} ms; the first has "
              f"answered after {row['first_answer_p50_ms']:.0f} ms, the last of them, asked one after another, after "
              f"{row['all_answered_p50_ms']:.0f} ms; each fork's own memory p50 "
              f"{row['guest_private_p50_mib']} MiB (max {row['guest_private_max_mib']}), shared "
              f"{row['guest_shared_p50_mib']} MiB", end="")
    print("\n\nthe origin's pause by its own pages:")
    for mib, row in result["dirty"]["rows"].items():
        print(f"  {mib} MiB written, {row['private_mib']} MiB of its own: p50 {row['p50_ms']:.0f} ms "
              f"({row['min_ms']:.0f} to {row['max_ms']:.0f}, n {row['n']})")
    print(f"  rate: {result['dirty']['mib_per_s']} MiB/s")
    if result["chain"]:
        print("a chain of forks, generation: ms, MiB of its own")
        for i, row in enumerate(result["chain"], 1):
            print(f"  {i}: {row['fork']:.0f}, {row['guest_private_mib']}")
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.2f}")


def arguments(mvm):
    """The arguments of a clone's QEMU."""
    record, _ = mvm.start("--require-snapshot")
    argv = floor.arguments_of(record["vmm_pid"])
    mvm.remove(record)
    return argv


def main():
    options = argparse.ArgumentParser()
    options.add_argument("mvm")
    options.add_argument("template")
    options.add_argument("-n", type=int, default=50, help="samples of each row (50)")
    options.add_argument("--forks", type=int, nargs="*", default=[1, 10, 50], help="so many at once")
    options.add_argument("--dirty", type=int, nargs="+", default=[0, 32, 64, 96], help="MiB written before a fork")
    options.add_argument("--depth", type=int, default=20, help="generations of forks")
    options.add_argument("--json", help="write all numbers here")
    given = options.parse_args()
    target = given.json and os.path.abspath(given.json)
    machine = measure.machine()
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="mvm-bench-")
    mvm = mvm_cli.Mvm(given.mvm, given.template)
    samples = []
    try:
        other = Rivals(mvm, arguments(mvm), folder)
        vm = Vm(mvm)
        for _ in range(given.n + 1):
            samples.append(vm.suspend() | vm.fork_and_remove() | other.sample())
        found = [many(vm, n) for n in given.forks]
        generations = chain(vm, given.depth)
        vm.end()
        pauses = dirty(mvm, given.dirty, max(3, given.n // 5))
    finally:
        shutil.rmtree(folder)
    del samples[0] # it has costs that no other has
    table = {key: measure.summary([sample[key] for sample in samples]) for key in LABELS}
    machine["load_after"] = os.getloadavg()[0]
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "seconds": round(time.monotonic() - began),
              "n": given.n, "machine": machine, "rows": table, "many": found, "dirty": pauses,
              "chain": generations, "ratios": ratios(table)}
    report(result)
    measure.write_json(target, result)


if __name__ == "__main__":
    main()
