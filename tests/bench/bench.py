#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long mvm takes to start a VM, compared with QEMU and libvirt for the same guest.

usage: bench.py MVM TEMPLATE [-n N] [--backend B] [--skip KEY ...] [--clones N] [--json FILE]
       [--svg FILE]

MVM_DATA_DIR must hold the built template with a snapshot by that backend (qemu).  With another
backend there are only mvm's rows.  Each of N rounds takes one sample of every row, in an order of its own, so that all
rows see the same machine in the same minutes.  doc/benchmark.md describes the rows.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import fan_out
import floor
import libvirt_row
import measure
import mvm_cli
import plot
import rivals
import rows

FORMAT = 1
FAN_OUT_ROUNDS = 5


class Bench:
    """All rows of one run.  Each is an object with key, sample() and perhaps end()."""

    def __init__(self, mvm, folder):
        self.mvm = mvm
        self.folder = folder
        self.revision = mvm.revision()
        self.path = mvm.folder(self.revision)
        self.state = os.path.join(self.path, "snapshot/vmstate.bin")
        self.backend = next(b for b in json.loads(mvm.run("backends", "--json"))
                            if b["name"] == mvm.backend)
        snapshot = os.path.join(self.path, "snapshot")
        self.files = [os.path.join(snapshot, name) for name in sorted(os.listdir(snapshot))]
        self.rows, self.skipped = [], []

    def makers(self):
        working_set = os.path.join(self.path, "snapshot", "working-set.bin")
        own = {
            "restore_cold": lambda: rows.Cold("restore_cold", rows.Restore(self.mvm), self.files),
            "restore_plain_cold": lambda: rows.Cold(
                "restore_plain_cold", rows.RestorePlain(self.mvm, working_set), self.files),
            "cold_boot": lambda: rows.ColdBoot(self.mvm),
            "restore": lambda: rows.Restore(self.mvm),
            "restore_open": lambda: rows.RestoreOpen(self.mvm),
            "pool": lambda: rows.FromPool(self.mvm),
            "run_command": lambda: rows.RunCommand(self.mvm),
            "pool_run_command": lambda: rows.PoolRunCommand(self.mvm),
        }
        return own | self.qemu_makers() if self.mvm.backend == "qemu" else own

    def qemu_makers(self):
        """The other ways of QEMU and libvirt to bring back the same guest."""
        record, _ = self.mvm.start("--require-snapshot")
        self.argv = floor.arguments_of(record["vmm_pid"])
        self.mvm.remove(record)
        guest = rivals.Guest(self.revision, self.path)
        bare = lambda: floor.Floor(self.argv, self.state)
        qemu = lambda key, make: rows.Qemu(key, make, self.revision["mem_mib"])
        return {
            "floor_cold": lambda: rows.Cold("floor_cold", rows.Qemu("", bare, 0), self.files),
            "floor": lambda: qemu("floor", bare),
            "loadvm": lambda: qemu("loadvm", lambda: rivals.make_internal(
                self.argv, self.state, self.folder)),
            "incoming": lambda: qemu("incoming", lambda: rivals.make_stream(
                self.argv, self.state, self.folder)),
            "q35_incoming": lambda: qemu("q35_incoming", lambda: rivals.make_q35_stream(
                self.argv, guest, self.folder)),
            "libvirt": lambda: rows.Libvirt(guest, self.revision, self.path, self.folder,
                                            self.backend["accelerator"] == "kvm"),
        }

    def prepare(self, skip):
        for key, make in self.makers().items():
            if key in skip:
                self.skipped.append({"key": key, "reason": "not asked for"})
                continue
            try:
                self.rows.append(make())
            except rows.Unavailable as reason:
                self.skipped.append({"key": key, "reason": str(reason)})
        for row in self.skipped:
            print(f"no row {row['key']}: {row['reason']}", file=sys.stderr)

    def sample(self, n):
        """Take N rounds; returns {key: [sample]}, where a sample is {part: ms} in order."""
        samples = {row.key: [] for row in self.rows}
        for row in self.rows: # discard the first sample, which has costs that no other has
            row.sample()
        order = random.Random(n) # what a row leaves behind must not always meet the same one
        for i in range(n):
            for row in order.sample(self.rows, len(self.rows)):
                samples[row.key].append(row.sample())
            if sys.stderr.isatty():
                print(f"\rround {i + 1} of {n}", end="", file=sys.stderr, flush=True)
        return samples

    def end(self):
        for row in self.rows:
            row.end()


