# SPDX-License-Identifier: Apache-2.0
"""mvm on a busy host, on a host that lacks memory, and with captures that do not load."""

import os
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import agentproto
import guests
import harness

MIB = 1 << 20
PYTHON = "/usr/bin/python3" # the tests' own Python may lie where only their user can run it
RESUME = 67 # of the control socket (doc/agent-protocol.md)
MEMINFO = "MemTotal: 2000000 kB\nMemAvailable: 200000 kB\nSwapFree: 0 kB\n"
LOAD_ERROR = "VQ 4 size 0x400 < last_avail_idx 0x2 - used_idx 0x3"
# the VMM of the first clone refuses the snapshot; QEMU's user must be able to write the folder
REFUSES_ONCE = """#!/bin/sh
case "$*" in *-incoming*) if mkdir '%s/refused' 2>/dev/null; then echo '%s' >&2; exit 1; fi;; esac
exec qemu-system-x86_64 "$@"
"""
# the first boot ends as if its kernel had found no timer; it speaks QEMU's monitor and console
PANICS_ONCE = """#!%s
import os, re, sys
args = sys.argv[1:]
if "--version" not in args and "-incoming" not in args:
    try:
        os.mkdir("%s/panicked")
    except FileExistsError:
        pass
    else:
        os.write(3, b'{"QMP": {"version": {}, "capabilities": []}}\\r\\n')
        said = b""
        while b'"cont"' not in said:
            more = os.read(3, 4096)
            for call in re.findall(rb'"id": *(\\d+)', more):
                os.write(3, b'{"return": {}, "id": ' + call + b'}\\r\\n')
            said += more
        os.write(5, b"Kernel panic - not syncing: Attempted to kill init! "
                    b"exitcode=0x00004500\\r\\n")
        sys.exit(0)
os.execvp("qemu-system-x86_64", ["qemu-system-x86_64", *args])
"""
FULL_TMPFS = """set -e
cp -a --sparse=always {source} {small}/data
mvm() {{ {mvm} --data-dir {small}/data "$@"; }}
mvm run -T web-worker --require-snapshot -d --name one
dd if=/dev/zero of={small}/fill bs=1M || true
mvm exec one -- dd if=/dev/zero of=/dev/shm/big bs=1M count=50 || true
status=0; timeout 20 {mvm} --data-dir {small}/data wait one || status=$?
mvm rm -f one
exit $status
"""
SICK = guests.CONFIG.replace('"web"', '"sick"').replace(
    'http = "http://127.0.0.1:8080/"', 'http = "http://127.0.0.1:9/"\ntimeout_s = 2')


def memory_cgroup():
    """Make a cgroup that can limit memory, of the version that has the controller here; or None."""
    for mount, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                         ("/sys/fs/cgroup", "memory.max")):
        path = os.path.join(mount, f"mvm-test-{os.getpid()}")
        try:
            os.mkdir(path)
        except OSError:
            continue
        if os.path.exists(os.path.join(path, limit)):
            return path, limit
        os.rmdir(path)
    return None


