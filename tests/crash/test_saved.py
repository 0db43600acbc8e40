#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A supervisor is killed, or its calls fail, at every call with which it keeps a VM's state.

After each its VM runs on, or is suspended whole, or is lost with its supervisor; and the next
command leaves nothing half-made.  And a snapshot is replaced at every call of a suspend, and the
other way round.

Environment: as for fault_case.py, and SAVE_DRIVER.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess

import harness
from fake_instance import FakeInstance
from fault_case import ERRORS, FAULTS, FaultCase, names_of, points

DRIVER = os.environ["SAVE_DRIVER"]
FILES = ["data.ext4", "instance.json", "lock"]
MEMORY = ("mem.bin", "vmstate.bin")
REVISION = "8e09f99e74a7162c4dbf2bdc68bbe9a6"


def snapshot_of(data):
    """Of the revision that lies beside a data folder."""
    return os.path.join(data + "-revisions", REVISION, "snapshot")


def identity(path):
    """As base/file.h has it."""
    st, second = os.stat(path), 10 ** 9
    times = [f"{ns // second}.{ns % second:09}" for ns in (st.st_mtime_ns, st.st_ctime_ns)]
    return ":".join(map(str, (st.st_dev, st.st_ino, st.st_size, *times)))


class Saved(FaultCase):
    def setUp(self):
        super().setUp()
        self.write("snapshot/mem.bin", "memory\n")
        self.write("snapshot/vmstate.bin", "devices\n")
        folder = os.path.join(self.base, "instances", "vm")
        os.makedirs(folder, mode=0o700)
        os.chmod(os.path.dirname(folder), 0o700)
        record = dict(schema_version=1, name="vm", template_id="web-worker",
                      revision_hash=REVISION, state="running",
                      start="restore", backend="qemu", vcpus=1, mem_mib=128, forwards=[],
                      created_at="2026-01-01T00:00:00Z", attached=False, purpose="user",
                      boot_args="", health="none", restarts=0, ttl_ms=0, remove_at_end=False,
                      log_max_bytes=0, machine_id="0" * 32,
                      data_disk={"size_mib": 8, "copy": "sparse"})
        for name, text in (("lock", "4321 run\n"), ("instance.json", json.dumps(record)),
                           ("data.ext4", "disk\n")):
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(os.path.join(folder, name), 0o600)

    def drive(self, data, verb, fault=None):
        """Returns the driver's status."""
        env = self.environment(fault or {})
        if fault:
            env["LD_PRELOAD"] = FAULTS
        done = subprocess.run([DRIVER, data + "/instances/vm", snapshot_of(data), verb], env=env,
                              capture_output=True, text=True, timeout=self.timeout, check=False)
        return done.returncode

    def copy_of_base(self):
        data = super().copy_of_base()
        shutil.copytree(self.path("snapshot"), snapshot_of(data))
        return data

    def files(self, data):
        return sorted(os.listdir(data + "/instances/vm"))

    def state(self, data):
        """The VM's state for the next command, which sweeps what was left."""
        done = self.mvm("--data-dir", data, "inspect", "vm")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.mvm("--data-dir", data, "ps", status=0)
        return json.loads(self.mvm("--data-dir", data, "inspect", "vm", status=0).stdout)["state"]

    def suspend(self, data):
        """Suspend it, and begin its resume as the starter does."""
        self.assertEqual(self.drive(data, "suspend"), 0)
        path = data + "/instances/vm/instance.json"
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        self.assertEqual(record["state"], "suspended")
        record.update(state="starting", continues="suspended")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)

    def calls_of(self, verb, suspended):
        data, log = self.copy_of_base(), self.path("calls")
        if suspended:
            self.suspend(data)
        self.assertEqual(self.drive(data, verb, {"MVM_FAULT_LOG": log}), 0)
        return names_of(log)

    def everywhere(self, verb, check, suspended=False):
        calls, tried = self.calls_of(verb, suspended), 0
        self.assertGreater(len(calls), 3)
        for what, at in points(calls):
            where = f"{verb}: {what} at call {at}, {calls[at - 1]}"
            data = self.copy_of_base()
            if suspended:
                self.suspend(data)
            status = self.drive(data, verb, {"MVM_FAULT_AT": str(at), "MVM_FAULT_DO": what})
            self.assertIn(status, (0, 1) if what in ERRORS else (0, -9), where)
            with self.subTest(where):
                check(data, status, where)
            shutil.rmtree(data)
            shutil.rmtree(data + "-revisions")
            tried += 1
        print(f"# {verb}: {len(calls)} calls, {tried} faults", flush=True)

    def test_a_suspend(self):
        def check(data, status, where):
            there = "saved" in self.files(data)
            if status == 0:
                self.assertTrue(there, where)
            if status == 1: # its VM runs on, so its state must not be there
                self.assertFalse(there, where)
            self.assertEqual(self.state(data), "suspended" if there else "failed", where)
            self.assertEqual(self.files(data), sorted(FILES + ["saved"] * there), where)
            if there:
                self.assertEqual(self.drive(data, "check"), 0, where)

        self.everywhere("suspend", check)

    def test_a_fork(self):
        def check(data, status, where):
            self.assertNotIn("saved", self.files(data), where)
            if status == 0 and "EIO" not in where: # else the next command removes it
                self.assertFalse([n for n in self.files(data) if n.startswith("fork")], where)
            self.assertEqual(self.state(data), "failed", where) # without its supervisor
            self.assertEqual(self.files(data), FILES, where)

        self.everywhere("fork", check)

    def test_a_resume(self):
        def check(data, status, where):
            there = "saved" in self.files(data)
            ran, heard = [os.path.exists(os.path.join(snapshot_of(data), f)) for f in ("ran", "heard")]
            self.assertFalse(heard and there, where) # no state has effects twice
            self.assertTrue(ran or there, where) # nor is one lost before its guest runs
            if status == 1:
                self.assertTrue(there, where)
            self.assertEqual(self.state(data), "suspended" if there else "failed", where)
            self.assertEqual(self.files(data), sorted(FILES + ["saved"] * there), where)
            if there:
                self.assertEqual(self.drive(data, "check"), 0, where)
                self.assertEqual(self.drive(data, "resume"), 0, where)

        self.everywhere("resume", check, suspended=True)


    def test_a_resume_that_the_hosts_crash_has_ended(self):
        data = self.copy_of_base()
        self.suspend(data)
        self.assertEqual(self.drive(data, "check"), 0)
        os.symlink("another boot", data + "/instances/vm/saved/resuming")
        self.assertEqual(self.state(data), "suspended")
        self.assertEqual(self.drive(data, "check"), 0)
        # its guest has written, and the disk's times did not reach the host's disk
        disk, saved = data + "/instances/vm/data.ext4", data + "/instances/vm/saved/saved.json"
        with open(disk, "w", encoding="ascii") as file:
            file.write("DISK\n")
        with open(saved, encoding="utf-8") as file:
            info = json.load(file)
        info["data_disk"]["identity"] = identity(disk)
        with open(saved, "w", encoding="utf-8") as file:
            json.dump(info, file)
        self.assertEqual(self.drive(data, "check"), 1)
        os.unlink(data + "/instances/vm/saved/resuming")
        self.assertEqual(self.drive(data, "check"), 0) # by its times


