#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast commands and their streams are: MB/s into and out of a guest, and the time of `exec true`.

usage: exec.py MVM TEMPLATE --kernel DEB [--mib N] [--rounds N] [-n N] [--json FILE]

MVM_DATA_DIR must hold the built template, whose image needs busybox.  The floor is the bare port: in
another guest with the same kernel, busybox's dd reads and writes the virtio-serial port, and this
script is the other end.  There are no agent, frames, windows or supervisor.  One round pipes that many
MiB each way through both guests, so both see the same machine.  Each number comes with the CPU
seconds of this host (QEMU, supervisor and client, or QEMU alone).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import guestkit # pylint: disable=wrong-import-position
import measure
import mvm_cli

BLOCK = bytes(1 << 20)
# dd reads and writes whole blocks; head and tr count single bytes, and are slower than any pipe under
# TCG
OUT = "busybox dd if=/dev/zero bs=64k count={} 2>/dev/null"
IN = "busybox dd of=/dev/null bs=64k 2>/dev/null"
TICK = os.sysconf("SC_CLK_TCK")

FLOOR_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
while read -r name; do /bin/busybox insmod /modules/$name; done </modules/order
cd /dev
until [ -e vport*p1 ]; do /bin/busybox usleep 10000; done
exec 3<>$(echo vport*p1)
/bin/busybox dd if=/dev/zero bs=64k count=COUNT 2>/dev/null >&3
/bin/busybox dd of=/dev/null bs=64k iflag=fullblock count=COUNT 2>/dev/null <&3
echo done >&3
exec /bin/busybox sleep 1000
"""


def cpu_seconds(*pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def run(mvm, args, mib_in=0):
    """Run mvm; returns the seconds, and the CPU seconds of the client."""
    begin = time.monotonic()
    process = subprocess.Popen([mvm.program, "exec", *args], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    for _ in range(mib_in):
        process.stdin.write(BLOCK)
    process.stdin.close()
    while process.stdout.read1(1 << 20):
        pass
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"exec {args}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - begin, used.ru_utime + used.ru_stime


def pipe(mvm, record, mib):
    """Pipe through commands in a guest; returns {way: {mb_per_s, cpu_s}}."""
    name, pids = record["name"], (record["vmm_pid"], record["supervisor_pid"])
    result = {}
    for way, args, mib_in in [("in", ["-i", name, "--", "sh", "-c", IN], mib),
                              ("out", [name, "--", "sh", "-c", OUT.format(mib * 16)], 0)]:
        before = cpu_seconds(*pids)
        seconds, client = run(mvm, args, mib_in)
        result[way] = speed(mib, seconds, cpu_seconds(*pids) - before + client)
    return result


def speed(mib, seconds, cpu):
    return {"mb_per_s": round(mib * 1048576 / 1e6 / seconds, 1), "cpu_s": round(cpu, 2)}


def make_floor(folder, deb, mib):
    """Make a guest that has only busybox."""
    vmlinux, modules = guestkit.extract_kernel(deb, folder)

    def read(path):
        with open(path, "rb") as file:
            return file.read()
    names = [os.path.basename(path) for path in modules.values()]
    entries = [(name, 0o40755, b"") for name in ("bin", "dev", "proc", "modules")]
    entries += [("bin/busybox", 0o100755, read(shutil.which("busybox")))]
    entries += [("init", 0o100755, FLOOR_INIT.replace("COUNT", str(mib * 16)).encode())]
    entries += [("modules/" + os.path.basename(path), 0o100644, read(path))
                for path in modules.values()]
    entries += [("modules/order", 0o100644, "".join(n + "\n" for n in names).encode())]
    initramfs = os.path.join(folder, "initramfs")
    with open(initramfs, "wb") as file:
        file.write(guestkit.cpio(entries))
    root = os.path.join(folder, "root")
    with open(root, "wb") as file:
        file.truncate(1 << 20)
    return guestkit.Guest(vmlinux, initramfs, root)


def pipe_floor(deb, mib):
    folder = tempfile.mkdtemp(prefix="mvm-bench-")
    guest = None
    try:
        guest = make_floor(folder, deb, mib)
        pid, sock = guest.process.pid, guest.sock
        sock.settimeout(120)
        result, left = {}, (mib << 20) - len(sock.recv(1)) # the guest is up
        begin, cpu = time.monotonic(), cpu_seconds(pid)
        while left:
            data = sock.recv(min(left, 1 << 20))
            if not data:
                raise SystemExit("the floor's guest has ended")
            left -= len(data)
        result["out"] = speed(mib, time.monotonic() - begin, cpu_seconds(pid) - cpu)
        begin, cpu = time.monotonic(), cpu_seconds(pid)
        feeder = threading.Thread(target=lambda: [sock.sendall(BLOCK) for _ in range(mib)])
        feeder.start()
        if sock.recv(5) != b"done\n":
            raise SystemExit("the floor's guest has ended")
        result["in"] = speed(mib, time.monotonic() - begin, cpu_seconds(pid) - cpu)
        feeder.join()
        return result
    finally:
        if guest:
            guest.close()
        shutil.rmtree(folder)


def median(rounds):
    """The median of each number of {way: {number: value}} in rounds."""
    return {way: {key: round(statistics.median(taken[way][key] for taken in rounds), 2)
                  for key in rounds[0][way]} for way in rounds[0]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("template")
    parser.add_argument("--kernel", required=True, metavar="DEB")
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-n", type=int, default=100, help="runs of `exec true`")
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    mvm = mvm_cli.Mvm(o.mvm, o.template)
    record, _ = mvm.start()
    try:
        taken = [(pipe(mvm, record, o.mib), pipe_floor(o.kernel, o.mib)) for _ in range(o.rounds)]
        times = [run(mvm, [record["name"], "--", "true"])[0] * 1000 for _ in range(o.n)]
    finally:
        mvm.remove(record)
    result = {"machine": measure.machine(), "mib": o.mib, "rounds": o.rounds,
              "exec": median([ours for ours, _ in taken]),
              "floor": median([floor for _, floor in taken]), "exec_true": measure.summary(times)}
    for way in ("in", "out"):
        ours, floor = result["exec"][way], result["floor"][way]
        print(f"exec, stream {way:3} {ours['mb_per_s']:7} MB/s {ours['cpu_s']:6} CPU s; bare port "
              f"{floor['mb_per_s']:7} MB/s {floor['cpu_s']:6} CPU s; "
              f"ratio {ours['mb_per_s'] / floor['mb_per_s']:.2f}")
    print("exec true, in a guest that has done it before: "
          + ", ".join(f"{key} {value}" for key, value in result["exec_true"].items()))
    measure.write_json(o.json, result)


if __name__ == "__main__":
    main()
