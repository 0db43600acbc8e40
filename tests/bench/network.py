#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast a guest's TCP is: MB/s out of the guest and into it, and the time of a byte there and back.

usage: network.py MVM PROGRAM [--kernel NAME] [--mib N] [--rounds N] [--json FILE]

Builds a template in MVM_DATA_DIR, with that kernel of its; PROGRAM is network-guest, which is linked statically
and is all that the guest has.  Beside mvm there are the same guest, from the same snapshot, on QEMU's own user
network, on passt where there is one, and, for root, on a bare tap device, in a network namespace of this
program's.  One round measures all of them, so they see the same machine, and gives one ratio to each.
"""

import argparse
import ctypes
import fcntl
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import agentproto # pylint: disable=wrong-import-position
import floor
import measure
import mvm_cli
import rivals

CLONE_NEWNET = 0x40000000
TAP, OUTSIDE = "mvmbench0", "mvmbench1"
HOST, GUEST, PINGS = "10.0.2.2", "10.0.2.15", 400
BLOCK = bytes(1 << 18)
LABELS = {"mvm": "mvm", "user": "QEMU, -netdev user", "passt": "QEMU, passt", "tap": "QEMU, bare tap"}
NAMES = {"out_mb_per_s": "out", "in_mb_per_s": "in", "round_trip_ms": "there and back"}
TEMPLATE = "bench-network"
CONFIG = """
template_id = "bench"
flake_ref   = "dir:root"
kernel      = "{}"
command     = ["/network-guest", "wait"]

[[variants]]
role    = "network"
vcpus   = 1
mem_mib = 256
"""


class MvmGuest:
    def __init__(self, mvm, port):
        self.mvm = mvm
        self.record, _ = mvm.start("--require-snapshot", "--allow", f"host:{port}")
        self.process = None

    def begin(self, *args):
        self.process = subprocess.Popen([self.mvm.program, "exec", self.record["name"], "--", "/network-guest",
                                         *args], stdin=subprocess.DEVNULL)

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

    def begin(self, *args):
        self.stream = self.agent.start("/network-guest", *args)

    def finish(self):
        result = self.agent.finish(self.stream, timeout=mvm_cli.DEADLINE_S)
        if result.code != 0:
            sys.exit(f"bench: a command in a guest failed: {result.stderr.decode()}")

    def end(self):
        self.machine.end()


class PasstGuest(RawGuest):
    def __init__(self, argv, state, program):
        ours, theirs = socket.socketpair()
        self.passt = subprocess.Popen([program, "-f", "-q", "-F", str(theirs.fileno()), "-a", GUEST, "-n", "24",
                                       "-g", HOST, "-t", "none", "-u", "none"], pass_fds=[theirs.fileno()],
                                      stderr=subprocess.DEVNULL)
        high = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, 40) # above the machine's own
        ours.close()
        theirs.close()
        super().__init__(argv, state, {"type": "socket", "fd": str(high)})
        os.close(high)

    def end(self):
        super().end()
        self.passt.kill()
        self.passt.wait()


def own_network():
    """A tap device in a namespace of this program's, and a way out for passt.  Returns whether there is one."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNET):
        return False
    for command in ("link set lo up", f"tuntap add {TAP} mode tap", f"addr add {HOST}/24 dev {TAP}",
                    f"link set {TAP} mtu 14624 up", f"tuntap add {OUTSIDE} mode tap",
                    f"addr add 198.51.100.2/24 dev {OUTSIDE}", f"link set {OUTSIDE} up",
                    "route add default via 198.51.100.1"):
        subprocess.run(["ip", *command.split()], check=True, timeout=60)
    return True


def out_of(guest, server, mib):
    """Seconds from the first byte to the last."""
    guest.begin("send", HOST, str(server.getsockname()[1]), str(mib))
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
    guest.begin("take", HOST, str(server.getsockname()[1]))
    sock = server.accept()[0]
    began = time.monotonic()
    for _ in range(mib * 4):
        sock.sendall(BLOCK)
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1) # the guest has read all
    seconds = time.monotonic() - began
    sock.close()
    guest.finish()
    return seconds


