#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sixteen processes at once build, create, edit, delete, list and publish in one data folder.

Nothing may be torn, lost or stuck: every answer is complete, every reported edit is there at the end,
no command waits for ever, and all revisions, blobs and cache entries verify.

Environment: MVM, CRASH_DRIVER, TOGETHER_SECONDS (how long), TOGETHER_SEED.
"""

import collections
import json
import os
import random
import subprocess
import threading
import time

import harness
from tiny_kernel import tiny_kernel

DRIVER = os.environ["CRASH_DRIVER"]
SECONDS = float(os.environ.get("TOGETHER_SECONDS", "10"))
SEED = int(os.environ.get("TOGETHER_SEED", str(os.getpid())))
WORKERS = 16
SHARED = ("shared-0", "shared-1", "shared-2")
MISSING, BUSY = 3, 4


class Worker(threading.Thread):
    """Runs one command after the other; self.wrong lists the failures."""

    def __init__(self, test, number, until):
        super().__init__()
        self.test, self.number, self.until = test, number, until
        self.random = random.Random(SEED * 1000 + number)
        self.count = collections.Counter()
        self.edits = {} # template: the last value that a successful edit of ours has set
        self.wrong = None

    def run(self):
        jobs = [self.edit, self.edit, self.build, self.build, self.come_and_go, self.apply,
                self.list, self.list, self.info, self.snapshot, self.rollback, self.prune]
        try:
            while time.monotonic() < self.until and not self.wrong:
                job = self.random.choice(jobs)
                job(self.random.choice(SHARED))
                self.count[job.__name__] += 1
        except Exception as error: # the main thread reports it
            self.wrong = f"{type(error).__name__}: {error}"

    def mvm(self, *args, good=(0,), program=harness.MVM):
        done = subprocess.run([program, *args], env=self.test.environment(), text=True,
                              cwd=self.test.folder, stdin=subprocess.DEVNULL, timeout=300,
                              capture_output=True, check=False)
        if done.returncode not in good:
            self.wrong = f"{' '.join(args)}: status {done.returncode}: {done.stderr}"
        return done

    def edit(self, template):
        """Each worker sets its own variable in the same template."""
        value = str(self.count["edit"])
        self.mvm("template", "edit", template, "-e", f"W{self.number}={value}")
        self.edits[template] = value

    def build(self, template):
        self.mvm("template", "build", template)

    def apply(self, _):
        name = self.random.choice(["same", f"other-{self.number}"])
        config = self.test.config(f"{name}-{self.number}", name, self.random.randint(1, 4))
        self.mvm("template", "apply", config)

    def come_and_go(self, _):
        """Build and delete templates whose sources no other template has: their blobs become garbage in
        between, and are needed again."""
        name = self.random.choice(["brief-0", "brief-1"])
        source = self.test.path(f"brief-root-{self.random.randrange(3)}")
        self.mvm("template", "create", name, "--flake", "dir:" + source, "--force", good=(0, BUSY))
        self.mvm("template", "build", name, good=(0, MISSING))
        self.mvm("template", "delete", name, "--force", good=(0, MISSING))

    def list(self, _):
        done = self.mvm("template", "list", "--json")
        if self.wrong:
            return
        listed = {each["template_id"]: each for each in json.loads(done.stdout)}
        if not set(SHARED) <= set(listed):
            self.wrong = f"listed: {sorted(listed)}"
        for each in listed.values():
            if each.get("problem"):
                self.wrong = f"listed: {each}"

    def info(self, template):
        done = self.mvm("template", "info", template, "--json")
        if not self.wrong and json.loads(done.stdout)["spec"]["template_id"] != template:
            self.wrong = done.stdout

    def rollback(self, template):
        self.mvm("template", "rollback", template, good=(0, MISSING))

    def prune(self, _):
        self.mvm("template", "prune", "--keep", "2", *self.random.choice([[], ["--dry-run"]]))

    def snapshot(self, template):
        """Exchange the current revision's folder while others read it."""
        done = self.mvm(self.test.data_dir, "snapshot", template, good=(0, 1), program=DRIVER)
        if done.returncode and "has not been built" not in done.stderr:
            self.wrong = done.stderr


class Together(harness.TestCase):
    def config(self, file, name, vcpus):
        return self.write(file + ".toml", f'flake_ref = "dir:root"\n[[variants]]\nname = "{name}"\n'
                          f'role = "worker"\nvcpus = {vcpus}\nmem_mib = 128\n')

    def test_sixteen_processes_in_one_data_folder(self):
        print("# seed", SEED)
        self.write("root/etc/hostname", "one\n")
        for number in range(3):
            self.write(f"brief-root-{number}/etc/hostname", f"{number}\n")
        with open(self.path("vmlinux"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.mvm_ok("kernel", "add", self.path("vmlinux"))
        for name in SHARED:
            self.mvm_ok("template", "apply", self.config(name, name, 1))

        until = time.monotonic() + SECONDS
        workers = [Worker(self, number, until) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        total = sum((worker.count for worker in workers), collections.Counter())
        print("#", dict(total), flush=True)
        self.assertEqual([worker.wrong for worker in workers if worker.wrong], [])

        for name in SHARED:
            env = self.mvm_json("template", "info", name)["spec"].get("run", {}).get("env", {})
            want = {f"W{worker.number}": worker.edits[name] for worker in workers
                    if name in worker.edits}
            self.assertEqual(env, want, "an update was lost")
        self.assertEqual(os.listdir(self.data_dir + "/tmp"), [])
        done = subprocess.run([DRIVER, self.data_dir, "check"], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    harness.main()
