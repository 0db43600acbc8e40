# SPDX-License-Identifier: Apache-2.0
"""`suspend` and `resume`: the same VM goes on, or says why not.

MVM_TEST_LONG=1 suspends one VM a hundred times.
"""

import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import time
import unittest

import guests
import harness

CYCLES = 100 if os.environ.get("MVM_TEST_LONG") else 3

# notes each wall clock that is behind the one before it, to a microsecond
WATCH = """(while :; do busybox adjtimex; sleep 0.02; done | busybox awk '
/time.tv_sec/ { s = $2 }
/time.tv_usec/ { t = s + $2 / 1000000; n++
    if (t < last) { printf "%.6f after %.6f\\n", t, last >>"/tmp/back"; close("/tmp/back") }
    last = t; print n >"/tmp/seen"; close("/tmp/seen") }') >/dev/null 2>&1 &"""

IDS = "cat /etc/machine-id /run/mvm/generation /proc/sys/kernel/random/boot_id; hostname; cat /tmp/pid"


@harness.needs_guests
class Suspend(guests.TestCase):
    config = guests.CONFIG + "data_disk_mib = 16\n"

    def refused(self, *args):
        done = self.mvm(*args)
        self.assertNotIn(done.returncode, (0, 2), args)
        return done.stderr

    def start(self, *options):
        record = self.run_detached("web-worker", "--name", "vm", *options)
        self.exec("vm", "sh", "-c", "echo kept >/tmp/file; echo kept >/data/file; "
                  "(while :; do cat /proc/uptime >/tmp/up; sleep 0.05; done) >/dev/null 2>&1 & "
                  "echo $! >/tmp/pid")
        return record

    def saved(self, *names):
        return self.data("instances", "vm", "saved", *names)

    def suspend(self):
        self.assertEqual(self.mvm_ok("suspend", "vm"), "vm\n")
        self.assertEqual(self.inspect("vm")["state"], "suspended")

    def at_once(self, verb):
        """Returns the error of the slower one."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda _: self.mvm(verb, "vm"), range(2)))
        self.assertEqual(sorted(d.returncode for d in done), [0, 4], done)
        return max(done, key=lambda d: d.returncode).stderr

    def uptime(self):
        return float(self.exec("vm", "cat", "/proc/uptime").split()[0])

    def test_the_same_vm_goes_on(self):
        forwards = self.start("-p", "0:8080", "-p", "0:9000", "--allow", "10.9.0.0/16")["forwards"]
        self.exec("vm", "sh", "-c", "mkfifo /tmp/open; "
                  "(busybox nc -l -p 9000 <>/tmp/open; echo over >/tmp/over) >/dev/null 2>&1 &")
        self.exec("vm", "sh", "-c", "until busybox netstat -tln | grep :9000; do sleep 0.1; done")
        peer = socket.create_connection(("127.0.0.1", forwards[1]["host_port"]))
        self.addCleanup(peer.close)
        peer.sendall(b"hello\n")
        self.exec("vm", "sh", "-c", "until busybox netstat -tn | grep :9000.*EST; do sleep 0.1; done")
        before, up = self.exec("vm", "sh", "-c", IDS), self.uptime()

        self.suspend()
        self.assertTrue(guests.wait_until(lambda: not harness.processes_of(self.data_dir)))
        self.assertIn("suspended", self.mvm_ok("ps"))
        self.assertEqual(sorted(os.listdir(self.saved())), ["pages.bin", "saved.json", "vmstate.bin"])
        self.assertLess(os.stat(self.saved("pages.bin")).st_size, 64 << 20)
        for command in (("exec", "vm", "true"), ("port", "vm"), ("wait", "vm"), ("suspend", "vm")):
            error = self.refused(*command)
            self.assertIn("suspended", error)
            self.assertIn("mvm resume vm", error)
        for command in (("template", "delete", "web-worker", "--force"),
                        ("template", "snapshot", "web-worker")):
            self.assertIn("instance 'vm' is suspended", self.refused(*command))

        self.assertEqual(self.mvm_ok("resume", "vm"), "vm\n")
        record = self.inspect("vm")
        self.assertEqual((record["state"], record["start"]), ("running", "restore"))
        self.assertEqual(record["forwards"], forwards)
        self.assertEqual(record["network_allow"], ["10.9.0.0/16"])
        self.assertEqual(self.exec("vm", "sh", "-c", IDS), before)
        self.assertGreaterEqual(self.uptime(), up)
        self.assertLess(self.clock_off_ms("vm"), 2000)
        self.assertEqual(self.exec("vm", "cat", "/tmp/file", "/data/file"), "kept\nkept\n")
        # its process runs on, and its connection is over
        self.exec("vm", "sh", "-c", "rm /tmp/up; until test -s /tmp/up; do sleep 0.1; done; "
                  "until test -s /tmp/over; do sleep 0.1; done")
        self.assertIn("<title>", guests.get(forwards[0]["host_port"], "/index.html"))
        self.assertFalse([n for n in os.listdir(self.data("instances", "vm")) if "sav" in n])
        # and once more, by two commands at once
        self.assertRegex(self.at_once("suspend"), "is suspended")
        self.assertEqual(self.inspect("vm")["state"], "suspended")
        self.assertNotRegex(self.at_once("resume"), "suspended|mvm stop|mvm rm")
        self.assertEqual(self.exec("vm", "sh", "-c", IDS), before)

    def test_many_times_and_its_clock_never_steps_back(self):
        port = self.start("-p", "0:8080")["forwards"][0]["host_port"]
        self.exec("vm", "sh", "-c", "touch /tmp/back; " + WATCH)
        seen = lambda: int(self.exec("vm", "sh", "-c", "until cat /tmp/seen | grep .; do :; done"))
        before, n, pages = self.exec("vm", "sh", "-c", IDS), 0, []
        for _ in range(CYCLES):
            self.assertTrue(guests.wait_until(lambda: seen() > n)) # it went on
            n = seen()
            self.suspend()
            with open(self.saved("saved.json"), encoding="utf-8") as file:
                pages.append(json.load(file)["n_pages"])
            self.mvm_ok("resume", "vm")
            self.assertIn("<title>", guests.get(port, "/index.html"))
        self.assertEqual(self.exec("vm", "cat", "/tmp/back"), "")
        self.assertEqual(self.exec("vm", "sh", "-c", IDS), before)
        self.assertLess(self.clock_off_ms("vm"), 2000)
        print(f"# {CYCLES} cycles; pages of its own: {pages[0]}, then {pages[-1]}")
        self.assertLess(pages[-1], 2 * pages[1] + 1024)

    def test_a_changed_state_is_refused_and_stays(self):
        self.start()
        self.suspend()
        machine_id = self.inspect("vm")["machine_id"].encode()
        start = re.search(r"restored, \d+ ms", self.mvm_ok("ps")).group()
        for name in ("pages.bin", "vmstate.bin", "saved.json", "../data.ext4"):
            path = self.saved(name)
            with open(path, "rb") as file:
                good = file.read()
            others = [good.replace(machine_id, b"0" * 32)] if name == "saved.json" else []
            for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:-7], *others):
                with open(path, "wb") as file:
                    file.write(bad)
                error = self.mvm_fails(5, "resume", "vm", says="instance 'vm' stays suspended")
                self.assertIn("mvm start vm", error)
                if name != "saved.json": # which may say many things
                    self.assertIn(os.path.basename(name), error)
                self.assertEqual(self.inspect("vm")["state"], "suspended")
                self.assertIn(start, self.mvm_ok("ps"))
            # the same bytes in another file, and without its holes, are fine
            os.unlink(path)
            with open(path, "wb") as file:
                file.write(good)
            os.chmod(path, 0o600)
        self.mvm_ok("resume", "vm")
        self.assertEqual(self.exec("vm", "cat", "/tmp/file"), "kept\n")
        self.suspend()
        self.mvm_ok("start", "vm") # cold, with its disk
        self.assertEqual(self.inspect("vm")["start"], "boot")
        self.assertEqual(self.exec("vm", "sh", "-c", "ls /tmp; cat /data/file"), "kept\n")
        self.assertFalse(os.path.exists(self.saved()))

    @unittest.skipUnless(os.getuid() == 0 and os.path.exists("/etc/machine-id"),
                         "needs root, to mount another boot id, and a host with a name")
    def test_it_outlives_the_boot_of_the_host(self):
        self.start()
        self.suspend()
        self.assertTrue(guests.wait_until(lambda: not harness.processes_of(self.data_dir)))
        boot_id = self.write("boot_id", "00000000-0000-4000-8000-000000000000\n")
        os.chmod(self.folder, 0o711) # run by root, mvm starts QEMU as another user
        qemu = self.write("qemu", "#!/bin/sh\necho QEMU emulator version 99.1\n", 0o755)
        enter = guests.in_own_mounts((boot_id, "/proc/sys/kernel/random/boot_id", "", 4096, "")) # MS_BIND

        def later(*args, env=None):
            return subprocess.run([harness.MVM, *args], env=self.environment(env), check=False,
                                  preexec_fn=enter, capture_output=True, text=True,
                                  timeout=harness.PATIENCE_S)

        try:
            listed = later("ps")
        except subprocess.SubprocessError as error:
            self.skipTest(f"cannot mount here: {error}")
        self.assertIn("suspended", listed.stdout)
        done = later("resume", "vm", env={"MVM_QEMU": qemu}) # as after an update
        self.assertEqual(done.returncode, 6, done.stderr)
        for text in ("stays suspended", "the VMM's version differs", "99.1", "mvm start vm"):
            self.assertIn(text, done.stderr)
        self.assertIn("suspended", later("ps").stdout)
        done = later("resume", "vm")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.exec("vm", "cat", "/tmp/file", "/data/file"), "kept\nkept\n")
        self.assertTrue(self.inspect("vm")["boot_id"].startswith("00000000-0000-4"))

    @unittest.skipUnless(os.getuid() == 0, "needs root, to mount a small file system")
    def test_a_full_disk_is_explained_and_the_guest_goes_on(self):
        script = r"""
