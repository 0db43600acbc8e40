# SPDX-License-Identifier: Apache-2.0
"""Parallel builds of one source, with the real nix."""

import json
import os
import signal
import subprocess
import time

import flakes
import harness

BUSY = 4


class TestCase(flakes.TestCase):
    def setUp(self):
        super().setUp()
        # a build that goes on until the test says so
        self.flake({"default": f"echo run >>{self.path('runs')}; "
                               f"while ! [ -e {self.path('go')} ]; do $bb sleep 0.02; done; "
                    + flakes.rootfs_with("slow")})
        for name in ("one", "two", "three"):
            self.mvm_ok("template", "apply", self.config(name=name))
        self.addCleanup(self.write, "go", "")

    def start(self, name):
        process = subprocess.Popen([harness.MVM, "template", "build", name, "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=self.environment(), cwd=self.folder,
                                   start_new_session=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def wait_for(self, what, condition):
        deadline = time.monotonic() + harness.PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"still waiting for {what}")
            time.sleep(0.01)

    def runs(self):
        if not os.path.exists(self.path("runs")):
            return 0
        return len(flakes.read(self.path("runs")).splitlines())

    def result(self, process):
        out, err = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 0, err)
        return json.loads(out)[0]


class OneSource(TestCase):
    def waits(self, process, first):
        """The second build says which process it waits for."""
        line = process.stderr.readline()
        while line and "waiting" not in line:
            line = process.stderr.readline()
        self.assertIn(f"two: waiting for process {first.pid} template build one, which builds from "
                      "the same source", line)

    def turns(self):
        return [name for name in os.listdir(os.path.join(self.data_dir, "locks"))
                if name.startswith("build.")]

    def test_two_builds_share_one_run(self):
        first = self.start("one")
        self.wait_for("the first build", self.runs)
        second = self.start("two")
        self.waits(second, first)
        says = self.mvm_fails(BUSY, "template", "build", "three", "--no-wait")
        self.assertIn(f"process {first.pid} template build one is building", says)
        # a dry run builds nothing, so it needs no lock
        self.mvm_ok("template", "build", "three", "--dry-run")
        self.write("go", "")
        self.assertFalse(self.result(first)["cached"])
        self.assertTrue(self.result(second)["cached"])
        self.assertEqual(self.runs(), 1)
        self.assertEqual(self.nix_builds(), 1)
        self.assertEqual(self.revision("one")["artifact_paths"],
                         self.revision("two")["artifact_paths"])
        self.assertEqual(self.turns(), [])

    def test_when_the_first_is_killed_the_second_builds(self):
        first = self.start("one")
        self.wait_for("the first build", self.runs)
        second = self.start("two")
        self.waits(second, first)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        self.write("go", "")
        self.assertFalse(self.result(second)["cached"])
        self.assertTrue(self.build(config=self.config(name="three"))["cached"])
        self.assertEqual(self.turns(), [])

    def test_a_turn_that_nobody_ends_is_swept(self):
        first = self.start("one")
        self.wait_for("the first build", self.runs)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        self.assertEqual(len(self.turns()), 1)
        self.mvm_ok("template", "prune")
        self.assertEqual(self.turns(), [])


if __name__ == "__main__":
    harness.main()