def result_of(samples):
    """The rows of the report: percentiles of each row's total, and of its later parts."""
    result = {}
    for key, taken in samples.items():
        for part in ("total", "command", "first_exec", "third_exec"):
            if part in taken[0]:
                name = key if part == "total" else f"{key}.{part}"
                result[name] = measure.summary([sample[part] for sample in taken])
        result[key]["stages_p50_ms"] = measure.medians([sample["stages"] for sample in taken])
    return result


def report(result):
    machine, guest = result["machine"], result["guest"]
    print(f"machine  {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}")
    print(f"VMM      {measure.vmm(machine)}, {machine['accelerator']}")
    print(f"guest    {guest['template']}, {guest['vcpus']} vCPU, {guest['mem_mib']} MiB\n")
    print(f"{'milliseconds':52}{'n':>5}{'p50':>9}{'p95':>9}{'p99':>9}")
    for key, row in result["rows"].items():
        print(f"{rows.LABELS[key]:52}{row['n']:>5}" + "".join(
            f"{row[column]:>9.1f}" for column in ("p50_ms", "p95_ms", "p99_ms")))
    print("\nstages, p50 ms:")
    for key, row in result["rows"].items():
        if "stages_p50_ms" in row:
            parts = ", ".join(f"{name} {ms:.1f}" for name, ms in row["stages_p50_ms"].items())
            print(f"  {rows.LABELS[key]}: {parts}")
    print("\nmemory of one more clone, MiB: the guest's own, shared with others; the VMM's own")
    for key, row in result["memory"].items():
        print(f"  {rows.LABELS[key]:50}{row['guest_private_mib']:>8}{row['guest_shared_mib']:>8}"
              f"{row['vmm_private_mib']:>8}")
    for key, row in result["idle"].items():
        print(f"idle clone, {rows.LABELS[key]}: {row['cpu_percent']} % of a core, "
              f"{row['wakeups_per_s']} wake-ups a second")
    if result["fan_out"]:
        fan_out.report(result["fan_out"])
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.2f}")


def ratios(table):
    wanted = (("restore to floor", "restore", "floor"),
              ("cold boot to restore", "cold_boot", "restore"),
              ("restore to pool", "restore", "pool"),
              ("first exec to third in a VM of the pool", "pool.first_exec", "pool.third_exec"),
              ("restore to one without isolation", "restore", "restore_open"),
              ("cold cache: without the working set to with it", "restore_plain_cold",
               "restore_cold"),
              ("loadvm to restore", "loadvm", "restore"),
              ("libvirt to restore", "libvirt", "restore"))
    return {name: round(table[a]["p50_ms"] / table[b]["p50_ms"], 2)
            for name, a, b in wanted if a in table and b in table}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("mvm")
    options.add_argument("template")
    options.add_argument("-n", type=int, default=100, help="samples of each row (100)")
    options.add_argument("--backend", default="qemu", choices=measure.VMMS)
    options.add_argument("--clones", type=int, default=fan_out.CLONES,
                         help=f"clones at once ({fan_out.CLONES}); 0: leave them out")
    options.add_argument("--skip", nargs="*", default=[], metavar="KEY", help="rows to leave out")
    options.add_argument("--json", help="write all numbers here")
    options.add_argument("--svg", help="draw them here")
    given = options.parse_args()
    # samples of QEMU change folders
    targets = [path and os.path.abspath(path) for path in (given.json, given.svg)]

    machine = measure.machine()
    folder = tempfile.mkdtemp(prefix="mvm-bench-")
    bench = Bench(mvm_cli.Mvm(given.mvm, given.template, given.backend), folder)
    began = time.monotonic()
    try:
        bench.prepare(given.skip)
        table = result_of(bench.sample(given.n))
        memory = {row.key: found for row in bench.rows if (found := row.memory())}
        idle = {row.key: found for row in bench.rows if (found := row.idle())}
    finally:
        bench.end()
        shutil.rmtree(folder)
    many = fan_out.fan_out(bench.mvm, given.clones, FAN_OUT_ROUNDS) if given.clones else None
    machine.update({given.backend: bench.backend["version"]},
                   accelerator=bench.backend["accelerator"], libvirt=libvirt_row.version())
    result = {"format": FORMAT, "date": time.strftime("%Y-%m-%d", time.gmtime()),
              "seconds": round(time.monotonic() - began), "n": given.n, "machine": machine,
              "guest": {"template": given.template, "vcpus": bench.revision["vcpus"],
                        "mem_mib": bench.revision["mem_mib"]},
              "rows": table, "memory": memory, "idle": idle, "fan_out": many, "ratios": ratios(table),
              "skipped": bench.skipped}
    report(result)
    measure.write_json(targets[0], result)
    if targets[1]:
        with open(targets[1], "w", encoding="utf-8") as file:
            file.write(plot.svg(result))


if __name__ == "__main__":
    main()
