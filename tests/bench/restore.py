#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Restore against cold boot and against the bare floor, all in one run on one guest.

    restore.py MVM TEMPLATE [-n N] [--boots N] [--json FILE]

MVM_DATA_DIR must hold the built template with a snapshot.  Restores and floor samples alternate,
so that both see the same machine.  Prints p50, p95 and ratios, the stages of a restore, and what
memory clones that run at the same time have for themselves.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import floor

DEADLINE_S = 300
CLONES = 3


class Mvm:
    def __init__(self, program, template):
        self.program = os.path.abspath(program)
        self.template = template
        self.serial = 0

    def run(self, *args):
        done = subprocess.run([self.program, *args], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=DEADLINE_S)
        if done.returncode != 0:
            sys.exit(f"bench: mvm {' '.join(args)}: {done.stderr}")
        return done.stdout

    def start(self, *options):
        """Start an instance; returns its record and the wall time of `mvm run -d` in ms."""
        self.serial += 1
        name = f"bench-{os.getpid()}-{self.serial}"
        began = time.perf_counter()
        self.run("run", "--template", self.template, "--name", name, "-d", "--backend", "qemu",
                 *options)
        wall = (time.perf_counter() - began) * 1000
        return json.loads(self.run("inspect", name)), wall

    def remove(self, *records):
        self.run("rm", "--force", *[record["name"] for record in records])


def stages_ms(record):
    """{stage: ms}; the last stage's end is the whole start."""
    ends = sorted(record["stages_ns"].items(), key=lambda item: item[1])
    result, before = {}, 0
    for name, end in ends:
        result[name] = (end - before) / 1e6
        before = end
    return result, before / 1e6


def summary(samples):
    ordered = sorted(samples)
    return {"n": len(ordered), "p50_ms": round(statistics.median(ordered), 2),
            "p95_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 2),
            "min_ms": round(ordered[0], 2), "max_ms": round(ordered[-1], 2)}


def memory_mib(pid):
    """What a VMM has for itself, by mapping of the memory file and the rest, and what it shares."""
    guest = {"private": 0, "shared": 0}
    own = 0
    inside = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                inside = line.rstrip().endswith("/mem.bin")
            elif words[0] in ("Private_Dirty:", "Private_Clean:"):
                if not inside:
                    own += int(words[1])
                elif words[0] == "Private_Dirty:":
                    guest["private"] += int(words[1])
                else:
                    guest["shared"] += int(words[1]) # clean file pages: the page cache's
            elif words[0].startswith("Shared_") and inside:
                guest["shared"] += int(words[1])
    return {"guest_private_mib": round(guest["private"] / 1024, 1),
            "guest_shared_mib": round(guest["shared"] / 1024, 1),
            "vmm_private_mib": round(own / 1024, 1)}


def clone_arguments(record):
    with open(f"/proc/{record['vmm_pid']}/cmdline", encoding="utf-8") as file:
        return file.read().split("\0")[:-1]


def measure_restores(mvm, revision, n):
    record, _ = mvm.start("--require-snapshot")  # warms the page cache
    bare = floor.Floor(clone_arguments(record), revision)
    mvm.remove(record)
    bare.sample()

    floors, restores, walls, stages = [], [], [], []
    for _ in range(n):
        floors.append(bare.sample())
        record, wall = mvm.start("--require-snapshot")
        mvm.remove(record)
        parts, total = stages_ms(record)
        stages.append(parts)
        restores.append(total)
        walls.append(wall)
    return {
        "floor": summary([sample[2] for sample in floors]),
        "floor_stages_p50_ms": {
            "spawn": round(statistics.median(s[0] for s in floors), 2),
            "load and resume": round(statistics.median(s[1] - s[0] for s in floors), 2),
            "agent": round(statistics.median(s[2] - s[1] for s in floors), 2)},
        "restore": summary(restores),
        "restore_stages_p50_ms": {name: round(statistics.median(s[name] for s in stages), 2)
                                  for name in stages[0]},
        "command": summary(walls),
    }


def measure_boots(mvm, n):
    boots = []
    for _ in range(n):
        record, _ = mvm.start("--cold")
        mvm.remove(record)
        boots.append(stages_ms(record)[1])
    return summary(boots)


def measure_memory(mvm):
    records = [mvm.start("--require-snapshot")[0] for _ in range(CLONES)]
    try:
        return [memory_mib(record["vmm_pid"]) for record in records]
    finally:
        mvm.remove(*records)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file
                      if line.startswith("model name")), "unknown CPU")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def report(result):
    print(f"machine  {result['machine']}")
    print(f"backend  {result['backend']}\n")
    print(f"{'':28}{'n':>4}{'p50':>10}{'p95':>10}{'min':>10}{'max':>10}   ms")
    for key, name in (("cold_boot", "cold boot to healthy"), ("restore", "restore to acknowledged"),
                      ("floor", "bare floor to a ping"), ("command", "mvm run -d, wall time")):
        row = result[key]
        print(f"{name:28}{row['n']:>4}" + "".join(
            f"{row[column]:>10.1f}" for column in ("p50_ms", "p95_ms", "min_ms", "max_ms")))
    print()
    for key, name in (("restore_stages_p50_ms", "restore"), ("floor_stages_p50_ms", "floor")):
        parts = ", ".join(f"{stage} {ms:.1f}" for stage, ms in result[key].items())
        print(f"stages of {name}, p50 ms: {parts}")
    print(f"\nrestore is {result['ratio_to_floor']:.2f} times the floor and "
          f"{result['times_faster_than_boot']:.1f} times faster than a cold boot (p50)")
    print(f"\nmemory of {CLONES} clones at once, MiB (guest memory lies in one file):")
    for i, row in enumerate(result["clones"]):
        print(f"  clone {i + 1}: {row['guest_private_mib']} written by the guest, "
              f"{row['guest_shared_mib']} shared with the others, "
              f"{row['vmm_private_mib']} the VMM's own")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("mvm")
    options.add_argument("template")
    options.add_argument("-n", type=int, default=30)
    options.add_argument("--boots", type=int, default=5)
    options.add_argument("--json")
    given = options.parse_args()
    target = given.json and os.path.abspath(given.json)  # samples of the floor change folders

    mvm = Mvm(given.mvm, given.template)
    info = json.loads(mvm.run("template", "info", given.template, "--json"))
    revision = os.path.join(os.environ["MVM_DATA_DIR"], "templates", given.template, "artifacts",
                            info["revision"]["revision_hash"])
    result = measure_restores(mvm, revision, given.n)
    result["cold_boot"] = measure_boots(mvm, given.boots)
    result["clones"] = measure_memory(mvm)
    backend = next(b for b in json.loads(mvm.run("backends", "--json")) if b["name"] == "qemu")
    result["machine"] = machine()
    result["backend"] = f"{backend['name']} {backend['version']}, {backend['accelerator']}"
    result["ratio_to_floor"] = result["restore"]["p50_ms"] / result["floor"]["p50_ms"]
    result["times_faster_than_boot"] = result["cold_boot"]["p50_ms"] / result["restore"]["p50_ms"]
    report(result)
    if target:
        with open(target, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
