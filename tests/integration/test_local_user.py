# SPDX-License-Identifier: Apache-2.0
"""An ordinary user of the host tries to stop, take over or read what root's mvm runs."""

import os
import subprocess
import sys
import unittest

import guests
import harness

NOBODY_ELSE = 12345

# Prints a line for each attempt that worked.  Arguments: the data folder, the instance's name, the
# forwarded UDP port, the pids of root's processes.
ATTACK = r'''
import ctypes, errno, fcntl, os, resource, signal, socket, sys
data, name, port, *pids = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4

def worked(what, attempt):
    try:
        attempt()
    except (OSError, ValueError):
        return
    print(what)

def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")

def open_at(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))

def lock(path, flags):
    fd = os.open(path, flags)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

def connect(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)

def share_port(kind, option, address):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, option, 1)
    s.bind((address, int(port)))
    if kind == socket.SOCK_STREAM:
        s.listen()

# files and locks
folders = [data, data + "/instances", data + "/instances/" + name, data + "/pool", data + "/locks",
           data + "/templates", data + "/blobs", data + "/tmp"]
for path in folders:
    worked(f"list {path}", lambda: os.listdir(path))
    worked(f"lock {path}", lambda: lock(path, os.O_RDONLY))
    worked(f"write in {path}", lambda: open_at(path + "/x", os.O_WRONLY | os.O_CREAT))
    worked(f"rename {path}", lambda: os.rename(path, path + ".away"))
for path in ("/instances/%s/control.sock" % name, "/pool/lock"):
    worked(f"open {path}", lambda: open_at(data + path))
    worked(f"connect to {path}", lambda: connect(data + path))
for path in ("/run/mvm-uids.lock", "/var/lib/mvm-uids.lock"):
    worked(f"open {path}", lambda: open_at(path))
    worked(f"lock {path}", lambda: lock(path, os.O_RDWR | os.O_CREAT))
    worked(f"remove {path}", lambda: os.unlink(path))
for path in ("/sys/fs/cgroup/mvm.slice", "/sys/fs/cgroup/mvm.slice/mvm-others"):
    worked(f"make {path}", lambda: os.mkdir(path))
    for file in ("cgroup.procs", "cgroup.kill", "cgroup.freeze", "memory.max", "pids.max"):
        worked(f"write {path}/{file}", lambda: open_at(f"{path}/{file}", os.O_WRONLY))

# ports
for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    for address in ("127.0.0.1", "0.0.0.0"):
        worked(f"share the UDP port {option} {address}",
               lambda: share_port(socket.SOCK_DGRAM, option, address))

# processes
for pid in map(int, pids):
    for number in (0, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL):
        worked(f"signal {number} to {pid}", lambda: os.kill(pid, number))
    worked(f"trace {pid}", lambda: check(libc.ptrace(16, pid, 0, 0)))
    worked(f"seize {pid}", lambda: check(libc.ptrace(0x4206, pid, 0, 0)))
    worked(f"slow {pid}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    worked(f"pin {pid}", lambda: os.sched_setaffinity(pid, {0}))
    worked(f"limit {pid}", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, 1)))
    for file in ("mem", "environ", "maps", "auxv", "syscall", "pagemap", "io", "stack"):
        worked(f"read /proc/{pid}/{file}", lambda: os.read(os.open(f"/proc/{pid}/{file}", 0), 1))
    for file in ("mem", "oom_score_adj", "clear_refs", "coredump_filter", "comm", "uid_map"):
        worked(f"write /proc/{pid}/{file}",
               lambda: os.write(os.open(f"/proc/{pid}/{file}", os.O_WRONLY), b"0"))
    for file in ("root/", "cwd/", "fd", "map_files"):
        worked(f"list /proc/{pid}/{file}", lambda: os.listdir(f"/proc/{pid}/{file}"))
    for file in ("mnt", "net", "pid", "ipc", "uts", "user", "cgroup"):
        worked(f"enter {file} of {pid}", lambda: open_at(f"/proc/{pid}/ns/{file}"))
    pidfd = libc.syscall(434, pid, 0)
    if pidfd >= 0:
        for fd in range(12):
            worked(f"take descriptor {fd} of {pid}",
                   lambda: check(libc.syscall(438, pidfd, fd, 0)))
print("done")
'''

