# SPDX-License-Identifier: Apache-2.0
"""Tests of things that differ on KVM; test_nested_kvm.py runs them in a VM with KVM.

With MVM_TEST_FIRECRACKER they include the main job on Firecracker.
"""

import fcntl
import json
import os
import re
import shutil
import socket
import struct
import time
import unittest

import guests
import harness
import kvm_counts


def told(mvm_json, name):
    """The row of `mvm backends` for one backend."""
    return next(row for row in mvm_json("backends") if row["name"] == name)


def print_counts(case, backend):
    if reason := kvm_counts.why_not(): # on a host with KVM, for a user who is not root
        case.skipTest(reason)
    counts, calls = kvm_counts.of_restores(lambda: case.run_detached("web-worker", "--require-snapshot"),
                                           lambda name: case.mvm_ok("rm", "--force", name))
    for what, samples in counts.items():
        print(f"# a restore on {backend}, {what}:", *samples)
    print("# of these", *(f"{name} {n}" for name, n in calls.most_common(12)))
    case.assertTrue(all(min(samples) > 0 for what, samples in counts.items() if "system calls" in what), counts)


@harness.needs_guests
@harness.needs_kvm
class OnQemu(guests.TestCase):
    config = guests.CONFIG

    def test_backends_say_kvm(self):
        row = told(self.mvm_json, "qemu")
        self.assertTrue(row["usable"], row)
        self.assertEqual((row["accelerator"], row["accelerator_reason"]), ("kvm", "KVM is usable"))
        self.assertRegex(self.mvm_ok("backends"), r"qemu +yes +kvm \(KVM is usable\) +yes +\d")

    def test_the_vmm_is_told_to_use_kvm(self):
        record = self.run_detached()
        with open(f"/proc/{record['vmm_pid']}/cmdline", encoding="utf-8") as file:
            argv = file.read().split("\0")
        self.assertEqual(argv[argv.index("-accel") + 1], "kvm")
        self.assertEqual(argv[argv.index("-cpu") + 1], "host")
        opened = {os.readlink(f"/proc/{record['vmm_pid']}/fd/{fd}")
                  for fd in os.listdir(f"/proc/{record['vmm_pid']}/fd")}
        # without the host's files it has no path, only a name
        self.assertIn("kvm", {os.path.basename(path) for path in opened})
        self.assertIn("anon_inode:kvm-vm", opened)

    def test_its_user_is_its_own_and_in_the_group_of_kvm(self):
        record = self.run_detached()
        with open(f"/proc/{record['vmm_pid']}/status", encoding="utf-8") as file:
            lines = file.read().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        self.assertGreaterEqual(int(fields["Uid"].split()[0]), 0x70000000)
        self.assertEqual(fields["Groups"].split(), [str(os.stat("/dev/kvm").st_gid)])

    def test_the_guest_sees_this_cpu_and_kvms_clock(self):
        record = self.run_detached()
        with open("/proc/cpuinfo", encoding="ascii") as file:
            model = re.search(r"^model name.*$", file.read(), re.M)[0]
        self.assertIn(model, self.exec(record["name"], "cat", "/proc/cpuinfo"))
        clock = self.exec(record["name"], "cat",
                          "/sys/devices/system/clocksource/clocksource0/current_clocksource")
        self.assertEqual(clock, "kvm-clock\n")

    def test_a_snapshot_depends_on_the_cpu_and_its_clock(self):
        info = self.mvm_json("template", "info", "web-worker")
        facts = info["revision"]["snapshot"]["compat"]
        self.assertEqual(facts["accelerator"], "kvm")
        self.assertRegex(facts["cpu"], r"^host, \w+ \d+-\d+-\d+ microcode \S+ flags [0-9a-f]{16}$")
        self.assertRegex(facts["tsc_khz"], r"^[1-9]\d{5,6}$")

    def test_the_facts_are_the_same_at_every_probe(self):
        seen = set()
        for _ in range(5):
            os.unlink(self.data("cache", "qemu.json")) # the probe's result, with the TSC's frequency
            seen.add(json.dumps(self.mvm_json("template", "info", "web-worker")["run"]))
        self.assertEqual(len(seen), 1, seen)
        self.assertEqual(json.loads(seen.pop())["start"], "restore")

    @unittest.skipUnless(os.environ.get("MVM_TEST_MAY_SET_CLOCK"), "this host's clock is not ours")
    def test_the_guests_clock_follows_the_hosts(self):
        """Two hours ahead, as after a sleep, and back, as somebody sets a wrong clock right."""
        name = self.run_detached()["name"]
        for jump_s in (7200, -7200):
            time.clock_settime(time.CLOCK_REALTIME, time.time() + jump_s)
            jumped_at = time.monotonic()
            self.assertTrue(guests.wait_until(lambda: self.clock_off_ms(name) < 1000),
                            f"{name} has missed a jump by {jump_s} s")
            print(f"# the guest's clock followed after {time.monotonic() - jumped_at:.2f} s")

    def test_a_snapshot_of_kvm_is_none_for_tcg(self):
        says = self.mvm_fails(6, "run", "--template", "web-worker", "-d", "--require-snapshot",
                              env={"MVM_ACCEL": "tcg"})
        self.assertIn("accelerator", says)
        self.assertIn("'kvm'", says)
        self.assertIn("'tcg'", says)

    def test_what_a_restore_costs_is_counted(self):
        print_counts(self, "QEMU")

    def test_twenty_restores_in_a_row_all_answer(self):
        times = []
        for i in range(20):
            record = self.run_detached("web-worker", "--name", f"r{i}", "--require-snapshot")
            times.append(max(record["stages_ns"].values()) // 1_000_000)
            self.assertEqual(self.exec(record["name"], "hostname"), f"r{i}\n")
            self.mvm_ok("rm", "--force", record["name"])
        print("# restores, ms:", *sorted(times))


SIOCGIFADDR = 0x8915
FIRECRACKER = os.environ.get("MVM_TEST_FIRECRACKER")


def links():
    """The host's interfaces for VMs' networks."""
    return [name for name in os.listdir("/sys/class/net") if name.startswith("mvm")]


@harness.needs_guests
@harness.needs_kvm
@unittest.skipUnless(FIRECRACKER, "MVM_TEST_FIRECRACKER names no firecracker")
class OnFirecracker(guests.TestCase):
    """Guests with a network and a data disk, in a jail if there is a jailer."""

    config = guests.CONFIG + "data_disk_mib = 16\n"

    @classmethod
    def setUpClass(cls):
        os.environ["MVM_FIRECRACKER"] = FIRECRACKER
        cls.addClassCleanup(os.environ.pop, "MVM_FIRECRACKER")
        super().setUpClass()

    def clone(self, *options):
        record = self.run_detached("web-worker", "--require-snapshot", *options)
        self.assertEqual((record["backend"], record["start"]), ("firecracker", "restore"))
        return record

    def test_firecracker_is_reported_and_used(self):
        self.assertTrue(told(self.mvm_json, "firecracker")["usable"])
        record = self.clone()
        self.assertEqual(self.exec(record["name"], "hostname"), record["name"] + "\n")

    def test_what_a_restore_costs_is_counted(self):
        print_counts(self, "Firecracker")

    def test_memory_is_copied_when_it_is_to_be_private(self):
        record = self.run_detached("web-worker", "--require-snapshot", "--private-memory")
        self.assertIn(record["memory"], ("sparse", "reflink"))
        self.assertNotIn("mem.bin", os.listdir(self.data("instances", record["name"])))
        self.assertEqual(self.exec(record["name"], "hostname"), record["name"] + "\n")

    def test_a_command_runs_in_a_fresh_vm(self):
        done = self.mvm("run", "--template", "web-worker", "--", "sh", "-c", "echo out; exit 7",
                        status=7)
        self.assertEqual(done.stdout, "out\n")
        self.assert_nothing_left()

    def test_a_vm_boots_cold(self):
        record = self.run_detached("web-worker", "--cold", "-p", "0:8080")
        self.assertEqual((record["backend"], record["start"]), ("firecracker", "boot"))
        self.assertIn("<title>mvm", guests.get(record["forwards"][0]["host_port"]))
        self.mvm_ok("stop", record["name"])

    def test_clones_share_no_address_no_disk_and_no_identity(self):
        records = [self.clone("-p", "0:8080") for _ in range(2)]
        for record in records:
            self.assertIn("<title>mvm", guests.get(record["forwards"][0]["host_port"]))
        ids = {self.exec(r["name"], "cat", "/etc/machine-id") for r in records}
        self.assertEqual(len(ids), 2, ids)
        for record in records:
            self.exec(record["name"], "sh", "-c", "echo $0 > /data/mine; sync", record["name"])
        for record in records:
            self.assertEqual(self.exec(record["name"], "cat", "/data/mine"), record["name"] + "\n")
        self.assertEqual(len(links()), 2)
        self.mvm_ok("rm", "--force", *[r["name"] for r in records])
        self.assertEqual(links(), [])

    def test_many_at_once_all_reach_the_host(self):
        """The host is so busy that the guest's call over vsock takes longer than two seconds."""
        self.mvm_ok("run", "--template", "web-worker", "-d", "--require-snapshot", "--count", "8",
                    "--name", "many")
        for i in range(8):
            self.assertEqual(self.exec(f"many-{i + 1}", "hostname"), f"many-{i + 1}\n")

    def test_nothing_of_the_host_is_reached(self):
        server = socket.create_server(("0.0.0.0", 0))
        self.addCleanup(server.close)
        server.settimeout(0)
        record = self.clone()
        host_end = fcntl.ioctl(server, SIOCGIFADDR, struct.pack("256s", links()[0].encode()))[20:24]
        for address in (socket.inet_ntoa(host_end), "10.0.2.2"):
            with self.subTest(address=address):
                done = self.mvm("exec", record["name"], "--", "/bin/busybox", "nc", "-w", "5", address,
                                str(server.getsockname()[1]))
                self.assertNotEqual(done.returncode, 0)
                self.assertRaises(BlockingIOError, server.accept)

    def test_a_vm_still_answers_after_pause_and_resume(self):
        record = self.clone()
        for _ in range(2):
            self.mvm_ok("pause", record["name"])
            self.mvm_ok("resume", record["name"])
            self.assertEqual(self.exec(record["name"], "echo", "here"), "here\n")

    @unittest.skipUnless(os.path.exists(os.path.join(os.path.dirname(FIRECRACKER or ""), "jailer")),
                         "there is no jailer")
    def test_each_is_in_a_jail_of_its_own(self):
        seen = set()
        for record in (self.clone(), self.clone()):
            with open(f"/proc/{record['vmm_pid']}/status", encoding="utf-8") as file:
                fields = dict(line.split(":", 1) for line in file.read().splitlines())
            self.assertGreaterEqual(int(fields["Uid"].split()[0]), 0x70000000)
            self.assertEqual(int(fields["CapEff"], 16), 0)
            self.assertNotEqual(os.stat(f"/proc/{record['vmm_pid']}/root").st_ino,
                                os.stat("/").st_ino)
            self.assertFalse(os.path.exists(f"/proc/{record['vmm_pid']}/root/etc"))
            seen.add(fields["Uid"])
        self.assertEqual(len(seen), 2)

    def test_the_supervisor_that_listens_to_the_guest_is_shut_in(self):
        record = self.clone()
        with open(f"/proc/{record['supervisor_pid']}/status", encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file.read().splitlines())
        self.assertGreaterEqual(int(fields["Uid"].split()[0]), 0x70000000)
        self.assertEqual([int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh")], [0, 0, 0])
        self.assertEqual((fields["NoNewPrivs"].strip(), fields["Seccomp"].strip()), ("1", "2"))
        opened = {os.readlink(f"/proc/{record['supervisor_pid']}/fd/{fd}")
                  for fd in os.listdir(f"/proc/{record['supervisor_pid']}/fd")}
        self.assertFalse({path for path in opened if os.path.isdir(path)}, opened)

    def test_each_thread_has_firecrackers_own_filter(self):
        record = self.clone()
        for thread in os.listdir(f"/proc/{record['vmm_pid']}/task"):
            with open(f"/proc/{record['vmm_pid']}/task/{thread}/status", encoding="utf-8") as file:
                self.assertIn("\nSeccomp:\t2\n", file.read())

    def test_doctor_tells_the_isolation_of_both_backends(self):
        checks = {check["name"]: check["message"]
                  for check in json.loads(self.mvm("doctor", "--json").stdout)["checks"]}
        self.assertIn("user", checks["qemu-isolation"])
        self.assertIn("syscalls", checks["firecracker-isolation"])

    @unittest.skipIf(os.environ.get("MVM_JAILER"), "MVM_JAILER is set")
    def test_root_gets_no_firecracker_without_its_jailer(self):
        alone = self.path("firecracker")
        shutil.copy(FIRECRACKER, alone)
        done = self.mvm("run", "--template", "web-worker", "-d", "--backend", "firecracker",
                        env={"MVM_FIRECRACKER": alone})
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("MVM_JAILER=none allows it", done.stderr)

    def test_a_vm_of_a_pool_gets_its_ports(self):
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        self.addCleanup(self.mvm, "pool", "set", "web-worker", "--size", "0")
        server = self.start_mvm("pool", "serve")
        self.assertTrue(guests.wait_until(
            lambda: [p["ready"] for p in self.mvm_json("pool", "list")["pools"]] == [1]))
        record = self.clone("-p", "0:8080", "--deny", "all")
        self.assertTrue(record["from_pool"])
        self.assertIn("<title>mvm", guests.get(record["forwards"][0]["host_port"]))
        server.terminate()
        server.wait(harness.PATIENCE_S)

    def test_a_suspended_vm_goes_on_as_the_same(self):
        record = self.clone("-p", "0:8080")
        name, port = record["name"], record["forwards"][0]["host_port"]
        ids = ("cat", "/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/tmp/pid", "/tmp/file",
               "/data/file")
        self.exec(name, "sh", "-c", "echo kept >/tmp/file; echo kept >/data/file; "
                  "(while :; do cat /proc/uptime >/tmp/up; sleep 0.05; done) >/dev/null 2>&1 & "
                  "echo $! >/tmp/pid")
        before = self.exec(name, *ids)
        for _ in range(2): # what was resumed can be suspended again
            self.mvm_ok("suspend", name)
            self.assertTrue(guests.wait_until(lambda: not harness.processes_of(self.data_dir)))
            self.assertEqual(links(), [])
            self.assertLess(os.stat(self.data("instances", name, "saved", "pages.bin")).st_size,
                            64 << 20)
            self.mvm_ok("resume", name)
            self.assertEqual(self.inspect(name)["backend"], "firecracker")
            self.assertEqual(self.exec(name, *ids), before)
            self.assertLess(self.clock_off_ms(name), 2000)
            self.exec(name, "sh", "-c", "rm /tmp/up; until test -s /tmp/up; do sleep 0.1; done")
            self.assertIn("<title>mvm", guests.get(port))

    def test_what_cannot_tell_that_it_is_idle_says_so(self):
        done = self.mvm("run", "-T", "web-worker", "-d", "--on-idle", "1m")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("firecracker cannot tell whether a VM is idle", done.stderr)

    def test_the_files_of_a_running_vm_become_a_template(self):
        record = self.clone()
        self.exec(record["name"], "sh", "-c", "echo mine > /etc/mine")
        self.mvm_ok("commit", record["name"], "committed")
        self.assertEqual(self.mvm_ok("run", "--template", "committed", "--", "cat", "/etc/mine"),
                         "mine\n")

    def test_a_running_vm_becomes_a_snapshot(self):
        record = self.clone()
        self.exec(record["name"], "sh", "-c", "echo mine > /etc/mine; sleep 1000 >/dev/null 2>&1 & "
                  "echo $! > /tmp/pid")
        self.mvm_ok("commit", "-s", record["name"], "going-on")
        self.assertEqual(self.exec(record["name"], "cat", "/etc/mine"), "mine\n")
        clone = self.run_detached("going-on", "--require-snapshot")
        self.assertEqual((clone["backend"], clone["start"]), ("firecracker", "restore"))
        self.assertEqual(self.exec(clone["name"], "sh", "-c", "cat /etc/mine; kill -0 $(cat /tmp/pid) "
                                   "&& echo runs"), "mine\nruns\n")
        machine_ids = {self.exec(r["name"], "cat", "/etc/machine-id") for r in (record, clone)}
        self.assertEqual(len(machine_ids), 2)

    def test_a_killed_supervisor_takes_its_whole_vm_along(self):
        record = self.clone("-p", "0:8080")
        os.kill(record["supervisor_pid"], 9)
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(record["vmm_pid"])))
        self.assertTrue(guests.wait_until(lambda: not links()), links())

    def test_damaged_state_is_never_run(self):
        self.own_data()
        path = self.current("web-worker", "snapshot", "vmstate.bin")
        with open(path, "r+b") as file:
            file.seek(100)
            file.write(b"x")
        self.mvm_fails(5, "run", "--template", "web-worker", "-d", says="vmstate.bin")
        self.assertEqual(links(), [])

    def test_twenty_restores_in_a_row_all_answer(self):
        times = []
        for i in range(20):
            record = self.clone("--name", f"r{i}")
            times.append(max(record["stages_ns"].values()) // 1_000_000)
            self.assertEqual(self.exec(record["name"], "hostname"), f"r{i}\n")
            self.mvm_ok("rm", "--force", record["name"])
        print("# restores on Firecracker, ms:", *sorted(times))


if __name__ == "__main__":
    guests.main()
