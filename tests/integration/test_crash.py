# SPDX-License-Identifier: Apache-2.0
"""kill -9, interrupts, races and a full disk leave the old state or the new one, and no garbage.

MVM_TEST_LONG=1 kills at more moments.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
import unittest

import guests
import harness

KILLS = 60 if os.environ.get("MVM_TEST_LONG") else 12


def killed(pid, number=signal.SIGKILL):
    os.kill(pid, number)
    return guests.wait_until(lambda: not guests.is_alive(pid))


def blocks(pid, number):
    """Does a process block this signal?"""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        mask = next(line.split()[1] for line in file if line.startswith("SigBlk:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


class TestCase(guests.TestCase):
    config = guests.CONFIG

    def sweep_unborn(self):
        """Let a command sweep a start that was killed before it had a supervisor to clean up."""
        guests.wait_until(lambda: not harness.processes_of(self.data_dir))
        self.mvm_ok("ps")


@harness.needs_guests
class Builds(TestCase):
    def change_source(self, text):
        with open(os.path.join(self.folder, "root", "www", "index.html"), "w",
                  encoding="utf-8") as file:
            file.write(text)

    def setUp(self):
        super().setUp()
        guests.make_root(self.folder)
        self.own_config = self.write("template.toml", guests.CONFIG)

    def check_state(self, revisions):
        """Check that `current` names a complete revision; returns the revision's name."""
        link = self.data("templates", "web-worker", "current")
        if not os.path.lexists(link):
            self.assertEqual(revisions, set())
            return None
        self.assertTrue(os.path.isdir(link), os.readlink(link))
        self.assertTrue(guests.wait_until(lambda: not harness.processes_of(self.data_dir)),
                        harness.processes_of(self.data_dir))
        info = self.mvm_json("template", "info", "web-worker")
        self.assertEqual(os.listdir(self.data("tmp")), []) # that command has swept it
        revision = info["revision"]["revision_hash"]
        with open(self.current("web-worker", "checksums.json"), encoding="utf-8") as file:
            sums = json.load(file)["files"]
        for name, digest in sums.items():
            self.assertEqual(guests.sha256(self.current("web-worker", name)), digest, name)
        self.assertEqual("snapshot/mem.bin" in sums, info["kind"] != "Image")
        return revision

    def test_killed_at_any_moment_it_leaves_the_old_or_the_new(self):
        self.own_data()
        build = ("template", "build", "--config", self.own_config, "--snapshot")
        self.mvm_ok(*build)
        revisions = {self.check_state(set())}
        self.change_source("how long does one take?")
        start = time.monotonic()
        self.mvm_ok(*build)
        whole = time.monotonic() - start
        revisions.add(self.check_state(revisions))

        seed = int(os.environ.get("MVM_TEST_SEED", "0")) or random.randrange(1 << 30)
        print(f"# MVM_TEST_SEED={seed}, a build takes {whole:.2f} s", flush=True)
        rng = random.Random(seed)
        outcomes = {"old": 0, "image": 0, "snapshot": 0}
        for i in range(KILLS):
            # every third kill comes early, while the image is made and published
            spread = 0.06 if i % 3 == 0 else whole * 1.05
            delay = rng.random() * spread
            with self.subTest(f"killed after {delay:.3f} s"):
                before = self.check_state(revisions)
                self.change_source(f"change {i}")
                process = self.start_mvm(*build)
                time.sleep(delay) # at a random moment
                process.kill()
                process.wait(harness.PATIENCE_S)
                link = self.data("templates", "web-worker", "current")
                self.assertTrue(os.path.isdir(link))
                after = self.check_state(revisions)
                self.sweep_unborn()
                self.assertEqual(self.instances(), [])
                kind = self.mvm_json("template", "info", "web-worker")["kind"]
                outcomes["old" if after == before else "image" if kind == "Image" else
                         "snapshot"] += 1
                revisions.add(after)
        print(f"# left behind: {outcomes}", flush=True)
        result, = self.mvm_json(*build)
        self.assertTrue(result["has_snapshot"])
        self.check_state(revisions)
        self.assertEqual(self.mvm_ok("run", "--template", "web-worker", "--require-snapshot", "--",
                                     "cat", "/www/index.html"), f"change {KILLS - 1}")

    def test_a_killed_first_build_leaves_no_revision_or_a_whole_one(self):
        for delay in (0.005, 0.015, 0.03):
            with self.subTest(delay):
                self.own_data(kernel_only=True)
                process = self.start_mvm("template", "build", "--config", self.own_config)
                time.sleep(delay)
                process.kill()
                process.wait(harness.PATIENCE_S)
                artifacts = self.data("templates", "web-worker", "artifacts")
                self.check_state(set(os.listdir(artifacts) if os.path.lexists(
                    self.data("templates", "web-worker", "current")) else ()))
                result, = self.mvm_json("template", "build", "--config", self.own_config)
                self.check_state({result["revision_hash"]})
                subprocess.run(["rm", "-r", self.data_dir], check=True, timeout=harness.PATIENCE_S)

    def stop_building(self, process):
        """Stop a build while it boots for the snapshot, so it is surely not finished yet."""
        self.assertTrue(guests.wait_until(self.instances))
        process.send_signal(signal.SIGSTOP)
        self.assertIsNone(process.poll())

    def assert_waits_for(self, process, first):
        line = process.stderr.readline()
        while line and "waiting" not in line:
            line = process.stderr.readline()
        self.assertRegex(line, rf"web-worker: waiting for process {first.pid}\b")

    def test_a_second_build_names_the_process_that_it_waits_for(self):
        self.own_data()
        self.change_source("built by two")
        build = ("template", "build", "--config", self.own_config, "--snapshot")
        first = self.start_mvm(*build)
        self.stop_building(first)
        says = self.mvm_fails(4, *build, "--no-wait")
        self.assertIn(f"process {first.pid}", says)
        self.assertIn("'web-worker'", says)
        second = self.start_mvm(*build, "--json")
        self.assert_waits_for(second, first)
        first.send_signal(signal.SIGCONT)
        out, err = second.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(second.returncode, 0, err)
        self.assertIsNotNone(first.poll())
        self.assertEqual(first.returncode, 0)
        result, = json.loads(out)
        self.assertFalse(result["new_revision"] or result["new_snapshot"])
        self.assertTrue(result["has_snapshot"])

    def test_a_waiting_build_continues_when_the_first_is_killed(self):
        self.own_data()
        self.change_source("built by the second")
        build = ("template", "build", "--config", self.own_config, "--snapshot")
        first = self.start_mvm(*build)
        self.stop_building(first)
        second = self.start_mvm(*build, "--json")
        self.assert_waits_for(second, first)
        first.kill()
        out, err = second.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(second.returncode, 0, err)
        self.assertTrue(json.loads(out)[0]["new_snapshot"])
        self.assertTrue(guests.wait_until(lambda: not harness.processes_of(self.data_dir)))
        self.mvm_ok("ps") # the next command, whichever it is, removes the remains of the first in staging
        self.assert_nothing_left()

    @unittest.skipUnless(os.getuid() == 0, "needs root, to mount a small file system")
    def test_a_full_disk_is_reported_and_publishes_nothing(self):
        small = self.path("small")
        os.mkdir(small, 0o700)
        # the kernel (53 MiB) does not fit in the first size, the image not in the second, the memory in none
        for mib, fails_in in ((40, "kernel"), (55, "image"), (80, "snapshot"),
                              (100, "snapshot")):
            with self.subTest(fails_in, mib=mib):
                enter = guests.in_own_mounts(("tmpfs", small, "tmpfs", 0,
                                              f"size={mib}m,mode=0700"))
                try:
                    done = self.in_mounts(enter, small)
                except subprocess.SubprocessError as error:
                    self.skipTest(f"cannot mount here: {error}")
                self.assertEqual(done.returncode, 0, done.stderr)
                steps = json.loads(done.stdout)
                step = steps[0 if fails_in == "kernel" else 1]
                self.assertEqual(step["status"], 1, steps)
                self.assertRegex(step["stderr"], "(?i)no space left", steps)
                for step in steps:
                    self.assertEqual((step["tmp"], step["instances"]), ([], []), steps)
                    self.assertTrue(step["whole"], steps)

    def in_mounts(self, enter, folder):
        """Run the whole job in a folder that only the job's processes see."""
        script = r"""
import hashlib, json, os, subprocess, sys
mvm, deb, config, disk = sys.argv[1:]
data = os.path.join(disk, "data")
steps = []
def names(name):
    path = os.path.join(data, name)
    return os.listdir(path) if os.path.isdir(path) else []
def whole():
    for template in names("templates"):
        link = os.path.join(data, "templates", template, "current")
        if not os.path.lexists(link):
            continue
        with open(os.path.join(link, "checksums.json")) as file:
            for name, digest in json.load(file)["files"].items():
                with open(os.path.join(link, name), "rb") as artifact:
                    if hashlib.sha256(artifact.read()).hexdigest() != digest:
                        return False
    for kernel in names("kernels"):
        with open(os.path.join(data, "kernels", kernel, "kernel.json")) as file:
            json.load(file)
    return True
for args in (["kernel", "add", deb, "--name", "debian"],
             ["template", "build", "--config", config, "--snapshot"],
             ["template", "list"]):
    done = subprocess.run([mvm, "--data-dir", data, *args], capture_output=True, text=True)
    steps.append({"args": args[:2], "status": done.returncode, "stderr": done.stderr,
                  "tmp": names("tmp"), "instances": names("instances"), "whole": whole()})
print(json.dumps(steps))
"""
        return subprocess.run(["python3", "-c", script, harness.MVM,
                               os.environ["MVM_TEST_KERNEL_DEB"], self.own_config, folder],
                              capture_output=True, text=True, preexec_fn=enter, check=False,
                              env=self.environment(), timeout=300)


