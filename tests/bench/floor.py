#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bare floor of a restore: only QEMU, its control protocol and one ping to the agent.

QEMU gets the arguments that mvm gives it for a clone, with the control protocol, the agent and the
console as descriptors 3 to 5 and a network of frames that nobody answers as 6, but with paths for
files.  A sample starts QEMU, loads the snapshot, sends a ping and stops the clock at the first byte
of the answer.
"""
import array
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import sys
import time

DEADLINE_S = 30
PING = struct.pack("<IIB3x", 14, 1, 2) + struct.pack("<HIQ", 1, 8, 1)  # CALL on stream 1: PING


def command(name, number=None, **arguments):
    text = {"execute": name}
    if number is not None:
        text["id"] = number
    if arguments:
        text["arguments"] = arguments
    return json.dumps(text, separators=(",", ":")).encode()


def arguments_of(pid):
    """The arguments of a clone's QEMU, with paths instead of the descriptors of files."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        argv = file.read().split("\0")[:-1]
    path = lambda match: os.readlink(f"/proc/{pid}/fd/{match[1]}")
    return [re.sub(r"/proc/self/fd/(\d+)", path, word) for word in argv]


EVENTS = [{"capability": "events", "state": True}]
SHARED_MEMORY = [{"capability": "x-ignore-shared", "state": True}, *EVENTS]


class Clone:
    """One QEMU and our ends of its sockets."""

    def __init__(self, argv):
        pairs = [socket.socketpair() for _ in range(4)]
        self.qmp, self.agent, self.console, self.network = (ours for ours, _ in pairs)
        for ours, _ in pairs:
            ours.settimeout(DEADLINE_S)
        # above the numbers that they get in the child
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
                for fd in [theirs.fileno() for _, theirs in pairs]]
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

    def send_fd(self, text, fd):
        self.qmp.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])

    def restore(self, state_fd, capabilities=SHARED_MEMORY):
        """Load a migration stream.  With -1, only continue the state that -loadvm has loaded."""
        self.qmp.sendall(command("qmp_capabilities"))
        while "return" not in self.message():
            pass
        spawned = self.stage()
        if state_fd >= 0:
            self.qmp.sendall(command("migrate-set-capabilities", capabilities=capabilities))
            self.send_fd(command("getfd", fdname="s"), state_fd)
            self.qmp.sendall(command("migrate-incoming", uri="fd:s"))
        self.qmp.sendall(command("cont"))
        while self.message().get("event") != "RESUME":
            pass
        return spawned, self.stage()

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for sock in (self.qmp, self.agent, self.console, self.network):
            sock.close()


class Floor:
    """The cost of a restore without mvm.  Without a state, QEMU's arguments load one."""

    def __init__(self, argv, state=None, capabilities=SHARED_MEMORY):
        self.argv = [shutil.which(argv[0]) or sys.exit(f"floor: no program '{argv[0]}'"), *argv[1:]]
        self.state = state
        self.capabilities = capabilities

    def start(self, kind=Clone):
        """Restore; returns the machine, and the milliseconds to a ready QEMU and to now."""
        state_fd = os.open(self.state, os.O_RDONLY) if self.state else -1
        machine = kind(self.argv)
        try:
            return machine, *machine.restore(state_fd, self.capabilities)
        except BaseException:
            machine.end()
            raise
        finally:
            if self.state:
                os.close(state_fd)

    def answer(self, clone, frame=PING):
        """Ask the guest; returns when the first byte of its answer arrives."""
        clone.agent.sendall(frame)
        if not clone.agent.recv(1):
            sys.exit("floor: the agent's port was closed")
        return clone.stage()

    def sample(self, frame=PING):
        """Restore once; returns the milliseconds to a ready QEMU, a running guest, its first answer."""
        clone, spawned, resumed = self.start()
        try:
            return spawned, resumed, self.answer(clone, frame)
        finally:
            clone.end()
