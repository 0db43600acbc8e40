#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast a guest's disks are: sequential, 4 KiB at random, and fsync.

usage: disk.py MVM PROGRAM [--kernel NAME] [--mib N] [--seconds N] [--rounds N] [--json FILE]

Builds a template in MVM_DATA_DIR, with that kernel of its; PROGRAM is disk-guest, which is linked statically and
is all that the guest has.  Rows: a file in the guest's root, which is an overlay on the root disk; a file on its
data disk; and a file on a virtio disk of a bare QEMU, which runs the same guest from the same snapshot.  One round
measures all of them, so they see the same machine, and gives one ratio each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import agentproto # pylint: disable=wrong-import-position
import floor
import measure
import mvm_cli
from network import build, summary

LABELS = {"root": "mvm, root disk", "data": "mvm, data disk", "bare": "bare QEMU, virtio disk"}
NAMES = {"write_mb_per_s": "write MB/s", "read_mb_per_s": "read MB/s", "random_read_per_s": "4K reads/s",
         "random_write_per_s": "4K writes/s", "fsync_per_s": "fsyncs/s"}
TEMPLATE = "bench-disk"
CONFIG = """
template_id = "bench"
flake_ref   = "dir:root"
kernel      = "{}"
command     = ["/disk-guest", "wait"]

[[variants]]
role          = "disk"
vcpus         = 1
mem_mib       = 256
data_disk_mib = {mib}
root_disk_mib = {mib}
"""


def parse(text):
    return {name: float(value) for name, value in (line.split() for line in text.splitlines())}


class MvmGuest:
    def __init__(self, mvm):
        self.mvm = mvm
        self.record, _ = mvm.start("--require-snapshot")

    def measure(self, folder, *args):
        return parse(self.mvm.run("exec", self.record["name"], "--", "/disk-guest", "run", folder, *args))

    def end(self):
        self.mvm.remove(self.record)


class BareGuest:
    """The snapshot and copies of its disks in a bare QEMU."""

    def __init__(self, argv, snapshot, folder):
        for name in ("data.ext4", "root.ext4"):
            subprocess.run(["cp", "--sparse=always", os.path.join(snapshot, name), folder], check=True, timeout=300)
        argv = [self.own(word, folder) for word in argv]
        self.machine = floor.Floor(argv, os.path.join(snapshot, "vmstate.bin")).start()[0]
        self.agent = agentproto.Agent(self.machine.agent)
        self.agent.call(agentproto.RESTORED, ENTROPY=os.urandom(32), HOSTNAME="bench")

    @staticmethod
    def own(word, folder):
        if not word.startswith("{"):
            return word
        node = json.loads(word)
        place = node.get("file", node)
        name = os.path.basename(place.get("filename", ""))
        if name in ("data.ext4", "root.ext4"):
            place["filename"] = os.path.join(folder, name)
        return json.dumps(node)

    def measure(self, folder, *args):
        stream = self.agent.start("/disk-guest", "run", folder, *args)
        result = self.agent.finish(stream, timeout=mvm_cli.DEADLINE_S)
        if result.code != 0:
            sys.exit(f"bench: a command in a guest failed: {result.stderr.decode()}")
        return parse(result.stdout.decode())

    def end(self):
        self.machine.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("program")
    parser.add_argument("--kernel", default="debian-6.1")
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    target = o.json and os.path.abspath(o.json)
    machine = measure.machine()
    mvm = mvm_cli.Mvm(o.mvm, TEMPLATE)
    build(mvm, o.program, "disk-guest", CONFIG.format(o.kernel, mib=2 * o.mib + 64))
    folder = tempfile.mkdtemp(prefix="mvm-bench-", dir=os.environ["MVM_DATA_DIR"]) # one disk for all
    guests = []
    taken = {key: [] for key in LABELS}
    try:
        ours = MvmGuest(mvm)
        guests.append(ours)
        snapshot = os.path.join(mvm.folder(mvm.revision()), "snapshot")
        bare = BareGuest(floor.arguments_of(ours.record["vmm_pid"]), snapshot, folder)
        guests.append(bare)
        args = (str(o.mib), str(o.seconds))
        for i in range(o.rounds + 1):
            one = {"root": ours.measure("/", *args), "data": ours.measure("/data", *args),
                   "bare": bare.measure("/data", *args)}
            for key, sample in one.items():
                if i: # the first pays for what is done once
                    taken[key].append(sample)
    finally:
        for guest in guests:
            guest.end()
        shutil.rmtree(folder)
    rows = {key: {name: summary([one[name] for one in samples]) for name in NAMES}
            for key, samples in taken.items()}
    ratios = {key: {name: summary([ours[name] / theirs[name] for ours, theirs in zip(taken[key], taken["bare"])])
                    for name in NAMES} for key in ("root", "data")}
    machine["load_after"] = os.getloadavg()[0]
    for key, row in rows.items():
        print(f"{LABELS[key]:24}" + ", ".join(f"{label} {row[name]['median']:.0f}" for name, label in NAMES.items()))
    for key, row in ratios.items():
        print(f"{LABELS[key]} beside {LABELS['bare']}, N = {o.rounds}: " + ", ".join(
            f"{label} {row[name]['median']:.2f} ({row[name]['min']:.2f} to {row[name]['max']:.2f})"
            for name, label in NAMES.items()))
    measure.write_json(target, {"machine": machine, "mib": o.mib, "rounds": o.rounds, "rows": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
