# SPDX-License-Identifier: Apache-2.0
"""Many clones at once: how long `mvm run -d --count N` takes, beside the CPU that one start needs, and the private
memory of each clone.

usage: fan_out.py MVM TEMPLATE [-n N] [--rounds N]
"""

import argparse
import json
import os
import resource
import statistics

import measure
import mvm_cli

CLONES = 50
ALONE = 10 # starts whose CPU time is taken


def cpu_of_a_start(mvm):
    """The CPU time in seconds of one start, the mvm command and all that it leaves running, when the command ends.
    Nothing else may begin on the machine meanwhile."""
    (name,) = mvm.expect("alone", 1)
    before, ended = measure.processes(), resource.getrusage(resource.RUSAGE_CHILDREN)
    mvm.timed("run", "--template", mvm.template, "-d", "--require-snapshot", "--backend", mvm.backend, "--name", name)
    cpu_s = measure.cpu_s(measure.processes() - before)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    mvm.remove_names(name)
    return cpu_s + now.ru_utime + now.ru_stime - ended.ru_utime - ended.ru_stime


def fan_out(mvm, clones, rounds):
    """Start, measure and remove clones; a failure ends the benchmark.  Times in ms, sizes in MiB."""
    alone_s = statistics.median(cpu_of_a_start(mvm) for _ in range(ALONE))
    totals, own = [], []
    for _ in range(rounds):
        records, wall = mvm.start_many(clones, "fan")
        totals.append(wall)
        for record in records:
            own.append(measure.memory_mib(record["vmm_pid"], record["mem_mib"]))
        mvm.remove(*records)
    total_ms = statistics.median(totals)
    return {"clones": clones, "rounds": rounds,
            "start_cpu_p50_ms": round(alone_s * 1000, 1),
            "beside_cpu": round(total_ms / (alone_s * 1000 * clones / os.cpu_count()), 2),
            "total_p50_ms": round(total_ms, 1),
            "total_max_ms": round(max(totals), 1),
            "each_p50_ms": round(total_ms / clones, 1),
            "guest_private_p50_mib": round(statistics.median(m["guest_private_mib"] for m in own), 1),
            "guest_private_max_mib": max(m["guest_private_mib"] for m in own),
            "vmm_private_p50_mib": round(statistics.median(m["vmm_private_mib"] for m in own), 1)}


def report(found):
    print(f"\n{found['clones']} clones at once, {found['rounds']} rounds: p50 "
          f"{found['total_p50_ms']:.0f} ms ({found['each_p50_ms']:.1f} each), max "
          f"{found['total_max_ms']:.0f} ms, {found['beside_cpu']} of the CPU that so many starts one after the other "
          f"need ({found['start_cpu_p50_ms']:.0f} ms each); each clone's own memory: guest p50 "
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
