# SPDX-License-Identifier: Apache-2.0
"""`start` and `restart`: instances that have ended start again, as they were started first."""

import fcntl
import json
import os
import signal
import socket
import time

import guests
import harness


@harness.needs_guests
class StartAgain(guests.TestCase):
    config = guests.CONFIG

    def end(self, name):
        self.mvm_ok("kill", name)
        self.assertEqual(self.inspect(name)["state"], "exited")

    def events(self):
        """Those since the first start, and perhaps some of the second before it."""
        out = self.mvm_ok("events", "--since", self.inspect("one")["created_at"])
        return [line.split()[1] for line in out.splitlines()]

    def ended(self):
        return self.inspect("one")["state"] in ("failed", "exited")

    def test_it_keeps_its_options_and_gets_a_new_guest(self):
        host = self.path("volume")
        os.makedirs(host, exist_ok=True)
        self.write("volume/file", "first")
        first = self.run_detached("web-worker", "--name", "one", "-p", "0:8080", "-e", "COLOR=red",
                                  "--hostname", "of-its-own", "-v", f"{host}:/in",
                                  "--restart", "on-failure:3", "--ttl", "1h", "--log-size", "2M",
                                  "--keep-running", "--mem", "160M", "--allow", "192.168.7.0/24",
                                  "-l", "tier=back", "-l", "alone", "-l", "tier=web")
        self.exec("one", "sh", "-c", "echo mine > /tmp/file")
        before = self.exec("one", "cat", "/etc/machine-id")
        port = first["forwards"][0]["host_port"]
        self.mvm_ok("network", "set", "one", "--allow", "192.168.8.0/24")
        kept = self.inspect("one")
        self.end("one")
        self.write("volume/file", "second")

        self.assertEqual(self.mvm_ok("start", "one"), "one\n")
        again = self.inspect("one")
        for key in ("revision_hash", "backend", "mem_mib", "vcpus", "forwards", "volumes", "env",
                    "hostname", "restart", "restart_max", "ttl_ms", "keep_running", "log_max_bytes",
                    "created_at", "labels", "network_allow", "network_deny", "attached", "remove_at_end"):
            self.assertEqual(again.get(key), kept.get(key), key)
        self.assertEqual(again["labels"], {"alone": "", "tier": "web"})
        events = [json.loads(line) for line in self.mvm_ok("events", "--json").splitlines()]
        self.assertEqual([e.get("labels") for e in events if e["instance"] == "one"][-1],
                         again["labels"])
        self.assertEqual(again["state"], "running")
        self.assertIsNone(again["ended_at"])
        self.assertIsNone(again["error"])
        self.assertEqual(again["forwards"][0]["host_port"], port)
        guests.get(port, "/index.html")
        self.assertEqual(self.exec("one", "hostname"), "of-its-own\n")
        self.assertEqual(self.exec("one", "sh", "-c", "echo $COLOR; cat /in/file; ls /tmp"),
                         "red\nsecond")
        self.assertNotEqual(self.exec("one", "cat", "/etc/machine-id"), before)

    def test_a_clone_is_restored_again(self):
        self.run_detached("web-worker", "--name", "one", "--require-snapshot", "--private-memory")
        self.end("one")
        # a supervisor that was killed while it copied the memory has left a part of it
        self.write(self.data("instances", "one", "mem.bin"), "a part")
        self.mvm_ok("start", "one")
        again = self.inspect("one")
        self.assertEqual(again["start"], "restore")
        self.assertEqual(again["hostname"], "one")

    def test_one_that_runs_is_left_alone(self):
        first = self.run_detached("web-worker", "--name", "one")
        self.mvm_fails(4, "start", "one", says="instance 'one' is running")
        self.assertEqual(self.inspect("one")["supervisor_pid"], first["supervisor_pid"])
        self.mvm_fails(3, "start", "none", says="there is no instance 'none'")

    def test_one_of_several_starts_wins(self):
        self.run_detached("web-worker", "--name", "one")
        self.end("one")
        starts = [self.start_mvm("start", "one") for _ in range(4)]
        status = sorted(self.status(start) for start in starts)
        self.assertEqual(status, [0, 4, 4, 4])
        self.assertEqual(self.exec("one", "echo", "yes"), "yes\n")

    def status(self, process):
        process.communicate(timeout=harness.PATIENCE_S)
        return process.returncode

    def test_one_whose_supervisor_was_killed_starts_again(self):
        first = self.run_detached("web-worker", "--name", "one")
        os.kill(first["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(first["supervisor_pid"])))
        self.mvm_ok("start", "one")
        self.assertEqual(self.exec("one", "echo", "yes"), "yes\n")

    def test_a_start_that_fails_leaves_the_instance(self):
        first = self.run_detached("web-worker", "--name", "one", "-p", "0:8080")
        self.end("one")
        with socket.create_server(("127.0.0.1", first["forwards"][0]["host_port"])):
            self.mvm_fails(4, "start", "one", says="cannot forward port")
        self.assertEqual(self.inspect("one")["state"], "exited")
        broken = self.path("no-supervisor")
        os.makedirs(broken, exist_ok=True)
        self.mvm_fails(3, "start", "one", says="cannot find mvm-supervisor",
                       env={"MVM_LIBEXEC_DIR": broken})
        self.assertEqual(self.inspect("one")["state"], "exited")
        self.mvm_ok("start", "one")

    def test_a_start_that_is_interrupted_leaves_the_instance(self):
        self.run_detached("web-worker", "--name", "one", "--cold", "-v", f"{self.path()}:/in")
        self.end("one")
        start = self.start_mvm("start", "one")
        self.assertTrue(guests.wait_until(lambda: self.inspect("one")["state"] == "starting"))
        start.send_signal(signal.SIGINT)
        self.status(start)
        self.assertTrue(guests.wait_until(self.ended))
        self.mvm_ok("start", "one")

    def test_a_start_waits_for_the_supervisors_last_steps(self):
        self.run_detached("web-worker", "--name", "one")
        self.end("one")
        with open(self.data("instances", "one", "lock"), "rb") as lock: # as a supervisor holds it that has written its end
            fcntl.flock(lock, fcntl.LOCK_EX)
            start = self.start_mvm("start", "one")
            time.sleep(0.5)
        self.assertEqual(self.status(start), 0)

    def test_without_its_revision_it_stays_ended(self):
        self.own_data()
        self.run_detached("web-worker", "--name", "one")
        self.end("one")
        self.mvm_ok("template", "delete", "web-worker", "--force")
        self.mvm_fails(3, "start", "one", says="starting 'one' again: ")
        self.assertEqual(self.inspect("one")["state"], "exited")

    def test_restart(self):
        first = self.run_detached("web-worker", "--name", "one")
        done = self.mvm_json("restart", "one")
        self.assertEqual(done, [{"name": "one", "result": "restarted"}])
        second = self.inspect("one")
        self.assertNotEqual(second["supervisor_pid"], first["supervisor_pid"])
        # the supervisor writes the last of them once the command has its answer
        self.assertTrue(guests.wait_until(lambda: [event for event in self.events() if event in ("started", "stopped")]
                                          [-3:] == ["started", "stopped", "started"]))
        self.end("one")
        self.mvm_ok("restart", "one") # one that has ended is only started
        self.assertEqual(self.exec("one", "echo", "yes"), "yes\n")

    def test_one_that_goes_with_its_end_is_not_restarted(self):
        first = self.run_detached("web-worker", "--name", "one", "--rm")
        self.mvm_fails(1, "restart", "one", says="is removed at its end")
        self.assertEqual(self.inspect("one")["supervisor_pid"], first["supervisor_pid"])


@harness.needs_guests
class DataDisk(guests.TestCase):
    config = guests.CONFIG + "data_disk_mib = 16\n"

    def test_a_data_disk_keeps_its_contents(self):
        self.run_detached("web-worker", "--name", "one", "--require-snapshot")
        self.exec("one", "sh", "-c", "echo kept > /data/file; sync")
        self.mvm_ok("stop", "one")
        done = self.mvm("start", "one")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.exec("one", "cat", "/data/file"), "kept\n")
        self.assertEqual(self.inspect("one")["start"], "boot")


if __name__ == "__main__":
    guests.main()
