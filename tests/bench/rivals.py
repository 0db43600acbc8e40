# SPDX-License-Identifier: Apache-2.0
"""QEMU's own ways to bring back a saved machine, for comparison: the same guest in the same state.

    incoming    a full migration stream: QEMU reads all of the guest's memory
    loadvm      an internal snapshot of a qcow2 file: likewise

Each saved machine is made once, from a clone that floor.py restores and stops as soon as it runs.  So
all of them bring back the guest of mvm's snapshot on the same devices.  On q35 this script boots the
same kernel and root once, and drives them by the agent protocol as mvm does.
"""

import json
import os
import subprocess
import time

import agentproto
import floor

ALL_MEMORY = [{"capability": "x-ignore-shared", "state": False}, *floor.EVENTS]
BOOT_S = 120


def index_after(argv, option, part=""):
    """The index of the first value of this option that contains `part`."""
    return next(i + 1 for i, word in enumerate(argv[:-1]) if word == option and part in argv[i + 1])


def without_snapshot(argv):
    """A clone's arguments with new memory instead of the snapshot's file."""
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
    """The arguments for the same machine as q35 with its devices on PCI."""
    argv = list(argv)
    machine = index_after(argv, "-M")
    argv[machine] = "q35,memory-backend=m"
    for i, word in enumerate(argv):
        if i and argv[i - 1] == "-device" and '-device"' in word:
            argv[i] = word.replace('-device"', '-pci"', 1)
    return argv


class Machine(floor.Clone):
    """One QEMU, and the steps that save it."""

    number = 0 # of the last command

    def ask(self, name, fd=None, **arguments):
        """Send a command; returns its answer, and drops everything that comes before it."""
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
        """Save memory and devices as a migration to a file."""
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


def save(machine, saves, took=None):
    """Stop the machine, save it and end it.  took: gets the milliseconds for which it stood still."""
    try:
        began = time.perf_counter()
        machine.ask("stop")
        saves()
        if took is not None:
            took.append((time.perf_counter() - began) * 1000)
    finally:
        machine.end()


def make_stream(argv, state, folder, took=None):
    """A QEMU row that loads a full migration stream, which this makes."""
    path = os.path.join(folder, "microvm.stream")
    machine = restored(argv, state)
    save(machine, lambda: machine.save_stream(path), took)
    return floor.Floor(without_snapshot(argv), path, floor.EVENTS)


def make_q35_stream(argv, guest, folder):
    """The same row for a guest that is booted on q35."""
    path = os.path.join(folder, "q35.stream")
    argv = on_q35(without_snapshot(argv))
    machine = guest.boot(argv)
    save(machine, lambda: machine.save_stream(path))
    return floor.Floor(argv, path, floor.EVENTS)


def make_internal(argv, state, folder, took=None):
    """A QEMU row with -loadvm.  One file serves one VM at a time, since QEMU writes to it."""
    path = os.path.join(folder, "microvm.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "16M"], check=True,
                   timeout=60, stdin=subprocess.DEVNULL)
    node = ["-blockdev", json.dumps({"driver": "qcow2", "node-name": "state", "file": {
        "driver": "file", "filename": path}})]
    machine = restored([*argv, *node], state)
    save(machine, lambda: machine.save_internal("bench"), took)
    argv = [*without_incoming(without_snapshot(argv)), *node, "-loadvm", "bench"]
    return floor.Floor(argv)


def restored(argv, state):
    """A running machine that was restored from mvm's snapshot."""
    return floor.Floor(argv, state).start(Machine)[0]


class Guest:
    """Boots the template's guest by hand: kernel, arguments, workload."""

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
        """Start the workload over the agent's channel, wait until it is healthy, freeze it."""
        agent = agentproto.Agent(sock)
        agent.hello(BOOT_S)
        agent.call(agentproto.CONFIGURE, timeout=BOOT_S, HOSTNAME="bench",
                   ENTROPY=os.urandom(32), ARG=self.workload)
        agent.call(agentproto.HEALTH, timeout=BOOT_S, **self.health)
        agent.call(agentproto.PREPARE, timeout=BOOT_S)

    def boot(self, argv):
        """Boot the guest with the arguments of a restored one; returns the settled machine."""
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
