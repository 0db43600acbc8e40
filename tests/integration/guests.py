# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of mvm with real guests.

    import guests, harness

    @harness.needs_guests
    class Clones(guests.TestCase):
        config = guests.CONFIG

        def test_a_clone_answers(self):
            name = self.run_detached()

Each class builds its config once, in a data folder that all its tests use.  A test that damages the
folder takes a copy first (own_data()).  All classes of a program share one imported kernel.
"""

import ctypes
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request

import agentproto
import harness

CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_REMOUNT, MS_BIND, MS_RDONLY = (
    0x20000, 0x4000, 1 << 18, 32, 4096, 1)
SYS_SECCOMP, PR_SET_NO_NEW_PRIVS = 317, 38

VARIANT = """
[[variants]]
role    = "worker"
vcpus   = 1
mem_mib = 128
"""

CONFIG = """
template_id = "web"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]

[health]
http = "http://127.0.0.1:8080/"
""" + VARIANT


class Kernel:
    """A data folder with only a kernel, made when it is first needed."""

    folder = None

    @classmethod
    def data(cls):
        if not cls.folder:
            folder = tempfile.mkdtemp(prefix="mvm-test-")
            data = os.path.join(folder, "data")
            subprocess.run([harness.MVM, "--data-dir", data, "kernel", "add",
                            os.environ["MVM_TEST_KERNEL_DEB"], "--name", "debian"],
                           check=True, timeout=300, stdout=subprocess.DEVNULL)
            cls.folder = folder
        return os.path.join(cls.folder, "data")

    @classmethod
    def forget(cls):
        if cls.folder:
            shutil.rmtree(cls.folder)


def copy_data(source, target):
    """Copy a data folder: links stay links and holes stay holes."""
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True, timeout=300)


def make_root(folder):
    """Make the example's root filesystem, with busybox."""
    root = os.path.join(folder, "root")
    shutil.copytree(os.path.join(harness.SOURCE_DIR, "examples", "http", "rootfs"), root,
                    symlinks=True)
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin", "busybox"))
    return root


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def get(port, path="/"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}",
                                timeout=harness.PATIENCE_S) as answer:
        return answer.read().decode()


def endless(path):
    """A shell command for a guest that makes a folder whose copy takes minutes on every machine: 32 GiB of
    hard links to one file, which take little room."""
    return (f"mkdir {path} && busybox dd if=/dev/zero of={path}/f bs=1M count=8 2>/dev/null && "
            "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do "
            f"busybox cp -rl {path} {path}-new && mv {path}-new {path}/$i || exit 1; done")


def tree(folder):
    """{path: lstat} of everything in a folder, without files that disappear meanwhile: a supervisor
    may replace its record at any moment."""
    found = {}
    for where, folders, files in os.walk(folder):
        for name in folders + files:
            try:
                found[os.path.join(where, name)] = os.lstat(os.path.join(where, name))
            except FileNotFoundError:
                continue
    return found


def is_alive(pid):
    """Is there such a process?  A dead supervisor's other process reaps it once all is given back."""
    return os.path.exists(f"/proc/{pid}/stat")


def wait_until(true, seconds=harness.PATIENCE_S):
    """Wait until a condition is true; returns whether it is in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return bool(true())
        time.sleep(0.01)
    return True


def in_own_mounts(*mounts):
    """A preexec_fn that mounts file systems which only the child and its children see.  Each mount is
    (source, target, type, flags, data).  Root only."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source, target, kind, flags, data):
        if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) < 0:
            raise OSError(ctypes.get_errno(), f"mount {target}")

    def enter():
        if libc.unshare(CLONE_NEWNS) < 0:
            raise OSError(ctypes.get_errno(), "unshare")
        mount("none", "/", "", MS_REC | MS_PRIVATE, "")
        for m in mounts:
            mount(*m)
    return enter


def without_lending():
    """A preexec_fn: the process has a listener of seccomp's already, and can have no other, so
    no memory is lent to QEMU (src/vmm/lend.h).  Needs close_fds=False."""
    libc = ctypes.CDLL(None, use_errno=True)
    allow_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(allow_all)))

    def enter():
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        listener = libc.syscall(SYS_SECCOMP, 1, 8, program) # a filter, with a listener
        if listener < 0:
            raise OSError(ctypes.get_errno(), "seccomp")
        os.set_inheritable(listener, True) # it counts while somebody has it open
    enter.memory = allow_all # the program points there
    return enter


