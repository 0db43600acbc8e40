# SPDX-License-Identifier: Apache-2.0
"""Many clones at once: how long `mvm run -d --count N` takes, and the private memory of each clone.

usage: fan_out.py MVM TEMPLATE [-n N] [--rounds N]
"""

import argparse
import json
import statistics

import measure
import mvm_cli

CLONES = 50


def fan_out(mvm, clones, rounds):
    """Start, measure and remove clones; a failure ends the benchmark.  Times in ms, sizes in MiB."""
    totals, own = [], []
    for _ in range(rounds):
        records, wall = mvm.start_many(clones, "fan")
        totals.append(wall)
        for record in records:
            own.append(measure.memory_mib(record["vmm_pid"], record["mem_mib"]))
        mvm.remove(*records)
    return {"clones": clones, "rounds": rounds,
            "total_p50_ms": round(statistics.median(totals), 1),
            "total_max_ms": round(max(totals), 1),
            "each_p50_ms": round(statistics.median(totals) / clones, 1),
            "guest_private_p50_mib": round(statistics.median(m["guest_private_mib"] for m in own), 1),
            "guest_private_max_mib": max(m["guest_private_mib"] for m in own),
            "vmm_private_p50_mib": round(statistics.median(m["vmm_private_mib"] for m in own), 1)}


def report(found):
    print(f"\n{found['clones']} clones at once, {found['rounds']} rounds: p50 "
          f"{found['total_p50_ms']:.0f} ms ({found['each_p50_ms']:.1f} each), max "
          f"{found['total_max_ms']:.0f} ms; each clone's own memory: guest p50 "
          f"{found['guest_private_p50_mib']} MiB (max {found['guest_private_max_mib']}), VMM p50 "
          f"{found['vmm_private_p50_mib']} MiB")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("mvm")
    options.add_argument("template")
    options.add_argument("-n", type=int, default=CLONES, help="clones (50)")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    found = fan_out(mvm_cli.Mvm(given.mvm, given.template), given.n, given.rounds)
    report(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
