#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast a guest's TCP is: MB/s out of the guest and into it, and the time of a byte there and back.

usage: network.py MVM TEMPLATE [--mib N] [--rounds N] [--json FILE]

MVM_DATA_DIR must hold the built template with a snapshot by QEMU; its image needs busybox.  Beside mvm there
are the same guest, from the same snapshot, on QEMU's own user network, and, for root, on a bare tap device, in
a network namespace of this program's.  One round measures all of them, so they see the same machine.
"""

import argparse
import ctypes
import json
import os
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import agentproto # pylint: disable=wrong-import-position
import floor
import measure
import mvm_cli
import rivals

CLONE_NEWNET = 0x40000000
TAP = "mvmbench0"
HOST, PINGS = "10.0.2.2", 200
BLOCK = bytes(1 << 16)
LABELS = {"mvm": "mvm", "user": "QEMU, -netdev user", "tap": "QEMU, bare tap"}


class MvmGuest:
    def __init__(self, mvm, port):
        self.mvm = mvm
        self.record, _ = mvm.start("--require-snapshot", "--allow", f"host:{port}")
        self.process = None

    def begin(self, command):
        self.process = subprocess.Popen([self.mvm.program, "exec", self.record["name"], "--", "/bin/busybox",
                                         "sh", "-c", command], stdin=subprocess.DEVNULL)

    def finish(self):
        if self.process.wait(mvm_cli.DEADLINE_S):
            sys.exit("bench: a command in mvm's guest failed")

    def end(self):
        self.mvm.remove(self.record)


class RawGuest:
    """The snapshot in a QEMU with another network."""

    def __init__(self, argv, state, netdev):
        argv = list(argv)
        at = rivals.index_after(argv, "-netdev")
        argv[at] = json.dumps({"id": json.loads(argv[at])["id"], **netdev})
        self.machine = floor.Floor(argv, state).start()[0]
        self.agent = agentproto.Agent(self.machine.agent)
        self.agent.call(agentproto.RESTORED, ENTROPY=os.urandom(32), HOSTNAME="bench")
        self.stream = None

    def begin(self, command):
        self.stream = self.agent.start("/bin/busybox", "sh", "-c", command)

    def finish(self):
        result = self.agent.finish(self.stream, timeout=mvm_cli.DEADLINE_S)
        if result.code != 0:
            sys.exit(f"bench: a command in a guest failed: {result.stderr.decode()}")

    def end(self):
        self.machine.end()


def own_network():
    """A tap device in a namespace of this program's.  Returns whether there is one."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNET):
        return False
    for command in ("link set lo up", f"tuntap add {TAP} mode tap", f"addr add {HOST}/24 dev {TAP}",
                    f"link set {TAP} up"):
        subprocess.run(["ip", *command.split()], check=True, timeout=60)
    return True


def out_of(guest, server, mib):
    """Seconds from the first byte to the last."""
    port = server.getsockname()[1]
    guest.begin(f"busybox dd if=/dev/zero bs=64k count={mib * 16} 2>/dev/null | busybox nc {HOST} {port}")
    sock = server.accept()[0]
    left = (mib << 20) - len(sock.recv(1))
    began = time.monotonic()
    while left > 0 and (data := sock.recv(1 << 20)):
        left -= len(data)
    seconds = time.monotonic() - began
    sock.close()
    guest.finish()
    if left:
        sys.exit("bench: bytes are missing")
    return seconds


def into(guest, server, mib):
    port = server.getsockname()[1]
    guest.begin(f"busybox nc {HOST} {port} </dev/null >/dev/null")
    sock = server.accept()[0]
    began = time.monotonic()
    for _ in range(mib * 16):
        sock.sendall(BLOCK)
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1) # the guest has read all
    seconds = time.monotonic() - began
    sock.close()
    guest.finish()
    return seconds


def there_and_back(guest, server):
    """Milliseconds of each of so many bytes."""
    port = server.getsockname()[1]
    guest.begin(f"busybox nc {HOST} {port} -e /bin/busybox cat")
    sock = server.accept()[0]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken = []
    for _ in range(PINGS):
        began = time.perf_counter()
        sock.sendall(b"x")
        sock.recv(1)
        taken.append((time.perf_counter() - began) * 1000)
    sock.close()
    guest.finish()
    return taken


def sample(guest, server, mib):
    bytes_sent = mib * 1048576 / 1e6
    return {"out_mb_per_s": bytes_sent / out_of(guest, server, mib),
            "in_mb_per_s": bytes_sent / into(guest, server, mib),
            "round_trip_ms": statistics.median(there_and_back(guest, server))}


def medians(taken):
    return {key: round(statistics.median(one[key] for one in taken), 3) for key in taken[0]}


def ratios(rows):
    """Of mvm to each other; more than 1 is faster, for the round trip too."""
    result = {}
    for key, row in rows.items():
        if key != "mvm":
            result[key] = {name: round(rows["mvm"][name] / value if name != "round_trip_ms"
                                       else value / rows["mvm"][name], 2) for name, value in row.items()}
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("template")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    mvm = mvm_cli.Mvm(o.mvm, o.template)
    has_tap = own_network()
    server = socket.create_server(("0.0.0.0", 0))
    server.settimeout(mvm_cli.DEADLINE_S)
    guests = {}
    try:
        guests["mvm"] = MvmGuest(mvm, server.getsockname()[1])
        argv = floor.arguments_of(guests["mvm"].record["vmm_pid"])
        state = os.path.join(mvm.folder(mvm.revision()), "snapshot", "vmstate.bin")
        guests["user"] = RawGuest(argv, state, {"type": "user"})
        if has_tap:
            guests["tap"] = RawGuest(argv, state, {"type": "tap", "ifname": TAP, "script": "no",
                                                   "downscript": "no"})
        taken = {key: [] for key in guests}
        for i in range(o.rounds + 1):
            for key, guest in guests.items():
                one = sample(guest, server, o.mib)
                if i: # the first pays for what is done once
                    taken[key].append(one)
    finally:
        for guest in guests.values():
            guest.end()
    rows = {key: medians(samples) for key, samples in taken.items()}
    result = {"machine": measure.machine(), "mib": o.mib, "rounds": o.rounds, "rows": rows,
              "ratios": ratios(rows)}
    for key, row in rows.items():
        print(f"{LABELS[key]:20} out {row['out_mb_per_s']:8.1f} MB/s, in {row['in_mb_per_s']:8.1f} MB/s, "
              f"there and back {row['round_trip_ms']:7.3f} ms")
    for key, row in result["ratios"].items():
        print(f"mvm beside {LABELS[key]}: " + ", ".join(f"{name} {value:.2f}" for name, value in row.items()))
    if not has_tap:
        print("no row for a bare tap device: only root makes one")
    if o.json:
        with open(o.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
