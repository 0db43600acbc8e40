#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bare floor of a restore: QEMU, its control protocol and one message to the agent, no more.

    floor.py --args ARGS.json --revision DIR --snapshot DIR [--frame HEX] [-n N]

ARGS.json is {"argv": [...]}: QEMU's whole argument vector for a clone, as mvm uses it, with the
control protocol, the agent, the console and the snapshot's folder as descriptors 3 to 6.  Each
sample starts a QEMU in DIR, loads the snapshot, sends the frame (default: a ping) and stops the
clock at the first byte of the answer.  Prints JSON: the samples in milliseconds, p50 and p95, and
the medians of the stages on the way.
"""
import argparse
import array
import fcntl
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import sys
import time

DEADLINE_S = 30
PING = struct.pack("<IIB3x", 14, 1, 2) + struct.pack("<HIQ", 1, 8, 1)  # CALL on stream 1: PING


def command(name, **arguments):
    text = {"execute": name}
    if arguments:
        text["arguments"] = arguments
    return json.dumps(text, separators=(",", ":")).encode()


CAPABILITIES = command("migrate-set-capabilities", capabilities=[
    {"capability": "x-ignore-shared", "state": True}, {"capability": "events", "state": True}])
LOAD = [command("migrate-incoming", uri="fd:s"), command("cont")]


class Clone:
    """One QEMU and our ends of its sockets."""

    def __init__(self, argv, snapshot_fd):
        pairs = [socket.socketpair() for _ in range(3)]
        self.qmp, self.agent, self.console = (ours for ours, _ in pairs)
        for ours, _ in pairs:
            ours.settimeout(DEADLINE_S)
        # clear of the numbers that they get in the child
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
                for fd in [theirs.fileno() for _, theirs in pairs] + [snapshot_fd]]
        actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(high)]
        self.start = time.perf_counter()
        self.pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        for fd in high:
            os.close(fd)
        for _, theirs in pairs:
            theirs.close()
        self.pending = b""

    def message(self):
        while b"\n" not in self.pending:
            data = self.qmp.recv(65536)
            if not data:
                sys.exit("floor: QEMU ended early")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        message = json.loads(line)
        if "error" in message:
            sys.exit(f"floor: QEMU refused: {message['error']['desc']}")
        return message

    def stage(self):
        return (time.perf_counter() - self.start) * 1000

    def restore(self, state_fd):
        self.qmp.sendall(command("qmp_capabilities"))
        while "return" not in self.message():
            pass
        spawned = self.stage()
        self.qmp.sendall(CAPABILITIES)
        self.qmp.sendmsg([command("getfd", fdname="s")],
                         [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [state_fd]))])
        self.qmp.sendall(b"".join(LOAD))
        while self.message().get("event") != "RESUME":
            pass
        return spawned, self.stage()

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for sock in (self.qmp, self.agent, self.console):
            sock.close()


def sample(argv, snapshot_fd, state_fd, frame):
    clone = Clone(argv, snapshot_fd)
    try:
        spawned, resumed = clone.restore(state_fd)
        clone.agent.sendall(frame)
        if not clone.agent.recv(1):
            sys.exit("floor: the agent's port was closed")
        return spawned, resumed, clone.stage()
    finally:
        clone.end()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--args", required=True)
    options.add_argument("--revision", required=True)
    options.add_argument("--snapshot", required=True)
    options.add_argument("--frame", type=bytes.fromhex, default=PING)
    options.add_argument("-n", type=int, default=30)
    given = options.parse_args()

    with open(given.args, encoding="utf-8") as file:
        argv = json.load(file)["argv"]
    argv[0] = shutil.which(argv[0]) or sys.exit(f"floor: no program '{argv[0]}'")
    snapshot_fd = os.open(given.snapshot, os.O_RDONLY | os.O_DIRECTORY)
    state = os.path.abspath(os.path.join(given.snapshot, "vmstate.bin"))
    os.chdir(given.revision)

    samples = []
    for i in range(given.n + 1):  # the first one warms the page cache
        state_fd = os.open(state, os.O_RDONLY)
        samples.append(sample(argv, snapshot_fd, state_fd, given.frame))
        os.close(state_fd)
    spawned, resumed, answered = (sorted(column) for column in zip(*samples[1:]))
    print(json.dumps({
        "n": given.n,
        "p50_ms": round(statistics.median(answered), 2),
        "p95_ms": round(answered[min(given.n - 1, int(given.n * 0.95))], 2),
        "spawned_p50_ms": round(statistics.median(spawned), 2),
        "resumed_p50_ms": round(statistics.median(resumed), 2),
        "samples_ms": [round(s[2], 2) for s in samples[1:]],
    }))


main()
