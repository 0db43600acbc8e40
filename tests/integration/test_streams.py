# SPDX-License-Identifier: Apache-2.0
"""Many commands at once by the library, without a thread for each (mvm/stream.h)."""

import os
import subprocess

import guests
import harness

BUILD_DIR = os.path.dirname(harness.MVM)
EXAMPLE = os.path.join(harness.SOURCE_DIR, "examples", "api", "commands.c")
VMS, COMMANDS = 4, 50


@harness.needs_guests
class Streams(guests.TestCase):
    config = guests.CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.program = os.path.join(cls.shared, "commands")
        lib = os.path.join(BUILD_DIR, "lib")
        subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic",
                        "-I", os.path.join(harness.SOURCE_DIR, "include"), EXAMPLE,
                        "-L", lib, "-Wl,-rpath," + lib, "-lmvm", "-o", cls.program],
                       check=True, timeout=harness.PATIENCE_S)

    def run_commands(self, each, *names):
        return subprocess.run([self.program, str(each), *names], env=self.environment(),
                              capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_S)

    def test_one_loop_runs_two_hundred_commands_in_four_vms(self):
        self.mvm_ok("run", "-T", "web-worker", "-d", "--count", str(VMS), "--name", "web")
        names = [f"web-{i + 1}" for i in range(VMS)]
        done = self.run_commands(COMMANDS, *names)
        n = VMS * COMMANDS
        self.assertEqual((done.stderr, done.stdout, done.returncode), (
            "", f"{n} of {n} commands in {VMS} VMs did as they were told\n", 0))
        for name in names: # and nothing is left of them
            self.assertNotIn("read line", self.exec(name, "busybox", "ps"))

        with self.subTest("all that an agent has streams for, but for the supervisor's own"):
            done = self.run_commands(250, names[0])
            self.assertIn("250 of 250 commands in 1 VMs", done.stdout, done.stderr)


if __name__ == "__main__":
    guests.main()
