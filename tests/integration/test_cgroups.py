# SPDX-License-Identifier: Apache-2.0
"""Each VMM in a cgroup with limits, without anybody having asked for it.

Needs root and a cgroup v2 at /sys/fs/cgroup with the controllers memory, cpu and pids.
tests/long/test_nested_kvm.py runs it in a VM that has one.
"""

import os
import subprocess
import sys
import unittest

import guests
import harness

MOUNT = "/sys/fs/cgroup"
MIB = 1 << 20


def why_not():
    if os.getuid():
        return "only root can make cgroups here"
    try:
        with open(f"{MOUNT}/cgroup.subtree_control", encoding="ascii") as file:
            missing = {"memory", "cpu", "pids"} - set(file.read().split())
    except OSError:
        return f"there is no cgroup v2 at {MOUNT}"
    if os.path.exists(f"{MOUNT}/cgroup.type"):
        return "this is a container's cgroup"
    return f"{MOUNT} has no {', '.join(sorted(missing))}" if missing else None


def read(*path):
    with open(os.path.join(*path), encoding="ascii") as file:
        return file.read().strip()


def write(text, *path):
    with open(os.path.join(*path), "w", encoding="ascii") as file:
        file.write(text)


@harness.needs_guests
@unittest.skipIf(why_not(), why_not())
class Cgroups(guests.TestCase):
    config = guests.CONFIG

    def make(self, name, **limits):
        """A cgroup of this test."""
        path = os.path.join(MOUNT, name)
        os.makedirs(path)

        def remove():
            write("1", path, "cgroup.kill")
            for where, _, _ in os.walk(path, topdown=False):
                guests.wait_until(lambda: "populated 0" in read(where, "cgroup.events"))
                os.rmdir(where)
        self.addCleanup(remove)
        for name, value in limits.items():
            write(str(value), path, name.replace("_", "."))
        return path

    def mvm_in(self, cgroup, *args, user=None):
        """Run mvm in a cgroup, perhaps as an ordinary user."""
        prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        return subprocess.run([*prefix, harness.MVM, *args], env=self.environment(), check=False,
                              capture_output=True, text=True, timeout=self.timeout,
                              preexec_fn=lambda: write(str(os.getpid()), cgroup, "cgroup.procs"))

    def confined(self, name):
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["cgroup"]))
        return self.inspect(name)

    def test_roots_vms_are_limited_below_a_cgroup_of_mvms(self):
        self.assertIn("each VM gets a cgroup below /sys/fs/cgroup/mvm.slice, with limits of ",
                      self.mvm("doctor").stdout)
        self.run_detached("web-worker", "--name", "fenced")
        record = self.confined("fenced")
        cgroup = record["cgroup"]
        self.assertTrue(cgroup.startswith(f"{MOUNT}/mvm.slice/mvm-fenced-"), cgroup)
        self.assertEqual(record["cgroup_limits"], "memory cpu pids")
        self.assertEqual(int(read(cgroup, "memory.max")), (128 + 512) * MIB)
        self.assertEqual(read(cgroup, "cpu.max"), "200000 100000")
        self.assertEqual(int(read(cgroup, "pids.max")), 161)
        self.assertEqual(read(cgroup, "cgroup.procs"), str(record["vmm_pid"]))
        self.assertEqual(self.exec("fenced", "echo", "works"), "works\n")
        self.mvm_ok("stop", "fenced")
        self.assertFalse(os.path.exists(cgroup))

    def test_whoever_has_broken_into_a_vmm_cannot_use_up_the_host(self):
        self.run_detached("web-worker", "--name", "hungry")
        cgroup = self.confined("hungry")["cgroup"]
        write(str(800 * MIB), cgroup, "memory.high") # none; the hard limit is the one
        eats = "b = bytearray(1 << 30)\nfor i in range(0, len(b), 4096): b[i] = 1\nprint('all')"
        forks = ("import os, time\nn = 0\ntry:\n while n < 1000:\n  if os.fork() == 0:\n"
                 "   time.sleep(60); os._exit(0)\n  n += 1\nexcept OSError: pass\nprint(n)\n"
                 "import signal; signal.signal(15, signal.SIG_IGN); os.killpg(0, 15)")

        def run(script):
            return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                                  check=False, timeout=harness.PATIENCE_S, start_new_session=True,
                                  preexec_fn=lambda: write(str(os.getpid()), cgroup,
                                                           "cgroup.procs"))
        done = run(forks)
        self.assertLess(int(done.stdout.split()[0]), 161, done)
        if "swap" not in read("/proc/swaps"):
            self.assertNotIn("all", run(eats).stdout)

    def test_a_limit_of_who_starts_it_is_not_left(self):
        cgroup = self.make("mvm-test-limited", memory_max=1200 * MIB)
        self.assertIn("VMs stay in this process's cgroup, which has a limit",
                      self.mvm_in(cgroup, "doctor").stdout)
        done = self.mvm_in(cgroup, "run", "--template", "web-worker", "-d", "--name", "stays")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.exec("stays", "echo", "works"), "works\n")
        record = self.inspect("stays")
        self.assertIsNone(record["cgroup"])
        self.assertIn(str(record["vmm_pid"]), read(cgroup, "cgroup.procs").split())

    def test_a_delegated_cgroup_has_limits_although_we_are_in_it(self):
        cgroup = self.make("mvm-test-delegated", memory_max=2000 * MIB)
        write("+memory +cpu +pids", MOUNT, "cgroup.subtree_control")
        os.setxattr(cgroup, "trusted.delegate", b"1")
        for name in ("first", "second"):
            done = self.mvm_in(cgroup, "run", "--template", "web-worker", "-d", "--name", name)
            self.assertEqual(done.returncode, 0, done.stderr)
            record = self.confined(name)
            self.assertTrue(record["cgroup"].startswith(f"{cgroup}/mvm-{name}-"), record["cgroup"])
            self.assertEqual(record["cgroup_limits"], "memory cpu pids")
        self.assertEqual(read(cgroup, "cgroup.procs"), "")
        self.assertIn(str(record["supervisor_pid"]), read(cgroup, "mvm-others", "cgroup.procs"))
        # whoever is in there by now finds the delegated one all the same
        said = self.mvm_in(os.path.join(cgroup, "mvm-others"), "doctor").stdout
        self.assertIn(f"each VM gets a cgroup below {cgroup}, ", said)

    @harness.needs_program("setpriv")
    def test_an_ordinary_user_has_the_cgroup_that_is_delegated_to_it(self):
        cgroup = self.make("mvm-test-user")
        below = os.path.join(cgroup, "app.slice", "shell.scope")
        write("+memory +pids", cgroup, "cgroup.subtree_control")
        os.makedirs(below)
        os.chmod(self.folder, 0o755)
        self.data_dir = self.path("no-data")

        def said():
            return self.mvm_in(below, "doctor", user=12345).stdout
        self.assertIn("no cgroup v2 is delegated to this process", said())
        os.setxattr(cgroup, "trusted.delegate", b"1")
        os.setxattr(cgroup, "user.delegate", b"1")
        self.assertIn("no cgroup v2 is delegated to this process", said()) # to root
        os.chown(cgroup, 12345, 12345)
        self.assertIn(f"each VM gets a cgroup below {cgroup}, with limits of ", said())
        self.data_dir = self.shared_data


if __name__ == "__main__":
    guests.main()