# Takes what root's mvm might want under a name that can be guessed.
SQUAT = r'''
import os, socket, sys
kept = []
for i in range(0x70000000, 0x70000000 + 300):
    for form in ("mvm-uid-%d", "mvm-%d", "mvm/%d"):
        s = socket.socket(socket.AF_UNIX)
        s.bind("\0" + form % i)
        kept.append(s)
for name in ("mvm", "mvm-uids.lock", ".mvm", "mvm.sock", "mvm-supervisor", "mvm-net"):
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run/lock"):
        try:
            os.symlink("/nowhere", f"{folder}/{name}")
            kept.append(f"{folder}/{name}")
        except OSError:
            pass
print("ready", flush=True)
sys.stdin.read()
for path in kept:
    if isinstance(path, str):
        os.unlink(path)
'''


def children(pid):
    """All processes below one."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in map(int, file.read().split()):
            yield child
            yield from children(child)


@harness.needs_guests
@harness.needs_program("setpriv")
@unittest.skipIf(os.getuid(), "root is who is attacked")
class LocalUser(guests.TestCase):
    config = guests.CONFIG

    def as_other(self, script, *args):
        """A process of another user; its python may not be where that user can read."""
        python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
        return subprocess.Popen(
            ["setpriv", f"--reuid={NOBODY_ELSE}", f"--regid={NOBODY_ELSE}", "--clear-groups",
             python, "-c", script, *map(str, args)], cwd="/", text=True,
            start_new_session=True, # within a session anybody may send SIGCONT
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def setUp(self):
        super().setUp()
        # the folders above the data folder are open to all, as /var/lib is
        os.chmod(self.shared, 0o755)
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        self.server = self.start_mvm("pool", "serve")
        self.addCleanup(self.mvm, "pool", "set", "web-worker", "--size", "0")

    def wait_for_pool(self):
        self.assertTrue(guests.wait_until(
            lambda: self.mvm_json("pool", "list")["pools"][0]["ready"] == 1))

    def test_nothing_of_roots_can_be_stopped_taken_or_read(self):
        self.wait_for_pool()
        record = self.run_detached("web-worker", "-p", "0:53/udp", "-p", "0:8080")
        self.assertTrue(record["from_pool"])
        self.wait_for_pool() # there is another one waiting
        pids = {record["supervisor_pid"], record["vmm_pid"], *children(record["supervisor_pid"]),
                self.server.pid, *children(self.server.pid)}
        udp = next(f["host_port"] for f in record["forwards"] if f["guest_port"] == 53)
        attacker = self.as_other(ATTACK, self.data_dir, record["name"], udp, *sorted(pids))
        out, err = attacker.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(attacker.returncode, 0, err)
        self.assertEqual(out.splitlines(), ["done"])
        self.assertEqual(self.exec(record["name"], "echo", "works"), "works\n")
        self.assertTrue(self.run_detached()["from_pool"])

    def test_names_that_can_be_guessed_are_no_use(self):
        squatter = self.as_other(SQUAT)
        self.addCleanup(squatter.communicate, timeout=harness.PATIENCE_S)
        self.assertEqual(squatter.stdout.readline(), "ready\n", squatter.poll())
        self.wait_for_pool()
        said = self.mvm("doctor").stdout
        records = [self.run_detached(), self.run_detached("web-worker", "--require-snapshot"),
                   self.run_detached("web-worker", "--cold")]
        for record in records:
            self.assertEqual(self.exec(record["name"], "echo", "works"), "works\n")
        if " user " in said:
            uids = {os.stat(f"/proc/{record['vmm_pid']}").st_uid for record in records}
            self.assertEqual(len(uids), 3)
            self.assertGreaterEqual(min(uids), 0x70000000)


if __name__ == "__main__":
    guests.main()
