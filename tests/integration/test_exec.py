# SPDX-License-Identifier: Apache-2.0
"""Commands in real guests: streams, exit statuses, and many commands at once."""

import fcntl
import hashlib
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import unittest

import guests
import harness

MIB = 1 << 20

UDP_ECHO = """
#include <arpa/inet.h>
#include <sys/socket.h>
int main(void)
{
	char data[64];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return 1;
	for (;;) {
		socklen_t len = sizeof(a);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&a, &len);
		if (n > 0)
			sendto(fd, data, n, 0, (struct sockaddr *)&a, len);
	}
}
"""


class NameServer:
    """Knows one name (RFC 1035), and serves at an address of this host that nobody else uses."""

    address = "127.0.0.77"

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.address, 53))
        self.asked = set()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                query, peer = self.sock.recvfrom(512)
            except OSError:
                return # closed
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += 1 + query[at]
            name, kind = ".".join(labels), query[at + 1 : at + 3]
            self.asked.add(name)
            known = name == "guests-ask-for.test"
            answer = b"\xc0\x0c" + kind + b"\0\1" + struct.pack(">IH", 60, 4) + bytes([93, 184, 215, 77])
            has = known and kind == b"\0\1" # an A record
            self.sock.sendto(query[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" +
                             bytes([0, has]) + bytes(4) + query[12 : at + 5] + answer * has, peer)

    def close(self):
        self.sock.close()


LONG = os.environ.get("MVM_TEST_LONG") == "1"


@harness.needs_guests
class Exec(guests.TestCase):
    config = guests.CONFIG.replace("mem_mib = 128", "mem_mib = 256")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # one guest for the class, since its tests do not interfere
        done = subprocess.run([harness.MVM, "--data-dir", cls.shared_data, "run", "-T",
                               "web-worker", "-d", "--name", "shared"], check=False,
                              capture_output=True, text=True, timeout=harness.PATIENCE_S)
        if done.returncode:
            raise AssertionError(done.stderr)
        cls.addClassCleanup(subprocess.run, [harness.MVM, "--data-dir", cls.shared_data, "rm",
                                             "--force", "shared"], check=False,
                            timeout=harness.PATIENCE_S, stdout=subprocess.DEVNULL)

    def leave_no_instance(self):
        """Keep the instance of the class."""

    def leave_no_process(self):
        """Keep the guest of the class."""

    def sh(self, script, *options, **kwargs):
        return self.mvm("exec", *options, "shared", "--", "sh", "-c", script, **kwargs)

    def test_streams_status_and_signals_are_the_commands_own(self):
        cases = [
            (["-i"], "cat; echo err >&2; exit 7", "in", 7, "in", "err\n"),
            ([], "cat; exit 0", "in", 0, "", ""),
            ([], "kill -9 $$", "", 137, "", ""),
            ([], "kill -TERM $$", "", 143, "", ""),
            (["-e", "A=b c", "-e", "B="], "echo \"$A-$B\"", "", 0, "b c-\n", ""),
            (["--workdir", "/bin"], "pwd", "", 0, "/bin\n", ""),
            (["--user", "1234:99"], "id -u; id -g", "", 0, "1234\n99\n", ""),
        ]
        for options, script, stdin, status, out, err in cases:
            with self.subTest(script=script, options=options):
                done = self.sh(script, *options, stdin=stdin)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (status, out, err))

    def test_statuses_tell_why_a_command_cannot_run(self):
        for status, command, options in [(127, "/no/such", []), (127, "no-such", []),
                                         (126, "/www", []), (127, "true", ["-w", "/nowhere"]),
                                         (126, "true", ["-u", "nobody-of-that-name"])]:
            with self.subTest(command=command, options=options):
                self.mvm("exec", *options, "shared", "--", command, status=status)
        self.mvm("exec", "nobody", "--", "true", status=125)

    def test_a_remembered_user_is_looked_up_again_when_a_file_changes(self):
        def ids():
            return self.sh("busybox id -u; busybox id -g", "-u", "late").stdout.split()
        self.sh("busybox cp /etc/passwd /tmp/passwd; echo late:x:71:72::/: >>/etc/passwd")
        time.sleep(3) # the look-up of a file that has just changed is not remembered
        # this command begins now, and no other user is looked up until it has changed the file
        changer = self.start_mvm("exec", "-i", "shared", "--", "sh", "-c", "echo on; read line; "
                                 "busybox sed -i s/^late:x:71/late:x:73/ /etc/passwd", stdin=subprocess.PIPE)
        self.assertEqual(changer.stdout.readline(), "on\n")
        self.assertEqual([ids(), ids()], [["71", "72"]] * 2)
        changer.communicate("now\n", timeout=harness.PATIENCE_S)
        self.assertTrue(guests.wait_until(lambda: ids() == ["73", "72"]))
        self.sh("busybox cp /tmp/passwd /etc/passwd")

    def test_a_broken_guest_is_not_a_missing_program(self):
        name = self.run_detached()["name"]
        self.exec(name, "/bin/busybox", "umount", "-l", "/dev")
        for options in ([], ["-u", "0"]):
            self.mvm_fails(125, "exec", *options, name, "true",
                           says="the guest cannot open its '/dev/null'")
        self.mvm_fails(1, "cp", f"{name}:/bin/busybox", self.path("x"), says="the guest cannot")
        self.mvm_ok("rm", "--force", name)

    def test_a_timeout_kills_the_command_and_all_it_started(self):
        self.assertEqual(self.sh("sleep 0.2; echo ended", "--timeout", "0").stdout, "ended\n")
        for timeout in ("1ms", "500ms"): # 1 ms is over before the command has begun
            done = self.sh("sleep 4711 & sleep 4711", "--timeout", timeout, status=125)
            self.assertIn("did not end in time", done.stderr)
        self.assertTrue(guests.wait_until(
            lambda: "sleep 4711" not in self.exec("shared", "busybox", "ps")))

    def test_signals_are_passed_on(self):
        process = self.start_mvm("exec", "shared", "--", "sh", "-c",
                                 "trap 'echo got; exit 3' INT; echo ready; while :; do sleep 1; done")
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.stdout.readline(), "got\n")
        self.assertEqual(process.wait(harness.PATIENCE_S), 3)

    def test_a_killed_client_takes_its_command_along(self):
        process = self.start_mvm("exec", "shared", "--", "sh", "-c", "echo on; exec sleep 815")
        self.assertEqual(process.stdout.readline(), "on\n")
        process.kill()
        self.assertTrue(guests.wait_until(
            lambda: "sleep 815" not in self.exec("shared", "busybox", "ps")))

    def test_a_terminal_gets_its_size_and_later_changes(self):
        self.in_a_terminal("exec", "-it", "shared")

    def test_a_fresh_vm_gives_its_command_a_terminal_too(self):
        self.in_a_terminal("run", "-T", "web-worker", "-it")

    def in_a_terminal(self, *command):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        script = "trap 'stty size' WINCH; stty size; until read -t 1 line; do :; done; echo \"<$line>\"; tty; exit 5"
        child = os.fork()
        if child == 0:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(slave, fd)
            os.execve(harness.MVM, [harness.MVM, *command, "--", "sh", "-c",
                                    script.replace("stty", "busybox stty")], self.environment())
        os.close(slave)
        seen = b""

        def read_until(text):
            nonlocal seen
            deadline = time.monotonic() + harness.PATIENCE_S
            while text not in seen:
                if not select.select([master], [], [], deadline - time.monotonic())[0]:
                    self.fail(f"no {text} in {seen}")
                try:
                    seen += os.read(master, 4096)
                except OSError: # EIO: the terminal's other end is closed
                    self.fail(f"no {text} in {seen}")
        read_until(b"33 77")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 88, 0, 0))
        os.kill(child, signal.SIGWINCH) # as the kernel does for the foreground process group
        read_until(b"44 88")
        os.write(master, b"typed\r")
        read_until(b"<typed>")
        read_until(b"/dev/pts/")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 5)

    def through_a_pipe(self, size):
        """Send data both ways at once; the writer and the reader have different speeds."""
        process = subprocess.Popen([harness.MVM, "exec", "-i", "shared", "--", "cat"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env=self.environment())
        self.addCleanup(process.kill)
        block = hashlib.sha512(b"seed").digest() * 1024
        sent = hashlib.sha256()

        def feed():
            for _ in range(size // len(block)):
                process.stdin.write(block)
                sent.update(block)
            process.stdin.close()
        feeder = threading.Thread(target=feed)
        feeder.start()
        got = hashlib.sha256()
        while data := process.stdout.read1(1 << 16):
            got.update(data)
        feeder.join()
        process.stdout.close()
        self.assertEqual(process.wait(harness.PATIENCE_S), 0)
        self.assertEqual(got.hexdigest(), sent.hexdigest())

    def test_a_pipe_carries_every_byte(self):
        self.through_a_pipe(1024 * MIB if LONG else 64 * MIB)

    def test_an_error_of_input_is_not_its_end(self):
        folder = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        done = subprocess.run([harness.MVM, "exec", "-i", "shared", "--", "cat"], stdin=folder,
                              capture_output=True, text=True, env=self.environment(), check=False,
                              timeout=self.timeout)
        self.assertEqual((done.returncode, done.stdout), (125, ""))
        self.assertIn("cannot read the input: Is a directory", done.stderr)

    def test_a_consumer_that_waits_for_its_input_is_served(self):
        """The test reads no output before it has written all input, which fits in the windows."""
        process = subprocess.Popen([harness.MVM, "exec", "-i", "shared", "--", "cat"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env=self.environment())
        self.addCleanup(process.kill)
        data = os.urandom(300000)
        process.stdin.write(data) # more than fits in two pipes
        process.stdin.close()
        self.assertEqual(process.stdout.read(), data)
        process.stdout.close()
        self.assertEqual(process.wait(harness.PATIENCE_S), 0)

    def test_a_slow_reader_stalls_nobody_else(self):
        slow = subprocess.Popen([harness.MVM, "exec", "shared", "--", "cat", "/dev/zero"],
                                stdout=subprocess.PIPE, env=self.environment())
        self.addCleanup(slow.wait)
        self.addCleanup(slow.kill)
        self.addCleanup(slow.stdout.close)
        self.assertTrue(slow.stdout.read(1)) # and read no more
        deaf = subprocess.Popen([harness.MVM, "exec", "-i", "shared", "--", "sleep", "600"],
                                stdin=subprocess.PIPE, env=self.environment())
        self.addCleanup(deaf.wait)
        self.addCleanup(deaf.kill)
        os.set_blocking(deaf.stdin.fileno(), False)
        with self.assertRaises(BlockingIOError): # since the command never reads
            while True:
                os.write(deaf.stdin.fileno(), bytes(65536))
                time.sleep(0.001)
        for _ in range(10):
            self.assertEqual(self.exec("shared", "echo", "hi"), "hi\n")
        self.assertEqual(self.inspect("shared")["state"], "running")

    def test_two_hundred_commands_run_at_once(self):
        """All commands run at the same time, since each waits for the end of a pipe."""
        n = 200
        self.sh("busybox mkdir -p /tmp/here; busybox mkfifo /tmp/pipe", status=0)
        holder = self.start_mvm("exec", "-i", "shared", "--", "sh", "-c",
                                "exec 3<>/tmp/pipe; echo open; read line", stdin=subprocess.PIPE)
        self.assertEqual(holder.stdout.readline(), "open\n")
        script = "exec 3</tmp/pipe; echo > /tmp/here/$0; read line <&3; echo $0"
        commands = [subprocess.Popen([harness.MVM, "exec", "shared", "--", "sh", "-c",
                                      script.replace("$0", str(i))], env=self.environment(),
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    for i in range(n)]
        try:
            self.assertTrue(guests.wait_until(
                lambda: len(self.exec("shared", "ls", "/tmp/here").split()) == n, 3 * harness.PATIENCE_S))
            holder.stdin.write("go on\n")
            holder.stdin.flush()
            for i, command in enumerate(commands):
                out, err = command.communicate(timeout=harness.PATIENCE_S)
                self.assertEqual((command.returncode, out, err), (0, f"{i}\n", ""))
        finally:
            for command in commands:
                command.kill()
                command.communicate()

    def test_too_many_commands_are_refused(self):
        commands = [self.start_mvm("exec", "shared", "--", "sleep", "600") for _ in range(270)]
        self.assertTrue(guests.wait_until(
            lambda: sum(command.poll() is not None for command in commands) >= 14, 3 * harness.PATIENCE_S))
        refused = [command for command in commands if command.poll() is not None]
        for command in refused:
            self.assertEqual(command.returncode, 125, command.stderr.read())
        for command in commands:
            command.kill()
        self.assertTrue(guests.wait_until(
            lambda: self.mvm("exec", "shared", "--", "true").returncode == 0))


@harness.needs_guests
class Network(guests.TestCase):
    config = guests.CONFIG + guests.VARIANT.replace("worker", "alone") + 'network = "none"\n'
    snapshot = False

    @harness.needs_program("musl-gcc")
    def test_a_guest_reaches_out_and_is_reached(self):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        number = harness.free_port()
        port.bind(("127.0.0.1", number))

        # a port in use is reported before anything starts
        taken = server.getsockname()[1]
        self.mvm_fails(4, "run", "-T", "web-worker", "-d", "-p", f"{taken}:80",
                       says=f"cannot forward port {taken} of 127.0.0.1: Address already in use")
        self.mvm_fails(4, "run", "-T", "web-worker", "-d", "-p", f"{number}:80/udp",
                       says=f"cannot forward port {number}")
        self.assertEqual(self.instances(), [])
        port.close()

        record = self.run_detached("web-worker", "-p", "0:8080", "-p", f"{number}:7/udp",
                                   "--allow", f"host:{taken}")
        name = record["name"]
        tcp = next(f for f in record["forwards"] if f["protocol"] == "tcp")
        self.assertEqual(tcp["host_address"], "127.0.0.1")
        self.assertTrue(guests.get(tcp["host_port"]))

        # UDP both ways
        program = self.path("echo")
        subprocess.run(["musl-gcc", "-static", "-Os", "-o", program,
                        self.write("echo.c", UDP_ECHO)], check=True, timeout=harness.PATIENCE_S)
        self.mvm_ok("cp", program, f"{name}:/bin/udp-echo")
        echo = self.start_mvm("exec", name, "--", "udp-echo")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            for _ in range(2 * harness.PATIENCE_S):
                client.sendto(b"ping", ("127.0.0.1", number))
                try:
                    self.assertEqual(client.recv(64), b"ping")
                    break
                except TimeoutError:
                    self.assertIsNone(echo.poll(), "the echo has ended")
            else:
                self.fail("no answer over UDP")

        # outbound: the gateway address is this host, with an allowed port
        answers = []

        def serve():
            peer, _ = server.accept()
            with peer:
                answers.append(peer.recv(64))
                peer.sendall(b"hello\n")
        thread = threading.Thread(target=serve)
        thread.start()
        out = self.exec(name, "sh", "-c", f"echo out | busybox nc -w 90 10.0.2.2 {taken}")
        thread.join(harness.PATIENCE_S)
        self.assertEqual((answers, out), ([b"out\n"], "hello\n"))

    @unittest.skipIf(os.getuid(), "needs root for a name server, and a resolv.conf that names it")
    def test_names_are_looked_up_where_this_host_does(self):
        server = NameServer()
        self.addCleanup(server.close)
        enter = guests.in_own_mounts((self.write("resolv.conf", f"nameserver {server.address}\n"),
                                      "/etc/resolv.conf", "", guests.MS_BIND, ""))
        subprocess.run([harness.MVM, "run", "-T", "web-worker", "-d", "--name", "asks"], check=True,
                       env=self.environment(), preexec_fn=enter, timeout=harness.PATIENCE_S,
                       stdout=subprocess.DEVNULL)
        self.assertEqual(self.exec("asks", "cat", "/etc/resolv.conf"), "nameserver 10.0.2.3\n")
        out = self.exec("asks", "busybox", "nslookup", "guests-ask-for.test")
        self.assertIn("93.184.215.77", out)
        self.assertIn("guests-ask-for.test", server.asked)
        out = self.mvm("exec", "asks", "--", "busybox", "nslookup", "no-such.test")
        self.assertNotIn("93.184.215.77", out.stdout)

    def test_a_guest_without_a_network_has_no_card(self):
        self.mvm_fails(1, "run", "-T", "web-alone", "-d", "-p", "0:80", says="has no network")
        name = self.run_detached("web-alone")["name"]
        self.assertEqual(self.exec(name, "ls", "/sys/class/net").split(), ["lo"])


if __name__ == "__main__":
    guests.main()
