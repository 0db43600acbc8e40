# SPDX-License-Identifier: Apache-2.0
"""One condition has one reason in every command, unreadable things are still listed, and following a
hint works."""

import fcntl
import json
import os
import shlex
import shutil
import subprocess

import harness
from revisions_case import Revisions

DAMAGED = 5
BUSY = 4
MISSING = 3


class TestCase(Revisions):
    def error(self, *args, env=None):
        """Run a command that must fail; returns its error."""
        done = self.mvm("--json", *args, env=env)
        self.assertNotEqual(done.returncode, 0, args)
        return json.loads(done.stderr.splitlines()[-1])["error"]

    def expect(self, reason, subject, *args, env=None):
        error = self.error(*args, env=env)
        self.assertEqual((error["reason"], error["subject"]), (reason, subject), error)
        self.assertTrue(error["hint"], args)
        return error

    def data(self, *parts):
        return os.path.join(self.data_dir, *parts)

    def follow(self, hint):
        """Run the command after a hint's last colon, as a shell would."""
        subprocess.run(["sh", "-c", hint.rsplit(": ", 1)[1]], check=True, timeout=60)


class Reasons(TestCase):
    def test_a_damaged_template(self):
        self.build()
        with open(self.data("templates", "web", "template.json"), "w", encoding="ascii") as file:
            file.write('{"template_id": "we')
        for command in ("info web", "build web", "edit web --cpus 2", "rollback web", "verify web"):
            error = self.expect("template-damaged", "web", "template", *command.split())
            self.assertEqual(error["exit_status"], DAMAGED)
        # the hint, followed
        self.mvm_ok(*"template create web --force --flake dir:root".split())
        self.mvm_ok("template", "info", "web")

    def test_an_instance_that_is_missing(self):
        for command in ("inspect {}", "stop {}", "rm {}", "kill {}", "pause {}", "resume {}", "port {}",
                        "logs {}", "top {}", "rename {} new", "update {} --ttl 1m", "wait {}", "stats {}", "exec {} true", "cp {}:/x ."):
            with self.subTest(command):
                self.expect("no-instance", "gone", *command.format("gone").split())

    def test_other_things_that_are_missing(self):
        for reason, command in (("no-template", "template info gone"),
                                ("no-template", "template delete gone --force"),
                                ("no-template", "template prune gone"),
                                ("no-template", "template verify gone"),
                                ("no-template", "template diff gone"),
                                ("no-kernel", "kernel rm gone"), ("no-volume", "volume rm gone"),
                                ("no-volume", "volume inspect gone")):
            with self.subTest(command):
                message = self.expect(reason, "gone", *command.split())["message"]
                self.assertEqual(message.count("gone"), 1)

    def test_a_backend_that_cannot_run_a_vm(self):
        self.build()
        for backend in "qemu", "firecracker":
            error = self.expect("backend-unusable", backend, "run", "-T", "web", "--backend", backend,
                                env={"PATH": self.path("none")})
            self.assertEqual(error["exit_status"], 6)

    @harness.needs_program("qemu-system-x86_64")
    def test_more_memory_than_the_host_has(self):
        self.build()
        self.expect("host-memory-full", None, "run", "-T", "web", "--mem", "900G")

    def test_kernel_files_that_are_no_kernel(self):
        error = self.expect("kernel-unknown", None, "kernel", "add", "/etc/passwd")
        self.assertIn("is no kernel", error["message"])

    def test_a_volume_in_use(self):
        self.build()
        os.makedirs(self.data("volumes", "v"), mode=0o700)
        os.chmod(self.data("volumes"), 0o700)
        fd = os.open(self.data("volumes", "v"), os.O_RDONLY)
        self.addCleanup(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.assertIn("mvm ps", self.expect("volume-in-use", "v", "volume", "rm", "v")["hint"])
        if shutil.which("qemu-system-x86_64"):
            error = self.expect("volume-in-use", "v", "run", "-T", "web", "-v", "v:/x")
            self.assertIn(":ro", error["hint"])

    def test_a_folder_that_no_vm_has_used_as_a_volume(self):
        os.makedirs(self.data("volumes", "db"), mode=0o700)
        os.chmod(self.data("volumes"), 0o700)
        self.write("data/volumes/db/file", "mine")
        error = self.expect("volume-foreign", self.data("volumes", "db"), "volume", "rm", "db")
        self.assertTrue(os.path.exists(self.data("volumes", "db", "file")))
        self.assertIn(f"'rm -r {self.data('volumes', 'db')}'", error["hint"])

    def test_a_revision_with_damage(self):
        self.damage(self.build(), "rootfs.ext4")
        error = self.expect("revision-unsound", "web", "template", "verify", "web")
        # the first command of the hint, which works with one revision
        command = [word for word in shlex.split(error["hint"]) if word.startswith("mvm ")][0]
        self.mvm_ok(*command.rstrip(",").split()[1:])
        self.mvm_ok("template", "verify", "web")


class Lists(TestCase):
    def test_an_edited_file_is_told_without_reading_it(self):
        revision = self.build()
        self.assertIsNone(self.mvm_json("template", "info", "web")["changed_file"])
        self.damage(revision, "rootfs.ext4")
        self.assertEqual(self.mvm_json("template", "info", "web")["changed_file"], "rootfs.ext4")
        self.assertRegex(self.mvm_ok("template", "info", "web"), "(?m)^changed +rootfs.ext4 was edited")

    def test_a_damaged_kernel_is_listed(self):
        for name, text in ("bad", "garbage"), ("none", None):
            os.makedirs(self.data("kernels", name), mode=0o700)
            shutil.copy(self.data("kernels", "k", "vmlinux"), self.data("kernels", name))
            if text:
                with open(self.data("kernels", name, "kernel.json"), "w", encoding="ascii") as file:
                    file.write(text)
        os.mkdir(self.data("kernels", "foreign"))
        done = self.mvm("kernel", "list", status=0)
        self.assertRegex(done.stdout, r"(?m)^bad +damaged")
        self.assertRegex(done.stdout, r"(?m)^none +damaged")
        self.assertNotIn("foreign", done.stdout + done.stderr)
        self.assertRegex(done.stderr, "kernel 'bad': kernel.json:1: .*; replace it with 'mvm kernel add")
        listed = {kernel["name"]: kernel for kernel in self.mvm_json("kernel", "list")}
        self.assertEqual(set(listed["bad"]), {"name", "problem"})
        self.assertIsNone(listed["k"]["problem"])
        self.assertIn("kernel 'bad'", json.dumps(self.mvm_json_any("doctor")))
        # the hint, followed
        self.mvm_ok("kernel", "rm", "bad")
        self.mvm_ok("kernel", "rm", "none")
        self.assertEqual([k["name"] for k in self.mvm_json("kernel", "list")], ["k"])

    def mvm_json_any(self, *args):
        return json.loads(self.mvm(*args, "--json").stdout)

    def test_a_template_without_its_description_is_listed(self):
        revision = self.build()
        os.unlink(self.data("templates", "web", "template.json"))
        os.makedirs(self.data("templates", "foreign", "artifacts", "x"))
        listed, = self.mvm_json("template", "list")
        self.assertEqual((listed["template_id"], listed["problem"]),
                         ("web", "templates/web/template.json is missing"))
        self.expect("template-damaged", "web", "template", "info", "web")
        self.expect("no-template", "foreign", "template", "info", "foreign")
        self.expect("template-damaged", "web", "template", "verify")
        self.expect("template-damaged", "web", "template", "verify", "web")
        self.mvm_fails(4, *"template create web --flake dir:root".split(), says="web")
        self.mvm_ok("template", "prune", "web")
        # the hint, followed
        self.mvm_ok(*"template create web --force --flake dir:root".split())
        self.assertEqual(self.history()[0]["revision_hash"], revision)

    def test_a_template_without_its_description_can_be_deleted(self):
        self.build()
        os.unlink(self.data("templates", "web", "template.json"))
        self.mvm_ok("template", "delete", "web", "--force")
        self.assertEqual(self.mvm_json("template", "list"), [])
        self.assertEqual(os.listdir(self.data("templates")), [])

    def test_a_damaged_pool_hides_no_other(self):
        os.mkdir(self.data("pool"), 0o700)
        for name, text in ("bad", "garbage"), ("good", '{"schema_version": 1, "size": 3}'):
            with open(self.data("pool", name + ".json"), "w", encoding="ascii") as file:
                file.write(text)
        pools = {pool["template_id"]: pool for pool in self.mvm_json("pool", "list")["pools"]}
        self.assertEqual(pools["good"]["size"], 3)
        self.assertIn("pool/bad.json:1", pools["bad"]["note"])

    def test_the_only_kernel_is_damaged_not_missing(self):
        with open(self.data("kernels", "k", "kernel.json"), "r+", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.truncate(3)
        self.expect("kernel-damaged", "k", "template", "build", "web")

    def test_a_foreign_folder_is_no_revision_to_go_back_to(self):
        first = self.build()
        self.source("two")
        self.next_tick()
        second = self.build()
        os.makedirs(self.revision_path("backup"))
        os.utime(self.revision_path("backup"), ns=(os.stat(self.revision_path(second)).st_mtime_ns,) * 2)
        self.mvm_ok("template", "rollback", "web")
        self.assertEqual(os.readlink(self.data("templates", "web", "current")), "artifacts/" + first)

    def test_a_foreign_older_folder_is_no_rollback_target(self):
        self.build()
        os.makedirs(self.revision_path("backup"))
        os.utime(self.revision_path("backup"), (1, 1))
        error = self.expect("rollback-where", "web", "template", "rollback", "web")
        self.assertEqual(error["exit_status"], MISSING)


class Parts(TestCase):
    def test_a_part_of_the_data_folder_that_others_may_write(self):
        for part, command in (("instances", "ps"), ("kernels", "kernel list"), ("pool", "pool list"),
                              ("volumes", "volume list"), ("blobs/sha256", "template build web"),
                              ("templates", "template list")):
            with self.subTest(part):
                os.makedirs(self.data(part), mode=0o700, exist_ok=True)
                os.chmod(self.data(part), 0o1777)
                error = self.expect("data-folder-open", self.data(part), *command.split())
                done = self.mvm(*command.split())
                self.assertEqual(done.stderr.count(error["message"]), 1) # once
                self.follow(error["hint"])
                self.mvm_ok(*command.split())

    def test_a_file_that_is_no_lock_file(self):
        for make in (os.mkdir, lambda path: os.symlink("/etc/passwd", path),
                     lambda path: self.write(os.path.relpath(path, self.folder), "mine")):
            shutil.rmtree(self.data("locks"), ignore_errors=True)
            os.mkdir(self.data("locks"), 0o700)
            make(self.data("locks", "store"))
            error = self.expect("lock-foreign", self.data("locks", "store"), "template", "prune")
            self.assertNotIn("Too many levels", error["message"])
            self.follow(error["hint"])
            self.mvm_ok("template", "prune")
        os.makedirs(self.data("pool", "lock"), mode=0o700)
        os.chmod(self.data("pool"), 0o700)
        self.expect("lock-foreign", self.data("pool", "lock"), "pool", "serve")

    def test_a_copy_made_of_hard_links(self):
        self.build()
        shutil.copytree(self.data_dir, self.path("copy"), symlinks=True, copy_function=os.link)
        self.data_dir = self.path("copy")
        error = self.expect("lock-linked", self.data("locks"), "template", "build", "web", "--force")
        self.follow(error["hint"])
        self.mvm_ok("template", "build", "web", "--force")

    def test_a_data_folder_in_another_one(self):
        self.build()
        error = self.error("ps", "--data-dir", self.data("tmp"))
        self.assertEqual((error["reason"], error["subject"]), ("data-folder-nested", self.data_dir))
        self.assertEqual(os.listdir(self.data("tmp")), [])
        # one that is missing is not made
        names = os.listdir(self.data_dir)
        for name in "new", "new/deeper", "templates/../new/":
            error = self.error("ps", "--data-dir", os.path.join(self.data_dir, name))
            self.assertEqual((error["reason"], error["subject"]),
                             ("data-folder-nested", self.data_dir))
        self.assertEqual(os.listdir(self.data_dir), names)

    def test_a_folder_without_write_permission_can_be_read(self):
        self.build()
        os.makedirs(self.data("volumes", "v"))
        os.chmod(self.data("volumes"), 0o700)
        if os.geteuid() == 0:
            if not shutil.which("setpriv"):
                self.skipTest("without setpriv root may write everywhere")
            subprocess.run(["chown", "-R", "65534:65534", self.folder], check=True, timeout=60)
            os.chmod(self.folder, 0o755)
        os.chmod(self.data_dir, 0o500)
        self.addCleanup(os.chmod, self.data_dir, 0o700)
        for command in ("ps", "kernel list", "template list", "template info web", "volume list"):
            self.assertEqual(self.as_user(*command.split()).returncode, 0, command)
        self.assertRegex(self.as_user("kernel", "list").stdout, r"(?m)^k ")
        os.chmod(self.data("volumes", "v"), 0)
        self.assertRegex(self.as_user("volume", "list").stdout, r"(?m)^v +unreadable")
        done = self.as_user("template", "build", "web", "--force", "--json")
        error = json.loads(done.stderr.splitlines()[-1])["error"]
        self.assertEqual((error["reason"], error["code"]), ("data-folder-refused", "EACCES"))
        # a missing data folder is an error, not an empty one
        self.assertEqual(self.as_user("ps", "--data-dir", self.data("new")).returncode, 1)

    def as_user(self, *args):
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        return subprocess.run([*(user if os.geteuid() == 0 else []), harness.MVM, "--data-dir",
                               self.data_dir, *args], env=self.environment(), timeout=self.timeout,
                              text=True, capture_output=True, check=False)


if __name__ == "__main__":
    harness.main()
