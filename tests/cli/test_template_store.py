# SPDX-License-Identifier: Apache-2.0
"""Data folders on read-only or full file systems; templates that are being built; many templates."""

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import unittest

import harness
from revisions_case import KERNEL, Revisions

# mounts that only the command below sees, and that end with it
OWN_MOUNTS = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


def can_mount():
    try:
        return subprocess.run([*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"],
                              capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class Mounted(Revisions):
    def under(self, mount, commands):
        """Run commands under this mount; returns [(exit status, stdout, stderr)]."""
        out = self.path("out")
        os.makedirs(out)
        data, disk = shlex.quote(self.data_dir), shlex.quote(self.path("disk"))
        script = [f"mount {how.format(data=data, disk=disk)}" for how in mount]
        for n, command in enumerate(commands):
            words = command[1:] if command[0] == "sh" else [harness.MVM, *command]
            script.append(f"{shlex.join(words)} >{out}/{n}.1 2>{out}/{n}.2 </dev/null"
                          f" && echo 0 >{out}/{n} || echo $? >{out}/{n}")
        subprocess.run([*OWN_MOUNTS, "sh", "-ec", "\n".join(script)], check=True, cwd=self.folder,
                       env=self.environment(), timeout=self.timeout)
        found = []
        for n in range(len(commands)):
            parts = []
            for end in "", ".1", ".2":
                with open(f"{out}/{n}{end}", encoding="utf-8") as file:
                    parts.append(file.read())
            found.append((int(parts[0]), parts[1], parts[2]))
        return found


@unittest.skipUnless(can_mount(), "nothing may be mounted here")
class ReadOnly(Mounted):
    MOUNT = ["--bind {data} {data}", "-o remount,bind,ro {data}"]

    def test_commands_that_only_read_work(self):
        a, *_ = self.build_three()
        commands = [["events"], ["template", "list"], ["template", "list", "--json"],
                    ["template", "info", "web"], ["template", "info", "web@" + a, "--json"],
                    ["template", "history", "web"], ["template", "diff", "web@" + a, "web"],
                    ["template", "verify"], ["template", "prune", "--keep", "1", "-n"],
                    ["template", "build", "web", "--dry-run"]]
        normal = [self.mvm_ok(*command) for command in commands]
        for command, before, (status, out, err) in zip(commands, normal,
                                                       self.under(self.MOUNT, commands)):
            self.assertEqual((status, out), (0, before), f"{command}: {err}")

    def test_missing_folders_are_empty(self):
        for name in os.listdir(self.data_dir):
            if name not in ("templates", "mvm-data.json"):
                shutil.rmtree(os.path.join(self.data_dir, name))
        commands = [["template", "list"], ["template", "info", "web"], ["template", "verify"],
                    ["template", "prune", "-n"], ["kernel", "list"], ["ps"], ["pool", "list"]]
        build = ["template", "build", "web", "-n"]
        *read, planned = self.under(self.MOUNT, [*commands, build])
        for command, (status, _, err) in zip(commands, read):
            self.assertEqual((status, "mvm:" in err, "cannot" in err), (0, False, False),
                             f"{command}: {err}")
        self.assertEqual(planned[0], 3)
        self.assertIn("none was added", planned[2])

    def test_commands_that_write_fail(self):
        a, *_ = self.build_three()
        self.mvm_ok("pool", "set", "web", "--size", "1")
        before = self.files()
        commands = [["create", "x", "--flake", "dir:root"], ["edit", "web", "--cpus", "3"],
                    ["delete", "web", "--force"], ["rollback", "web", a], ["build", "web"],
                    ["prune"]]
        commands = [["template", *command] for command in commands]
        commands += [["pool", "set", "web", "--size", "2"], ["pool", "set", "web", "--size", "0"],
                     ["run", "--template", "web", "-d"]]
        for command, (status, out, err) in zip(commands, self.under(self.MOUNT, commands)):
            self.assertEqual((status, out), (1, ""), command)
            self.assertRegex(err, r"^mvm: data folder .* is not writable: Read-only file system\n"
                             "hint: name a folder of your own", command)
        self.assertEqual(self.files(), before)


@unittest.skipUnless(can_mount(), "nothing may be mounted here")
class Parts(Mounted):
    """A part of the data folder is another file system."""
    def mounted_at(self, part, *commands):
        os.makedirs(os.path.join(self.data_dir, part), mode=0o700, exist_ok=True)
        return self.under([f"-t tmpfs -o size=4m,mode=700 none {{data}}/{part}"], commands)

    def test_a_file_system_mounted_at_tmp_is_not_swept(self):
        staged = os.path.join(self.data_dir, "tmp", "stage.0123456789abcdef")
        *_, listed, build, found = self.mounted_at(
            "tmp", ["sh", "mkdir", "-m", "700", staged], ["sh", "touch", staged + "/precious"],
            ["template", "list"], ["template", "build", "web"], ["sh", "ls", staged])
        self.assertEqual((listed[0], found[:2]), (0, (0, "precious\n")))
        self.assertEqual(build[0], 1)
        self.assertRegex(build[2], r"tmp': another file system is mounted there\nhint: keep the data "
                                   "folder whole on one file system")

    def test_a_part_on_another_disk_is_reported_with_a_hint(self):
        for part in "blobs", "templates", "kernels":
            with self.subTest(part):
                os.makedirs(os.path.join(self.data_dir, part), mode=0o700, exist_ok=True)
                shutil.rmtree(self.path("out"), ignore_errors=True)
                add, create = self.mounted_at(
                    part, ["kernel", "add", KERNEL, "--name", "k"],
                    ["template", "create", "x", "--flake", "dir:root", "--", "/bin/x"])
                failed = create if part == "templates" else add
                self.assertEqual(failed[0], 1, failed)
                self.assertIn("link\nhint: keep the data folder whole on one file system",
                              failed[2])


@unittest.skipUnless(can_mount(), "nothing may be mounted here")
class Full(Mounted):
    def test_commands_say_that_the_disk_is_full_and_leave_nothing(self):
        self.source("two")
        os.mkdir(self.path("disk"), 0o700)
        self.data_dir = data = self.path("disk", "data")
        fill = ["sh", "dd", "if=/dev/zero", f"of={data}/fill", "bs=64k"]
        commands = [
            ["kernel", "add", self.path("kernel"), "--name", "k"],
            ["template", "create", "web", "--flake", "dir:root", "--", "/bin/x"],
            ["template", "build", "web"],
            fill,
            ["template", "create", "x", "--flake", "dir:root"], # 4
            ["template", "edit", "web", "--cpus", "3"],
            ["template", "build", "web", "--force"],
            ["template", "list"],
            ["template", "verify"], # 8
            ["template", "delete", "web", "--force"],
            ["sh", "find", f"{data}/templates", f"{data}/tmp", "-mindepth", "1"],
            ["sh", "rm", f"{data}/fill"],
            ["template", "create", "web", "--flake", "dir:root", "--", "/bin/x"], # 12
            ["template", "build", "web"],
        ]
        subprocess.run(["cp", KERNEL, self.path("kernel")], check=True)
        done = self.under(["-t tmpfs -o size=3m,mode=700 none {disk}"], commands)
        for n, (status, _, err) in enumerate(done):
            if n in (4, 5, 6):
                self.assertEqual(status, 1, f"{commands[n]}: {err}")
                self.assertIn("No space left on device\n", err, commands[n])
                self.assertIn("hint: make room on its disk: 'mvm rm'", err, commands[n])
            elif n != 3:
                self.assertEqual(status, 0, f"{commands[n]}: {err}")
        self.assertEqual(done[10][1], "", "left behind")
        self.assertIn("all sound", done[8][1])


def can_mount_ext4():
    """Are there loop devices, and a user who may use them?"""
    return can_mount() and os.geteuid() == 0 and os.path.exists("/dev/loop-control")


@unittest.skipUnless(can_mount_ext4(), "no ext4 may be mounted here")
class FullToTheLastBlock(Mounted):
    """ext4, where a new folder takes a block."""
    def test_what_makes_room_works(self):
        os.mkdir(self.path("disk"), 0o700)
        with open(self.path("disk.img"), "wb") as image:
            image.truncate(16 << 20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", self.path("disk.img")], check=True)
        self.data_dir = data = self.path("disk", "data")
        subprocess.run(["cp", KERNEL, self.path("kernel")], check=True)
        build = ["template", "build", "web"]
        commands = [
            ["kernel", "add", self.path("kernel"), "--name", "k"],
            ["kernel", "add", self.path("kernel"), "--name", "k2"],
            ["template", "create", "web", "--flake", "dir:root", "--kernel", "k", "--", "/bin/x"],
            build, ["template", "edit", "web", "--cpus", "3"], build,
            ["template", "create", "x", "--flake", "dir:root", "--kernel", "k", "--", "/bin/x"],
            *[["sh", "sh", "-c", f"dd if=/dev/zero of={data}/../fill{n} bs=1k; sync"]
              for n in range(5)],
            ["sh", "mkdir", f"{data}/../room"], # 12
            ["ps"], ["volume", "list"],
            ["template", "rollback", "web"], # 15
            ["kernel", "rm", "k2"], # the hint, followed
            ["template", "rollback", "web"],
            ["template", "prune", "--keep", "1"],
            ["template", "delete", "x", "--force"],
            ["sh", "find", f"{data}/templates", f"{data}/kernels", f"{data}/tmp",
             "-mindepth", "1", "-maxdepth", "1", "-printf", "%f\n"],
        ]
        done = self.under(["-o loop {disk}.img {disk}"], commands)
        for n, (status, _, err) in enumerate(done):
            self.assertEqual(status == 0, n not in (12, 15), f"{commands[n]}: {err}")
        self.assertIn("No space left on device\nhint: make room on its disk", done[15][2])
        self.assertEqual(sorted(done[-1][1].split()), ["k", "web"])

class Locked(Revisions):
    def setUp(self):
        super().setUp()
        self.write("web.toml", 'flake_ref = "dir:root"\n[[variants]]\nname = "web"\n'
                   'role = "worker"\nvcpus = 2\nmem_mib = 1024\n')
        self.mvm_ok("template", "apply", self.path("web.toml"))

    def hold(self):
        """Take the lock that a build holds."""
        path = os.path.join(self.data_dir, "locks", "template.web")
        # pylint: disable-next=consider-using-with
        file = open(path, "w", encoding="ascii")
        self.addCleanup(file.close)
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4242 template build\n")
        file.flush()
        return file

    def change(self):
        self.write("web.toml", 'flake_ref = "dir:root"\n[[variants]]\nname = "web"\n'
                   'role = "worker"\nvcpus = 4\nmem_mib = 1024\n')

    def test_apply_without_changes_does_not_wait(self):
        self.hold()
        self.assertEqual(self.mvm_ok("template", "apply", self.path("web.toml")),
                         "web unchanged\n")

    def test_apply_and_build_fail_with_no_wait(self):
        self.hold()
        self.change()
        for command in ("apply",), ("build", "--config"):
            self.mvm_fails(4, "template", *command, self.path("web.toml"), "--no-wait",
                           says="template 'web' is locked by process 4242 template build")

    def test_apply_names_the_process_that_it_waits_for(self):
        file = self.hold()
        self.change()
        with subprocess.Popen([harness.MVM, "template", "apply", self.path("web.toml")],
                              env=self.environment(), cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            self.assertIn("web: waiting for process 4242 template build",
                          process.stderr.readline())
            file.close()
            self.assertEqual(process.communicate(timeout=300)[0], "web updated\n")
        self.assertEqual(process.returncode, 0)


class OnTerminal(Revisions):
    def answer(self, text):
        """Run delete on a terminal and type this; returns the exit status and the shown text."""
        status, shown = self.answer_on_terminal([(b"[y/N]", text)], "template", "delete", "web")
        return status, shown.decode()

    def test_delete_asks_and_only_a_yes_deletes(self):
        for text in b"n\n", b"\n", b"yellow\n", b"\x04":
            status, shown = self.answer(text)
            self.assertIn("delete template 'web' and all its revisions?", shown)
            self.assertIn("not confirmed, nothing was changed", shown)
            self.assertEqual(status, 1)
        self.assertEqual(len(self.mvm_json("template", "list")), 1)
        status, shown = self.answer(b"y\n")
        self.assertEqual(status, 0, shown)
        self.assertEqual(self.mvm_json("template", "list"), [])


class Damaged(Revisions):
    def test_a_current_link_that_leads_nowhere_is_damage(self):
        a, *_ = self.build_three()
        link = os.path.join(self.data_dir, "templates", "web", "current")
        os.unlink(link)
        os.symlink("artifacts/none", link)
        says = "template 'web': its current revision 'none' is missing"
        for command in (["template", "info", "web"], ["run", "--template", "web"],
                        ["template", "diff", "web", "web@" + a]):
            self.mvm_fails(5, *command, says=says)
        self.assertIn(says, self.mvm("template", "verify", status=5).stderr)
        self.assertEqual(self.mvm_json("template", "list")[0]["problem"], says)
        self.mvm_ok("template", "rollback", "web", a)
        self.mvm_ok("template", "info", "web")

    def test_a_template_of_a_newer_mvm_is_not_called_damaged(self):
        path = os.path.join(self.data_dir, "templates", "web", "template.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace('"schema_version": 1', '"schema_version": 2'))
        done = self.mvm("template", "list", status=0)
        self.assertRegex(done.stdout, r"web .* unreadable ")
        self.assertIn("written by a newer mvm", done.stderr)
        for command in (["edit", "web", "--cpus", "3"],
                        ["create", "web", "--flake", "dir:root", "--force"]):
            self.mvm_fails(6, "template", *command, says="written by a newer mvm")
        self.mvm_ok("template", "delete", "web", "--force")


class Many(harness.TestCase):
    """More templates than mvm prints in one piece."""

    def setUp(self):
        super().setUp()
        self.mvm_ok("ps") # makes the data folder
        moment = "2025-01-01T00:00:00Z"
        self.names = [f"t{n:04}" for n in range(2500)]
        for n, name in enumerate(self.names):
            folder = os.path.join(self.data_dir, "templates", name)
            os.makedirs(folder, mode=0o700)
            with open(folder + "/template.json", "w", encoding="utf-8") as file:
                json.dump({"template_id": name, "flake_ref": "dir:/x", "profile": "minimal",
                           "role": "w" * (n // 100 + 1), "vcpus": 1, "mem_mib": 128,
                           "data_disk_mib": 0, "created_at": moment, "updated_at": moment}, file)

    def test_a_long_list_is_whole(self):
        for _ in range(2): # first from the files, then from the index
            found = self.mvm_json("template", "list")
            self.assertEqual([one["template_id"] for one in found], self.names)
            self.assertEqual([len(one["role"]) for one in found],
                             [n // 100 + 1 for n in range(2500)])
            lines = self.mvm_ok("template", "list").splitlines()
            self.assertEqual([line.split()[0] for line in lines], ["ID", *self.names])
            self.assertEqual(len(lines[1].split()), 10)


if __name__ == "__main__":
    harness.main()
