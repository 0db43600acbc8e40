# SPDX-License-Identifier: Apache-2.0
"""Shared by the crash tests: running a command again and again, each time with one fault.

Environment: as for fault_case.py, and CRASH_DRIVER.
"""

import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys

import harness
from fake_instance import FakeInstance
from fault_case import ERRORS, FAULTS, STEP, FaultCase, names_of, points

DRIVER = os.environ["CRASH_DRIVER"]


class CrashCase(FaultCase):
    """Each test runs one command; self.base has a template."""

    explains_room = True # False: the message looks whether the disk is full, and here it is not

    def setUp(self):
        super().setUp()
        self.with_vm = False # a FakeInstance in each data folder
        self.vms = {} # of data folders
        self.addCleanup(lambda: [vm.close() for vm in self.vms.values()])
        self.config("web", 1)
        self.write("root/etc/hostname", "one\n")
        self.in_base("template", "build", "--config", self.path("web.toml"))

    def config(self, name, vcpus):
        self.write(name + ".toml", f'template_id = "{name}"\nflake_ref = "dir:root"\n[[variants]]\n'
                   f'role = "worker"\nvcpus = {vcpus}\nmem_mib = 128\n')

    def run_in(self, data, command, fault=None):
        env = self.environment({"MVM_DATA_DIR": data, **(fault or {})})
        if fault:
            env["LD_PRELOAD"] = FAULTS
        return subprocess.run(self.words(command, data), env=env, cwd=self.folder, capture_output=True, text=True,
                              errors="replace", stdin=subprocess.DEVNULL, timeout=300, check=False)

    @staticmethod
    def name_of(data):
        """A name of its own for each data folder, which a repository may have."""
        return "d" + os.path.basename(data).encode().hex()

    def words(self, command, data):
        return [word.replace("DATA", data).replace("NAME", self.name_of(data)) for word in command]

    def whole(self, data, where):
        """Check that the next command sweeps, and that nothing is damaged."""
        done = self.run_in(data, [harness.MVM, "template", "list"])
        self.assertEqual(done.returncode, 0, f"{where}: the next command: {done.stderr}")
        self.assertEqual(os.listdir(data + "/tmp") if os.path.isdir(data + "/tmp") else [], [],
                         f"{where}: staging was left")
        for name in os.listdir(data + "/templates"):
            self.assertTrue(os.path.exists(f"{data}/templates/{name}/template.json"),
                            f"{where}: '{name}' is empty")
        done = self.run_in(data, [DRIVER, data, "check"])
        self.assertEqual(done.returncode, 0, f"{where}: {done.stderr}")

    def one(self, command, what, at, after):
        """Run the command once, with one fault."""
        where = f"{' '.join(command[1:])}: {what} at call {at}"
        data = self.copy_of_base()
        done = self.run_in(data, command, {"MVM_FAULT_AT": str(at), "MVM_FAULT_DO": what})
        if what in ERRORS:
            self.assertIn(done.returncode, range(0, 7), f"{where}: {done.stderr}")
            if done.returncode:
                self.assertRegex(done.stderr, r"\S+: \S.*\S", where)
            if what == "ENOSPC" and self.explains_room and done.returncode and command[0] == harness.MVM:
                self.assertIn("hint: make room on its disk", done.stderr, where)
        elif done.returncode != 0: # kill-half does nothing at calls other than a write
            self.assertEqual(done.returncode, -9, f"{where}: {done.stderr}")
        self.whole(data, where)
        removes = {"rm", "delete"} & set(command)
        self.assertTrue(os.path.exists(data + "/templates/web-worker/template.json") or removes,
                        where)
        again = self.run_in(data, command)
        good = {0, 3} if removes else {0} # 3: the first run has removed it
        if "generate" in command:
            good = {0, 4} # 4: the first run has made the key
        self.assertIn(again.returncode, good, f"{where}: run again: {again.stderr}")
        self.whole(data, where + ", run again")
        after(data)
        self.remove(data)

    def meanwhile(self, command, other, at):
        """Stop the command at a call while another one runs; both must succeed."""
        data = self.copy_of_base()
        env = self.environment({"MVM_DATA_DIR": data, "LD_PRELOAD": FAULTS,
                                "MVM_FAULT_AT": str(at), "MVM_FAULT_DO": "stop"})
        with subprocess.Popen(self.words(command, data), env=env, cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True) as first:
            os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            with subprocess.Popen(other, env=self.environment({"MVM_DATA_DIR": data}),
                                  cwd=self.folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True) as second:
                try:
                    second.wait(0.5)
                except subprocess.TimeoutExpired:
                    pass # the other command waits for a lock
                first.send_signal(signal.SIGCONT)
                for each, name in (first, "stopped"), (second, "other"):
                    said = each.communicate(timeout=300)[1]
                    self.assertEqual(each.returncode, 0, f"at call {at}, {name}: {said}")
        self.whole(data, f"at call {at}")
        self.remove(data)

    def copy_of_base(self):
        data = super().copy_of_base()
        if self.with_vm:
            self.vms[data] = FakeInstance(data, "vm", "web-worker", self.current(data))
        return data

    def remove(self, data):
        if data in self.vms:
            self.vms.pop(data).close()
        shutil.rmtree(data)

    def calls_of(self, command):
        """The names of the calls that a command makes."""
        log = self.path("calls")
        done = self.run_in(self.copy_of_base(), command, {"MVM_FAULT_LOG": log})
        self.assertEqual(done.returncode, 0, done.stderr)
        return names_of(log)

    def in_parallel(self, function, arguments):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            tasks = [pool.submit(function, *each) for each in arguments]
        errors = [task.exception() for task in tasks if task.exception()]
        for error in errors[1:]: # a sweep of an hour tells all that it has found
            print("# also:", str(error).replace("\n", "\n# "), flush=True)
        if errors:
            raise errors[0]

    def everywhere(self, *command, after=lambda data: None):
        """Run the command with every fault at every call (CRASH_STEP)."""
        calls = self.calls_of(command)
        self.assertGreater(len(calls), 3)
        tried = [(command, what, at, after) for what, at in points(calls)]
        self.in_parallel(self.one, tried)
        print(f"# {' '.join(command[1:])}: {len(calls)} calls, {len(tried)} faults",
              file=sys.stdout, flush=True)

    def current(self, data):
        return os.path.basename(os.readlink(data + "/templates/web-worker/current"))

    def prune_beside(self, *command):
        calls = self.calls_of(command)
        prune = [harness.MVM, "template", "prune", "--keep", "1"]
        self.in_parallel(self.meanwhile, [(command, prune, at)
                                          for at in range(1, len(calls) + 1, STEP)])

    def other_revision(self, *commands, text="two"):
        """Another data folder with a new revision of web-worker and its snapshot, and run commands there;
        returns the folder and the revision."""
        self.write("root/etc/hostname", text + "\n")
        other = self.path("other")
        subprocess.run(["cp", "-a", self.base, other], check=True)
        for command in ([harness.MVM, "template", "build", "web-worker"],
                        [DRIVER, "DATA", "snapshot", "web-worker"], *commands):
            done = self.run_in(other, command)
            self.assertEqual(done.returncode, 0, done.stderr)
        return other, self.current(other)
