# SPDX-License-Identifier: Apache-2.0
"""QEMU's own ways to bring a saved machine back, for comparison: the same guest in the same state.

    incoming    a full migration stream: QEMU reads all of the guest's memory
    loadvm      an internal snapshot of a qcow2 file: likewise

Each is made once from a clone that floor.py restores, stopped as soon as it runs, so that all of
them bring back the very guest that mvm's snapshot holds, on the same devices.  On q35 the same
kernel and root are booted once, driven by the agent protocol as mvm does.
"""

import json
import os
import subprocess

import agentproto
import floor

ALL_MEMORY = [{"capability": "x-ignore-shared", "state": False}, *floor.EVENTS]
BOOT_S = 120


def index_after(argv, option, part=""):
    """Where the value of the first such option is that has this in it."""
    return next(i + 1 for i, word in enumerate(argv[:-1]) if word == option and part in argv[i + 1])


def without_snapshot(argv):
    """A clone's arguments with memory of its own instead of the snapshot's file."""
    argv = list(argv)
    at = index_after(argv, "-object", "memory-backend-file")
    memory = json.loads(argv[at])
    argv[at] = json.dumps({"qom-type": "memory-backend-ram", "id": memory["id"],
                           "size": memory["size"]})
    return argv


def without_incoming(argv):
    at = index_after(argv, "-incoming")
    return argv[:at - 1] + argv[at + 1:]


def on_q35(argv):
    """The same machine as q35 with its devices on PCI."""
    argv = list(argv)
    machine = index_after(argv, "-M")
    argv[machine] = "q35,memory-backend=m"
    for i, word in enumerate(argv):
        if i and argv[i - 1] == "-device" and '-device"' in word:
            argv[i] = word.replace('-device"', '-pci"', 1)
    return argv


class Machine(floor.Clone):
    """One QEMU with the steps that saving it takes."""

    number = 0 # of the last command

    def ask(self, name, fd=None, **arguments):
        """One command and its answer; all else that comes before it is dropped."""
        self.number += 1
        text = floor.command(name, self.number, **arguments)
        if fd is None:
            self.qmp.sendall(text)
        else:
            self.send_fd(text, fd)
        while True:
            message = self.message()
            if message.get("id") == self.number:
                return message["return"]

    def wait_for(self, event, **data):
        while True:
            message = self.message()
            said = message.get("data", {})
            if message.get("event") == event and all(said.get(k) == v for k, v in data.items()):
                return

    def save_stream(self, path):
        """All of memory and the devices, as a migration to a file."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.ask("migrate-set-capabilities", capabilities=ALL_MEMORY)
        self.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.ask("getfd", fd=fd, fdname="out")
        self.ask("migrate", uri="fd:out")
        self.wait_for("MIGRATION", status="completed")
        os.fsync(fd)
        os.close(fd)

    def save_internal(self, tag):
        self.ask("migrate-set-capabilities", capabilities=ALL_MEMORY)
        said = self.ask("human-monitor-command", **{"command-line": f"savevm {tag}"})
        if said.strip():
            raise RuntimeError(f"savevm: {said.strip()}")


def save(machine, path):
    """Write the machine's full migration stream and end it."""
    try:
        machine.ask("stop")
        machine.save_stream(path)
    finally:
        machine.end()


def make_stream(argv, state, folder):
    """QEMU with a full migration stream, made now."""
    path = os.path.join(folder, "microvm.stream")
    save(restored(argv, state), path)
    return floor.Floor(without_snapshot(argv), path, floor.EVENTS)


def make_q35_stream(argv, guest, folder):
    """The same of a guest that is booted on q35."""
    path = os.path.join(folder, "q35.stream")
    argv = on_q35(without_snapshot(argv))
    save(guest.boot(argv), path)
    return floor.Floor(argv, path, floor.EVENTS)


def make_internal(argv, state, folder):
    """QEMU with -loadvm, made now.  One file serves one VM at a time: QEMU writes to it."""
    path = os.path.join(folder, "microvm.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "16M"], check=True,
                   timeout=60, stdin=subprocess.DEVNULL)
    node = ["-blockdev", json.dumps({"driver": "qcow2", "node-name": "state", "file": {
        "driver": "file", "filename": path}})]
    machine = restored([*argv, *node], state)
    try:
        machine.ask("stop")
        machine.save_internal("bench")
    finally:
        machine.end()
    argv = [*without_incoming(without_snapshot(argv)), *node, "-loadvm", "bench"]
    return floor.Floor(argv)


def restored(argv, state):
    """A machine that was brought back from mvm's snapshot and runs."""
    return floor.Floor(argv, state).start(Machine)[0]


class Guest:
    """How the template's guest is booted by hand: kernel, arguments, workload."""

    def __init__(self, revision_record, folder):
        self.folder = folder
        run = revision_record["run"]
        self.boot_args = revision_record["snapshot"]["boot_args"]
        self.workload = run.get("command", [])
        self.health = {}
        health = run.get("health", {})
        if "http" in health:
            self.health["HEALTH_HTTP"] = health["http"]

    def settle(self, sock):
        """Over the agent's channel: start the workload, wait until it is healthy, freeze it."""
        agent = agentproto.Agent(sock)
        agent.hello(BOOT_S)
        agent.call(agentproto.CONFIGURE, timeout=BOOT_S, HOSTNAME="bench",
                   ENTROPY=os.urandom(32), ARG=self.workload)
        agent.call(agentproto.HEALTH, timeout=BOOT_S, **self.health)
        agent.call(agentproto.PREPARE, timeout=BOOT_S)

    def boot(self, argv):
        """Boot it with the arguments of a restored one; returns the machine, settled."""
        argv = without_incoming(argv)
        argv[index_after(argv, "-serial")] = "null" # no reader for the kernel's messages
        argv += ["-kernel", os.path.join(self.folder, "vmlinux"),
                 "-initrd", os.path.join(self.folder, "initrd"), "-append", self.boot_args]
        machine = Machine(floor.Floor(argv).argv)
        try:
            machine.ask("qmp_capabilities")
            machine.ask("cont")
            self.settle(machine.agent)
        except BaseException:
            machine.end()
            raise
        return machine
