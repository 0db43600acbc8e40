# SPDX-License-Identifier: Apache-2.0
"""Pools of waiting VMs, and many VMs started at once."""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
import unittest

import agentproto
import guests
import harness

CONFIG = """
template_id = "web"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
[health]
http = "http://127.0.0.1:8080/"
""" + guests.VARIANT

CLONE_NEWNS = 0x20000
ADOPT = 70 # a call of the supervisor
DEADLINE_S = 2 * harness.PATIENCE_S # enough for several starts


@harness.needs_guests
class Pool(guests.TestCase):
    config = CONFIG

    def setUp(self):
        super().setUp()
        self.addCleanup(self.forget_pools)

    def forget_pools(self):
        for template in ("web-worker", "bare"):
            self.mvm("pool", "set", template, "--size", "0")

    def serve(self, *options):
        server = self.start_mvm("pool", "serve", *options)
        self.addCleanup(self.end_server, server)
        return server

    def end_server(self, server):
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(DEADLINE_S)

    def pool(self, template="web-worker"):
        listed = self.mvm_json("pool", "list")
        return next((p for p in listed["pools"] if p["template_id"] == template), None)

    def wait_ready(self, n):
        guests.wait_until(lambda: self.pool()["ready"] == n, DEADLINE_S)
        self.assertEqual(self.pool()["ready"], n, self.pool()["note"])

    def full(self, size, *options):
        self.mvm_ok("pool", "set", "web-worker", "--size", str(size))
        server = self.serve(*options)
        self.wait_ready(size)
        return server

    def test_run_takes_a_waiting_vm_and_another_takes_its_place(self):
        server = self.full(2)
        self.assertEqual(self.mvm_json("ps"), [])  # a waiting VM is no instance
        began = time.time()
        records = [self.run_detached("web-worker", "--name", f"c{i}", "-p", "0:8080")
                   for i in range(2)]
        # while it waited it has run two commands more than a clone of the same snapshot
        self.assertFalse(self.run_detached("web-worker", "--name", "p", "--private-memory")["from_pool"])
        forks = [int(self.exec(name, "cat", "/proc/stat").split("processes ")[1].split()[0])
                 for name in ("c1", "p")]
        self.assertGreaterEqual(forks[0] - forks[1], 2)
        self.assertEqual(self.exec("c1", "cat", "/proc/self/cgroup"), "0::/exec-2\n")
        self.mvm_ok("rm", "--force", "p")
        seen = set()
        for i, record in enumerate(records):
            self.assertTrue(record["from_pool"])
            self.assertEqual((record["name"], record["start"]), (f"c{i}", "restore"))
            self.assertEqual(record["hostname"], f"c{i}")
            self.assertIn("microVM", guests.get(record["forwards"][0]["host_port"]))
            seen.add(self.exec(f"c{i}", "cat", "/etc/machine-id", "/etc/hostname",
                               "/proc/sys/kernel/random/boot_id", "/run/mvm/generation"))
        self.assertEqual(len(seen), 2)
        self.assertEqual(self.exec("c0", "hostname"), "c0\n")
        self.wait_ready(2)
        # no start of the next one beside the first command
        next_one = min(os.stat(self.data("instances", name, "lock")).st_mtime
                       for name in self.instances() if name not in ("c0", "c1"))
        self.assertGreaterEqual(next_one - began, 0.1)
        self.end_server(server)
        # the taken VM goes on, the waiting one is gone
        self.assertEqual(self.exec("c0", "echo", "alive"), "alive\n")
        self.assertTrue(guests.wait_until(lambda: sorted(self.instances()) == ["c0", "c1"]))
        self.assertEqual(self.pool()["ready"], 0)

    def know_no_name(self, names):
        with contextlib.suppress(OSError):
            while True:
                question, who = names.recvfrom(2048)
                names.sendto(question[:2] + b"\x81\x83" + question[4:], who)

    @unittest.skipUnless(os.geteuid() == 0, "another /etc/resolv.conf needs root")
    def test_a_waiting_vm_asks_the_name_servers_of_its_start(self):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            self.skipTest("no mount namespace can be made here")
        resolv_conf = self.write("resolv.conf", "nameserver foo\nnameserver 127.0.0.71\n")
        etc = os.path.realpath("/etc/resolv.conf")
        for command in (("mount", "--make-rprivate", "/"), ("mount", "--bind", resolv_conf, etc)):
            subprocess.run(command, check=True, timeout=60)
        self.addCleanup(subprocess.run, ["umount", etc], check=True, timeout=60)
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(names.close)
        names.bind(("127.0.0.72", 53))
        threading.Thread(target=self.know_no_name, args=(names,), daemon=True).start()
        self.full(1)
        with open(resolv_conf, "w") as f: # the host has moved
            f.write("nameserver 127.0.0.72\n")
        self.assertTrue(self.run_detached("web-worker", "--name", "moved")["from_pool"])
        done = self.mvm("exec", "moved", "--", "/bin/busybox", "nslookup", "-type=a", "x.test")
        self.assertIn("NXDOMAIN", done.stdout + done.stderr)
        with open(resolv_conf, "w") as f:
            f.write("nameserver foo\n")
        self.wait_ready(1)
        told = self.mvm("run", "-T", "web-worker", "-d", "--name", "named", "--dns", "127.0.0.72")
        self.assertEqual((told.returncode, "name" in told.stderr.replace("named", "")), (0, False), told.stderr)
        record = self.inspect("named")
        self.assertEqual((record["from_pool"], record["network_dns"]), (True, ["127.0.0.72"]))
        done = self.mvm("exec", "named", "--", "/bin/busybox", "nslookup", "-type=a", "x.test")
        self.assertIn("NXDOMAIN", done.stdout + done.stderr)
        told = self.mvm("run", "-T", "web-worker", "-d")
        self.assertIn("/etc/resolv.conf names no server", told.stderr)

    def test_starts_at_the_same_time_get_a_vm_each(self):
        self.full(3)
        starts = [self.start_mvm("run", "--template", "web-worker", "-d", "--json")
                  for _ in range(8)]
        records = []
        for start in starts:
            out, err = start.communicate(timeout=DEADLINE_S)
            self.assertEqual(start.returncode, 0, err)
            records.append(json.loads(out))
        self.assertEqual(len({r["machine_id"] for r in records}), 8)
        self.assertEqual(len({r["supervisor_pid"] for r in records}), 8)
        self.assertGreaterEqual(sum(r["from_pool"] for r in records), 3)
        self.wait_ready(3)

    def test_run_takes_a_pooled_vm_and_leaves_nothing(self):
        server = self.full(1)
        done = self.mvm_ok("run", "--template", "web-worker", "--", "hostname")
        self.assertTrue(done.startswith("web-worker-"))
        self.end_server(server)
        # a start that the end of the server interrupts removes its own folder
        guests.wait_until(lambda: not self.instances(), DEADLINE_S)
        self.assertEqual(self.instances(), [])

    def test_a_killed_server_makes_no_start_fail(self):
        server = self.full(1)
        server.kill()
        server.wait(DEADLINE_S)
        record = self.run_detached("web-worker", "--name", "after")
        self.assertFalse(record["from_pool"])
        self.assertEqual(record["start"], "restore")
        guests.wait_until(lambda: self.instances() == ["after"], DEADLINE_S)
        self.assertEqual(self.instances(), ["after"])

    def test_a_client_killed_while_waiting_gets_no_vm(self):
        self.full(1)
        waiting, = self.instances()
        supervisor = self.inspect(waiting)["supervisor_pid"]
        os.kill(supervisor, signal.SIGSTOP) # so that it sees the call and the hang-up together
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.data("instances", waiting, "control.sock"))
            agentproto.Agent(sock).open(ADOPT)
        os.kill(supervisor, signal.SIGCONT)
        record = self.run_detached("web-worker", "--name", "next")
        self.assertEqual((record["from_pool"], record["supervisor_pid"]), (True, supervisor))

    def test_a_dead_pooled_vm_is_skipped_and_replaced(self):
        self.full(1)
        waiting, = self.instances()
        os.kill(self.inspect(waiting)["supervisor_pid"], signal.SIGKILL)
        record = self.run_detached("web-worker", "--name", "next")
        self.assertEqual(record["start"], "restore")
        guests.wait_until(lambda: waiting not in self.instances(), DEADLINE_S)
        self.assertNotIn(waiting, self.instances())
        self.wait_ready(1)

    def test_a_killed_start_costs_the_pool_one_vm(self):
        self.full(1)
        waiting, = self.instances()
        file, = os.listdir(self.data("pool", "web-worker"))
        os.unlink(self.data("pool", "web-worker", file))  # that is the whole claim
        self.assertTrue(guests.wait_until(lambda: waiting not in self.instances(), DEADLINE_S))
        self.wait_ready(1)

    def test_a_new_snapshot_replaces_the_waiting_vms(self):
        self.full(1)
        before = self.instances()
        self.mvm_ok("template", "build", "web-worker", "--snapshot", "--force")
        guests.wait_until(lambda: self.instances() and self.instances() != before, DEADLINE_S)
        self.wait_ready(1)
        self.assertNotEqual(self.instances(), before)
        self.assertTrue(self.run_detached("web-worker", "--name", "new")["from_pool"])

    def test_a_start_that_the_pool_cannot_serve_makes_a_vm(self):
        self.full(1)
        for name, options in (("cold", ["--cold"]), ("large", ["--mem", "300M"])):
            record = self.run_detached("web-worker", "--name", name, *options)
            self.assertEqual((record["from_pool"], record["start"]), (False, "boot"))
            self.mvm_ok("rm", "--force", name)
        record = self.run_detached("web-worker", "--private-memory") # waiting VMs share their memory
        self.assertEqual((record["from_pool"], record["start"]), (False, "restore"))
        self.assertIn(record["memory"], ("sparse", "reflink"))
        self.assertEqual(self.pool()["ready"], 1)

    def test_a_name_in_use_costs_no_instance(self):
        self.full(1)
        self.run_detached("web-worker", "--name", "mine")
        self.wait_ready(1)
        self.mvm_fails(4, "run", "--template", "web-worker", "-d", "--name", "mine",
                       says="there is an instance 'mine' already")
        self.wait_ready(1)

    def test_a_waiting_vm_cannot_be_woken_without_an_identity(self):
        self.full(1)
        waiting, = self.instances()
        self.mvm_fails(4, "resume", waiting, says="waits in a pool")
        self.mvm_fails(125, "exec", waiting, "--", "true", says="paused")
        self.wait_ready(1)

    def test_memory_is_bounded(self):
        self.mvm_ok("pool", "set", "web-worker", "--size", "8")
        self.serve("--max-memory", "100M")
        guests.wait_until(lambda: self.pool()["note"], DEADLINE_S)
        self.assertIn("the limit is 100", self.pool()["note"])
        self.assertGreater(self.pool()["ready"], 0)
        self.assertLess(self.pool()["ready"], 8)

    def test_a_pool_may_grow_and_shrink_while_it_is_served(self):
        server = self.full(1)
        self.mvm_ok("pool", "set", "web-worker", "--size", "3")
        self.wait_ready(3)
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        self.wait_ready(1)
        self.mvm_ok("pool", "set", "web-worker", "--size", "0")
        guests.wait_until(lambda: not self.instances(), DEADLINE_S)
        self.assertEqual(self.instances(), [])
        self.assertIsNone(self.pool())
        self.assertTrue(guests.wait_until(lambda: self.pool_files() == ["lock"]),
                        self.pool_files())
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        self.wait_ready(1)
        self.assertIsNone(server.poll())

    def pool_files(self):
        return sorted(os.listdir(self.data("pool")))

    def test_only_one_serves(self):
        self.full(1)
        self.mvm_fails(4, "pool", "serve", says="another server runs already")

    def test_a_concurrent_list_does_not_stop_a_server_from_starting(self):
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        with open(self.data("pool", "lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH) # as `pool list` does, for an instant
            server = self.serve()
            with self.assertRaises(subprocess.TimeoutExpired):
                server.wait(1)
        self.wait_ready(1)

    def test_without_a_snapshot_it_says_why_it_is_empty(self):
        self.mvm_ok("template", "create", "bare", "--flake", "dir:" + self.path("nothing"))
        self.mvm_ok("pool", "set", "bare", "--size", "1")
        self.serve()
        guests.wait_until(lambda: self.pool("bare")["note"], DEADLINE_S)
        self.assertIn("bare", self.pool("bare")["note"])

    def test_a_damaged_pool_file_is_reported_and_harms_no_start(self):
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        with open(self.data("pool", "web-worker.json"), "w", encoding="utf-8") as file:
            file.write('{"size": 1e9}')
        self.assertIn("pool/web-worker.json: size: expected", self.mvm_ok("pool", "list"))
        self.assertEqual(self.run_detached("web-worker")["start"], "restore")


@harness.needs_guests
class Many(guests.TestCase):
    config = CONFIG

    def test_many_start_as_one(self):
        started = self.mvm_json("run", "--template", "web-worker", "-d", "--count", "6",
                                "--name", "many", "-p", "0:8080")
        self.assertEqual([r["name"] for r in started], [f"many-{i}" for i in range(1, 7)])
        ids = {r["machine_id"] for r in started}
        ports = {r["forwards"][0]["host_port"] for r in started}
        self.assertEqual((len(ids), len(ports)), (6, 6))
        for port in ports:
            self.assertIn("microVM", guests.get(port))

    def test_all_or_none(self):
        self.run_detached("web-worker", "--name", "many-3")
        self.mvm_fails(4, "run", "--template", "web-worker", "-d", "--count", "4", "--name", "many",
                       says="none of the 4 instances runs")
        self.assertEqual(self.instances(), ["many-3"])

    def test_an_interrupted_start_of_many_leaves_none(self):
        starter = self.start_mvm("run", "--template", "web-worker", "-d", "--count", "40")
        self.assertTrue(guests.wait_until(lambda: len(self.mvm_json("ps")) > 2))
        starter.send_signal(signal.SIGINT)
        said = starter.communicate(timeout=DEADLINE_S)
        self.assertEqual((starter.returncode, said[0]), (128 + signal.SIGINT, ""))
        self.assertIn("none of the 40 instances runs: the start was cancelled", said[1])
        self.assertEqual(self.instances(), [])

    def test_a_killed_undo_of_many_starts_leaves_no_vm(self):
        starter = self.start_mvm("run", "--template", "web-worker", "-d", "--count", "40")
        self.assertTrue(guests.wait_until(lambda: len(self.mvm_json("ps")) > 4))
        starter.send_signal(signal.SIGINT)
        self.assertTrue(guests.wait_until(
            lambda: any(i["state"] != "running" for i in self.mvm_json("ps"))))
        starter.kill()
        starter.communicate(timeout=DEADLINE_S)
        guests.wait_until(lambda: not [n for n in self.instances() if not n.startswith(".vm.")],
                          DEADLINE_S)
        self.assertEqual(self.mvm_json("ps"), []) # and this sweeps a folder that was half removed
        self.assertEqual(self.instances(), [])

    def test_a_late_failure_ends_starts_that_are_under_way(self):
        os.makedirs(self.path("host"))
        self.write("host/file", "x")
        self.mvm_fails(1, "run", "--template", "web-worker", "-d", "--count", "4",
                       "-v", self.path("host") + ":/bin/busybox/nowhere",
                       says="none of the 4 instances runs")
        # but the first failed VM stays, for its logs
        self.assertEqual([i["state"] for i in self.mvm_json("ps")], ["failed"])

    def test_contradictory_options_are_refused(self):
        self.mvm_fails(2, "run", "--template", "web-worker", "--count", "2", says="--detach")
        self.mvm_fails(2, "run", "--template", "web-worker", "-d", "--count", "2", "-p", "80:80",
                       says="port of its own")
        self.mvm_fails(2, "run", "--template", "web-worker", "-d", "--count", "0")


class NoGuest(harness.TestCase):
    def test_a_pool_needs_a_template(self):
        self.mvm_fails(3, "pool", "set", "nobody", "--size", "1", says="nobody")
        self.mvm_fails(2, "pool", "set", "nobody", says="--size")
        self.assertEqual(self.mvm_json("pool", "list"), {"server": None, "pools": []})

    def test_an_unset_pool_removes_a_killed_servers_folder(self):
        self.mvm_ok("template", "create", "web", "--flake", "dir:" + self.folder)
        self.mvm_ok("pool", "set", "web", "--size", "1")
        folder = os.path.join(self.data_dir, "pool", "web")
        os.mkdir(folder, 0o700)
        self.write(os.path.join(folder, "0123456789abcdef.web-a1b2c3"), "")
        self.mvm_ok("pool", "set", "web", "--size", "0")
        self.assertEqual(os.listdir(os.path.dirname(folder)), ["lock"])


if __name__ == "__main__":
    guests.main()
