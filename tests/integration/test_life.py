# SPDX-License-Identifier: Apache-2.0
"""How instances end: `stop` and `rm --force` at any moment, starts that fail.

MVM_TEST_LONG=1 stresses them for minutes.
"""

import json
import os
import random
import signal
import subprocess
import threading
import time

import guests
import harness

STRESS_S = 120 if os.environ.get("MVM_TEST_LONG") else 6

STOPPED_EARLY = "it was stopped before it was up"


def blocks_in_wait(pid):
    """Has a command sent its request to the supervisor, and waits for the answer?"""
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return "poll" in file.read()
    except OSError:
        return False


def parent_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("PPid:")).split()[1])


class TestCase(guests.TestCase):
    config = guests.CONFIG

    def start_cold(self, *options):
        """Begin a start that takes seconds; returns while it is under way."""
        process = self.start_mvm("run", "-T", "web-worker", "-d", "--cold", "--name", "one",
                                 *options)
        self.assertTrue(guests.wait_until(
            lambda: os.path.exists(self.data("instances", "one", "instance.json"))))
        return process

    def assert_cancelled(self, process):
        _, err = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("instance 'one' did not start: " + STOPPED_EARLY, err)

    def hold_workload(self, name):
        """Freeze the workload, so that it does not notice SIGTERM, and a stop takes its full time."""
        self.exec(name, "sh", "-c",
                  "kill -STOP $(head -n 1 /sys/fs/cgroup/workload/cgroup.procs)")


