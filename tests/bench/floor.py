#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bare floor of a restore: QEMU, its control protocol and one ping to the agent, no more.

The same arguments as mvm gives to QEMU for a clone, with the control protocol, the agent, the
console and the snapshot's folder as descriptors 3 to 6.  A sample starts QEMU in the revision's
folder, loads the snapshot, sends a ping and stops the clock at the first byte of the answer.
"""
import array
import fcntl
import json
import os
import shutil
import signal
import socket
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


class Floor:
    """What a restore of one revision costs without mvm."""

    def __init__(self, argv, revision):
        self.argv = [shutil.which(argv[0]) or sys.exit(f"floor: no program '{argv[0]}'"), *argv[1:]]
        self.revision = os.path.realpath(revision)
        self.snapshot_fd = os.open(os.path.join(revision, "snapshot"), os.O_RDONLY | os.O_DIRECTORY)

    def sample(self, frame=PING):
        """One restore: milliseconds to a ready QEMU, to a running guest, to its first answer."""
        os.chdir(self.revision)
        state_fd = os.open("snapshot/vmstate.bin", os.O_RDONLY)
        clone = Clone(self.argv, self.snapshot_fd)
        try:
            spawned, resumed = clone.restore(state_fd)
            clone.agent.sendall(frame)
            if not clone.agent.recv(1):
                sys.exit("floor: the agent's port was closed")
            return spawned, resumed, clone.stage()
        finally:
            clone.end()
            os.close(state_fd)
