#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast files get into a guest and out of it, and how fast its logs are followed.

usage: files.py MVM BUSYBOX [--kernel NAME] [--mib 1024] [--files 50000] [--rounds N] [--json FILE]

Builds templates in MVM_DATA_DIR, with that kernel of its; BUSYBOX, linked statically, is all that their guests have.
`mvm cp` copies one large file and many small ones to the guest's root disk and back.  Beside it, in the same round and
the same guest, a tar through `mvm exec` does the same, which is docker's way.  `logs -f` follows a guest that prints
without end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import measure
import mvm_cli
from network import build

CONFIG = """
template_id = "bench-{role}"
flake_ref   = "dir:root"
kernel      = "{kernel}"
command     = {command}

[[variants]]
role          = "{role}"
vcpus         = 1
mem_mib       = 256
root_disk_mib = {disk_mib}
"""
LINE = "a line of sixty-three characters, as programs often print them"
COMMANDS = {"files": ["/busybox", "sleep", "1000000"], "logs": ["/busybox", "yes", LINE]}
LOG_S = 5
SMALL = b"x" * 512
PER_FOLDER = 500


def make_files(folder, mib, files):
    """Make the large file and the folder of small ones; returns (key, name, bytes)."""
    with open(os.path.join(folder, "large"), "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    for i in range(files):
        where = os.path.join(folder, "small", str(i // PER_FOLDER))
        if i % PER_FOLDER == 0:
            os.makedirs(where)
        with open(os.path.join(where, str(i)), "wb") as file:
            file.write(SMALL)
    return (("large", mib << 20), ("small", files * len(SMALL)))


def shell(command):
    began = time.monotonic()
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=mvm_cli.DEADLINE_S)
    if done.returncode != 0:
        sys.exit(f"bench: {command}: {done.stderr}")
    return time.monotonic() - began


def one_round(mvm, name, folder, key):
    """Copy in and out in both ways; returns {row: seconds}."""
    program, took = mvm.program, {}
    for way, put, get in [
            ("cp", f"{program} cp {folder}/{key} {name}:/bench/{key}",
             f"{program} cp {name}:/bench/{key} {folder}/back"),
            ("tar", f"tar -C {folder} -cf - {key} | {program} exec -i {name} -- /busybox tar -C /bench -xf -",
             f"mkdir {folder}/back && {program} exec {name} -- /busybox tar -C /bench -cf - {key} "
             f"| tar -C {folder}/back -xf -")]:
        mvm.run("exec", name, "--", "/busybox", "mkdir", "-p", "/bench")
        took[f"{way} in"] = shell(put)
        took[f"{way} out"] = shell(get)
        shell(f"rm -r {folder}/back")
        mvm.run("exec", name, "--", "/busybox", "rm", "-r", "/bench")
    return took


def make_template(o, role):
    mvm = mvm_cli.Mvm(o.mvm, f"bench-{role}-{role}")
    build(mvm, o.busybox, "busybox", CONFIG.format(
        kernel=o.kernel, role=role, command=json.dumps(COMMANDS[role]),
        disk_mib=o.mib + o.files // 100 + 256))
    return mvm


def follow_logs(mvm):
    """MB/s of `logs -f` of a guest whose workload prints without end."""
    record, _ = mvm.start()
    try:
        process = subprocess.Popen([mvm.program, "logs", "-f", record["name"]], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE)
        process.stdout.read1(1 << 20)
        read, began = 0, time.monotonic()
        while time.monotonic() - began < LOG_S:
            read += len(process.stdout.read1(1 << 20))
        seconds = time.monotonic() - began
        process.terminate()
        process.wait(mvm_cli.DEADLINE_S)
        return round(read / 1e6 / seconds, 2)
    finally:
        mvm.remove(record)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("busybox")
    parser.add_argument("--kernel", default="debian-6.1")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--files", type=int, default=50000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    machine = measure.machine()
    mvm, logs = make_template(o, "files"), make_template(o, "logs")
    folder = tempfile.mkdtemp(prefix="mvm-bench-", dir=os.environ["MVM_DATA_DIR"])
    record, _ = mvm.start()
    try:
        sizes = make_files(folder, o.mib, o.files)
        taken = {key: [one_round(mvm, record["name"], folder, key) for _ in range(o.rounds)]
                 for key, _ in sizes}
    finally:
        mvm.remove(record)
        shutil.rmtree(folder)
    rows = {f"{key}, {row}": {"seconds": measure.percentile([one[row] for one in taken[key]], 50),
                              "bytes": size}
            for key, size in sizes for row in taken[key][0]}
    machine["load_after"] = os.getloadavg()[0]
    result = {"machine": machine, "mib": o.mib, "files": o.files, "rounds": o.rounds, "rows": rows,
              "logs_mb_per_s": follow_logs(logs)}
    for label, row in rows.items():
        print(f"{label:16} {row['seconds']:8.2f} s  {row['bytes'] / 1e6 / row['seconds']:8.1f} MB/s")
    print(f"logs -f of a guest that prints without end: {result['logs_mb_per_s']} MB/s")
    measure.write_json(o.json, result)


if __name__ == "__main__":
    main()