@harness.needs_guests
class Removal(TestCase):
    def test_rm_force_removes_a_vm_that_starts(self):
        for delay in (0, 0.3):
            with self.subTest(delay):
                start = self.start_cold()
                time.sleep(delay)
                self.mvm_fails(4, "rm", "one", says="instance 'one' is starting")
                self.mvm_fails(125, "exec", "one", "--", "true", says="is still starting")
                self.mvm_ok("rm", "--force", "one")
                self.assert_cancelled(start)
                self.assert_nothing_left()

    def test_a_signal_to_the_supervisor_stops_the_vm(self):
        record = self.run_detached()
        os.kill(record["supervisor_pid"], signal.SIGTERM)
        self.assertTrue(guests.wait_until(
            lambda: self.inspect(record["name"])["state"] == "exited", 60))
        self.mvm_ok("rm", record["name"])

    def test_stop_cancels_a_start(self):
        start = self.start_cold()
        self.mvm_ok("stop", "one")
        self.assert_cancelled(start)
        record = self.inspect("one")
        self.assertEqual((record["state"], record["error"]), ("exited", None))
        self.mvm_ok("rm", "one")

    def test_a_signal_ends_a_start_whose_notes_nobody_reads(self):
        """With other memory than the snapshot's, a note comes before the start; else only the last
        words do not find a reader."""
        for number, options in ((signal.SIGINT, ["--cold"]), (signal.SIGTERM, ["--mem", "200M"])):
            with self.subTest(number):
                _, writer = self.full_pipe()
                with subprocess.Popen([harness.MVM, "run", "-T", "web-worker", "--name", "one",
                                       *options], env=self.environment(), stderr=writer,
                                      stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL) as process:
                    os.close(writer)
                    self.assertTrue(guests.wait_until(
                        lambda: os.path.exists(self.data("instances", "one", "instance.json"))
                        if number == signal.SIGINT else blocks_in_wait(process.pid)))
                    process.send_signal(number)
                    self.assertEqual(process.wait(harness.PATIENCE_S), 128 + number)
                self.assert_nothing_left()

    def test_rm_force_removes_a_paused_vm(self):
        name = self.run_detached()["name"]
        self.mvm_ok("pause", name)
        self.mvm_ok("rm", "--force", name)
        self.assert_nothing_left()

    def test_rm_force_cuts_a_stop_short(self):
        name = self.run_detached()["name"]
        self.hold_workload(name)
        stop = self.start_mvm("stop", "--timeout", "2h", name)
        self.assertTrue(guests.wait_until(
            lambda: "is being stopped" in self.mvm("exec", name, "--", "true").stderr))
        self.mvm_fails(4, "pause", name, says="is being stopped") # and does not wait for the stop
        self.mvm_ok("rm", "--force", name)
        self.assertEqual(stop.wait(harness.PATIENCE_S), 0)
        self.assert_nothing_left()

    def test_rm_force_removes_a_vm_whose_supervisor_was_just_killed(self):
        for _ in range(3):
            record = self.run_detached()
            os.kill(record["supervisor_pid"], signal.SIGKILL)
            self.mvm_ok("rm", "--force", record["name"])
            self.assert_nothing_left()

    def test_rm_force_kills_a_supervisor_that_does_not_answer(self):
        for victim in ("supervisor", "warden", "vmm"):
            with self.subTest(victim):
                record = self.run_detached()
                pid = parent_of(record["supervisor_pid"]) if victim == "warden" \
                    else record[victim + "_pid"]
                os.kill(pid, signal.SIGSTOP)
                self.mvm_ok("rm", "--force", record["name"])
                self.assert_nothing_left()

    def test_a_supervisor_that_does_not_answer_is_told(self):
        """No command waits for its own time limit, and ^C ends each."""
        commands = (["stop", "--timeout", "2h"], ["kill"], ["kill", "-s", "USR1"], ["pause"],
                    ["resume"], ["top"], ["exec"], ["cp"])
        for victim in ("supervisor", "warden"):
            record = self.run_detached()
            name, pid = record["name"], record["supervisor_pid"]
            words = {"exec": [name, "true"], "cp": [name + ":/etc/hostname", self.path("out")]}
            os.kill(parent_of(pid) if victim == "warden" else pid, signal.SIGSTOP)
            waiting = [self.start_mvm(*command, *words.get(command[0], [name]))
                       for command in commands]
            interrupted = self.start_mvm("stop", name)
            self.assertTrue(guests.wait_until(lambda: blocks_in_wait(interrupted.pid)))
            interrupted.send_signal(signal.SIGINT)
            self.assertEqual(interrupted.wait(harness.PATIENCE_S), -signal.SIGINT)
            for command, process in zip(commands, waiting):
                with self.subTest(victim, command=command):
                    err = process.communicate(timeout=harness.PATIENCE_S)[1]
                    self.assertEqual(process.returncode, 125 if command == ["exec"] else 1)
                    self.assertRegex(err, r"\Amvm: .*the VM's supervisor does not answer\n"
                                     f"hint: end and remove the VM with 'mvm rm --force {name}'")
            self.mvm_ok("rm", "--force", name) # the hint, followed
            self.assert_nothing_left()

    def test_a_vmm_that_does_not_answer_is_told(self):
        record = self.run_detached()
        os.kill(record["vmm_pid"], signal.SIGSTOP)
        said = self.mvm_fails(1, "pause", record["name"], says="QEMU did not answer")
        self.assertIn(f"'mvm stop --timeout 0 {record['name']}'", said)
        self.mvm_ok("stop", "--timeout", "0", record["name"]) # the hint, followed
        self.mvm_ok("rm", record["name"])

    def test_the_second_of_two_rms_reports_a_missing_instance(self):
        for _ in range(3):
            name = self.run_detached()["name"]
            both = [self.start_mvm("rm", "--force", name) for _ in range(2)]
            says = [process.communicate(timeout=harness.PATIENCE_S)[1] for process in both]
            self.assertEqual(sorted(process.returncode for process in both), [0, 3], says)
            self.assertRegex("".join(says), f"instance '{name}'")
            self.assert_nothing_left()

    def test_rm_force_removes_a_vm_that_waits_in_a_pool(self):
        self.own_data()
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        server = self.start_mvm("pool", "serve")
        self.assertTrue(guests.wait_until(
            lambda: self.mvm_json("pool", "list")["pools"][0]["ready"] == 1))
        name, = self.instances()
        self.mvm_ok("rm", "--force", name)
        self.assertNotIn(name, self.instances())
        server.terminate()
        self.assertEqual(server.wait(harness.PATIENCE_S), 0)
        self.assert_nothing_left()

    def test_run_and_rm_may_race(self):
        """Several processes start, stop and remove two instances at random moments."""
        end = time.monotonic() + STRESS_S
        wrong = []

        def go(seed, args, allowed):
            rng = random.Random(seed)
            while time.monotonic() < end and not wrong:
                time.sleep(rng.random() * 0.2)
                name = rng.choice(("one", "two"))
                done = subprocess.run([harness.MVM, *args(name, rng)], env=self.environment(),
                                      capture_output=True, text=True, check=False,
                                      timeout=self.timeout)
                if not allowed(done.returncode, done.stderr):
                    wrong.append((args(name, rng), done.returncode, done.stderr))

        def run(name, rng):
            return ("run", "-T", "web-worker", "-d", "--name", name,
                    *rng.choice(((), (), ("--cold",), ("--rm",))))

        def run_may(status, err):
            return status == 0 or STOPPED_EARLY in err or "already" in err
        jobs = [(run, run_may)] * 3
        jobs += [(lambda name, rng: ("rm", "--force", name), lambda status, err: status in (0, 3))
                 ] * 2
        jobs += [(lambda name, rng: ("stop", "--timeout", "0", name),
                  lambda status, err: status in (0, 3) or status == 4 and "does not run" in err)]
        threads = [threading.Thread(target=go, args=(i, *job)) for i, job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        for name in self.instances():
            self.mvm_ok("rm", "--force", name)
        self.assert_nothing_left()


# ends when /tmp/end appears, with the status in it
WORKER = """
template_id = "job"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/sh", "-c", '''
until test -e /tmp/end; do sleep 0.05; done
echo last words
exit $(cat /tmp/end)''']
""" + guests.VARIANT


@harness.needs_guests
class Workload(guests.TestCase):
    config = WORKER

    def run_detached(self, *options):
        return super().run_detached("job-worker", *options)

    def end(self, name, status):
        self.mvm("exec", name, "--", "sh", "-c",
                 f"echo {status} >/tmp/e; busybox mv /tmp/e /tmp/end")

    def wait_for_state(self, name, state):
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["state"] == state),
                        self.inspect(name))
        return self.inspect(name)

    def test_a_vm_ends_with_its_workload_and_its_status(self):
        name = self.run_detached()["name"]
        self.assertIsNone(self.inspect(name)["exit_code"])
        session = self.start_mvm("exec", name, "--", "sh", "-c", "echo in; sleep 1000")
        self.assertEqual(session.stdout.readline(), "in\n")
        waiters = [self.start_mvm("wait", name), self.start_mvm("wait", "--workload", name)]
        self.end(name, 3)
        self.assertEqual([waiter.wait(harness.PATIENCE_S) for waiter in waiters], [3, 3])
        self.assertEqual(waiters[0].stdout.read(), "exited (3)\n")
        _, err = session.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(session.returncode, 125)
        self.assertIn("the VM has ended with its workload (exit status 3)", err)
        self.mvm("wait", name, status=3)
        self.mvm("wait", "--workload", name, status=3)
        self.assertRegex(self.mvm_ok("ps"), rf"{name} +job-worker +exited \(3\) ")
        record = self.inspect(name)
        self.assertEqual((record["state"], record["exit_code"], record["error"]),
                         ("exited", 3, None))
        self.assertTrue(record["workload_ended"])
        self.assertEqual(self.mvm_ok("logs", "--workload", name), "last words\n")
        last = [json.loads(line) for line in self.mvm_ok("events", "--json").splitlines()][-1]
        self.assertEqual((last["instance"], last["event"], last["message"]),
                         (name, "exited", "its workload ended with exit status 3"))

    def test_run_exits_with_the_workloads_status_and_its_volume_comes_back(self):
        os.mkdir(self.path("out"))
        run = self.start_mvm("run", "-T", "job-worker", "--name", "fore", "-v",
                             self.path("out") + ":/out:rw")
        self.assertTrue(guests.wait_until(
            lambda: "there" in self.mvm("exec", "fore", "--", "sh", "-c",
                                        "cd /out && echo kept >file && echo there").stdout))
        self.end("fore", 7)
        out, err = run.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(run.returncode, 7, err)
        self.assertIn("last words", out.splitlines()) # the kernel may have printed lines before them
        with open(self.path("out", "file"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "kept\n")
        self.assert_nothing_left()

    def test_a_signal_counts_as_128_and_its_number(self):
        name = self.run_detached("--rm")["name"]
        waiter = self.start_mvm("wait", name)
        self.assertTrue(guests.wait_until(lambda: blocks_in_wait(waiter.pid)))
        self.mvm("exec", name, "--", "sh", "-c",
                 "kill -9 $(head -n 1 /sys/fs/cgroup/workload/cgroup.procs)")
        self.assertEqual(waiter.wait(harness.PATIENCE_S), 137) # though the instance is removed
        self.assert_nothing_left()
        name = self.run_detached()["name"]
        self.mvm_ok("stop", name)
        self.assertEqual(self.inspect(name)["exit_code"], 143)

    def test_a_vm_can_outlive_its_workload(self):
        name = self.run_detached("--keep-running")["name"]
        self.end(name, 3)
        self.mvm("wait", "--workload", name, status=3)
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["workload_ended"]))
        self.assertEqual(self.exec(name, "echo", "here"), "here\n")
        self.assertEqual(self.inspect(name)["state"], "running")
        self.mvm_ok("stop", name)
        # a command's status does not depend on the workload
        done = self.mvm("run", "-T", "job-worker", "--", "sh", "-c",
                        "echo 3 >/tmp/e; busybox mv /tmp/e /tmp/end; sleep 1; echo here; exit 5")
        self.assertEqual((done.returncode, done.stdout), (5, "here\n"))

    def test_the_policy_decides_about_restarts(self):
        policies = {"some": "on-failure:1", "well": "on-failure", "ever": "always"}
        for name, policy in policies.items():
            self.run_detached("--name", name, "--restart", policy)
        for name, status in (("some", 3), ("well", 0), ("ever", 0)):
            self.end(name, status)
        self.assertEqual(self.wait_for_state("well", "exited")["restarts"], 0)
        for name in ("some", "ever"):
            self.assertTrue(guests.wait_until(
                lambda n=name: self.inspect(n)["state"] == "running"
                and self.inspect(n)["restarts"] == 1))
            self.end(name, 3)
        record = self.wait_for_state("some", "exited") # after one restart
        self.assertEqual((record["restarts"], record["exit_code"]), (1, 3))
        self.assertTrue(guests.wait_until(lambda: self.inspect("ever")["restarts"] == 2))
        self.wait_for_state("ever", "running")
        self.mvm_ok("stop", "ever") # ends the restarts for good
        self.assertEqual(self.inspect("ever")["state"], "exited")
        self.mvm_fails(2, "run", "-T", "job-worker", "-d", "--restart", "on-failure:0",
                       says="is no restart policy")


