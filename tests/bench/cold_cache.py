#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Restores from an empty page cache, with and without the recorded working set.

    cold_cache.py MVM TEMPLATE [-n N] [--json FILE]

MVM_DATA_DIR must hold the built template with a snapshot.  Before each sample the snapshot's files,
the kernel and the root image are dropped from the page cache (posix_fadvise, which needs no root and
leaves the rest of the machine alone; QEMU itself stays cached).  The three kinds of sample
alternate: cached; dropped; dropped, and read ahead by the working set.  Without one means with its
file out of the way, which `mvm run` takes for a snapshot that has none.
"""
import argparse
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from measure import machine, summary
from mvm_cli import Mvm, stages_ms

FILES = ("snapshot/mem.bin", "snapshot/vmstate.bin", "snapshot/working-set.bin", "vmlinux",
         "rootfs.ext4", "initrd")
KINDS = ("cached", "dropped", "dropped, read ahead")
SET = "snapshot/working-set.bin"


def drop(folder):
    for name in FILES:
        try:
            fd = os.open(os.path.join(folder, name), os.O_RDONLY)
        except FileNotFoundError:
            continue
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


class Hidden:
    """With its file out of the way for as long as it lasts."""

    def __init__(self, folder):
        self.path = os.path.join(folder, SET)

    def __enter__(self):
        os.rename(self.path, self.path + ".hidden")

    def __exit__(self, *_):
        os.rename(self.path + ".hidden", self.path)


def sample(mvm, folder, kind):
    if kind != KINDS[0]:
        drop(folder)
    if kind == KINDS[1]:
        with Hidden(folder):
            record, wall = mvm.start("--require-snapshot")
    else:
        record, wall = mvm.start("--require-snapshot")
    mvm.remove(record)
    return stages_ms(record)[0], wall


def measure(mvm, folder, n):
    walls = {kind: [] for kind in KINDS}
    stages = {kind: [] for kind in KINDS}
    sample(mvm, folder, KINDS[0])
    for _ in range(n):
        for kind in KINDS:
            if kind == KINDS[0]:
                sample(mvm, folder, kind)  # what the last one has dropped
            parts, wall = sample(mvm, folder, kind)
            stages[kind].append(parts)
            walls[kind].append(wall)
    return {kind: summary(walls[kind]) | {
        "stages_p50_ms": {name: round(statistics.median(s[name] for s in stages[kind]), 1)
                          for name in stages[kind][0]}} for kind in KINDS}


def set_bytes(folder):
    with open(os.path.join(folder, SET), "rb") as file:
        bitmap = file.read()[24:]
    return sum(byte.bit_count() for byte in bitmap) * 4096


def main():
    options = argparse.ArgumentParser()
    options.add_argument("mvm")
    options.add_argument("template")
    options.add_argument("-n", type=int, default=20)
    options.add_argument("--json")
    given = options.parse_args()

    mvm = Mvm(given.mvm, given.template)
    info = json.loads(mvm.run("template", "info", given.template, "--json"))
    folder = os.path.join(os.environ["MVM_DATA_DIR"], "templates", given.template, "artifacts",
                          info["revision"]["revision_hash"])
    if not os.path.exists(os.path.join(folder, SET)):
        sys.exit("bench: this snapshot has no working set")
    result = {"machine": machine(), "working_set_mib": round(set_bytes(folder) / 2**20, 1),
              "start": measure(mvm, folder, given.n)}
    print(f"machine  {result['machine']['cpu']}\nworking set  {result['working_set_mib']} MiB\n")
    print(f"{'mvm run -d, wall time':28}{'n':>4}{'p50':>10}{'p95':>10}{'min':>10}{'max':>10}   ms")
    for kind, row in result["start"].items():
        print(f"{kind:28}{row['n']:>4}" + "".join(
            f"{row[key]:>10.1f}" for key in ("p50_ms", "p95_ms", "min_ms", "max_ms"))
            + "   " + ", ".join(f"{k} {v}" for k, v in row["stages_p50_ms"].items()))
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