@harness.needs_guests
class Instances(TestCase):
    @unittest.skipUnless(os.getuid() == 0, "needs root, to mount a small file system")
    def test_on_a_full_disk_an_end_is_written_down_all_the_same(self):
        script = r"""
import subprocess, sys
mvm, instances = sys.argv[1:]
subprocess.run([mvm, "run", "-T", "web-worker", "-d", "--name", "one"], check=True,
               stdout=subprocess.DEVNULL)
with open(instances + "/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(512))
    except OSError:
        pass
refused = subprocess.run([mvm, "rename", "one", "two"], capture_output=True, text=True)
assert refused.returncode == 1 and "make room on its disk" in refused.stderr, refused
subprocess.run([mvm, "stop", "one"], check=True, stdout=subprocess.DEVNULL)
subprocess.run([mvm, "inspect", "one"], check=True)
"""
        done = self.on_small_disk("512k", script)
        self.assertEqual(done.returncode, 0, done.stderr)
        record = json.loads(done.stdout)
        self.assertEqual((record["state"], record["error"]), ("exited", None))
        self.assertIsNotNone(record["ended_at"])

    def test_a_vmm_that_was_killed_is_noticed_and_removed(self):
        record = self.run_detached("web-worker", "--name", "one", "-p", "0:8080")
        self.assertTrue(killed(record["vmm_pid"]))
        self.assertTrue(guests.wait_until(lambda: self.inspect("one")["state"] == "failed"))
        row = self.inspect("one")
        self.assertIn("killed by signal 9", row["error"])
        self.assertRegex(self.mvm_ok("ps"), r"one +web-worker +failed")
        self.mvm_fails(125, "exec", "one", "--", "true", says="killed by signal 9")
        self.mvm_fails(4, "stop", "one", says="does not run")
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(record["supervisor_pid"])))
        self.assertFalse(os.path.exists(self.data("instances", "one", "control.sock")))
        self.mvm_ok("rm", "one")
        self.assert_nothing_left()
        # the VM's port is free again
        port = record["forwards"][0]["host_port"]
        self.assertEqual(self.run_detached("web-worker", "-p", f"{port}:8080")["start"], "restore")

    def test_a_command_ends_with_125_when_its_vmm_is_killed(self):
        record = self.run_detached("web-worker", "--name", "one")
        process = self.start_mvm("exec", "one", "--", "sh", "-c", "echo runs; sleep 1000")
        self.assertEqual(process.stdout.readline(), "runs\n")
        killed(record["vmm_pid"])
        _, err = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 125)
        self.assertIn("mvm: ", err)

    def test_a_killed_supervisor_takes_its_vm_along_and_is_noticed(self):
        record = self.run_detached("web-worker", "--name", "one")
        self.assertTrue(killed(record["supervisor_pid"]))
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(record["vmm_pid"])))
        row = self.inspect("one")
        self.assertEqual(row["state"], "failed")
        self.assertIn("supervisor was killed", row["error"])
        self.mvm_fails(4, "stop", "one", says="supervisor was killed")
        self.mvm_fails(125, "exec", "one", "--", "true", says="supervisor was killed")
        self.mvm_ok("rm", "one")
        self.assert_nothing_left()

    def test_a_killed_run_ends_its_vm(self):
        process = self.start_mvm("run", "--template", "web-worker", "--", "sh", "-c",
                                 "echo runs; sleep 1000")
        self.assertEqual(process.stdout.readline(), "runs\n")
        self.assertEqual(len(self.instances()), 1)
        process.kill()
        self.assertTrue(guests.wait_until(lambda: not self.instances()), self.instances())
        self.assert_nothing_left()

    def test_a_lost_instance_stays_while_a_user_has_files_in_its_folder(self):
        process = self.start_mvm("run", "--template", "web-worker", "--name", "fore")
        self.assertTrue(guests.wait_until(self.running))
        record = self.inspect("fore")
        precious = self.data("instances", "fore", "precious")
        with open(precious, "w", encoding="ascii") as file:
            file.write("x")
        for pid in process.pid, record["supervisor_pid"]:
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=harness.PATIENCE_S)
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(record["vmm_pid"])))
        for _ in range(2):
            self.assertRegex(self.mvm_ok("ps"), r"fore +web-worker +failed")
            self.assertTrue(os.path.exists(precious))
        self.mvm_ok("rm", "fore")
        self.assert_nothing_left()

    def test_a_copy_of_an_instance_is_a_users(self):
        def said():
            return [json.loads(line)["event"] for line in self.mvm_ok("events", "--json").splitlines() if "copied" in line]

        self.mvm_ok("run", "--template", "web-worker", "-d", "--rm", "--name", "copied")
        # its supervisor writes the event once the command has its answer
        self.assertTrue(guests.wait_until(said))
        os.mkfifo(self.data("logs", "fifo")) # mvm does not wait to write an event, even into a FIFO
        os.rename(self.data("logs", "events.jsonl"), self.data("logs", "kept"))
        os.rename(self.data("logs", "fifo"), self.data("logs", "events.jsonl"))
        self.mvm_ok("pause", "copied")
        self.mvm_ok("resume", "copied")
        os.rename(self.data("logs", "kept"), self.data("logs", "events.jsonl"))
        subprocess.run(["cp", "-a", self.data("instances", "copied"), self.data("instances", "two")],
                       check=True, timeout=60)
        other = self.path("other")
        subprocess.run(["cp", "-a", self.data_dir, other], check=True, timeout=60)
        self.mvm_ok("ps")
        self.assertTrue(os.path.exists(self.data("instances", "two", "instance.json")))
        # an instance that is renamed after its supervisor was killed
        self.mvm_ok("run", "--template", "web-worker", "-d", "--rm", "--name", "lost")
        self.assertTrue(killed(self.inspect("lost")["supervisor_pid"]))
        os.rename(self.data("instances", "lost"), self.data("instances", "mine"))
        before = os.listdir(self.data("instances", "mine"))
        self.assertIn("'instances/mine' in the data folder is left alone",
                      self.mvm("ps", status=0).stderr)
        self.assertEqual(os.listdir(self.data("instances", "mine")), before)
        shutil.rmtree(self.data("instances", "mine"))
        self.assertEqual(said(), ["started"])
        self.assertEqual(self.inspect("copied")["state"], "running")
        self.assertRegex(self.mvm_ok("--data-dir", other, "ps"), r"copied +web-worker +failed")
        self.assertTrue(os.path.exists(os.path.join(other, "instances", "copied", "instance.json")))
        shutil.rmtree(self.data("instances", "two"))
        self.mvm_ok("rm", "--force", "copied")
        self.assert_nothing_left()

    def test_a_run_killed_while_it_starts_leaves_nothing(self):
        for options in (("-d", "--cold"), ("-d",), ("--cold",)):
            for delay in (0.0, 0.02, 0.05, 0.1):
                with self.subTest(options=options, delay=delay):
                    process = self.start_mvm("run", "--template", "web-worker", *options)
                    guests.wait_until(self.instances)
                    time.sleep(delay)
                    process.kill()
                    process.wait(harness.PATIENCE_S)
                    # the instance runs without its starter, or nothing is left, perhaps after a moment
                    guests.wait_until(lambda: self.running()
                                      or not harness.processes_of(self.data_dir))
                    for name in self.running():
                        self.mvm("rm", "--force", name)
                    self.sweep_unborn()
                    self.assert_nothing_left()

    def running(self):
        return [r["name"] for r in self.mvm_json("ps") if r["state"] == "running"]

    def test_run_in_the_foreground_ends_with_its_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number.name):
                process = self.start_mvm("run", "--template", "web-worker", "--name", "fore")
                self.assertTrue(guests.wait_until(self.running)) # an earlier signal would cancel the start
                process.send_signal(number)
                _, err = process.communicate(timeout=harness.PATIENCE_S)
                self.assertEqual(process.returncode, 128 + number, err)
                self.assert_nothing_left()

    def test_run_under_nohup_outlives_its_terminal(self):
        def ignore():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        process = self.start_mvm("run", "--template", "web-worker", "--name", "fore",
                                 preexec_fn=ignore)
        self.assertTrue(guests.wait_until(lambda: blocks(process.pid, signal.SIGTERM)))
        self.assertTrue(guests.wait_until(self.running))
        process.send_signal(signal.SIGHUP)
        self.mvm_ok("exec", "fore", "--", "true") # meanwhile the signal could have ended it
        self.assertIsNone(process.poll())
        process.terminate()
        process.communicate(timeout=harness.PATIENCE_S)
        self.assert_nothing_left()

    def test_run_in_the_foreground_ends_with_its_vm(self):
        process = self.start_mvm("run", "--template", "web-worker", "--name", "fore")
        self.assertTrue(guests.wait_until(self.running))
        self.mvm("exec", "fore", "--", "poweroff", "-f")
        _, err = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 0, err)
        self.assert_nothing_left()

    def test_a_signal_goes_to_the_command(self):
        process = self.start_mvm("run", "--template", "web-worker", "--", "sh", "-c",
                                 "trap 'echo told; exit 5' TERM; echo runs; "
                                 "while :; do sleep 0.05; done")
        self.assertEqual(process.stdout.readline(), "runs\n")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual((out, process.returncode), ("told\n", 5))
        self.assert_nothing_left()

    def test_a_guest_that_powers_off_has_ended_well(self):
        record = self.run_detached("web-worker", "--name", "one")
        self.mvm("exec", "one", "--", "poweroff", "-f")
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(record["vmm_pid"])))
        self.assertTrue(guests.wait_until(lambda: self.inspect("one")["state"] == "exited"))
        self.assertIsNone(self.inspect("one")["error"])

    def test_logs_that_are_followed_end_with_the_vm(self):
        record = self.run_detached("web-worker", "--name", "one")
        process = self.start_mvm("logs", "-f", "one")
        self.exec("one", "sh", "-c", "echo seen-by-log >/dev/console")
        lines = iter(process.stdout.readline, "")
        self.assertTrue(any("seen-by-log" in line for line in lines))
        killed(record["vmm_pid"])
        process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 0)

    def test_ten_clones_started_at_once_all_run(self):
        starts = [self.start_mvm("run", "--template", "web-worker", "-d", "--json")
                  for _ in range(10)]
        records = []
        for process in starts:
            out, err = process.communicate(timeout=harness.PATIENCE_S)
            self.assertEqual(process.returncode, 0, err)
            records.append(json.loads(out))
        self.assertEqual({record["start"] for record in records}, {"restore"})
        self.assertEqual(len({record["machine_id"] for record in records}), 10)
        self.assertEqual(len(re.findall("running", self.mvm_ok("ps"))), 10)
        self.mvm_ok("rm", "--force", *(record["name"] for record in records))
        self.assert_nothing_left()


