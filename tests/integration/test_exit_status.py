# SPDX-License-Identifier: Apache-2.0
"""A case for each row of the tables in doc/exit-status.md."""

import itertools
import os
import re
import signal
import subprocess
import time

import guests
import harness
from test_life import WORKER

RUN = ("run", "-T", "job-worker", "--name", "one")
SLEEP = ("sh", "-c", "echo on; trap '' INT; while :; do sleep 0.05; done")


def rows():
    """The tables' rows, without their last column."""
    with open(os.path.join(harness.SOURCE_DIR, "doc", "exit-status.md"), encoding="utf-8") as file:
        found = [tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))
                 for line in file if line.startswith("| ")]
    return [row[:-1] if len(row) == 3 else row[:1] for row in found
            if row[0] not in ("status", "command")]


@harness.needs_guests
class ExitStatus(guests.TestCase):
    config = WORKER

    def setUp(self):
        super().setUp()
        self.covered = set()

    def case(self, *row):
        """Name the row of the table that the next lines test."""
        self.assertIn(row, rows())
        self.covered.add(row)

    def assert_covered(self, number, selected):
        self.assertEqual(self.covered, {row for row in rows() if selected(row)}, number)

    def ends(self, process, status):
        process.wait(harness.PATIENCE_S)
        self.assertEqual(process.returncode, status, process.stderr.read())

    def end_workload(self, name, how):
        """End the workload with this status, or by a signal (negative)."""
        tell = (f"echo {how} >/tmp/e; busybox mv /tmp/e /tmp/end" if how >= 0 else
                f"kill {how} $(head -n 1 /sys/fs/cgroup/workload/cgroup.procs)")
        self.mvm("exec", name, "--", "sh", "-c", tell)

    def foreground(self, *more):
        run = self.start_mvm(*RUN, *more)
        self.assertTrue(guests.wait_until(
            lambda: [r["state"] for r in self.mvm_json("ps")] == ["running"]))
        return run

    def test_every_command(self):
        self.case("0")
        self.mvm("ps", status=0)
        self.case("1")
        with open("/dev/full", "w", encoding="ascii") as full:
            self.ends(self.start_mvm("version", stdout=full), 1)
        self.case("2")
        self.mvm("ps", "--nosuch", status=2)
        self.case("3")
        self.mvm("template", "info", "none", status=3)
        self.mvm("kernel", "add", self.path("none"), status=3)
        self.case("4")
        self.mvm("template", "create", "job-worker", "--flake", "dir:.", status=4)
        self.case("5")
        self.mvm("kernel", "add", self.write("text.deb", "!<arch>\ntext"), status=5)
        self.case("6")
        self.mvm(*RUN, "-d", "--require-snapshot", "--mem", "160M", status=6)
        self.assert_covered("every command", lambda row: len(row) == 1)
        self.mvm("rm", "none", "job-worker", status=3) # one of several names

    def test_run_in_the_foreground(self):
        for how, status in (3, 3), (-9, 137):
            self.case("`run`", "the workload ends")
            run = self.foreground()
            self.end_workload("one", how)
            self.ends(run, status)
        self.case("`run`", "the guest powers off")
        run = self.foreground()
        self.mvm("exec", "one", "--", "poweroff", "-f")
        self.ends(run, 0)
        self.case("`run`", "^C, SIGTERM, SIGHUP or SIGQUIT")
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
            run = self.foreground()
            run.send_signal(number)
            self.ends(run, 128 + number)
        self.case("`run`", "nobody reads its output any more")
        run = self.foreground()
        run.stdout.close()
        self.ends(run, -signal.SIGPIPE)
        self.case("`run`", "its output cannot be written")
        with open("/dev/full", "w", encoding="ascii") as full:
            self.ends(self.start_mvm(*RUN, "--cold", stdout=full), 1)
        self.case("`run`", "the VM fails, or volumes are lost")
        run = self.foreground()
        os.kill(self.inspect("one")["vmm_pid"], signal.SIGKILL)
        self.ends(run, 1)
        self.assert_covered("run", lambda row: row[0] == "`run`")

    def test_a_start_that_a_signal_ends(self):
        self.case("`run`, `run -d`, `run -- CMD`", "a signal during the start")
        for more in [], ["-d"], ["--", "true"]:
            run = self.start_mvm(*RUN, "--cold", *more)
            self.assertTrue(guests.wait_until(self.instances))
            run.terminate()
            self.ends(run, 143)
            self.assertEqual(self.instances(), [])

    def test_a_lease(self):
        row = "`run`, `run -- CMD`", "its `--lease` has run out"
        self.case(*row)
        lease = self.write("lease", "")
        stubborn = ("sh", "-c", "echo on; trap '' INT TERM; while :; do sleep 0.05; done")
        for how, options in itertools.product(("old", "removed"), ([], ["--", *stubborn])):
            with self.subTest((how, options)):
                self.write("lease", "")
                command = self.start_mvm(*RUN, "--lease", "10s:" + lease, *options)
                began = time.monotonic()
                self.assertTrue(guests.wait_until(lambda: os.utime(lease) or "running" in [
                    record["state"] for record in self.mvm_json("ps")]))
                while how == "old" and time.monotonic() < began + 11: # for longer than one lease
                    os.utime(lease)
                    time.sleep(0.1)
                self.assertIsNone(command.poll())
                vmm = self.inspect("one")["vmm_pid"]
                began = time.monotonic()
                if how == "removed":
                    os.unlink(lease)
                self.assertTrue(guests.wait_until(lambda: not guests.is_alive(vmm)))
                command.wait(harness.PATIENCE_S) # the second signal ends it at once, if the first has not yet
                self.assertIn(command.returncode, (143,) if options else (143, -signal.SIGTERM), command.stderr.read())
                if how == "old":
                    self.assertGreater(time.monotonic() - began, 1)
                self.mvm_ok("template", "list") # sweeps what the second signal has kept mvm from
                self.assert_nothing_left()
        self.assert_covered("lease", lambda row: "lease" in row[-1])
        # as a scheduler's prolog gives it; a lease that nobody renews any more starts nothing
        os.utime(self.write("lease", ""), (1, 1))
        done = self.mvm("run", "-T", "job-worker", "--", "true", status=125, env={"MVM_LEASE": "3s:" + lease})
        self.assertIn("was not renewed for 3s", done.stderr)
        self.mvm(*RUN, "--lease", "3s:" + self.path("none"), status=3)
        for wrong in lease, "0s:" + lease, "3s:", "x:" + lease:
            self.mvm(*RUN, "--lease", wrong, status=2)
        self.mvm(*RUN, "-d", "--lease", "3s:" + lease, status=2)
        self.assertEqual(self.instances(), [])

    def test_commands_in_a_guest(self):
        both = "`run -- CMD`, `exec`"
        self.run_detached("job-worker", "--name", "two")
        for begin in ("run", "-T", "job-worker"), ("exec", "two"):
            with self.subTest(begin):
                options = begin[:1], begin[1:]
                self.case(both, "CMD ends")
                self.mvm(*begin, "--", "sh", "-c", "exit 7", status=7)
                self.mvm(*begin, "--", "sh", "-c", "kill -9 $$", status=137)
                self.case(both, "there is no such program, or no such folder for `-w`")
                self.mvm(*begin, "--", "/none", status=127)
                self.mvm(*options[0], "-w", "/none", *options[1], "--", "true", status=127)
                self.case(both, "CMD cannot be executed")
                self.mvm(*begin, "--", "/etc/passwd", status=126)
                self.case(both, "`--timeout` is over, the VM ends, or mvm fails")
                self.mvm(*options[0], "--timeout", "100ms", *options[1], "--", *SLEEP, status=125)
                self.mvm(*begin[:-1], "none", "--", "true", status=125)
                self.case(both, "wrong command line")
                self.mvm(*begin, "--nosuch", "--", "true", status=2)
                self.case(both, "a second signal, or one that CMD ignores for 10 s")
                command = self.start_mvm(*begin, "--", *SLEEP)
                self.assertEqual(command.stdout.readline(), "on\n")
                command.send_signal(signal.SIGINT)
                command.send_signal(signal.SIGTERM) # another signal each time, so none is merged
                command.wait(harness.PATIENCE_S)
                self.assertIn(command.returncode, (130, 143))
                self.case(both, "nobody reads the output any more")
                command = self.start_mvm(*begin, "--", "busybox", "yes")
                command.stdout.readline()
                command.stdout.close()
                self.ends(command, -signal.SIGPIPE)
        self.assert_covered(both, lambda row: row[0] == both)

    def test_waiting(self):
        for how, status in (3, 3), (-9, 137):
            self.run_detached("job-worker", "--name", "one")
            self.case("`wait`, `wait --workload`", "`--timeout` is over")
            self.mvm("wait", "one", "--timeout", "1ms", status=4)
            self.mvm("wait", "one", "--workload", "--timeout", "1ms", status=4)
            self.end_workload("one", how)
            self.case("`wait`", "the VM has ended")
            self.mvm("wait", "one", status=status)
            self.case("`wait --workload`", "the workload has ended")
            self.mvm("wait", "--workload", "one", status=status)
            self.mvm_ok("rm", "one")
        self.case("`wait`", "the VM has failed")
        os.kill(self.run_detached("job-worker", "--name", "one")["vmm_pid"], signal.SIGKILL)
        self.mvm("wait", "one", status=1)
        self.mvm_ok("rm", "one")
        self.case("`wait --workload`", "there is no such instance, or no workload")
        self.mvm("wait", "--workload", "one", status=125)
        self.assert_covered("wait", lambda row: "wait" in row[0])

    def test_commands_that_a_signal_ends(self):
        self.run_detached("job-worker", "--name", "one")
        follow = ("logs", "-f", "one"), ("events", "-f")
        self.case("`logs -f`, `events -f`", "nobody reads the output any more")
        for words in follow:
            process = self.start_mvm(*words)
            process.stdout.close()
            self.ends(process, -signal.SIGPIPE)
        self.case("`logs -f`, `events -f`, `stats --watch`, `pool serve`",
                  "^C or SIGTERM, their only end")
        for number in signal.SIGINT, signal.SIGTERM:
            for words in (*follow, ("stats", "--watch"), ("pool", "serve")):
                self.ends(self.interrupted(number, True, *words), 0)
        self.case("`cp`", "^C or SIGTERM")
        self.ends(self.interrupted(signal.SIGINT, True, "cp", "-", "one:/tmp/new",
                                   stdin=subprocess.PIPE), 130)
        self.case("any other", "^C or SIGTERM")
        self.ends(self.interrupted(signal.SIGTERM, False, "wait", "one"), -signal.SIGTERM)
        self.assert_covered("signals", lambda row: row[0] in (
            "`cp`", "any other", *(r[0] for r in rows() if "logs" in r[0])))

    def interrupted(self, number, blocks, *words, **streams):
        """Start mvm, and send it a signal once it is ready for that."""
        process = self.start_mvm(*words, **streams)

        def ready():
            with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                mask = int(re.search(r"SigBlk:\s*(\w+)", file.read()).group(1), 16)
            return bool(mask >> (number - 1) & 1) == blocks
        self.assertTrue(guests.wait_until(ready))
        process.send_signal(number)
        return process


if __name__ == "__main__":
    guests.main()
