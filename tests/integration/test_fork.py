# SPDX-License-Identifier: Apache-2.0
"""`fork`: VMs that continue from a moment of a running one, each as a machine of its own.

MVM_TEST_LONG=1 makes a deep chain of forks.
"""

import http.client
import json
import os
import socket
import threading

import guests
import harness

DEPTH = 20 if os.environ.get("MVM_TEST_LONG") else 5

IDS = ("/etc/machine-id", "/etc/hostname", "/run/mvm/generation", "/proc/sys/kernel/random/boot_id")


@harness.needs_guests
class Fork(guests.TestCase):
    config = guests.CONFIG + "data_disk_mib = 16\n"

    def refused(self, *args):
        done = self.mvm(*args)
        self.assertNotIn(done.returncode, (0, 2), args)
        return done.stderr

    def start(self):
        record = self.run_detached("web-worker", "--name", "vm", "-p", "0:8080")
        self.exec("vm", "sh", "-c", "echo origin >/tmp/file; echo origin >/data/file; "
                  "(n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.05; done) "
                  ">/dev/null 2>&1 &")
        return record

    def counter(self, name):
        return int(self.exec(name, "sh", "-c", "until cat /tmp/n | grep .; do :; done"))

    def assert_counts(self, name):
        n = self.counter(name)
        self.assertTrue(guests.wait_until(lambda: self.counter(name) > n), name)

    def forks_of(self, name):
        return [n for n in os.listdir(self.data("instances", name)) if n.startswith(("fork", "sav"))]

    def test_forks_are_machines_of_their_own(self):
        origin = self.start()
        self.assertEqual(self.mvm_ok("fork", "vm", "--count", "2", "--name", "f"), "f-1\nf-2\n")
        names = ("vm", "f-1", "f-2")
        n = self.counter("vm")
        for name in names:
            self.assertEqual(self.exec(name, "cat", "/tmp/file", "/data/file"), "origin\norigin\n")
            self.assert_counts(name)
        for path in IDS:
            self.assertEqual(len({self.exec(name, "cat", path) for name in names}), 3, path)
        random = {self.exec(name, "sh", "-c", "head -c 16 /dev/urandom | md5sum") for name in names}
        self.assertEqual(len(random), 3)
        self.exec("f-1", "sh", "-c", "echo mine >/tmp/file; echo mine >/data/file; sync")
        self.assertEqual(self.exec("vm", "cat", "/tmp/file", "/data/file"), "origin\norigin\n")
        self.assertEqual(self.exec("f-2", "cat", "/tmp/file", "/data/file"), "origin\norigin\n")
        records = [self.inspect(name) for name in names]
        self.assertEqual([r.get("forked_from") for r in records], [None, "vm", "vm"])
        ports = {r["forwards"][0]["host_port"] for r in records}
        self.assertEqual(len(ports), 3)
        self.assertIn(origin["forwards"][0]["host_port"], ports)
        for port in ports:
            self.assertIn("<title>", guests.get(port, "/index.html"))
        self.assertLess(self.clock_off_ms("f-1"), 2000)
        self.assertGreater(self.counter("vm"), n)
        self.assertTrue(guests.wait_until(lambda: not self.forks_of("vm")))
        # a fork of a fork is as small: its pages differ from the same snapshot
        self.mvm_ok("fork", "f-1", "--name", "g")
        self.assertEqual(self.exec("g", "cat", "/tmp/file", "/data/file"), "mine\nmine\n")
        self.mvm_ok("fork", "g", "--name", "h", "--rm")
        self.assertEqual(self.exec("h", "cat", "/tmp/file", "/data/file"), "mine\nmine\n")
        self.assertLess(self.inspect("h")["usage"]["memory_private_bytes"],
                        2 * self.inspect("f-1")["usage"]["memory_private_bytes"])
        # a fork can be suspended
        self.mvm_ok("suspend", "g")
        self.mvm_ok("resume", "g")
        self.assertEqual(self.exec("g", "cat", "/tmp/file"), "mine\n")
        self.mvm_ok("stop", "h")
        self.assertNotIn("h", self.instances())

    def test_frames_that_come_in_meanwhile_harm_nothing(self):
        """A frame that reached the memory after the state of the devices was taken would break the network of
        all that continue from there."""
        self.run_detached("web-worker", "--name", "vm", "-p", "0:8080", "-p", "0:9/udp")
        page, flood = [("127.0.0.1", f["host_port"]) for f in self.inspect("vm")["forwards"]]
        done, answered = threading.Event(), []

        def ask():
            while not done.is_set():
                try:
                    answered.append(guests.get(page[1]))
                except (OSError, http.client.HTTPException): # a pause resets connections
                    pass

        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.connect(flood)
                while not done.is_set():
                    try:
                        sender.send(b"x" * 1000)
                    except ConnectionRefusedError: # nobody listens to it
                        pass

        def more_answers():
            n = len(answered)
            self.assertTrue(guests.wait_until(lambda: len(answered) > n))

        threads = [threading.Thread(target=ask), threading.Thread(target=send)]
        for thread in threads:
            thread.start()
        try:
            for i in range(4):
                more_answers()
                self.mvm_ok("fork", "vm", "--name", f"f{i}")
            more_answers()
            self.mvm_ok("suspend", "vm")
        finally:
            done.set()
            for thread in threads:
                thread.join(timeout=harness.PATIENCE_S)
        self.mvm_ok("resume", "vm")
        for name in "vm", "f0", "f1", "f2", "f3":
            port = self.inspect(name)["forwards"][0]["host_port"]
            self.assertIn("<title>", guests.get(port, "/index.html"), name)

    def own_pages(self, name):
        """Pages that differ from the snapshot, of a VM that is gone afterwards."""
        self.mvm_ok("suspend", name)
        with open(self.data("instances", name, "saved", "saved.json"), encoding="utf-8") as file:
            n = json.load(file)["n_pages"]
        self.mvm_ok("rm", name)
        return n

    def test_a_chain_of_forks_stays_flat(self):
        self.start()
        name, pages = "vm", []
        for i in range(DEPTH):
            fork = f"f{i + 1}"
            self.mvm_ok("fork", name, "--name", fork)
            pages.append(self.own_pages(name))
            name = fork
        self.assertEqual(self.exec(name, "cat", "/tmp/file", "/data/file"), "origin\norigin\n")
        self.assert_counts(name)
        print(f"# pages of each generation: {pages}")
        # they grow with what its guest writes, not with its depth
        self.assertLess(pages[-1], 2 * pages[1])

    def test_a_killed_fork_leaves_only_the_origin(self):
        self.start()
        forking = self.start_mvm("fork", "vm", "--count", "2", "--name", "f")
        self.assertTrue(guests.wait_until(lambda: "f-1" in self.instances()))
        forking.kill()
        forking.wait(timeout=harness.PATIENCE_S)
        self.assertTrue(guests.wait_until(
            lambda: self.mvm("ps").returncode == 0 and self.instances() == ["vm"]),
            self.instances())
        self.assertTrue(guests.wait_until(lambda: not self.forks_of("vm")))
        self.assert_counts("vm")
        self.assertIn("no instance 'nobody'", self.refused("fork", "nobody"))
        self.mvm_ok("pause", "vm")
        self.assertIn("mvm resume vm", self.refused("fork", "vm"))

    def test_forks_start_although_their_origin_goes(self):
        for command, count in (("suspend", 3), ("rm", 4)):
            with self.subTest(command):
                if command == "suspend":
                    self.start()
                forking = self.start_mvm("fork", "vm", "--count", str(count), "--name", command)
                self.assertTrue(guests.wait_until(
                    lambda name=command: f"{name}-1" in self.instances()))
                self.mvm_ok(*{"suspend": ("suspend", "vm"), "rm": ("rm", "--force", "vm")}[command])
                _, error = forking.communicate(timeout=harness.PATIENCE_S)
                self.assertEqual(forking.returncode, 0, error)
                for n in range(count):
                    self.assertEqual(self.exec(f"{command}-{n + 1}", "cat", "/tmp/file",
                                               "/data/file"), "origin\norigin\n")
                if command == "suspend":
                    self.mvm_ok("resume", "vm")
        self.assertEqual(os.listdir(self.data("tmp")), [])


if __name__ == "__main__":
    guests.main()
