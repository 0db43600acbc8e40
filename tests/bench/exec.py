#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast commands and their streams are: MB/s into and out of a guest, and what `exec true` takes.

usage: MVM=build/mvm exec.py INSTANCE [--mib N] [--runs N] [--json] [--floor]

INSTANCE runs; its image needs busybox.  --floor also measures the bare port: another guest of the
same kernel (MVM_TEST_KERNEL_DEB), in which busybox's dd writes to and reads from the virtio-serial
port by itself, and this script at the other end: no agent, no frames, no windows, no supervisor.
Each number comes with the CPU seconds that it took this host (QEMU, supervisor and client, or QEMU
alone).  Numbers are of this host, accelerator and moment: compare two of them only when they come
from one run.
"""

import argparse
import json
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

MVM = os.environ.get("MVM", "mvm")
BLOCK = bytes(1 << 20)
# dd, whose blocks are read and written whole; head and tr count single bytes and are slower than
# any pipe under TCG
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


def run(args, mib_in=0):
    """Seconds, and CPU seconds of the client."""
    begin = time.monotonic()
    process = subprocess.Popen([MVM, "exec", *args], stdin=subprocess.PIPE,
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


def measure(instance, mib):
    record = json.loads(subprocess.run([MVM, "inspect", instance], check=True,
                                       capture_output=True, text=True).stdout)
    pids = record["vmm_pid"], record["supervisor_pid"]
    result = {}
    for way, args, mib_in in [("in", ["-i", instance, "--", "sh", "-c", IN], mib),
                              ("out", [instance, "--", "sh", "-c", OUT.format(mib * 16)], 0)]:
        before = cpu_seconds(*pids)
        seconds, client = run(args, mib_in)
        result[way] = speed(mib, seconds, cpu_seconds(*pids) - before + client)
    return result


def speed(mib, seconds, cpu):
    return {"mb_per_s": round(mib * 1048576 / 1e6 / seconds, 1), "cpu_s": round(cpu, 2)}


def make_floor(folder, mib):
    """A guest that has nothing but busybox."""
    vmlinux, modules = guestkit.extract_kernel(os.environ["MVM_TEST_KERNEL_DEB"], folder)

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


def measure_floor(mib):
    folder = tempfile.mkdtemp(prefix="mvm-bench-")
    guest = None
    try:
        guest = make_floor(folder, mib)
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("instance")
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--floor", action="store_true")
    o = parser.parse_args()
    result = {"mib": o.mib, "runs": o.runs, "exec": measure(o.instance, o.mib)}
    if o.floor:
        result["floor"] = measure_floor(o.mib)
    times = sorted(run([o.instance, "--", "true"])[0] * 1000 for _ in range(o.runs))
    result["exec_true_ms"] = {"p50": round(statistics.median(times), 1),
                              "p95": round(times[int(len(times) * 0.95)], 1)}
    if o.json:
        print(json.dumps(result))
        return
    for what in ("exec", "floor"):
        for way in ("in", "out") if what in result else ():
            numbers = result[what][way]
            print(f"{what:5} {way:4} {numbers['mb_per_s']:7} MB/s {numbers['cpu_s']:7} CPU s")
    print(f"true  {result['exec_true_ms']['p50']:12} ms p50, "
          f"{result['exec_true_ms']['p95']} ms p95")


if __name__ == "__main__":
    main()