@harness.needs_guests
class KilledStarters(TestCase):
    """If a starter is killed before it has printed the VM's name, no VM stays."""

    def is_running(self, name):
        return any(r["name"] == name and r["state"] == "running" for r in self.mvm_json("ps"))

    def assert_no_instance(self):
        """If a starter is killed before its supervisor starts, a later `ps` removes the folder."""
        self.assertTrue(guests.wait_until(lambda: self.mvm_ok("ps") and not self.instances()),
                        self.instances())

    def test_a_supervisor_killed_during_a_start_leaves_the_logs(self):
        start = self.start_cold()

        def supervisors():
            return [pid for pid, command in harness.processes_of(self.data_dir).items()
                    if "mvm-supervisor" in command]
        self.assertTrue(guests.wait_until(supervisors))
        for pid in supervisors():
            os.kill(pid, signal.SIGKILL)
        _, err = start.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(start.returncode, 1, err)
        self.assertIn("instance 'one' did not start", err)
        record = self.inspect("one")
        self.assertEqual((record["state"], record["error"]),
                         ("failed", "its supervisor was killed"))
        self.mvm_ok("logs", "one")
        self.mvm_ok("rm", "one")
        self.assert_nothing_left()

    def test_an_interrupted_start_says_so_and_frees_its_name(self):
        for number, options in ((signal.SIGINT, ["-d"]), (signal.SIGTERM, []),
                                (signal.SIGINT, ["--", "true"])):
            with self.subTest(options):
                starter = self.start_mvm("run", "-T", "web-worker", "--cold", "--name", "one",
                                         *options)
                self.assertTrue(guests.wait_until(lambda: self.instances() == ["one"]))
                starter.send_signal(number)
                _, err = starter.communicate(timeout=harness.PATIENCE_S)
                self.assertEqual(self.instances(), [])
                self.assertEqual(starter.returncode, 128 + number, err)
                self.assertIn("the start was cancelled", err)

    def test_a_killed_run_of_many_leaves_none(self):
        starter = self.start_mvm("run", "-T", "web-worker", "-d", "--count", "30", "--name", "c")
        self.assertTrue(guests.wait_until(lambda: self.is_running("c-1")))
        starter.kill()
        starter.wait(harness.PATIENCE_S)
        self.assert_no_instance()
        self.assert_nothing_left()

    def test_a_run_killed_before_it_has_told_the_name_leaves_none(self):
        _, write_end = self.full_pipe() # the starter blocks here when it reports the start
        starter = self.start_mvm("run", "-T", "web-worker", "-d", "--name", "one",
                                 stderr=write_end)
        os.close(write_end)
        self.assertTrue(guests.wait_until(lambda: self.is_running("one")))
        starter.kill()
        starter.wait(harness.PATIENCE_S)
        self.assert_no_instance()
        self.assert_nothing_left()

    def test_a_name_that_cannot_be_told_ends_the_vm(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            starter = self.start_mvm("run", "-T", "web-worker", "-d", stdout=full)
            _, err = starter.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(starter.returncode, 1)
        self.assertIn("cannot print what was started, so it was ended", err)
        self.assert_no_instance()


@harness.needs_guests
class FailedStarts(guests.TestCase):
    # a workload that goes on and never answers
    config = guests.CONFIG.replace(
        '"/bin/busybox", "httpd"', '"/bin/sh", "-c", "echo last words $0; exec sleep 600"').replace(
            "[health]", "[health]\ntimeout_s = 2\ninterval_ms = 500")
    snapshot = False

    def test_a_detached_start_that_fails_is_kept(self):
        err = self.mvm_fails(1, "run", "-T", "web-worker", "-d", "--name", "one",
                             says="instance 'one' did not start: ")
        self.assertIn("hint: 'mvm logs one' shows all of its output, 'mvm rm one' ", err)
        record = self.inspect("one")
        self.assertEqual(record["state"], "failed")
        self.assertIn("did not become healthy", record["error"])
        self.assertIn("last words -f", self.mvm_ok("logs", "--workload", "one"))
        self.assertRegex(self.mvm_ok("ps"), r"one +web-worker +failed")
        self.mvm_fails(1, "wait", "one", says="did not become healthy")
        self.mvm_ok("rm", "one")
        self.assert_nothing_left()

    def test_with_rm_or_attached_nothing_is_kept(self):
        for options in (("-d", "--rm"), (), ("--", "true")):
            with self.subTest(options):
                done = self.mvm("run", "-T", "web-worker", *options)
                self.assertIn("did not become healthy", done.stderr)
                self.assertNotIn("mvm logs", done.stderr)
                self.assert_nothing_left()


if __name__ == "__main__":
    guests.main()
