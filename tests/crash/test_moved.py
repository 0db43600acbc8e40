#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pushes to a registry and pulls from it are killed, or their calls fail, at every call that changes
the file system: those of mvm, and those of mvm-registry.  Environment: as for crash_case.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

import harness
import registries
from crash_case import DRIVER, CrashCase
from fault_case import ERRORS, FAULTS, STEP, names_of, points

# In place of mvm-registry: the same with a fault.  mvm gives it no environment of its own.
FAULTY = """#!/bin/sh
LD_PRELOAD={faults} MVM_FAULT_AT={at} MVM_FAULT_DO={what} MVM_FAULT_LOG={log} exec {real}
"""


NO_VMM = {"MVM_QEMU": "/nonexistent", "MVM_FIRECRACKER": "/nonexistent"}


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class MovedCase(CrashCase):
    """Each test has a registry, and self.there, a tag in it."""

    explains_room = False # a registry's disk may be full, too

    def setUp(self):
        super().setUp()
        self.registry = self.enterContext(registries.Registry(self.folder))
        self.there = f"{self.registry.host}/team/web:v1"
        self.mvm_ok("key", "generate", "mine", env={"MVM_DATA_DIR": self.base})

    def environment(self, extra=None): # a host with a VMM leaves out a snapshot that is not for it
        return super().environment({**NO_VMM, **(extra or {})})


