#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many clones a machine carries when nobody talks to them.

usage: idle.py MVM TEMPLATE [--clones 400] [--reserve-mib 1024] [--seconds 20] [--json FILE]

MVM_DATA_DIR must hold the built template with a snapshot.  Starts one clone after the other, until there are so many
or the host has no more memory than the reserve.  Prints how long the first ten and the last ten starts took, and ten
more once all are idle (the last ten meet clones that are still busy with their own start); and, for all clones together,
the CPU time, the wake-ups and the private memory of a clone.
"""

import argparse
import os
import statistics
import time

import measure
import mvm_cli

ENDS = 10     # starts at each end
SETTLE_S = 10 # the first health check of a clone comes after five


def available_mib():
    with open("/proc/meminfo", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) >> 10


def start_one(mvm, records):
    record, wall = mvm.start("--require-snapshot")
    records.append(record)
    return wall


def start_all(mvm, records, clones, reserve_mib):
    """Start clones and add their records; returns the times of the starts in ms."""
    times = []
    while len(records) < clones and available_mib() > reserve_mib:
        times.append(start_one(mvm, records))
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("template")
    parser.add_argument("--clones", type=int, default=400)
    parser.add_argument("--reserve-mib", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    mvm, machine = mvm_cli.Mvm(o.mvm, o.template), measure.machine()
    records = []
    try:
        times = start_all(mvm, records, o.clones, o.reserve_mib)
        n = len(records)
        time.sleep(SETTLE_S)
        all_of = measure.idle(o.seconds, *(record[pid] for record in records
                                           for pid in ("vmm_pid", "supervisor_pid")))
        own = [measure.memory_mib(record["vmm_pid"], record["mem_mib"]) for record in records]
        more = [start_one(mvm, records) for _ in range(ENDS)]
    finally:
        while records:
            mvm.remove(*records[:ENDS])
            del records[:ENDS]
    machine["load_after"] = os.getloadavg()[0]
    result = {"machine": machine, "clones": n, "seconds": o.seconds,
              "first_starts_p50_ms": round(statistics.median(times[:ENDS]), 1),
              "last_starts_p50_ms": round(statistics.median(times[-ENDS:]), 1),
              "starts_beside_idle_p50_ms": round(statistics.median(more), 1),
              "cpu_percent_each": round(all_of["cpu_percent"] / n, 2),
              "wakeups_per_s_each": round(all_of["wakeups_per_s"] / n, 1),
              **{f"{part}_p50": round(statistics.median(one[part] for one in own), 1)
                 for part in ("guest_private_mib", "vmm_private_mib")}}
    print(f"{n} idle clones: the first {ENDS} starts p50 {result['first_starts_p50_ms']} ms, the last "
          f"{ENDS} {result['last_starts_p50_ms']} ms, and {ENDS} more beside them once they were idle "
          f"{result['starts_beside_idle_p50_ms']} ms; each takes {result['cpu_percent_each']} % of a core, "
          f"{result['wakeups_per_s_each']} wake-ups a second, {result['guest_private_mib_p50']} MiB of its "
          f"guest's memory and {result['vmm_private_mib_p50']} MiB of its VMM's")
    measure.write_json(o.json, result)


if __name__ == "__main__":
    main()
