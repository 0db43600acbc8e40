# SPDX-License-Identifier: Apache-2.0
"""Work with a running VM: ps, stats, events, wait, health, restart, ttl."""

import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import termios
import time
import unittest

import agentproto
import guests
import harness
from instance_case import CONFIG, TestCase

INSPECT, STOP, PAUSE, RESUME, CAPTURE, WAIT = range(64, 70) # the supervisor's calls


def waiting_bytes(sock):
    """The number of bytes that have arrived and are unread."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


@harness.needs_guests
class Life(TestCase):
    def test_health_is_watched_after_the_start(self):
        record = self.run_detached()
        name = record["name"]
        self.wait_for_event(name, "healthy")
        self.assertEqual(self.mvm_ok("inspect", "--health", name), "healthy\n")
        self.exec(name, "busybox", "touch", "/tmp/sick")
        self.wait_for_event(name, "unhealthy")
        self.mvm_fails(1, "inspect", "--health", name, says="exit status 1: it is sick")
        record = self.inspect(name)
        self.assertEqual(record["health"], "unhealthy")
        self.assertIn("exit status 1: it is sick", record["health_message"])
        self.assertIn("unhealthy", self.mvm_ok("ps"))
        self.mvm_ok("pause", name) # a paused VM has no health checks, so none fails
        self.mvm_fails(4, "inspect", "--health", name, says="is paused")
        self.mvm_ok("resume", name)
        self.exec(name, "busybox", "rm", "/tmp/sick")
        self.assertTrue(guests.wait_until(
            lambda: self.inspect(name)["health"] == "healthy"))
        self.assertIsNone(self.inspect(name)["health_message"])
        self.mvm_ok("stop", name)
        self.mvm_fails(1, "inspect", "--health", name, says="does not run: exited")
        self.mvm_ok("rm", name)
        events = self.events(name)
        self.assertEqual([e["event"] for e in events],
                         ["started", "healthy", "unhealthy", "paused", "resumed", "healthy",
                          "stopped", "removed"])
        self.assertRegex(events[0]["message"], r"^restored in \d+ ms$")
        self.assertIn("it is sick", events[2]["message"])
        self.assertEqual(sorted(e["time"] for e in events), [e["time"] for e in events])
        self.assertEqual(events[0]["template_id"], "web-worker")
        self.assertEqual(self.mvm_ok("events", "--since", "2099-01-01T00:00:00Z"), "")
        self.mvm_fails(2, "events", "--since", "then", says="'then' is no time")

    def test_a_guests_text_harms_neither_record_nor_terminal(self):
        name = self.run_detached()["name"]
        # a byte that is no UTF-8, a terminal's escape sequence, and letters that a limit may cut in two;
        # the rename shows only the complete file
        self.exec(name, "sh", "-c", "printf '\\377\\033[31m' >/tmp/s; i=0; while [ $i -lt 300 ]; do "
                  "printf '\\303\\244' >>/tmp/s; i=$((i+1)); done; busybox mv /tmp/s /tmp/sick")
        self.wait_for_event(name, "unhealthy")
        message = self.inspect(name)["health_message"]
        self.assertIn("it is sick ?", message)
        self.assertIn("ää", message)
        for text in (self.mvm_ok("events"), self.mvm_ok("ps")):
            self.assertNotIn("\033", text)
        self.mvm_ok("stop", name)
        self.assertEqual(self.inspect(name)["state"], "exited")

    def test_every_key_of_a_record_is_documented(self):
        with open(os.path.join(harness.SOURCE_DIR, "doc", "cli-json.md"),
                  encoding="utf-8") as file:
            text = file.read()
        record = self.run_detached("web-worker", "-p", "0:8080")
        for key in (*record, *record["forwards"][0], *record["usage"]):
            self.assertIn(f"`{key}`", text)

    def test_ps_and_stats_show_what_a_clone_takes(self):
        name = self.run_detached()["name"]
        self.exec(name, "true")
        # no other VMM maps the same files, but they are page cache all the same
        record = json.loads(self.mvm_ok("inspect", name))
        with open(f"/proc/{record['vmm_pid']}/smaps_rollup", encoding="utf-8") as file:
            kib = {line.split()[0]: int(line.split()[1]) for line in list(file)[1:]}
        written = kib["Private_Dirty:"] + kib["Swap:"]
        self.assertAlmostEqual(record["usage"]["memory_private_bytes"] / 1024, written,
                               delta=written / 4)
        self.assertAlmostEqual(record["usage"]["memory_shared_bytes"] / 1024,
                               kib["Rss:"] - kib["Private_Dirty:"], delta=written / 4)
        other = self.run_detached()["name"]
        header, *rows = self.mvm_ok("ps").splitlines()
        self.assertEqual(header.split(), ["NAME", "TEMPLATE", "STATE", "HEALTH", "START",
                                          "STARTED", "MEMORY", "PORTS"])
        self.assertTrue(any(row.startswith(name) for row in rows))
        stats = {s["name"]: s for s in self.mvm_json("stats")}
        self.assertEqual(set(stats), {name, other})
        for key in ("cpu_ns", "memory_private_bytes", "memory_shared_bytes"):
            self.assertGreater(stats[name][key], 0, key)
        self.assertEqual([s["name"] for s in self.mvm_json("stats", name)], [name])
        self.mvm_fails(3, "stats", "nobody", says="there is no instance 'nobody'")
        watcher = self.start_mvm("stats", "--watch", "--json", name)
        lines = [json.loads(watcher.stdout.readline()) for _ in range(2)]
        watcher.send_signal(signal.SIGINT)
        self.assertEqual(watcher.wait(harness.PATIENCE_S), 0)
        self.assertLessEqual(lines[0][0]["cpu_ns"], lines[1][0]["cpu_ns"])

    def test_the_workloads_status_is_passed_on(self):
        name = self.run_detached("web-worker", "--keep-running")["name"]
        self.mvm_fails(4, "wait", name, "--workload", "--timeout", "100ms", says="still runs")
        waiter = self.start_mvm("wait", name, "--workload")
        # the agent started the workload first, so it is the first process of its group
        self.exec(name, "sh", "-c", "kill -9 $(head -n 1 /sys/fs/cgroup/workload/cgroup.procs)")
        self.assertEqual(waiter.wait(harness.PATIENCE_S), 128 + 9)
        self.mvm("wait", name, "--workload", status=128 + 9)
        self.assertEqual(self.inspect(name)["state"], "running")
        waiter = self.start_mvm("wait", self.run_detached()["name"], "--workload")
        self.mvm_ok("rm", "--force", *[r["name"] for r in self.mvm_json("ps")])
        self.assertEqual(waiter.wait(harness.PATIENCE_S), 125)

    def test_wait_tells_how_an_instance_ended(self):
        name = self.run_detached()["name"]
        self.mvm_fails(4, "wait", name, "--timeout", "100ms", says="still runs")
        waiter = self.start_mvm("wait", name)
        self.mvm_ok("stop", name)
        self.assertEqual(waiter.communicate(timeout=harness.PATIENCE_S)[0], "exited (143)\n")
        self.assertEqual(waiter.returncode, 128 + signal.SIGTERM)
        self.assertEqual(self.mvm("wait", name, status=128 + signal.SIGTERM).stdout,
                         "exited (143)\n")
        record = self.run_detached()
        waiter = self.start_mvm("wait", record["name"])
        os.kill(record["vmm_pid"], signal.SIGKILL)
        self.assertIn("was killed by signal 9", waiter.communicate(timeout=harness.PATIENCE_S)[1])
        self.assertEqual(waiter.returncode, 1)
        self.mvm_fails(3, "wait", "nobody", says="there is no instance")

    def test_wait_works_during_the_end(self):
        for delay_ms in range(6):
            record = self.run_detached()
            os.kill(record["vmm_pid"], signal.SIGKILL)
            time.sleep(delay_ms / 1000)
            self.mvm_fails(1, "wait", record["name"], says="was killed by signal 9")

    def test_events_can_be_followed(self):
        follower = self.start_mvm("events", "-f", "--json")
        name = self.run_detached("web-worker", "--name", "followed")["name"]
        for line in follower.stdout:
            event = json.loads(line)
            if event["instance"] == name and event["event"] == "started":
                break
        else:
            self.fail("no event")
        follower.send_signal(signal.SIGINT)
        self.assertEqual(follower.wait(harness.PATIENCE_S), 0)

    def test_a_vmm_that_dies_is_started_again(self):
        os.mkdir(self.path("volume"))
        record = self.run_detached("web-worker", "--restart", "on-failure", "-v",
                                   self.path("volume") + ":/v")
        name = record["name"]
        waiter = self.start_mvm("wait", name)
        os.kill(record["vmm_pid"], signal.SIGKILL)
        self.wait_for_event(name, "restarting")
        self.assertTrue(guests.wait_until(
            lambda: self.inspect(name)["state"] == "running"))
        again = self.inspect(name)
        self.assertEqual(again["restarts"], 1)
        self.assertNotEqual(again["vmm_pid"], record["vmm_pid"])
        self.assertEqual(again["supervisor_pid"], record["supervisor_pid"])
        self.assertEqual(self.exec(name, "hostname"), name + "\n")
        self.assertIsNone(again["error"])

        # it is stopped before it is up again; without its volume it cannot start
        os.rename(self.path("volume"), self.path("elsewhere"))
        os.kill(again["vmm_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["state"] == "starting"))
        self.assertEqual(self.mvm("exec", name, "--", "true").returncode, 125)
        self.mvm_ok("stop", name)
        self.assertEqual(waiter.wait(harness.PATIENCE_S), 0)
        self.assertEqual(self.inspect(name)["state"], "exited")
        kinds = [e["event"] for e in self.events(name) if e["event"] != "healthy"]
        self.assertEqual(kinds[:4], ["started", "restarting", "started", "restarting"])
        self.assertEqual(set(kinds[4:-1]) - {"restarting"}, set())
        self.assertEqual(kinds[-1], "stopped")

    def test_without_a_policy_a_dead_vmm_stays_dead(self):
        record = self.run_detached("web-worker", "--restart", "no")
        os.kill(record["vmm_pid"], signal.SIGKILL)
        self.wait_for_event(record["name"], "failed")
        self.assertTrue(guests.wait_until(
            lambda: not guests.is_alive(record["supervisor_pid"])))

    def connect(self, name):
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.connect(self.data("instances", name, "control.sock"))
        return agentproto.Agent(sock)

    def test_commands_that_come_too_late_are_reported_so(self):
        client = self.connect(self.run_detached()["name"])
        # all in one packet, so that the others do not arrive after the end
        stop, pause, inspect, wait = client.open_all(STOP, PAUSE, INSPECT, WAIT)
        # the supervisor refuses changes of the VM at once; it gets the other calls before the end, and
        # answers them after it
        for stream, status in ((pause, errno.EBUSY), (inspect, errno.ESRCH)):
            with self.assertRaises(agentproto.Refused) as refused:
                client.reply(stream, harness.PATIENCE_S)
            self.assertEqual(refused.exception.status, status)
        client.reply(stop)
        client.reply(wait)

    def test_a_template_is_free_when_its_last_run_is_over(self):
        self.own_data()
        run = self.start_mvm("run", "-T", "web-worker", "--name", "last", "-i", "--", "sh", "-c",
                             "echo up; read line", stdin=subprocess.PIPE)
        self.assertEqual(run.stdout.readline(), "up\n")
        # the supervisor waits one second for a client that does not read its answer
        client = self.connect("last")
        # not even their replies are read: a socket that has been full takes no more until three
        # quarters of it are free
        for _ in range(3):
            client.open(agentproto.EXEC, ARG=["cat", "/dev/zero"])
        # it may be full with so little, because small pieces take more memory than their bytes
        self.assertTrue(guests.wait_until(lambda: waiting_bytes(client.sock) > 50000))
        run.stdin.write("go\n")
        run.stdin.flush()
        self.assertEqual(run.wait(harness.PATIENCE_S), 0)
        self.mvm_ok("template", "delete", "--force", "web-worker")

    def test_clients_that_give_up_waiting_leave_nothing_behind(self):
        name = self.run_detached()["name"]

        def come_and_go(times):
            for _ in range(times):
                client = self.connect(name)
                client.open(WAIT)
                client.call(INSPECT) # so the supervisor has read WAIT, too
                client.sock.close()
            return self.inspect(name)["usage"]["supervisor_private_bytes"]
        before = come_and_go(100)
        self.assertLess(come_and_go(3000), before + (128 << 10))

    def test_a_workload_has_the_time_that_stop_gives_it(self):
        self.own_data() # its workload needs longer than a stop waits by default
        self.mvm_ok("template", "edit", "web-worker", "--unset", "health", "--", "/bin/sh", "-c",
                    "trap 'sleep 9; echo all put away; exit 0' TERM; "
                    "while :; do echo works; sleep 1; done")
        self.mvm_ok("template", "build", "web-worker")
        name = self.run_detached()["name"]
        self.assertTrue(guests.wait_until(lambda: "works" in self.logs(name, "--workload")))
        self.mvm_ok("stop", "--timeout", "2h", name)
        self.assertTrue(self.logs(name, "--workload").endswith("all put away\n"))
        self.assertEqual(self.inspect(name)["state"], "exited")

        # a later call with a shorter timeout wins
        name = self.run_detached()["name"]
        self.assertTrue(guests.wait_until(lambda: "works" in self.logs(name, "--workload")))
        patient = self.start_mvm("stop", "--timeout", "2h", name)
        self.assertTrue(guests.wait_until(
            lambda: "is being stopped" in self.mvm("exec", name, "--", "true").stderr))
        self.mvm_ok("stop", "--timeout", "0", name)
        self.assertEqual(patient.wait(harness.PATIENCE_S), 0)
        self.assertNotIn("all put away", self.logs(name, "--workload"))
        self.assertEqual(self.inspect(name)["state"], "exited")

    def test_how_a_guest_ends_decides_whether_it_failed(self):
        """The VMM cannot tell a panic from a reboot."""
        crash = "echo c >/proc/sysrq-trigger"
        for how, state, says in [
                (lambda r: self.mvm("exec", r["name"], "--", "sh", "-c", crash), "failed",
                 "the guest's kernel panicked: sysrq triggered crash"),
                (lambda r: self.mvm("exec", r["name"], "--", "busybox", "reboot", "-f"),
                 "exited", None),
                (lambda r: self.mvm("exec", r["name"], "--", "busybox", "poweroff", "-f"),
                 "exited", None),
                (lambda r: self.mvm("exec", r["name"], "--", "sh", "-c",
                                    "echo b >/proc/sysrq-trigger"),
                 "failed", "the guest reset itself without a shutdown"),
                (lambda r: os.kill(r["vmm_pid"], signal.SIGTERM), "failed",
                 "the VMM was told to end by somebody else")]:
            record = self.run_detached()
            how(record)
            self.mvm("wait", record["name"], status=int(state == "failed"))
            record = self.inspect(record["name"])
            self.assertEqual((record["state"], record["error"]), (state, says))
            self.assertEqual(self.events(record["name"])[-1]["event"], state)

        name = self.run_detached("web-worker", "--restart", "on-failure")["name"]
        self.mvm("exec", name, "--", "sh", "-c", crash)
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["restarts"] == 1))
        self.assertTrue(guests.wait_until(
            lambda: self.inspect(name)["state"] == "running"))
        self.assertEqual(self.exec(name, "hostname"), name + "\n")
        restarting = [e for e in self.events(name) if e["event"] == "restarting"]
        self.assertIn("panicked: sysrq triggered crash", restarting[0]["message"])

    def test_a_panic_while_it_starts_is_in_the_error(self):
        # the kernel panics, since the init is no program
        self.own_data()
        path = self.write("panic.toml", CONFIG.replace("loglevel=1", "loglevel=1 init=/ rdinit=/nowhere")
                          .replace('template_id = "web"', 'template_id = "bad"')
                          .replace("dir:root", "dir:" + self.root))
        self.mvm_ok("template", "build", "--config", path)
        self.mvm_fails(1, "run", "--template", "bad-worker", "-d",
                       says="the guest's kernel panicked: ")

    def test_time_to_live_ends_an_instance(self):
        # shorter than the start, which does not count towards the ttl
        for name, options in (("brief", ["--cold"]), ("gone", ["--rm"])):
            self.mvm_ok("run", "-T", "web-worker", "-d", "--name", name, "--ttl", "10ms", *options)
            self.wait_for_event(name, "stopped")
            stopped, = [e for e in self.events(name) if e["event"] == "stopped"]
            self.assertEqual(stopped["message"], "its time to live is over")
        self.assertIsNotNone(self.inspect("brief")["expires_at"])
        self.assertEqual(self.inspect("brief")["state"], "exited")
        self.wait_for_event("gone", "removed")
        self.assertNotIn("gone", self.instances())

    def test_a_vm_may_end_before_its_starter_prints_its_name(self):
        # the starter blocks here when it reports the start
        read_end, write_end = self.full_pipe()
        starter = self.start_mvm("run", "-T", "web-worker", "-d", "--rm", "--name", "early",
                                 "--json", stderr=write_end)
        os.close(write_end)
        self.wait_for_event("early", "started")
        self.mvm_ok("stop", "early")
        self.wait_for_event("early", "removed")
        while os.read(read_end, 65536):
            pass
        out, _ = starter.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(starter.returncode, 0)
        self.assertEqual(json.loads(out)["name"], "early")

    def test_a_detached_vm_outlives_its_terminal(self):
        env = self.environment()
        leader = subprocess.Popen(
            ["setsid", "sh", "-c", f"{harness.MVM} run --template web-worker -d --name stays; "
             "sleep 100"], env=env, stdout=subprocess.PIPE, text=True, cwd=self.folder)
        self.addCleanup(leader.stdout.close)
        self.assertEqual(leader.stdout.readline(), "stays\n")
        os.killpg(leader.pid, signal.SIGHUP)
        leader.wait(harness.PATIENCE_S)
        self.assertEqual(self.exec("stays", "hostname"), "stays\n")


@harness.needs_guests
class LeftBehind(TestCase):
    def is_gone(self, record):
        return not any(guests.is_alive(record[pid]) for pid in ("supervisor_pid", "vmm_pid"))

    def test_a_killed_supervisor_is_reported_once(self):
        record = self.run_detached()
        os.kill(record["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.is_gone(record)))
        done = self.mvm("ps", status=0)
        self.assertIn(f"instance '{record['name']}' was lost: its supervisor was killed",
                      done.stderr)
        self.assertNotIn("lost", self.mvm("ps", status=0).stderr)
        self.assertEqual(self.inspect(record["name"])["state"], "failed")
        self.assertFalse(os.path.exists(self.data("instances", record["name"], "control.sock")))
        self.mvm_ok("rm", record["name"])

    def test_a_list_needs_no_room_on_the_disk(self):
        lost, runs = self.run_detached(), self.run_detached()
        os.kill(lost["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.is_gone(lost)))
        done = subprocess.run( # no process can write a byte to any file
            [harness.MVM, "ps", "--json"], env=self.environment(), capture_output=True, check=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
            restore_signals=False) # Python ignores SIGXFSZ
        self.assertIn(f"instance '{lost['name']}' was lost: cannot write", done.stderr.decode())
        self.assertEqual({i["name"]: i["state"] for i in json.loads(done.stdout)},
                         {lost["name"]: "failed", runs["name"]: "running"})

    def test_the_next_start_after_a_host_crash_reports_it(self):
        record = self.run_detached()
        path = self.data("instances", record["name"], "instance.json")
        os.kill(record["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.is_gone(record)))
        with open(path, encoding="utf-8") as file:
            old = json.load(file)
        old["boot_id"] = "00000000-0000-4000-8000-000000000000"
        self.write(path, json.dumps(old), 0o600)
        os.unlink(self.data("locks", "boot_id"))
        done = self.mvm("run", "--template", "web-worker", "-d", "--name", "next", status=0)
        self.assertIn("was lost: the host went down while it ran", done.stderr)
        done = self.mvm("exec", record["name"], "--", "true", status=125)
        self.assertIn("the host went down while it ran", done.stderr)
        self.assertEqual(self.events(record["name"])[-1]["event"], "failed")
        self.mvm_ok("rm", record["name"])

    def test_an_instance_of_rm_is_removed_after_a_crash(self):
        record = self.run_detached("web-worker", "--rm")
        os.kill(record["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.is_gone(record)))
        self.mvm_ok("ps")
        self.assertNotIn(record["name"], self.instances())


@harness.needs_guests
class Privacy(TestCase):
    def test_files_are_for_their_owner_only(self):
        name = self.run_detached()["name"]
        for path, st in guests.tree(self.data("instances")).items():
            mode = stat.S_IMODE(st.st_mode)
            self.assertEqual(mode & 0o077, 0, f"{path}: {mode:o}")
        self.assertEqual(stat.S_IMODE(os.stat(self.data("logs", "events.jsonl")).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.data("instances", name)).st_mode), 0o700)

    def test_a_supervisor_may_open_as_many_files_as_the_host_allows_and_has_a_gibibyte(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        pid = self.run_detached()["supervisor_pid"]
        with open(f"/proc/{pid}/limits", encoding="ascii") as file: # it is another user's
            text = file.read()
        self.assertRegex(text, rf"Max open files +{hard} +{hard} ")
        self.assertRegex(text, rf"Max address space +{1 << 30} +{1 << 30} ")

    @unittest.skipIf(os.getuid(), "needs root to become somebody else")
    def test_the_control_socket_serves_its_owner_and_root(self):
        name = self.run_detached()["name"]
        socket = self.data("instances", name, "control.sock")
        # open all folders above the socket: its safety must not depend on them
        folder = os.path.dirname(socket)
        opened = [socket, folder]
        while folder != "/tmp":
            folder = os.path.dirname(folder)
            opened.append(folder)
        modes = [(path, stat.S_IMODE(os.stat(path).st_mode)) for path in opened]
        probe = ("import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(90); "
                 "s.connect(sys.argv[1]); "
                 # a CALL on stream 1: field CALL = INSPECT
                 "s.sendall(bytes.fromhex('0e0000000100000002000000"
                 "0100080000004000000000000000')); print(len(s.recv(65536)))")
        try:
            for path, mode in modes:
                if path != "/tmp":
                    os.chmod(path, mode | 0o077)
            command = ["python3", "-c", probe, socket]
            owner = subprocess.run(command, capture_output=True, text=True, check=True,
                                   timeout=harness.PATIENCE_S)
            self.assertGreater(int(owner.stdout), 100)
            other = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534",
                                    "--clear-groups", *command], capture_output=True, text=True,
                                   timeout=harness.PATIENCE_S, check=False)
            self.assertTrue(other.stdout == "0\n" or "Error" in other.stderr, other)
            self.assertNotIn("Permission denied", other.stderr)
        finally:
            for path, mode in modes:
                os.chmod(path, mode)

    @unittest.skipIf(os.getuid(), "needs root to become somebody else")
    def test_everything_works_without_privileges(self):
        os.chmod(self.folder, 0o755)
        self.own_data()
        subprocess.run(["chown", "-R", "65534:65534", self.data_dir], check=True)
        os.chmod(self.shared, 0o755) # others may only read the revision's source

        def mvm(*args):
            done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                   harness.MVM, *args], env=self.environment(), text=True,
                                  capture_output=True, check=False, cwd="/",
                                  timeout=harness.PATIENCE_S)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout
        mvm("run", "--template", "web-worker", "-d", "--name", "plain", "--require-snapshot")
        self.assertEqual(mvm("exec", "plain", "--", "hostname"), "plain\n")
        record = json.loads(mvm("inspect", "plain"))
        self.assertEqual(os.stat(f"/proc/{record['vmm_pid']}").st_uid, 65534)
        self.assertEqual(os.stat(f"/proc/{record['supervisor_pid']}").st_uid, 65534)
        self.assertGreater(record["usage"]["memory_private_bytes"], 0)
        mvm("run", "--template", "web-worker", "--cold", "--", "true")
        mvm("stop", "plain")
        mvm("rm", "plain")


def mount_cgroup2(folder):
    """Mount cgroup v2 at the folder; returns the reason if that is impossible."""
    if os.getuid():
        return "needs root to mount cgroup2"
    os.mkdir(folder)
    done = subprocess.run(["mount", "-t", "cgroup2", "none", folder], capture_output=True,
                          text=True, check=False)
    return done.stderr.strip() if done.returncode else None


def network_in(cgroup):
    """The pid of the mvm-net in this cgroup."""
    with open(os.path.join(cgroup, "cgroup.procs"), encoding="ascii") as file:
        for pid in file.read().split():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                if comm.read() == "mvm-net\n":
                    return int(pid)
    return None


@harness.needs_guests
class Cgroup(TestCase):
    def test_an_instance_gets_a_cgroup_where_one_is_delegated(self):
        mounted = self.path("cgroup2")
        why_not = mount_cgroup2(mounted)
        if why_not:
            self.skipTest(why_not)
        self.addCleanup(subprocess.run, ["umount", mounted], check=False)
        parent = os.path.join(mounted, f"mvm-test-{os.getpid()}")
        os.mkdir(parent)
        self.addCleanup(os.rmdir, parent)
        env = {"MVM_CGROUP": parent}
        record = self.mvm_json("run", "--template", "web-worker", "-d", "--name", "fenced", env=env)
        self.assertTrue(guests.wait_until(lambda: self.inspect("fenced")["cgroup"]))
        cgroup = self.inspect("fenced")["cgroup"]
        self.assertTrue(cgroup.startswith(parent + "/mvm-fenced-"))
        with open(os.path.join(cgroup, "cgroup.procs"), encoding="ascii") as file:
            self.assertIn(str(record["vmm_pid"]), file.read().split())
        network = network_in(cgroup)
        with open(f"/proc/{network}/limits", encoding="ascii") as file:
            self.assertRegex(file.read(), rf"Max address space +{448 << 20} ")
        os.kill(network, signal.SIGKILL) # the next one is there, too
        self.assertTrue(guests.wait_until(lambda: network_in(cgroup) not in (None, network)))
        for controller in (self.inspect("fenced")["cgroup_limits"] or "").split():
            with open(os.path.join(cgroup, controller + ".max"), encoding="ascii") as file:
                self.assertNotIn("max", file.read().split()[0])
        self.mvm_ok("stop", "fenced")
        self.assertEqual([e for e in os.listdir(parent) if e.startswith("mvm-")], [])

    def test_without_a_cgroup_nothing_is_claimed(self):
        record = self.mvm_json("run", "--template", "web-worker", "-d",
                               env={"MVM_CGROUP": self.folder})
        self.assertIsNone(self.inspect(record["name"])["cgroup"])


if __name__ == "__main__":
    guests.main()
