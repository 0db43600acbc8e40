#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a large guest restores as fast as a small one: 4 GiB and 4 vCPUs beside 256 MiB and one.

usage: size.py MVM PROGRAM [--kernel NAME] [-n N] [--json FILE]

Builds both templates in MVM_DATA_DIR, with that kernel of its; PROGRAM is disk-guest, which is all that the guests
have.  One round takes one sample of each and gives one ratio.
"""

import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import measure # pylint: disable=wrong-import-position
import mvm_cli
from network import build, summary

SIZES = {"small": (1, 256), "large": (4, 4096)}
CONFIG = """
template_id = "bench-size"
flake_ref   = "dir:root"
kernel      = "{kernel}"
command     = ["/disk-guest", "wait"]

[[variants]]
role    = "{role}"
vcpus   = {vcpus}
mem_mib = {mem_mib}
"""
PARTS = {"total": "to the agent's acknowledgement", "command": "whole command"}


def sample(mvm):
    record, wall = mvm.start("--require-snapshot")
    stages, total = mvm_cli.stages_ms(record)
    mvm.remove(record)
    return {"total": total, "command": wall, "stages": stages}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("program")
    parser.add_argument("--kernel", default="debian-6.1")
    parser.add_argument("-n", type=int, default=25)
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    target = o.json and os.path.abspath(o.json)
    machine, mvms, build_s = measure.machine(), {}, {}
    for role, (vcpus, mem_mib) in SIZES.items():
        mvms[role] = mvm_cli.Mvm(o.mvm, f"bench-size-{role}")
        began = time.monotonic()
        build(mvms[role], o.program, "disk-guest",
              CONFIG.format(kernel=o.kernel, role=role, vcpus=vcpus, mem_mib=mem_mib))
        build_s[role] = round(time.monotonic() - began, 1)
    taken = {role: [] for role in SIZES}
    for i in range(o.n + 1):
        for role, mvm in mvms.items():
            one = sample(mvm)
            if i: # the first pays for what is done once
                taken[role].append(one)
    rows = {role: {**{part: measure.summary([one[part] for one in samples]) for part in PARTS},
                   "stages_p50_ms": measure.medians([one["stages"] for one in samples]),
                   "build_s": build_s[role]} for role, samples in taken.items()}
    ratios = {part: summary([large[part] / small[part]
                             for large, small in zip(taken["large"], taken["small"])]) for part in PARTS}
    machine["load_after"] = os.getloadavg()[0]
    for role, (vcpus, mem_mib) in SIZES.items():
        row = rows[role]
        print(f"{mem_mib} MiB and {vcpus} vCPUs: restore p50 {row['total']['p50_ms']} ms, p95 "
              f"{row['total']['p95_ms']} ms; stages {row['stages_p50_ms']}; built in {row['build_s']} s")
    for part, label in PARTS.items():
        ratio = ratios[part]
        print(f"large to small, {label}, N = {o.n}: {ratio['median']:.2f} "
              f"({ratio['min']:.2f} to {ratio['max']:.2f})")
    measure.write_json(target, {"machine": machine, "n": o.n, "sizes": SIZES, "rows": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