class Moved(MovedCase):
    def pull_command(self):
        """A command that pulls a revision, snapshot and signature, and those."""
        self.in_base("key", "trust", self.base + "/keys/mine.pub")
        _, new = self.other_revision([harness.MVM, "template", "push", "web-worker", self.there, "--sign", "mine"])

        def after(data):
            self.assertEqual(self.current(data), new)
            with open(data + "/templates/web-worker/current/revision.json", encoding="utf-8") as file:
                self.assertIsNotNone(json.load(file)["snapshot"]["signed_by"])
            self.assertEqual(os.listdir(data + "/cache/pulls"), [])
        return [harness.MVM, "template", "pull", self.there, "web-worker"], after

    def push_command(self):
        """A command that pushes into a repository of its own."""
        self.in_base("key", "trust", self.base + "/keys/mine.pub")
        done = self.run_in(self.base, [DRIVER, "DATA", "snapshot", "web-worker"])
        self.assertEqual(done.returncode, 0, done.stderr)
        return [harness.MVM, "template", "push", "web-worker", f"{self.registry.host}/NAME:v1", "--sign", "mine"]

    def tag(self, data):
        """What the tag leads to; None: nothing yet."""
        request = urllib.request.Request(f"http://{self.registry.host}/v2/{self.name_of(data)}/manifests/v1",
                                         headers={"Accept": registries.MANIFEST})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            self.assertEqual(error.code, 404)
            return None

    def pushed(self, data):
        """The tag leads to a whole artifact with its signature, which another host may use."""
        there = f"{self.registry.host}/{self.name_of(data)}:v1"
        got = self.mvm_json("template", "pull", there, "got", env={"MVM_DATA_DIR": data})
        self.assertEqual((got["revision_hash"], got["new_revision"]), (self.current(data), True))
        self.assertIsNotNone(got["signed_by"])

    def test_pulling(self):
        command, after = self.pull_command()
        self.everywhere(*command, after=after)

    def test_pulling_a_new_template(self):
        command, _ = self.pull_command()
        self.everywhere(*command[:-1], "new")

    def test_pushing(self):
        self.everywhere(*self.push_command(), after=self.pushed)

    def test_pruning_beside_a_pull(self):
        self.prune_beside(*self.pull_command()[0])

    def test_pruning_beside_a_push(self):
        self.prune_beside(*self.push_command())

    # ---- mvm-registry ----

    def in_the_helper(self, command, after):
        """Run a command with every fault at every call of mvm-registry."""
        real = os.path.join(os.path.dirname(harness.MVM), "mvm-registry")
        log = self.write("calls", "", 0o666) # it is another user's process
        failed = set()

        def lib(at, what, log="/dev/null"):
            path = f"lib-{what}-{at}"
            self.write(path + "/mvm-registry", FAULTY.format(faults=FAULTS, at=at, what=what, log=log, real=real), 0o755)
            return {"MVM_LIBEXEC_DIR": self.path(path)}

        def one(at, what, says, helper):
            where = f"{' '.join(command[1:])}: {what} at call {at} of mvm-registry"
            data = self.copy_of_base()
            env = self.environment({"MVM_DATA_DIR": data, **helper})
            done = subprocess.run(self.words(command, data), env=env, cwd=self.folder, capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, timeout=300, check=False)
            self.assertIn(done.returncode, range(0, 7), f"{where}: {done.stderr}")
            if done.returncode: # bytes may have come in fewer pieces this time
                self.assertIn(says, done.stderr, where)
                failed.add(what)
            self.whole(data, where)
            again = self.run_in(data, command)
            self.assertEqual(again.returncode, 0, f"{where}: run again: {again.stderr}")
            self.whole(data, where + ", run again")
            after(data)
            self.remove(data)

        data = self.copy_of_base()
        done = self.mvm("template", *command[2:], env={"MVM_DATA_DIR": data, **lib(0, "nothing", log)})
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(log, encoding="ascii") as file:
            calls = len(file.readlines())
        self.assertGreater(calls, 3)
        faults = {"kill-before": "has ended unexpectedly", "kill-after": "has ended unexpectedly",
                  "EIO": "Input/output error", "ENOSPC": "No space left on device"}
        # the helpers are written before a thread forks, whose child would have them open for writing
        self.in_parallel(one, [(at, what, says, lib(at, what)) for what, says in faults.items() # it makes only few calls
                               for at in range(1, calls + 1, max(1, STEP // 5))])
        self.assertEqual(failed, set(faults))

    def test_the_helper_of_a_pull(self):
        self.in_the_helper(*self.pull_command())


@unittest.skipUnless(os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK), "FUSE cannot be mounted")
class Started(MovedCase):
    """Pulls that VMs start from: mvm-pull fetches, shows the files to VMs and publishes.  There is no VMM, so no
    VM starts."""

    def setUp(self):
        super().setUp()
        self.in_base("key", "trust", self.base + "/keys/mine.pub")
        self.calls = []

    def push(self, text):
        """Push another revision, snapshot and signature, and return its name."""
        other, new = self.other_revision([harness.MVM, "template", "push", "web-worker", self.there, "--sign", "mine"],
                                         text=text)
        shutil.rmtree(other)
        return new

    def lib(self, at, what, log="/dev/null"):
        real, lib = os.path.dirname(harness.MVM), self.path(f"lib-{what}-{at}")
        self.write(lib + "/mvm-pull", FAULTY.format(faults=FAULTS, at=at, what=what, log=log, real=real + "/mvm-pull"),
                   0o755)
        for helper in "mvm-registry", "mvm-lazy":
            os.symlink(f"{real}/{helper}", f"{lib}/{helper}")
        return lib

    def run_words(self, data, lib):
        return ([harness.MVM, "run", "--template", self.there, "--", "true"],
                self.environment({"MVM_DATA_DIR": data, "MVM_LIBEXEC_DIR": lib}))

    def until(self, holds, what):
        deadline = time.monotonic() + harness.PATIENCE_S
        while not holds():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.02)

    def start(self, data, lib):
        words, env = self.run_words(data, lib)
        done = subprocess.run(words, env=env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 125, done.stderr)
        self.until(lambda: not harness.processes_of(data), "mvm-pull goes on") # when the command has ended
        return done.stderr

    def published(self, data, new):
        path = data + "/templates/web/current/revision.json"
        return os.path.exists(path) and os.path.basename(os.readlink(os.path.dirname(path))) == new

    def count(self, new):
        """The calls of mvm-pull without a fault."""
        log, data = self.path("calls"), self.copy_of_base()
        said = self.start(data, self.lib(0, "nothing", log))
        self.assertNotIn("VMs start when all of it is here", said)
        self.assertTrue(self.published(data, new), said)
        self.remove(data)
        self.calls = names_of(log)

    def one_pull(self, at, what, lib, new, ended):
        where = f"{what} at call {at} of mvm-pull"
        data = self.copy_of_base()
        said = self.start(data, lib)
        ended.add(("mvm-pull has ended unexpectedly" in said, self.published(data, new)))
        if what in ERRORS: # what fails after a VM could start is the VM's to say, and there is none
            self.assertRegex(said, r"Input/output error|No space left on device|no backend here can run", where)
        self.whole(data, where)
        again = self.run_in(data, [harness.MVM, "template", "pull", self.there])
        self.assertEqual(again.returncode, 0, f"{where}: run again: {again.stderr}")
        self.whole(data, where + ", run again")
        self.assertTrue(self.published(data, new), where)
        self.assertEqual(os.listdir(data + "/cache/pulls"), [], where)
        self.remove(data)

    def sweep(self, new, every=1):
        """every: try only so many of the sample's faults; check-long tries all."""
        ended = set()
        self.count(new)
        faults = list(points(self.calls))[::every if STEP > 1 else 1]
        tried = [(at, what, self.lib(at, what), new, ended) for what, at in faults]
        self.in_parallel(self.one_pull, tried)
        # some were killed before a VM could start, some between that and the end
        self.assertLessEqual({(True, False), (False, False)}, ended)
        print(f"# mvm-pull: {len(self.calls)} calls, {len(tried)} faults", file=sys.stdout, flush=True)

    def test_a_new_template(self):
        self.sweep(self.push("two"))

    def test_a_new_revision_of_a_template(self):
        old = self.push("two")
        self.in_base("template", "pull", self.there)
        self.assertTrue(self.published(self.base, old))
        self.sweep(self.push("three"), every=3)

    def prune_meanwhile(self, at, lib, new):
        """Stop mvm-pull at a call while a prune runs; the pull must publish all the same."""
        where = f"mvm-pull is stopped at call {at}"
        data = self.copy_of_base()
        words, env = self.run_words(data, lib)
        with subprocess.Popen(words, env=env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as run:
            self.until(lambda: self.stopped(data), where)
            with subprocess.Popen([harness.MVM, "template", "prune", "--keep", "1"], cwd=self.folder,
                                  env=self.environment({"MVM_DATA_DIR": data}), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as prune:
                try:
                    prune.wait(0.5)
                except subprocess.TimeoutExpired:
                    pass # the prune waits for a lock
                for pid in self.stopped(data):
                    os.kill(pid, signal.SIGCONT)
                said = prune.communicate(timeout=300)[1]
                self.assertEqual(prune.returncode, 0, f"{where}: {said}")
            said = run.communicate(timeout=300)[1]
        self.until(lambda: not harness.processes_of(data), where)
        self.assertTrue(self.published(data, new), f"{where}: {said}")
        self.whole(data, where)
        self.remove(data)

    @staticmethod
    def stopped(data):
        """The processes of mvm-pull that are stopped."""
        found = []
        for pid, command in harness.processes_of(data).items():
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    if "mvm-pull" in command and file.read().rpartition(")")[2].split()[0] == "T":
                        found.append(pid)
            except OSError:
                pass # it has ended
        return found

    def test_pruning_beside_it(self):
        old = self.push("two")
        self.in_base("template", "pull", self.there)
        self.assertTrue(self.published(self.base, old))
        new = self.push("three")
        self.count(new)
        self.in_parallel(self.prune_meanwhile, [(at, self.lib(at, "stop"), new)
                                                for at in range(1, len(self.calls) + 1, 2 * STEP if STEP > 1 else 1)])


if __name__ == "__main__":
    harness.main()