import json, os, subprocess, sys
mvm, instances = sys.argv[1:]
def run(*args):
    done = subprocess.run([mvm, *args], capture_output=True, text=True)
    return {"args": args, "status": done.returncode, "stderr": done.stderr, "stdout": done.stdout}
steps = [run("run", "-T", "web-worker", "-d", "--name", "vm"),
         run("exec", "vm", "sh", "-c", "busybox dd if=/dev/urandom of=/tmp/big bs=1M count=24")]
with open(instances + "/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(65536))
    except OSError:
        pass
    for room in (0, 4 << 20):
        file.truncate(file.tell() - room)
        steps += [run("suspend", "vm"), run("fork", "vm"), run("exec", "vm", "echo", "runs"),
                  run("ps", "--format", "{{.Name}} {{.State}}")]
        steps[-1]["left"] = [n for n in os.listdir(instances + "/vm") if n[:3] in ("sav", "for")]
os.unlink(instances + "/fill")
steps += [run("suspend", "vm"), run("resume", "vm"), run("fork", "vm", "--name", "f"),
          run("rm", "--force", "vm", "f")]
print(json.dumps(steps))
"""
        done = self.on_small_disk("128m", script)
        self.assertEqual(done.returncode, 0, done.stderr)
        steps = json.loads(done.stdout)
        failing = [step for step in steps if step["args"][:2] in (["suspend", "vm"], ["fork", "vm"])]
        for step in failing[:4]:
            self.assertEqual(step["status"], 1, step)
            self.assertRegex(step["stderr"], r"takes up to [\d.]+ MiB, and only [\d.]+ \w+ are free")
            self.assertIn("make room on its disk", step["stderr"])
        for step in steps:
            if step not in failing[:4]:
                self.assertEqual(step["status"], 0, step)
            if "left" in step:
                self.assertEqual((step["stdout"], step["left"]), ("vm running\n", []), step)

    def test_a_resume_that_is_killed_loses_nothing(self):
        self.start()
        self.exec("vm", "busybox", "dd", "if=/dev/urandom", "of=/tmp/big", "bs=1M", "count=24")
        self.suspend()
        resuming = self.start_mvm("resume", "vm")
        self.assertTrue(guests.wait_until(lambda: not os.path.exists(self.saved())))
        resuming.kill() # the guest has the only copy by now
        resuming.wait(timeout=harness.PATIENCE_S)
        self.assertTrue(guests.wait_until(lambda: self.inspect("vm")["state"] == "running"),
                        self.inspect("vm")["state"])
        self.assertEqual(self.exec("vm", "cat", "/tmp/file"), "kept\n")

    def test_no_other_snapshot_takes_its_snapshots_place(self):
        self.own_data()
        self.start()
        making = self.start_mvm("template", "snapshot", "web-worker")
        self.assertTrue(guests.wait_until(lambda: len(self.instances()) == 2)) # it boots
        making.send_signal(signal.SIGSTOP) # else it may be the first
        self.suspend()
        making.send_signal(signal.SIGCONT)
        self.assertIn("instance 'vm' is suspended", making.communicate(timeout=300)[1])
        self.assertEqual(making.returncode, 4)
        self.mvm_ok("resume", "vm")
        # while it runs, the snapshot may go; then nothing could go on from its state
        self.mvm_ok("template", "snapshot", "web-worker", "--rm")
        for command in ("suspend", "fork"):
            self.assertIn("taken anew or removed since", self.refused(command, "vm"))
        self.assertEqual(self.instances(), ["vm"])
        self.assertEqual(self.exec("vm", "cat", "/tmp/file"), "kept\n")

    def test_its_folder_tells_whatever_the_record_says(self):
        self.start()
        self.suspend()
        path = self.data("instances", "vm", "instance.json")
        record = self.inspect("vm")
        record.pop("usage")
        record["state"] = "running" # as when its supervisor was killed before it wrote the record
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.mkdir(self.data("instances", "vm", "saving.0123456789abcdef"))
        self.assertIn("suspended", self.mvm_ok("ps"))
        self.mvm_ok("resume", "vm")
        self.assertEqual(self.exec("vm", "cat", "/tmp/file"), "kept\n")
        self.suspend()
        self.mvm_ok("stop", "vm")
        self.assertEqual(self.inspect("vm")["state"], "exited")
        self.assertFalse(os.path.exists(self.saved()))

    def stays_awake(self, name, port):
        """Check that the VM, which may be idle for 10 s, runs for longer while others ask its server.  A host that
        is too busy to ask it in time shows nothing: then it is asked for longer."""
        for _ in range(10):
            self.mvm("resume", name) # it is suspended if this test did not run
            began = asked = time.monotonic()
            while asked < began + 17:
                time.sleep(1)
                try:
                    said = guests.get(port, "/index.html")
                except OSError as error:
                    said = str(error)
                if time.monotonic() > asked + 5:
                    break
                self.assertIn("<title>", said)
                asked = time.monotonic()
            else:
                self.assertEqual(self.inspect(name)["state"], "running")
                return
        self.fail("this host is too busy to keep a VM awake")

    def test_its_time_suspends_it(self):
        record = self.run_detached("web-worker", "--name", "vm", "--on-idle", "10s", "-p", "0:8080")
        port = record["forwards"][0]["host_port"]
        self.assertIn("suspend when idle for 10 s", self.mvm_ok("ps"))
        self.run_detached("web-worker", "--name", "short", "--ttl", "1h", "--ttl-action", "suspend")
        self.assertRegex(self.mvm_ok("ps"), r"ENDS\n(.*\n)*.*suspend \d{4}-")
        self.mvm_ok("update", "--ttl", "1s", "short")
        self.stays_awake("vm", port)
        self.assertTrue(guests.wait_until(lambda: self.inspect("short")["state"] == "suspended"))
        self.assertIsNone(self.inspect("short")["expires_at"])
        self.mvm_ok("resume", "short") # with a new time, which suspends it again
        self.assertTrue(guests.wait_until(lambda: len(re.findall(
            "suspended +short: its time to live is over", self.mvm_ok("events"))) == 2))
        for name, why in (("short", "its time to live is over"),
                          ("vm", "nobody has used it for 10 s")):
            self.assertTrue(guests.wait_until(
                lambda name=name: self.inspect(name)["state"] == "suspended"), name)
            said = re.compile(f"suspended +{name}: {why}") # written after the record
            self.assertTrue(guests.wait_until(lambda said=said: said.search(self.mvm_ok("events"))),
                            self.mvm_ok("events"))
        self.mvm_ok("resume", "vm")
        self.assertIn("<title>", guests.get(port, "/index.html"))
        self.assertEqual(self.inspect("vm")["on_idle_ms"], 10000)
        os.mkdir(self.path("back"))
        for status, options in ((2, ["--on-idle", "1m"]), (2, ["-d", "--on-idle", "9s"]),
                                (2, ["-d", "--on-idle", "1m=sleep"]),
                                (2, ["-d", "--ttl-action", "suspend"]),
                                (2, ["-d", "--cold", "--on-idle", "1m"]),
                                (1, ["-d", "--on-idle", "1m", "-v", self.path("back") + ":/b:rw"]),
                                (1, ["-d", "--on-idle", "1m", "--mem", "160M"])):
            done = self.mvm("run", "-T", "web-worker", *options)
            self.assertTrue(done.returncode == status or status == 1 and done.returncode not in (0, 2),
                            (options, done.returncode, done.stderr))
        self.assertEqual(sorted(self.instances()), ["short", "vm"])

    def test_it_says_what_cannot_be_suspended(self):
        os.mkdir(self.path("out"))
        for options, why in ((["--cold"], "it has booted"),
                             (["-v", self.path("out") + ":/out:rw"], "is copied back at its end")):
            self.run_detached("web-worker", "--name", "vm", *options)
            self.assertIn(why, self.refused("suspend", "vm"))
            self.exec("vm", "true")
            self.mvm_ok("rm", "--force", "vm")
        self.run_detached("web-worker", "--name", "vm")
        running = self.start_mvm("exec", "vm", "sleep", "1000")
        self.assertTrue(guests.wait_until(
            lambda: "sleep 1000" in self.exec("vm", "ps")))
        self.assertIn("clients run commands", self.refused("suspend", "vm"))
        self.assertIsNone(running.poll())
        running.kill()
        self.assertTrue(guests.wait_until(lambda: self.mvm("suspend", "vm").returncode == 0))
        self.mvm_ok("rm", "vm")


if __name__ == "__main__":
    guests.main()
