#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guest's agent in real guests, through its protocol and without the rest of mvm.

MVM_TEST_AGENT       the mvm-agent program
MVM_TEST_KERNEL_DEB  a Debian kernel package
"""

import errno
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import agentproto as proto  # noqa: E402
import guestkit  # noqa: E402

MACHINE_ID = "0123456789abcdef0123456789abcdef"
# counts in /count, and keeps in /gap the longest time without running, in hundredths of a second
COUNTER = (
    "i=0; last=; max=0; while true; do i=$((i+1)); read up rest < /proc/uptime; "
    "now=${up%.*}${up#*.}; if [ $last ] && [ $((now-last)) -gt $max ]; then max=$((now-last)); "
    "echo $max > /gap; fi; last=$now; echo $i > /count; sleep 0.02; done"
)
FILES = [
    ("www/index.html", "hello from the guest\n", 0o644),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n", 0o644),
    ("etc/group", "root:x:0:\napp:x:1000:\nextra:x:2000:other,app\n", 0o644),
    ("bin/work", "#!/bin/sh\nhttpd -p 8080 -h /www\n" + COUNTER + "\n", 0o755),
    ("etc/data", "not a program\n", 0o644),
]
INITTAB = "::once:/bin/work\n"


def setUpModule():
    global folder, vmlinux, initramfs, root, init_root
    agent = os.environ.get("MVM_TEST_AGENT", "")
    deb = os.environ.get("MVM_TEST_KERNEL_DEB", "")
    if not os.path.exists(agent):
        raise unittest.SkipTest("MVM_TEST_AGENT names no file")
    if not os.path.exists(deb):
        raise unittest.SkipTest("MVM_TEST_KERNEL_DEB names no file")
    tool = guestkit.missing_tools()
    if tool:
        raise unittest.SkipTest(f"{tool} is not installed")
    folder = tempfile.mkdtemp(prefix="mvm-agent-boot.")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    vmlinux, modules = guestkit.extract_kernel(deb, folder)
    initramfs = os.path.join(folder, "initramfs")
    guestkit.make_initramfs(initramfs, agent, modules)
    root = os.path.join(folder, "root.ext4")
    guestkit.make_root(root, folder, FILES)
    init_root = os.path.join(folder, "init-root.ext4")
    guestkit.make_root(init_root, folder, FILES + [("etc/inittab", INITTAB, 0o644)], init=True)


class Booted(unittest.TestCase):
    """One guest for all tests of a class."""

    root = ""
    configuration = {}

    @classmethod
    def setUpClass(cls):
        cls.guest = guestkit.Guest(vmlinux, initramfs, globals()[cls.root])
        cls.addClassCleanup(cls.guest.close)
        cls.agent = proto.Agent(cls.guest.sock)
        try:
            cls.hello = cls.agent.hello()
            cls.configured = cls.agent.call(
                proto.CONFIGURE, HOSTNAME="web-1", MACHINE_ID=MACHINE_ID,
                ENTROPY=os.urandom(64), TIME_NS=time.time_ns(), GENERATION="first",
                ADDRESS="10.0.2.15/24", GATEWAY="10.0.2.2", DNS="10.0.2.3", **cls.configuration)
        except Exception:
            sys.stderr.write(cls.guest.console.decode(errors="replace"))
            raise

    def output(self, *argv, **more):
        result = self.agent.run(*argv, **more)
        self.assertEqual((result.code, result.stderr), (0, b""))
        return result.stdout.decode()

    def refused(self, status, call, **fields):
        with self.assertRaises(proto.Refused) as caught:
            self.agent.call(call, **fields)
        self.assertEqual(caught.exception.status, status, caught.exception)
        return caught.exception.message

    def wait_counter(self):
        """Wait until the counter has moved; returns its value."""
        script = (
            "exec 2>/dev/null; a=$(cat /count); "
            "while [ \"$a\" = \"$(cat /count)\" ]; do sleep 0.01; done; cat /count"
        )
        return int(self.output("sh", "-c", script))


class AgentWithCommand(Booted):
    root = "root"
    configuration = {"ARG": ["work"], "ENV": ["PORT=8080", "COLOUR=blue"],
                     "RESTORE_ARG": ["sh", "-c", "echo $COLOUR > /restored"]}

    def test_hello_names_protocol_version_and_kernel(self):
        self.assertEqual(self.hello["PROTOCOL"], 1)
        self.assertRegex(self.hello["VERSION"], r"^\d+\.\d+")
        self.assertRegex(self.hello["KERNEL"], r"^\d+\.\d+")

    def test_configure_tells_the_stages_of_the_boot_in_order(self):
        stages = [s.split("=") for s in self.configured["STAGE"]]
        self.assertEqual([s[0] for s in stages],
                         ["init", "modules", "port", "root", "configured", "workload"])
        times = [int(s[1]) for s in stages]
        self.assertEqual(times, sorted(times))

    def test_configure_works_once(self):
        self.refused(errno.EALREADY, proto.CONFIGURE, HOSTNAME="other")

    def test_ping_tells_the_time_that_the_host_has_set(self):
        pong = self.agent.call(proto.PING)
        self.assertLess(abs(pong["TIME_NS"] - time.time_ns()), 5e9)
        self.assertGreater(pong["UPTIME_NS"], 0)
        self.assertEqual(pong["FROZEN"], 0)

    def test_the_identity_is_the_hosts(self):
        self.assertEqual(self.output("hostname"), "web-1\n")
        self.assertEqual(self.output("cat", "/etc/hostname", "/etc/machine-id"),
                         "web-1\n" + MACHINE_ID + "\n")
        self.assertEqual(self.output("cat", "/run/mvm/generation"), "first\n")
        self.assertIn("127.0.1.1\tweb-1", self.output("cat", "/etc/hosts"))

    def test_network_is_up(self):
        self.assertIn("10.0.2.15/24", self.output("ip", "address", "show", "dev", "eth0"))
        self.assertIn("default via 10.0.2.2", self.output("ip", "route"))
        self.assertEqual(self.output("cat", "/etc/resolv.conf"), "nameserver 10.0.2.3\n")
        self.assertIn("127.0.0.1/8", self.output("ip", "address", "show", "dev", "lo"))

    def test_exec_keeps_stdout_stderr_and_exit_status_apart(self):
        result = self.agent.run("sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual((result.stdout, result.stderr), (b"out\n", b"err\n"))
        self.assertEqual((result.code, result.signal), (3, None))
        self.assertEqual(result.ended, {proto.STDOUT, proto.STDERR})

    def test_exec_passes_a_mebibyte_through_cat(self):
        data = os.urandom(1 << 20)
        result = self.agent.run("cat", stdin=data)
        self.assertEqual(result.code, 0)
        self.assertTrue(result.stdout == data)

    def test_exec_without_stdin_reads_empty_input(self):
        self.assertEqual(self.output("cat"), "")

    def test_exec_has_the_workloads_environment_and_its_own(self):
        env = self.output("env", ENV=["PORT=9", "MORE=1"]).split("\n")
        for line in ("PORT=9", "COLOUR=blue", "MORE=1", "HOME=/root", "USER=root"):
            self.assertIn(line, env)

    def test_exec_as_another_user_in_another_folder(self):
        self.assertEqual(self.output("id", USER="app"),
                         "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n")
        self.assertEqual(self.output("id", USER="7:8"), "uid=7 gid=8 groups=8\n")
        self.assertEqual(self.output("pwd", WORKDIR="/etc"), "/etc\n")
        self.refused(errno.EINVAL, proto.EXEC, ARG=["id"], USER="nobody-here")
        self.refused(errno.ENOENT, proto.EXEC, ARG=["id"], WORKDIR="/nowhere")

    def test_exec_says_why_a_program_cannot_be_started(self):
        self.assertIn("no-such-program", self.refused(errno.ENOENT, proto.EXEC,
                                                      ARG=["no-such-program"]))
        self.refused(errno.ENOENT, proto.EXEC, ARG=["/no/such/program"])
        self.refused(errno.EACCES, proto.EXEC, ARG=["/etc/data"])
        self.refused(errno.EINVAL, proto.EXEC)

    def test_exec_tells_the_signal_that_ended_a_command(self):
        result = self.agent.run("sh", "-c", "kill -9 $$")
        self.assertEqual((result.code, result.signal), (None, signal.SIGKILL))

    def test_a_signal_reaches_the_command(self):
        stream = self.agent.start("sh", "-c", "trap 'echo got it; exit 4' TERM; echo up; "
                                  "while true; do sleep 0.01; done")
        self.assertEqual(self.agent.receive(stream), (proto.DATA, b"\x01up\n"))
        self.agent.send(proto.SIGNAL, stream, bytes([signal.SIGTERM]))
        result = self.agent.finish(stream)
        self.assertIn(b"got it", result.stdout)
        self.assertEqual(result.code, 4)

    def test_reset_kills_a_command_and_all_it_has_started(self):
        stream = self.agent.start("sh", "-c", "sleep 1234 & echo started; sleep 1234")
        self.assertEqual(self.agent.receive(stream), (proto.DATA, b"\x01started\n"))
        self.agent.send(proto.RESET, stream)
        self.assertEqual(self.agent.finish(stream).signal, signal.SIGKILL)
        self.assertNotIn("1234", self.output(
            "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null; true"))

    def test_a_command_ends_although_its_child_holds_the_pipe(self):
        result = self.agent.run("sh", "-c", "sleep 1000 & echo bye")
        self.assertEqual((result.code, result.stdout), (0, b"bye\n"))

    def test_a_terminal_has_a_size_that_can_change(self):
        stream = self.agent.start("sh", "-c", "stty size; read x; stty size; echo $TERM",
                                  TTY=1, ROWS=24, COLUMNS=80)
        said = b""
        while not said.endswith(b"\n"):
            kind, payload = self.agent.receive(stream)
            self.assertEqual((kind, payload[:1]), (proto.DATA, b"\x01"))
            said += payload[1:]
        self.assertEqual(said, b"24 80\r\n")
        self.agent.send(proto.RESIZE, stream, struct.pack("<HH", 50, 132))
        self.agent.send(proto.DATA, stream, b"\x00go\n")
        result = self.agent.finish(stream)
        self.assertEqual(result.stdout, b"go\r\n50 132\r\nxterm\r\n")
        self.assertEqual(result.code, 0)

    def test_output_waits_for_credit_but_other_streams_continue(self):
        stream = self.agent.start("sh", "-c", "head -c 1000000 /dev/zero")
        got = 0
        while got < proto.WINDOW:
            kind, payload = self.agent.receive(stream)
            self.assertEqual(kind, proto.DATA)
            got += len(payload) - 1
        self.assertEqual(got, proto.WINDOW)
        self.agent.call(proto.PING)
        self.assertFalse(self.agent.waiting.get(stream))
        self.agent.send(proto.CREDIT, stream, struct.pack("<I", got))
        self.assertEqual(len(self.agent.finish(stream).stdout) + got, 1000000)

    def test_many_commands_at_once(self):
        streams = [self.agent.start("sh", "-c", f"cat; echo {n}", STDIN=1) for n in range(40)]
        for n, stream in enumerate(streams):
            self.agent.send(proto.DATA, stream, b"\x00" + b"x" * 10)
            self.agent.send(proto.DATA, stream, b"\x00")
        for n, stream in enumerate(streams):
            self.assertEqual(self.agent.finish(stream).stdout, b"x" * 10 + b"%d\n" % n)

    def test_health_by_http_tcp_and_command(self):
        for check in ({"HEALTH_HTTP": "http://127.0.0.1:8080/"}, {"HEALTH_TCP": 8080},
                      {"ARG": ["true"]}, {}):
            self.agent.call(proto.HEALTH, TIMEOUT_MS=60000, INTERVAL_MS=50, **check)

    def test_failing_health_checks_end_with_the_last_answer(self):
        for check, says in (
            ({"HEALTH_HTTP": "http://127.0.0.1:8080/none"}, "404 Not Found"),
            ({"HEALTH_HTTP": "http://127.0.0.1:1/"}, "cannot connect: Connection refused"),
            ({"HEALTH_TCP": 1}, "cannot connect: Connection refused"),
            ({"ARG": ["sh", "-c", "echo not yet; exit 7"]}, "exit status 7: not yet"),
            ({"ARG": ["no-such-program"]}, "cannot execute 'no-such-program'"),
        ):
            message = self.refused(errno.ETIMEDOUT, proto.HEALTH, TIMEOUT_MS=4000, INTERVAL_MS=50,
                                   **check)
            self.assertIn(says, message)

    def test_prepare_freezes_everything_until_thaw(self):
        before = self.wait_counter()
        nonce = self.agent.call(proto.PREPARE)["NONCE"]
        self.assertEqual(len(nonce), 32)
        self.assertEqual(self.agent.call(proto.PING)["FROZEN"], 1)
        self.refused(errno.EBUSY, proto.EXEC, ARG=["true"])
        self.agent.call(proto.THAW)
        self.assertEqual(self.agent.call(proto.PING)["FROZEN"], 0)
        self.assertGreater(self.wait_counter(), before)
        again = self.agent.call(proto.PREPARE)["NONCE"]
        self.assertNotEqual(again, nonce)
        self.agent.call(proto.THAW)

    def test_a_guest_that_cannot_be_prepared_continues(self):
        self.output("mount", "-t", "tmpfs", "-o", "ro", "none", "/run/mvm")
        self.refused(errno.EROFS, proto.PREPARE)
        self.assertEqual(self.agent.call(proto.PING)["FROZEN"], 0)
        self.wait_counter()
        self.output("umount", "/run/mvm")

    def test_frozen_processes_do_not_run(self):
        self.agent.call(proto.PREPARE)
        frozen = self.agent.call(proto.PING)["UPTIME_NS"]
        with self.assertRaises(TimeoutError):
            self.agent.receive(0, timeout=1.5)  # nothing comes
        thawed = self.agent.call(proto.PING)["UPTIME_NS"]
        self.agent.call(proto.THAW)
        self.wait_counter()
        self.assertGreaterEqual(int(self.output("cat", "/gap")), (thawed - frozen) // 10**7)

    def test_prepare_is_refused_while_a_command_runs(self):
        stream = self.agent.start("sleep", "1000")
        self.refused(errno.EBUSY, proto.PREPARE)
        self.agent.send(proto.RESET, stream)
        self.agent.finish(stream)

    def test_restored_makes_another_machine(self):
        boot_id = self.output("cat", "/proc/sys/kernel/random/boot_id")
        self.refused(errno.EBUSY, proto.RESTORED)
        for name, generation in (("clone-1", "g1"), ("clone-2", "g2")):
            nonce = self.agent.call(proto.PREPARE)["NONCE"]
            got = self.agent.call(
                proto.RESTORED, HOSTNAME=name, MACHINE_ID=MACHINE_ID[::-1],
                ENTROPY=os.urandom(64), TIME_NS=time.time_ns() + 3600 * 10**9,
                GENERATION=generation, ADDRESS="10.0.2.15/24", GATEWAY="10.0.2.2", DNS="10.0.2.3")
            self.assertEqual(got["NONCE"], nonce)
            self.assertEqual(self.output("hostname"), name + "\n")
            self.assertEqual(self.output("cat", "/etc/machine-id", "/run/mvm/generation"),
                             MACHINE_ID[::-1] + "\n" + generation + "\n")
            self.assertEqual(self.output("cat", "/restored"), "blue\n")
            self.assertGreater(self.agent.call(proto.PING)["TIME_NS"], time.time_ns() + 3000e9)
            fresh = self.output("cat", "/proc/sys/kernel/random/boot_id")
            self.assertNotEqual(fresh, boot_id)
            self.assertEqual(len(fresh), 37)
            boot_id = fresh
            hosts = self.output("cat", "/etc/hosts")
            self.assertEqual(hosts.count("127.0.1.1"), 1)
        self.wait_counter()
        # freeze it again, for the next test
        self.agent.call(proto.PREPARE)
        self.agent.call(proto.RESTORED, HOSTNAME="web-1", MACHINE_ID=MACHINE_ID,
                        GENERATION="first", TIME_NS=time.time_ns(), ENTROPY=os.urandom(32))

    def test_a_rehearsal_leaves_the_guest_frozen(self):
        self.refused(errno.EBUSY, proto.REHEARSE)
        nonce = self.agent.call(proto.PREPARE)["NONCE"]
        identity = {"HOSTNAME": "rehearsed", "MACHINE_ID": MACHINE_ID[::-1],
                    "GENERATION": "none", "TIME_NS": time.time_ns(), "ENTROPY": os.urandom(32)}
        for _ in range(2):
            got = self.agent.call(proto.REHEARSE, **identity)
            self.assertEqual(got["NONCE"], nonce)
            self.assertEqual(self.agent.call(proto.PING)["FROZEN"], 1)
        self.agent.call(proto.RESTORED, HOSTNAME="web-1", MACHINE_ID=MACHINE_ID,
                        GENERATION="first", TIME_NS=time.time_ns(), ENTROPY=os.urandom(32))
        self.assertEqual(self.agent.call(proto.PING)["FROZEN"], 0)
        self.assertEqual(self.output("hostname"), "web-1\n")

    def test_rehearsals_run_two_commands_and_leave_nothing(self):
        def groups():
            return self.output("sh", "-c", "ls -d /sys/fs/cgroup/exec-* | wc -l")

        def processes():
            return len(self.agent.call(proto.PROCESSES)["ARG"])

        def number():
            return int(re.search(r"exec-(\d+)", self.output("cat", "/proc/self/cgroup"))[1])
        before = groups(), processes(), number()
        self.agent.waiting.pop(proto.REHEARSAL_STREAM, None)
        self.agent.call(proto.PREPARE)
        for frames_of in ("PREPARE", "REHEARSE"):
            if frames_of == "REHEARSE":
                self.agent.call(proto.REHEARSE, HOSTNAME="rehearsed", ENTROPY=os.urandom(32))
            frames = self.agent.waiting.pop(proto.REHEARSAL_STREAM)
            ends = [proto.decode(payload) for kind, payload in frames if kind == proto.END]
            self.assertEqual([end["EXIT_CODE"] for end in ends], [0, 0], frames_of)
        self.agent.call(proto.RESTORED, HOSTNAME="web-1", MACHINE_ID=MACHINE_ID,
                        GENERATION="first", TIME_NS=time.time_ns(), ENTROPY=os.urandom(32))
        after = groups(), processes(), number() - 3 # on_restore has run, and groups()
        self.assertEqual(after, before)

    def test_an_unknown_call_and_a_damaged_one_are_refused(self):
        self.refused(errno.EOPNOTSUPP, 33)
        self.agent.last_id += 1
        self.agent.send(proto.CALL, self.agent.last_id, b"\x01\x00\xff\xff\xff\xff")
        with self.assertRaises(proto.Refused) as caught:
            self.agent.reply(self.agent.last_id)
        self.assertEqual(caught.exception.status, errno.EPROTO)

    def test_zz_shutdown_ends_the_vm(self):
        self.agent.call(proto.SHUTDOWN)
        self.assertEqual(self.guest.wait(), 0)


class AgentBesideAnInit(Booted):
    root = "init_root"

    def test_init_is_the_images_own(self):
        self.assertIn("init", self.output("cat", "/proc/1/cmdline"))
        self.assertEqual(self.output("cat", "/proc/1/cgroup"), "0::/init.scope\n")

    def test_the_agent_is_spared_at_shutdown(self):
        self.assertIn("@", self.output(
            "sh", "-c", "for p in $(cat /sys/fs/cgroup/mvm-agent/cgroup.procs); do "
            "cat /proc/$p/cmdline; done"))

    def test_prepare_freezes_init_and_its_processes(self):
        before = self.wait_counter()
        self.agent.call(proto.PREPARE)
        self.assertEqual(self.agent.call(proto.PING)["FROZEN"], 1)
        self.agent.call(proto.THAW)
        self.assertGreater(self.wait_counter(), before)

    def test_zz_shutdown_asks_init_and_ends_the_vm(self):
        self.agent.call(proto.SHUTDOWN)
        self.assertEqual(self.guest.wait(), 0)


class AgentAtTheEnd(unittest.TestCase):
    def boot(self, arguments=""):
        guest = guestkit.Guest(vmlinux, initramfs, root, arguments)
        self.addCleanup(guest.close)
        return guest, proto.Agent(guest.sock)

    def test_a_workload_that_ends_is_reported(self):
        guest, agent = self.boot()
        agent.hello()
        agent.call(proto.CONFIGURE, ARG=["sh", "-c", "echo working; exit 5"])
        with self.assertRaises(proto.Refused) as caught:
            agent.call(proto.HEALTH, HEALTH_TCP=1, TIMEOUT_MS=15000)
        self.assertEqual(caught.exception.status, errno.ESRCH)
        self.assertIn("exit status 5", caught.exception.message)
        self.assertTrue(guest.wait_console(b"mvm-agent: workload ended with exit status 5"))
        self.assertEqual(agent.log, b"working\n")
        guest.sock.close()  # a guest without its host powers off
        self.assertEqual(guest.wait(), 0)

    def test_a_root_that_is_none_is_named_on_the_console(self):
        guest, _ = self.boot("mvm.rootfstype=tmpfs mvm.root=/dev/null/x")
        self.assertEqual(guest.wait(), 0)
        self.assertIn(b"mvm-agent: no root device '/dev/null/x'", guest.console)


if __name__ == "__main__":
    unittest.main(verbosity=2)
