# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the mvm program.

    import harness

    class Templates(harness.TestCase):
        def test_a_list_is_empty_at_first(self):
            self.assertEqual(self.mvm_json("template", "list"), [])

    if __name__ == "__main__":
        harness.main()

Every test gets a data folder of its own (self.data_dir).  It fails if it leaves a process behind that
still uses that folder.  Results are TAP, so that each test and each reason for a skip counts.

Environment: MVM (the program; required), MVM_TEST_KERNEL_DEB (a guest kernel package).
"""

import fcntl
import json
import os
import platform
import pty
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

MVM = os.environ.get("MVM", "")
SOURCE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# How long to wait for an event that must happen: only a failure takes this long, even on a slow or busy
# machine.
PATIENCE_S = 200


def why_no_kvm():
    """None if KVM is usable (a paravirtual /dev/kvm without vmx or svm is not), else the reason."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    return None if {"vmx", "svm"} & set(flags) else "the CPU has neither vmx nor svm"


def why_no_guests():
    """None if real guests can be started here, else the reason."""
    if not shutil.which("qemu-system-x86_64"):
        return "qemu-system-x86_64 is not installed"
    deb = os.environ.get("MVM_TEST_KERNEL_DEB", "")
    if not deb:
        return "MVM_TEST_KERNEL_DEB names no guest kernel (mvm kernel fetch --download DIR)"
    if not os.path.exists(deb): # the user wants guests: a skip would hide that none ran
        sys.exit(f"MVM_TEST_KERNEL_DEB: {deb} does not exist (seen from {os.getcwd()})")
    return None


needs_guests = unittest.skipIf(why_no_guests(), why_no_guests())
needs_kvm = unittest.skipIf(why_no_kvm(), why_no_kvm())


def needs_program(name):
    return unittest.skipUnless(shutil.which(name), f"{name} is not installed")