def there_and_back(guest, server):
    """Milliseconds of each of so many bytes."""
    guest.begin("echo", HOST, str(server.getsockname()[1]))
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


def summary(values):
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3),
            "max": round(max(values), 3)}


def ratios(taken):
    """Of mvm to each other, one from each round; more than 1 is faster, for the round trip too."""
    result = {}
    for key in taken:
        if key != "mvm" and taken[key]:
            pairs = list(zip(taken["mvm"], taken[key]))
            result[key] = {name: summary([theirs[name] / ours[name] if name == "round_trip_ms" else
                                          ours[name] / theirs[name] for ours, theirs in pairs])
                           for name in NAMES}
    return result


def build(mvm, program, name, config):
    """Build a template whose guest has one program, of that name."""
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "root"))
        shutil.copy(program, os.path.join(folder, "root", name))
        path = os.path.join(folder, "template.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        mvm.run("template", "build", "--config", path, "--snapshot", "--backend", "qemu")


def others(argv, state, has_tap):
    """(key, what makes its guest)"""
    yield "user", lambda: RawGuest(argv, state, {"type": "user"})
    passt = shutil.which("passt")
    if passt:
        yield "passt", lambda: PasstGuest(argv, state, passt)
    if has_tap:
        yield "tap", lambda: RawGuest(argv, state, {"type": "tap", "ifname": TAP, "script": "no",
                                                    "downscript": "no"})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("program")
    parser.add_argument("--kernel", default="debian-6.1")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    mvm = mvm_cli.Mvm(o.mvm, TEMPLATE)
    build(mvm, o.program, "network-guest", CONFIG.format(o.kernel))
    has_tap = own_network()
    server = socket.create_server(("0.0.0.0", 0))
    server.settimeout(mvm_cli.DEADLINE_S)
    guests = {}
    try:
        guests["mvm"] = MvmGuest(mvm, server.getsockname()[1])
        argv = floor.arguments_of(guests["mvm"].record["vmm_pid"])
        state = os.path.join(mvm.folder(mvm.revision()), "snapshot", "vmstate.bin")
        for key, make in others(argv, state, has_tap):
            guests[key] = make()
        taken = {key: [] for key in guests}
        for i in range(o.rounds + 1):
            for key, guest in list(guests.items()):
                try:
                    one = sample(guest, server, o.mib)
                except ConnectionResetError: # passt of 2023-03 resets some connections into the guest
                    if key == "mvm":
                        raise
                    print(f"{LABELS[key]}: the connection was reset, so the row has {len(taken[key])} rounds")
                    guests.pop(key).end()
                    continue
                if i: # the first pays for what is done once
                    taken[key].append(one)
    finally:
        for guest in guests.values():
            guest.end()
    rows = {key: {name: summary([one[name] for one in samples]) for name in NAMES}
            for key, samples in taken.items() if samples}
    result = {"machine": measure.machine(), "mib": o.mib, "rounds": o.rounds, "rows": rows,
              "ratios": ratios(taken)}
    for key, row in rows.items():
        out, into_guest, trip = (row[name]["median"] for name in NAMES)
        print(f"{LABELS[key]:20} out {out:8.1f} MB/s, in {into_guest:8.1f} MB/s, there and back {trip:7.3f} ms")
    for key, row in result["ratios"].items():
        print(f"mvm beside {LABELS[key]}, N = {len(taken[key])}: " +
              ", ".join(f"{NAMES[name]} {s['median']:.2f} ({s['min']:.2f} to {s['max']:.2f})"
                        for name, s in row.items()))
    if "passt" not in taken:
        print("no row for passt: there is none")
    if not has_tap:
        print("no row for a bare tap device: only root makes one")
    measure.write_json(o.json, result)


if __name__ == "__main__":
    main()