@harness.needs_guests
class Load(guests.TestCase):
    config = guests.CONFIG

    def flags(self):
        """Make a folder for the files of a program in QEMU's place, which is another user if we are root."""
        os.chmod(self.folder, 0o711)
        os.mkdir(self.path("flags"))
        os.chmod(self.path("flags"), 0o777)
        return self.path("flags")

    def stand_in(self, text):
        """Make a program that runs in QEMU's place without its isolation; returns the environment."""
        return {"MVM_QEMU": self.write("qemu", text, 0o755), "MVM_ISOLATION": "off"}

    def test_a_capture_boots_again_a_guest_without_a_timer(self):
        self.own_data()
        env = self.stand_in(PANICS_ONCE % (PYTHON, self.flags()))
        self.mvm("template", "snapshot", "web-worker", env=env, status=0)
        self.assertTrue(os.path.isdir(self.path("flags", "panicked")))

    def test_a_capture_that_no_vmm_loads_is_made_again(self):
        self.own_data()
        env = self.stand_in(REFUSES_ONCE % (self.flags(), LOAD_ERROR))
        done = self.mvm("template", "snapshot", "web-worker", env=env, status=0)
        self.assertIn(LOAD_ERROR, done.stderr)
        self.assertIn("capturing again: attempt 2 of 3", done.stderr)
        name = self.mvm_json("run", "-T", "web-worker", "-d", "--require-snapshot",
                             env=env)["name"]
        self.assertEqual(self.exec(name, "hostname"), name + "\n")

    def ask_to_resume(self, snapshot, answers):
        """Ask the VM that is being captured to resume, again and again until the snapshot is made."""
        while snapshot.poll() is None:
            for name in self.instances():
                with socket.socket(socket.AF_UNIX) as sock:
                    try:
                        sock.connect(self.data("instances", name, "control.sock"))
                        agent = agentproto.Agent(sock)
                        while True:
                            try:
                                agent.call(RESUME)
                                answers.append("resumed")
                            except agentproto.Refused as refused:
                                answers.append(refused.message)
                    except (OSError, agentproto.Closed):
                        continue

    def test_a_vm_that_is_captured_cannot_be_resumed(self):
        self.own_data()
        snapshot = self.start_mvm("template", "snapshot", "web-worker")
        answers = []
        asker = threading.Thread(target=self.ask_to_resume, args=(snapshot, answers))
        asker.start()
        _, err = snapshot.communicate(timeout=2 * harness.PATIENCE_S)
        asker.join()
        self.assertEqual(snapshot.returncode, 0, err)
        self.assertNotIn("again", err)
        self.assertNotIn("resumed", answers)
        self.assertIn("this VM was started to be captured", answers)

    @unittest.skipUnless(os.getuid() == 0, "needs root, to mount")
    def test_too_many_vms_for_memory_are_refused_before_any_starts(self):
        enter = guests.in_own_mounts((self.write("meminfo", MEMINFO), "/proc/meminfo", "",
                                      guests.MS_BIND, ""))
        try:
            done = subprocess.run([harness.MVM, "run", "-T", "web-worker", "-d", "--count", "50"],
                                  env=self.environment(), preexec_fn=enter, capture_output=True,
                                  text=True, check=False, timeout=harness.PATIENCE_S)
        except subprocess.SubprocessError as error:
            self.skipTest(f"no mounts here: {error}")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("50 VMs do not fit: each takes at least 12 MiB", done.stderr)
        self.assertIn("are enough for 16", done.stderr)
        self.assertEqual(self.instances(), [])

    @unittest.skipUnless(os.getuid() == 0, "needs root, for a cgroup")
    def test_a_vmm_killed_for_memory_is_reported(self):
        made = memory_cgroup()
        if not made:
            self.skipTest("no cgroup here can limit memory")
        folder, limit = made
        self.addCleanup(lambda: guests.wait_until(lambda: not os.path.exists(folder)
                                                  or os.rmdir(folder) is None))
        record = self.run_detached()
        for file, value in ((limit, 16 * MIB), ("cgroup.procs", record["vmm_pid"])):
            with open(os.path.join(folder, file), "w", encoding="ascii") as out:
                out.write(str(value))
        self.mvm("exec", record["name"], "--", "sh", "-c",
                 "head -c 60M /dev/urandom >/tmp/big")
        says = "probably by the kernel: memory ran out"
        self.assertTrue(guests.wait_until(
            lambda: self.inspect(record["name"])["state"] == "failed"))
        error = self.inspect(record["name"])["error"]
        self.assertIn("was killed by signal 9", error)
        self.assertIn(says, error)
        self.assertIn("give the VM less", error)
        self.mvm_fails(1, "wait", record["name"], says=says)

    @unittest.skipUnless(os.getuid() == 0, "needs root, to mount")
    def test_a_clone_on_a_full_tmpfs_says_why_it_ended(self):
        """The clone's memory needs pages of the tmpfs that holds the snapshot, and gets none."""
        small = self.path("small")
        os.mkdir(small)
        enter = guests.in_own_mounts(("tmpfs", small, "tmpfs", 0, "size=240m,mode=0700"))
        script = FULL_TMPFS.format(source=self.shared_data, small=small, mvm=harness.MVM)
        try:
            done = subprocess.run(["sh", "-c", script], env=self.environment(), preexec_fn=enter,
                                  capture_output=True, text=True, check=False,
                                  timeout=harness.PATIENCE_S)
        except subprocess.SubprocessError as error:
            self.skipTest(f"no mounts here: {error}")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("was killed by signal 7: the data folder is a tmpfs and full", done.stderr)

    def test_an_error_ends_with_the_reason(self):
        toml = os.path.join(self.shared, "sick.toml")
        with open(toml, "w", encoding="utf-8") as file:
            file.write(SICK)
        self.mvm_ok("template", "build", "--config", toml)
        done = self.mvm("run", "-T", "sick-worker", "-d", status=1)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("hint:")]
        self.assertIn("the guest did not become healthy (deadline 2 s): ", lines[-1])
        self.assertIn("cannot connect", lines[-1])
        self.assertIn("the guest's console ended with:", done.stderr)

    def test_stats_and_doctor_tell_the_pressure(self):
        name = self.run_detached()["name"]
        done = self.mvm("stats", status=0)
        self.assertRegex(done.stderr, r"^host: .* (wait|run or wait) for ")
        pressure = self.mvm_json("stats", name)[0]["host_pressure"]
        if os.path.exists("/proc/pressure/cpu"):
            self.assertEqual(set(pressure), {"cpu", "memory", "io"})
        else:
            self.assertIsNone(pressure)
        checks = self.mvm_json("doctor")["checks"]
        self.assertIn("pressure", [check["name"] for check in checks])


if __name__ == "__main__":
    guests.main()