class TestCase(harness.TestCase):
    """A test that uses the data folder of its class."""

    config = None    # template.toml; its flake_ref is "dir:root" or made by make_source()
    snapshot = True  # build with a snapshot

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = tempfile.mkdtemp(prefix="mvm-test-")
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.shared_data = os.path.join(cls.shared, "data")
        cls.root = make_root(cls.shared)
        cls.make_source()
        copy_data(Kernel.data(), cls.shared_data)
        cls.toml = os.path.join(cls.shared, "template.toml")
        if cls.config:
            with open(cls.toml, "w", encoding="utf-8") as file:
                file.write(cls.config)
            cls.build_class()

    @classmethod
    def make_source(cls):
        """For classes whose source is more than the folder root."""

    @classmethod
    def build_class(cls):
        done = subprocess.run([harness.MVM, "--data-dir", cls.shared_data, "template", "build",
                               "--config", cls.toml] + ["--snapshot"] * cls.snapshot,
                              capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise AssertionError(f"the class's template cannot be built: {done.stderr}")

    def setUp(self):
        super().setUp()
        self.data_dir = self.shared_data
        self.addCleanup(self.leave_no_instance)

    def on_small_disk(self, size, script, *args):
        """Run a Python program whose instances are on a small file system, which only its processes see.  Root
        only.  Its arguments are mvm, the instances' folder and args.  Returns the ended process."""
        instances = self.data("instances")
        os.makedirs(instances, 0o700, exist_ok=True)
        enter = in_own_mounts(("tmpfs", instances, "tmpfs", 0, f"size={size},mode=0700"))
        try:
            return subprocess.run(["python3", "-c", script, harness.MVM, instances, *args], text=True,
                                  env=self.environment(), capture_output=True, preexec_fn=enter,
                                  timeout=self.timeout, check=False)
        except subprocess.TimeoutExpired:
            raise
        except subprocess.SubprocessError as error:
            return self.skipTest(f"cannot mount here: {error}")

    def own_data(self, kernel_only=False):
        """Switch to a data folder of the test's own: a copy of the class's."""
        self.data_dir = self.path("data")
        copy_data(Kernel.data() if kernel_only else self.shared_data, self.data_dir)

    def leave_no_instance(self):
        """End the instances that the test left running, and check that nothing stays."""
        if not os.path.isdir(self.data_dir):
            return
        self.mvm("ps") # sweeps leftovers of killed starters
        for name in self.instances():
            self.mvm("rm", "--force", name)
        if not wait_until(lambda: not harness.processes_of(self.data_dir)):
            left = harness.processes_of(self.data_dir)
            for pid in left:
                os.kill(pid, 9)
            self.fail(f"processes were left behind: {left}")
        left = {name: sorted(os.listdir(self.data("instances", name))) for name in self.instances()}
        self.assertEqual(left, {}, "no command removes these")

    def data(self, *parts):
        return os.path.join(self.data_dir, *parts)

    def instances(self):
        """The folders of all instances, including those that `ps` does not show."""
        folder = self.data("instances")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def current(self, template, *parts):
        """A path in the folder of the template's current revision."""
        return os.path.realpath(self.data("templates", template, "current")) + "".join(
            "/" + part for part in parts)

    def assert_nothing_left(self):
        """Check that no process is left, and then no staging and no instance."""
        self.assertTrue(wait_until(lambda: not harness.processes_of(self.data_dir)),
                        harness.processes_of(self.data_dir))
        tmp = self.data("tmp")
        self.assertEqual(os.listdir(tmp) if os.path.isdir(tmp) else [], [])
        self.assertEqual(self.instances(), [])

    def run_detached(self, template="web-worker", *options):
        """Start an instance; returns its record."""
        return self.mvm_json("run", "--template", template, "-d", *options)

    def inspect(self, name):
        return json.loads(self.mvm_ok("inspect", name))

    def clock_off_ms(self, name, ahead_s=0):
        """The least difference between the guest's wall clock and this host's plus `ahead_s`, in ms."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.data("instances", name, "control.sock"))
            before = time.time_ns()
            clock = agentproto.Agent(sock).call(agentproto.PING)["TIME_NS"] - ahead_s * 10**9
            return max(before - clock, clock - time.time_ns(), 0) / 1e6

    def exec(self, name, *command, options=(), **kwargs):
        """Run a command in the guest, which must succeed; returns its standard output."""
        return self.mvm_ok("exec", *options, name, "--", *command, **kwargs)

    def mvm_bytes(self, *args, stdin=b""):
        """Run mvm with bytes as its streams; returns the completed process."""
        return subprocess.run([harness.MVM, *args], input=stdin, capture_output=True, check=False,
                              env=self.environment(), timeout=self.timeout, cwd=self.folder)

    def start_mvm(self, *args, env=None, **kwargs):
        """Start mvm without waiting.  The test's end kills it."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen([harness.MVM, *map(str, args)], env=self.environment(env),
                                   cwd=self.folder, text=True, **kwargs)

        def end():
            process.kill()
            process.communicate(timeout=harness.PATIENCE_S)
        self.addCleanup(end)
        return process


def main():
    try:
        harness.main()
    finally:
        Kernel.forget()
