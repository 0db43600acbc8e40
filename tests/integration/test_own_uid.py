# SPDX-License-Identifier: Apache-2.0
"""When root runs mvm, each QEMU runs as a user of its own, with rights for its VM only."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import unittest

import guests
import harness

NET_BIND_SERVICE = 1 << 10
NO_ROOT = "only root can start processes as other users"


def status(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def flags_of(pid, path):
    """The flags of each descriptor of a file in a process, except O_PATH descriptors."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            same = os.path.samefile(f"/proc/{pid}/fd/{fd}", path)
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                flags = int(re.search(r"flags:\s*(\d+)", file.read())[1], 8)
        except OSError:
            continue  # a socket, or closed meanwhile
        if same and not flags & os.O_PATH:
            found.append(flags)
    return found


def low_port():
    """A port below 1024 that nobody uses."""
    for port in range(1023, 600, -1):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise unittest.SkipTest("no port below 1024 is free")


@harness.needs_guests
@unittest.skipIf(os.getuid(), NO_ROOT)
class OwnUid(guests.TestCase):
    config = guests.CONFIG + "data_disk_mib = 16\n"

    def setUp(self):
        super().setUp()
        said = self.mvm("doctor").stdout
        if not re.search(r"qemu-isolation +user ", said):
            self.skipTest(re.search(r"qemu-isolation +(.*)", said)[1])

    def test_each_vm_has_a_user_of_its_own_without_privileges(self):
        memory = self.current("web-worker", "snapshot", "mem.bin")
        self.assertEqual(os.stat(memory).st_uid, 0)  # root got it back from the QEMU that wrote it
        users = set()
        for start in ("--require-snapshot", "--require-snapshot", "--cold"):
            with self.subTest(start):
                record = self.run_detached("web-worker", start)
                pid = record["vmm_pid"]
                is_now = status(pid)
                uid, = set(is_now["Uid"].split()) # real, effective, saved and of the file system
                self.assertEqual(set(is_now["Gid"].split()), {uid})
                self.assertEqual(is_now["Groups"].strip(), "")
                self.assertGreaterEqual(int(uid), 0x70000000)
                for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
                    self.assertEqual(int(is_now[name], 16) & ~NET_BIND_SERVICE, 0, name)
                self.assertEqual(is_now["NoNewPrivs"], "1")
                self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
                users.add(uid)
                opened = flags_of(pid, memory)
                self.assertEqual(len(opened), start != "--cold")
                for flags in opened:
                    self.assertEqual(flags & os.O_ACCMODE, os.O_RDONLY)
                self.assertEqual(self.exec(record["name"], "busybox", "id", "-u"), "0\n") # in the guest
        self.assertEqual(len(users), 3)

    def test_no_two_vms_share_a_user(self):
        first = self.data_dir
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        server = self.start_mvm("pool", "serve")
        self.assertTrue(guests.wait_until(
            lambda: self.mvm_json("pool", "list")["pools"][0]["ready"] == 1))
        records = [self.run_detached()]
        self.assertTrue(records[0]["from_pool"])
        self.mvm_ok("pool", "set", "web-worker", "--size", "0")
        server.terminate()
        self.assertEqual(server.wait(harness.PATIENCE_S), 0)

        self.own_data()
        self.addCleanup(self.leave_no_instance)
        records.append(self.run_detached())
        done = subprocess.run(["unshare", "--net", harness.MVM, "--json", "run", "-d",
                               "--template", "web-worker"], env=self.environment(),
                              timeout=self.timeout, capture_output=True, text=True, check=True)
        records.append(json.loads(done.stdout))
        users = {status(record["vmm_pid"])["Uid"].split()[0] for record in records}
        self.assertEqual(len(users), 3)
        self.leave_no_instance()
        self.data_dir = first

    def test_a_running_vms_disk_belongs_to_its_user(self):
        name = self.run_detached("web-worker")["name"]
        disk = self.data("instances", name, "data.ext4")
        user = status(self.inspect(name)["vmm_pid"])["Uid"].split()[0]
        self.assertEqual(os.stat(disk).st_uid, int(user))
        self.assertEqual(stat.S_IMODE(os.stat(disk).st_mode), 0o600)
        self.exec(name, "sh", "-c", "echo kept > /data/file")
        self.write("sent", "sent", 0o600)
        self.mvm_ok("cp", self.path("sent"), f"{name}:/data/")
        self.assertEqual(self.exec(name, "cat", "/data/file", "/data/sent"), "kept\nsent")
        self.mvm_ok("stop", name)
        self.assertEqual(os.stat(disk).st_uid, 0)

    def test_a_vm_can_still_forward_a_port_below_1024(self):
        port = low_port()
        self.run_detached("web-worker", "-p", f"{port}:8080")
        self.assertIn("microVM", guests.get(port))

    def test_a_vm_still_dies_with_its_supervisor(self):
        record = self.run_detached("web-worker", "--name", "one")
        os.kill(record["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(record["vmm_pid"])))

    @harness.needs_program("setpriv")
    def test_a_vm_cannot_choose_to_outlive_its_supervisor(self):
        # an attacker who has broken out of a guest would do this first
        qemu = self.write("bin/qemu", "#!/bin/sh\nexec setpriv --pdeathsig clear "
                          f"{shutil.which('qemu-system-x86_64')} \"$@\"\n", 0o755)
        os.chmod(self.folder, 0o755)
        record = self.mvm_json("run", "--template", "web-worker", "-d", "--cold",
                               env={"MVM_QEMU": qemu, "MVM_ISOLATION": "off"})
        self.mvm_ok("pause", record["name"]) # else the guest would end when its agent loses the connection
        os.kill(record["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: not guests.is_alive(record["vmm_pid"])))

    def test_a_root_without_privileges_runs_vms_and_says_so(self):
        for name, prefix, why in (
                ("bound", ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"],
                 "VMs run as root: this root lacks a capability"),
                ("mapped", ["unshare", "--user", "--map-root-user"],
                 "VMs run as root: this user namespace has no users to spare")):
            with self.subTest(name):
                def mvm(*args, before=tuple(prefix)):
                    return subprocess.run([*before, harness.MVM, *args], env=self.environment(),
                                          capture_output=True, text=True, check=False,
                                          timeout=harness.PATIENCE_S)
                self.assertIn(why, mvm("doctor").stdout)
                done = mvm("run", "--template", "web-worker", "-d", "--name", name)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(set(status(self.inspect(name)["vmm_pid"])["Uid"].split()), {"0"})
                self.assertEqual(self.exec(name, "echo", "works"), "works\n")

    def test_where_memory_cannot_be_lent_qemu_opens_it(self):
        done = subprocess.run([harness.MVM, "run", "--template", "web-worker", "--require-snapshot",
                               "--", "echo", "works"], env=self.environment(), close_fds=False,
                              preexec_fn=guests.without_lending(), capture_output=True, text=True,
                              check=False, timeout=harness.PATIENCE_S)
        self.assertEqual((done.returncode, done.stdout), (0, "works\n"), done.stderr)

    def test_a_program_for_root_only_is_refused_with_a_remedy(self):
        folder = self.path("only-root")
        os.mkdir(folder, 0o700)
        program = os.path.join(folder, "qemu-system-x86_64")
        shutil.copy(shutil.which("qemu-system-x86_64"), program)
        self.mvm_fails(1, "run", "--template", "web-worker", "-d", "--rm", "--cold",
                       env={"MVM_QEMU": program}, says="where everybody may execute it")
        self.assert_nothing_left()


if __name__ == "__main__":
    guests.main()