class Replaced(FaultCase):
    """`template snapshot --rm` while a VM is suspended: one of both is refused."""

    def setUp(self):
        super().setUp()
        self.write("root/etc/hostname", "one\n")
        self.in_base("template", "create", "web-worker", "--flake", "dir:" + self.path("root"))
        self.in_base("template", "build", "web-worker")
        folder = os.path.join(self.base, "templates", "web-worker", "artifacts")
        revision, = os.listdir(folder)
        self.revision = os.path.join("templates", "web-worker", "artifacts", revision)
        self.snapshot = os.path.join(self.revision, "snapshot")
        os.mkdir(os.path.join(self.base, self.snapshot), 0o700)
        for name in MEMORY:
            with open(os.path.join(self.base, self.snapshot, name), "w", encoding="ascii") as file:
                file.write(name)
        rev = self.read_json("revision.json")
        rev["snapshot"] = dict(created_at="2026-01-01T00:00:00Z", vmstate_size_bytes=11, mem_size_bytes=7,
                               boot_args="", vcpus=1, mem_mib=128, compat={"nonce_sha256": "0" * 64})
        text, sums = json.dumps(rev), self.read_json("checksums.json")
        digest = lambda text: hashlib.sha256(text.encode()).hexdigest()
        sums["revision_sha256"] = digest(text)
        sums["files"].update({"snapshot/" + name: digest(name) for name in MEMORY})
        self.write_again("revision.json", text)
        self.write_again("checksums.json", json.dumps(sums))

    def read_json(self, name):
        with open(os.path.join(self.base, self.revision, name), encoding="utf-8") as file:
            return json.load(file)

    def write_again(self, name, text):
        path = os.path.join(self.base, self.revision, name)
        os.unlink(path)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def suspending(self, data):
        return [DRIVER, data + "/instances/vm", os.path.join(data, self.snapshot), "suspend"]

    @staticmethod
    def removing(data):
        return [harness.MVM, "--data-dir", data, "template", "snapshot", "web-worker", "--rm"]

    def run_with(self, data, command, more=None):
        env = self.environment({"LEASE": data + "/locks/lease.web-worker", **(more or {})})
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def copy_with_vm(self):
        data = self.copy_of_base()
        instance = FakeInstance(data, "vm", "web-worker", os.path.basename(self.revision))
        self.addCleanup(instance.close)
        path = data + "/instances/vm/instance.json"
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        record.update(start="restore", machine_id="0" * 32)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        return data

    def calls_of(self, command):
        data, log = self.copy_with_vm(), self.path("calls")
        done = self.run_with(data, command(data), {"LD_PRELOAD": FAULTS, "MVM_FAULT_LOG": log})
        said = done.communicate(timeout=self.timeout)[1]
        self.assertEqual(done.returncode, 0, said)
        calls = names_of(log)
        os.unlink(log)
        return calls

    def one_stops_for_the_other(self, first, other):
        calls, seen = self.calls_of(first), set()
        for at, call in enumerate(calls, 1):
            data = self.copy_with_vm()
            with self.run_with(data, first(data), {"LD_PRELOAD": FAULTS, "MVM_FAULT_AT": str(at),
                                                   "MVM_FAULT_DO": "stop"}) as one:
                os.waitid(os.P_PID, one.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                with self.run_with(data, other(data)) as two:
                    try:
                        two.wait(harness.PATIENCE_S)
                    finally:
                        two.kill()
                        one.send_signal(signal.SIGCONT)
                    said = [each.communicate(timeout=self.timeout)[1] for each in (one, two)]
                    status = one.returncode, two.returncode
            where = f"at call {at}, {call}: {said}"
            suspended = os.path.exists(data + "/instances/vm/saved")
            there = os.path.exists(os.path.join(data, self.snapshot, "mem.bin"))
            self.assertTrue(there or not suspended, where) # what it needs is gone
            self.assertEqual(status.count(0), 1, where)
            seen.add((suspended, there))
            shutil.rmtree(data)
        self.assertEqual(seen, {(False, False), (True, True)})
        print(f"# stopped at {len(calls)} calls", flush=True)

    def test_a_suspend_while_the_snapshot_is_replaced(self):
        self.one_stops_for_the_other(self.removing, self.suspending)

    def test_the_snapshot_is_replaced_during_a_suspend(self):
        self.one_stops_for_the_other(self.suspending, self.removing)


if __name__ == "__main__":
    harness.main()
