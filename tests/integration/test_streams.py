# SPDX-License-Identifier: Apache-2.0
"""The library runs many commands at once, without a thread for each (mvm/stream.h)."""

import os
import signal
import subprocess
import unittest

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
        for name in names: # the commands have left nothing
            self.assertNotIn("read line", self.exec(name, "busybox", "ps"))

        with self.subTest("all that an agent has streams for, but for the supervisor's own"):
            done = self.run_commands(250, names[0])
            self.assertIn("250 of 250 commands in 1 VMs", done.stdout, done.stderr)

    def held_commands(self, each):
        """Start the program with commands in two VMs, and keep it waiting: the second VM's supervisor is
        stopped.  Returns the program and both VMs' records, once the first VM's commands run."""
        self.mvm_ok("run", "-T", "web-worker", "-d", "--count", "2", "--name", "web")
        first, second = self.inspect("web-1"), self.inspect("web-2")
        os.kill(second["supervisor_pid"], signal.SIGSTOP)
        self.addCleanup(os.kill, second["supervisor_pid"], signal.SIGCONT)
        program = subprocess.Popen([self.program, str(each), "web-1", "web-2"],
                                   env=self.environment(), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        self.assertTrue(guests.wait_until(lambda: self.count_waiting("web-1") == each))
        return program, first, second

    def count_waiting(self, name):
        return self.exec(name, "busybox", "ps").count("sh -c read line")

    def test_a_vm_that_is_killed_fails_its_own_commands_only(self):
        program, first, second = self.held_commands(20)
        os.kill(first["vmm_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.inspect("web-1")["state"] == "failed"))
        os.kill(second["supervisor_pid"], signal.SIGCONT)
        out, err = program.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual((out, program.returncode), (
            "20 of 40 commands in 2 VMs did as they were told\n", 1), err)
        self.assertEqual(sorted(err.splitlines()),
                         sorted(f"web-1 {n}: the VM has ended" for n in range(0, 40, 2)))

    def test_a_program_that_gets_sigterm_takes_its_commands_along(self):
        program, _, second = self.held_commands(20)
        program.terminate()
        self.assertEqual(program.wait(harness.PATIENCE_S), -signal.SIGTERM)
        os.kill(second["supervisor_pid"], signal.SIGCONT)
        for name in ("web-1", "web-2"):
            self.assertTrue(guests.wait_until(lambda n=name: self.count_waiting(n) == 0))

    @unittest.skipUnless(os.getuid() == 0, "needs root, to mount a small file system")
    def test_commands_run_while_the_disk_of_the_logs_is_full(self):
        script = r"""
import subprocess, sys
mvm, instances, program = sys.argv[1:]
subprocess.run([mvm, "run", "-T", "web-worker", "-d", "--name", "one"], check=True,
               stdout=subprocess.DEVNULL)
with open(instances + "/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(512))
    except OSError:
        pass
subprocess.run([mvm, "exec", "one", "--", "sh", "-c",
                "busybox seq 1 20000 > /dev/console"], check=True)
subprocess.run([program, "50", "one"], check=True)
subprocess.run([mvm, "stop", "one"], check=True, stdout=subprocess.DEVNULL)
"""
        done = self.on_small_disk("512k", script, self.program)
        self.assertEqual((done.stdout, done.returncode), (
            "50 of 50 commands in 1 VMs did as they were told\n", 0), done.stderr)


if __name__ == "__main__":
    guests.main()
