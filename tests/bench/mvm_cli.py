# SPDX-License-Identifier: Apache-2.0
"""The mvm program as the benchmark runs it, and the records of started instances."""

import atexit
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

DEADLINE_S = 300
POOL_READY_S = 60
serials = itertools.count(1) # of the instances of all templates


class Mvm:
    """One template's instances.  Those that are left are removed when the benchmark ends, however it ends."""

    def __init__(self, program, template, backend="qemu"):
        self.program = os.path.abspath(program)
        self.template = template
        self.backend = backend
        self.names = set() # of instances that may exist
        atexit.register(self.end)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) # atexit does not see a signal

    def end(self):
        for name in self.names:
            subprocess.run([self.program, "rm", "--force", name], check=False, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DEADLINE_S)

    def run(self, *args, env=None):
        done = subprocess.run([self.program, *args], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=DEADLINE_S,
                              env={**os.environ, **(env or {})})
        if done.returncode != 0:
            sys.exit(f"bench: mvm {' '.join(args)}: {done.stderr}")
        return done.stdout

    def timed(self, *args, env=None):
        """The wall time of a command, in milliseconds."""
        began = time.perf_counter()
        self.run(*args, env=env)
        return (time.perf_counter() - began) * 1000

    def start(self, *options, env=None):
        """Start an instance; returns its record and the wall time of `mvm run -d` in ms."""
        name = f"bench-{os.getpid()}-{next(serials)}"
        self.names.add(name)
        wall = self.timed("run", "--template", self.template, "--name", name, "-d", "--backend",
                          self.backend, *options, env=env)
        return json.loads(self.run("inspect", name)), wall

    def start_many(self, count, name):
        """Start clones at once; returns their records and the wall time in ms."""
        names = self.expect(name, count)
        wall = self.timed("run", "--template", self.template, "-d", "--require-snapshot", "--backend",
                          self.backend, "--count", str(count), "--name", name)
        return [json.loads(self.run("inspect", one)) for one in names], wall

    def fork(self, origin, name, count=1):
        """Fork an instance; returns the forks' names and the wall time in ms."""
        names = self.expect(name, count)
        return names, self.timed("fork", origin, "--count", str(count), "--name", name)

    def expect(self, name, count):
        """The names that mvm gives to so many instances."""
        names = [f"{name}-{i + 1}" for i in range(count)] if count > 1 else [name]
        self.names.update(names)
        return names

    def paused_ms(self, origin):
        """How long the last fork's origin stood still."""
        for line in reversed(self.run("events", "--json").splitlines()):
            event = json.loads(line)
            if event["event"] == "forked" and event["instance"] == origin:
                return float(re.search(r"([\d.]+) ms", event["message"])[1])
        sys.exit("bench: no event tells of the fork")

    def remove(self, *records):
        self.remove_names(*[record["name"] for record in records])

    def remove_names(self, *names):
        self.run("rm", "--force", *names)
        self.names.difference_update(names)

    def revision(self):
        """The current revision's record."""
        return json.loads(self.run("template", "info", self.template, "--json"))["revision"]

    def folder(self, revision):
        return os.path.realpath(os.path.join(os.environ["MVM_DATA_DIR"], "templates",
                                             self.template, "artifacts",
                                             revision["revision_hash"]))

    def knows(self, command):
        done = subprocess.run([self.program, "help", *command.split()], capture_output=True,
                              check=False, stdin=subprocess.DEVNULL, timeout=DEADLINE_S)
        return done.returncode == 0


def stages_ms(record):
    """{stage: ms} of a start, which ends with its last stage."""
    ends = sorted(record["stages_ns"].items(), key=lambda item: item[1])
    result, before = {}, 0
    for name, end in ends:
        result[name] = (end - before) / 1e6
        before = end
    return result, before / 1e6


class Pool:
    """A server of pools.  The template's pool is empty except in filled(), since other starts would
    take its VMs, too."""

    def __init__(self, mvm):
        self.mvm = mvm
        self.set(0)
        self.server = subprocess.Popen([mvm.program, "pool", "serve"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def set(self, size):
        self.mvm.run("pool", "set", self.mvm.template, "--size", str(size))

    def ready(self):
        rows = json.loads(self.mvm.run("pool", "list", "--json"))["pools"]
        return sum(row["ready"] for row in rows if row["template_id"] == self.mvm.template)

    def wait(self, size):
        """Wait until so many VMs are ready; sys.exit() if that takes too long."""
        deadline = time.monotonic() + POOL_READY_S
        while self.ready() != size:
            if time.monotonic() > deadline:
                sys.exit(f"bench: the pool had not {size} VMs within {POOL_READY_S} s")
            time.sleep(0.05)

    def filled(self):
        self.set(1)
        self.wait(1)

    def emptied(self):
        self.set(0)
        self.wait(0)

    def end(self):
        self.set(0)
        self.server.terminate()
        self.server.wait(DEADLINE_S)
