#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast commands and their streams are: MB/s into and out of a guest, and what `exec true` takes.

usage: MVM=build/mvm exec.py INSTANCE [--mib N] [--runs N] [--json]

INSTANCE runs; its image needs sh, cat, head and true.  Numbers are of this host, accelerator and
moment: compare two of them only when they come from one run.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

MVM = os.environ.get("MVM", "mvm")
BLOCK = bytes(1 << 20)


def seconds(args, mib_in=0):
    begin = time.monotonic()
    process = subprocess.Popen([MVM, "exec", *args], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    for _ in range(mib_in):
        process.stdin.write(BLOCK)
    process.stdin.close()
    while process.stdout.read1(1 << 20):
        pass
    if process.wait() != 0:
        raise SystemExit(f"exec {args}: exit status {process.returncode}")
    return time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("instance")
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    o = parser.parse_args()
    size = o.mib * 1048576 / 1e6
    into = seconds(["-i", o.instance, "--", "sh", "-c", "cat > /dev/null"], o.mib)
    out = seconds([o.instance, "--", "head", "-c", str(o.mib << 20), "/dev/zero"])
    times = sorted(seconds([o.instance, "--", "true"]) * 1000 for _ in range(o.runs))
    result = {
        "mib": o.mib, "runs": o.runs,
        "in_mb_per_s": round(size / into, 1), "out_mb_per_s": round(size / out, 1),
        "exec_true_ms": {"p50": round(statistics.median(times), 1),
                         "p95": round(times[int(len(times) * 0.95)], 1)},
    }
    if o.json:
        print(json.dumps(result))
    else:
        print(f"in   {result['in_mb_per_s']:8} MB/s\nout  {result['out_mb_per_s']:8} MB/s\n"
              f"true {result['exec_true_ms']['p50']:8} ms p50, "
              f"{result['exec_true_ms']['p95']} ms p95")


if __name__ == "__main__":
    main()