@harness.needs_guests
class Kept(TestCase):
    """`suspend`, `resume`, `fork` and `commit` while one of the processes is killed."""

    more = {"fork": ("--name", "f"), "commit": ("committed", "--snapshot")}

    config = guests.CONFIG + "data_disk_mib = 16\n"

    def have_vm(self, state):
        if "vm" not in self.instances() or self.inspect("vm")["state"] not in ("running", "suspended"):
            self.mvm("rm", "--force", "vm")
            self.run_detached("web-worker", "--require-snapshot", "--name", "vm")
            self.exec("vm", "sh", "-c", "echo kept >/tmp/file; echo kept >/data/file")
        if self.inspect("vm")["state"] != state:
            self.mvm_ok("suspend" if state == "suspended" else "resume", "vm")

    def kill(self, victim, command):
        if victim == "command":
            command.kill()
            return
        pid = self.inspect("vm")[victim + "_pid"]
        if pid: # else it has none yet, or no more
            os.kill(pid, signal.SIGKILL)

    def is_whole(self, name, victim):
        """A suspend whose command was killed may still be under way, and a killed VMM be unnoticed."""
        state = self.inspect(name)["state"]
        if state == "failed":
            return victim != "command"
        if state == "suspended":
            self.mvm("resume", name)
        return self.mvm("exec", name, "--", "cat", "/tmp/file", "/data/file").stdout == "kept\nkept\n"

    def one(self, operation, victim, delay):
        self.have_vm("suspended" if operation == "resume" else "running")
        command = self.start_mvm(operation, "vm", *self.more.get(operation, ()))
        time.sleep(delay)
        try:
            self.kill(victim, command)
        except ProcessLookupError:
            pass # it was faster
        command.communicate(timeout=harness.PATIENCE_S)
        self.assertTrue(guests.wait_until(
            lambda: self.inspect("vm")["state"] in ("running", "suspended", "failed")))
        state = self.inspect("vm")["state"]
        self.assertFalse(state == "failed" and victim == "command")
        for name in self.instances(): # the next command that lists them has settled them
            if self.inspect(name)["state"] in ("running", "suspended"):
                self.assertTrue(guests.wait_until(lambda name=name: self.is_whole(name, victim)), name)
        self.mvm("rm", "--force", "f")
        self.mvm_ok("ps")
        self.mvm_ok("template", "verify") # a revision is whole, with a whole snapshot or without one
        self.mvm("template", "delete", "committed", "--force")
        self.assertTrue(guests.wait_until(lambda: not [
            name for name in os.listdir(self.data("instances", "vm"))
            if name.startswith(("saving.", "fork.", "file.")) or name == "saved"]),
            os.listdir(self.data("instances", "vm")))
        self.assertEqual(os.listdir(self.data("tmp")), [])
        return state

    def test_it_runs_on_or_is_suspended_whole(self):
        seed = int(os.environ.get("MVM_TEST_SEED", "0")) or random.randrange(1 << 30)
        rng, ends = random.Random(seed), {}
        print(f"# MVM_TEST_SEED={seed}", flush=True)
        for i in range(KILLS // 4):
            operation = ("suspend", "fork", "resume", "commit")[i % 4]
            victim = rng.choice(("command", "supervisor", "vmm"))
            delay = rng.random() * (8 if operation == "commit" else 0.6)
            with self.subTest(operation=operation, victim=victim, delay=delay):
                end = f"{operation}, {victim}: {self.one(operation, victim, delay)}"
                ends[end] = ends.get(end, 0) + 1
        print(f"# {ends}", flush=True)


if __name__ == "__main__":
    guests.main()