def free_port():
    """A port of 127.0.0.1 that is free, and stays so until it is used: it is none of those that the kernel
    gives to connections and to whoever asks for any."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0])
    while True:
        port = random.randrange(min(10000, end // 2), end)
        try:
            for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
                with socket.socket(socket.AF_INET, kind) as one:
                    one.bind(("127.0.0.1", port))
            return port
        except OSError:
            continue


def link_target(path):
    """None: it is gone, as a descriptor is that a running process closes meanwhile."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def processes_of(folder):
    """{pid: command line} of live processes that name the folder, work in it or hold it open."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    continue
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
            links = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))]
        except OSError:
            continue # it has ended, or we may not read it
        paths = [target for target in map(link_target, links) if target]
        if folder in command or any(path.startswith(folder) for path in paths):
            found[int(pid)] = command
    return found


class Begun:
    """Begun and ended by a with statement.  Its end() also ends what a begin() that failed has begun."""

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()


class TestCase(unittest.TestCase):
    """A test with a fresh data folder."""

    timeout = 300 # seconds for one run of mvm: only a hang takes this long

    def setUp(self):
        # short, because socket paths are limited to 107 bytes
        self.folder = tempfile.mkdtemp(prefix="mvm-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(self.leave_no_process)
        self.data_dir = os.path.join(self.folder, "data")

    def leave_no_process(self):
        """Give processes the time to end; kill and report the others."""
        deadline = time.monotonic() + PATIENCE_S
        left = processes_of(self.folder)
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = processes_of(self.folder)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if left:
            self.fail(f"processes were left behind: {left}")

    def path(self, *parts):
        """A path in this test's scratch folder, beside the data folder."""
        return os.path.join(self.folder, *parts)

    def write(self, name, text, mode=0o644):
        """Create a file in the scratch folder, and its folders; returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def environment(self, extra=None):
        env = {key: value for key, value in os.environ.items() if not key.startswith("MVM_DATA")}
        env.update(MVM_DATA_DIR=self.data_dir, LC_ALL="C.UTF-8", HOME=self.folder)
        env.update(extra or {})
        return env

    def mvm(self, *args, env=None, stdin="", timeout=None, status=None, cpu_s=None):
        """Run mvm.  With status given, the exit status must be that.  Returns the completed process with
        text in stdout and stderr.  cpu_s: more of the processor's time kills it, however busy the host."""
        limit = cpu_s and (lambda: resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s)))
        done = subprocess.run([MVM, *map(str, args)], input=stdin, text=True, errors="replace",
                              capture_output=True, env=self.environment(env), check=False,
                              timeout=timeout or self.timeout, cwd=self.folder, preexec_fn=limit)
        if status is not None and done.returncode != status:
            self.fail(f"mvm {' '.join(map(str, args))}: exit status {done.returncode}, not "
                      f"{status}\nstdout: {done.stdout}\nstderr: {done.stderr}")
        return done

    def mvm_ok(self, *args, **kwargs):
        """Run mvm, which must succeed; returns standard output."""
        return self.mvm(*args, status=0, **kwargs).stdout

    def mvm_json(self, *args, **kwargs):
        """Run mvm with --json, which must succeed; returns the value."""
        return json.loads(self.mvm_ok(*args, "--json", **kwargs))

    def on_terminal(self, *args, columns=0, env=None, **streams):
        """Run mvm, which must succeed, with a terminal of that width (0: unknown) as its output, except
        for the given streams; returns the bytes that the terminal got."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        streams = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": theirs, **streams}
        process = subprocess.Popen([MVM, *map(str, args)], env=self.environment(env),
                                   cwd=self.folder, **streams)
        os.close(theirs)
        text = b""
        while True:
            try:
                got = os.read(ours, 65536)
            except OSError: # its other end is closed
                break
            text += got
        os.close(ours)
        self.assertEqual(process.wait(timeout=self.timeout), 0, text)
        return text

    def answer_on_terminal(self, answers, *args, env=None):
        """Run mvm on a terminal of its own.  answers: (bytes to wait for, bytes to type then) in order.
        Returns the exit status and the bytes that the terminal showed."""
        pid, terminal = pty.fork()
        if pid == 0:
            try:
                os.execve(MVM, [MVM, *args], self.environment(env))
            finally:
                os._exit(126)
        shown = b""
        for question, answer in answers:
            while question not in shown:
                shown += os.read(terminal, 4096)
            os.write(terminal, answer)
        try:
            while part := os.read(terminal, 4096):
                shown += part
        except OSError: # its other end is closed
            pass
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown

    def full_pipe(self):
        """The ends of a full pipe.  The test closes the second one."""
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        os.set_blocking(write_end, False)
        os.write(write_end, bytes(1 << 20)) # as much as fits
        os.set_blocking(write_end, True)
        return read_end, write_end

    def mvm_fails(self, status, *args, says="", **kwargs):
        """Run mvm, which must fail with this status, print no result, and print `says` on standard
        error; returns standard error."""
        done = self.mvm(*args, status=status, **kwargs)
        self.assertEqual(done.stdout, "")
        self.assertIn(says, done.stderr)
        return done.stderr


class TapResult(unittest.TestResult):
    """Prints a line of TAP as soon as a test ends."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def say(self, ok, test, note=""):
        self.number += 1
        name = test.id().removeprefix("__main__.") if hasattr(test, "id") else str(test)
        print("ok" if ok else "not ok", self.number, "-", name + note, flush=True)

    def trouble(self, test, trace):
        self.say(False, test)
        for line in trace.splitlines():
            print("#", line, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say(True, test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say(True, test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.trouble(test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.trouble(test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.trouble(subtest, (self.failures + self.errors)[-1][1])

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.say(True, test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.say(False, test, " (was expected to fail)")


def host_facts():
    """Facts that decide how these tests run, for readers of the log."""
    yield f"kernel {platform.release()}, {os.cpu_count()} CPUs, uid {os.getuid()}"
    yield f"KVM: {why_no_kvm() or 'usable'}"
    yield f"guests: {why_no_guests() or 'can be started'}"


def main():
    for fact in host_facts():
        print("#", fact)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    if len(sys.argv) > 1: # single tests by name
        suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:],
                                                              sys.modules["__main__"])
    result = TapResult()
    suite.run(result)
    print(f"1..{result.number}")
    sys.exit(0 if result.wasSuccessful() and result.number else 1)
