# SPDX-License-Identifier: Apache-2.0
"""No command removes files, folders and links that mvm did not make, in any subfolder of the data
folder, or in folders that are no data folder."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import harness
from revisions_case import Revisions

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from tiny_kernel import tiny_kernel # pylint: disable=wrong-import-position

LONG_AGO = time.time() - 10 * 24 * 60 * 60

# Arguments that do more than those of ordinary().
ARGUMENTS = {
    "stop": ["--all"],
    "template apply": ["web.toml"],
    "template build": ["other", "--force"],
    "template create": ["precious", "--flake", "dir:root", "--force"],
    "template create-multi": ["precious", "--roles", "a,b", "--flake", "dir:root"],
    "template delete": ["prod", "--force"],
    "template rm": ["prod", "--force"],
    "template edit": ["web", "--cpus", "3"],
    "template init": ["started"],
    "template prune": ["--keep", "1"],
    "template rollback": ["web"],
    "run": ["-T", "prod", "-d", "--name", "precious"],
    "cp": ["prod:/x", "copied"],
    "update": ["prod", "--ttl", "1h"],
    "rm": ["--all", "--force"],
    "pool set": ["web", "--size", "0"],
    "kernel add": ["kernel", "--name", "precious", "--force"],
    "kernel rm": ["precious"],
    "template sign": ["localhost:1/x", "--key", "precious"],
    "login": ["localhost:1", "-u", "me", "--password-stdin"],
    "logout": ["localhost:1"],
    "help": [],
    "completion": ["bash"],
}


def look(top):
    """{path: a description} of a folder and everything below it."""
    found = {}
    for where, folders, files in os.walk(top):
        for name in [".", *folders, *files]:
            path = os.path.join(where, name)
            state = os.lstat(path)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
            found[path] = (state.st_mode, state.st_ino, content)
    return found


class Foreign(Revisions):
    def setUp(self):
        super().setUp()
        self.planted = []
        self.write("web.toml", 'flake_ref = "dir:root"\n[[variants]]\nname = "web"\n'
                   'role = "worker"\nvcpus = 2\nmem_mib = 1024\n')
        shutil.copy(os.path.join(harness.SOURCE_DIR, "tests/fuzz/corpus/kernel/vmlinux"),
                    self.path("kernel"))
        self.write("outside/f", "precious")

    def data(self, *parts):
        return os.path.join(self.data_dir, *parts)

    def plant(self, *parts, mode=0o644):
        """Make a foreign file, and its folders with the usual modes."""
        path = self.data(*parts)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "x", encoding="ascii") as file:
            file.write("precious")
        os.chmod(path, mode)
        self.planted.append(path)

    def plant_link(self, *parts):
        os.symlink(self.path("outside"), self.data(*parts))
        self.planted.append(self.data(*parts))

    def plant_folder(self, *parts):
        os.mkdir(self.data(*parts), 0o755)
        self.planted.append(self.data(*parts))

    def age(self):
        """Make all files look days old."""
        for path in self.planted:
            while path != self.data_dir:
                os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
                path = os.path.dirname(path)

    def plant_everywhere(self, but):
        """Make foreign files in each folder that mvm has made, except in some."""
        for where, _, _ in list(os.walk(self.data_dir)):
            if where not in but:
                self.plant(where, "precious-file")
                self.plant(where, "precious-folder", "f")
                self.plant_link(where, "precious-link")
                self.plant_folder(where, "precious-empty")

    def plant_likenesses(self):
        """Make files with names like those of mvm's own files."""
        some = "0123456789abcdef" * 4
        self.plant("tmp", "stage.mine", "f")
        self.plant("tmp", "file.mine")
        self.plant_link("tmp", "stage." + some[:16])
        self.plant("blobs", "sha256", some)
        self.plant("blobs", "sha256", some[::-1], "f")
        self.plant_link("blobs", "sha256", "f" * 64)
        self.plant("cache", "builds", "mine.json")
        self.plant("locks", "build.gradle")
        self.plant("locks", "template.html")
        self.plant("locks", "lease.txt")
        self.plant("locks", "build." + some)
        self.plant("instances", "prod", "f")
        self.plant("instances", "app", "db", "f")
        self.plant("instances", "app", "instance.json", mode=0o600)
        self.plant_folder("instances", "nothing")
        self.plant("kernels", "precious", "f")
        self.plant("templates", "prod", "artifacts", "f")
        self.plant("volumes", "prod", "f")
        self.plant("volumes", "precious", "f")
        self.plant("trust", "prod.pub")
        self.plant("pool", "web", "mine")
        self.plant_link("pool", "web", some[:16] + ".vm")

    def state(self):
        found = look(self.path("outside"))
        for path in self.planted:
            found.update(look(path) if os.path.isdir(path) and not os.path.islink(path)
                         else {path: (os.lstat(path).st_ino, os.lstat(path).st_mode)})
        return found

    def ordinary(self, command):
        """Arguments for any command: the names of foreign files."""
        arguments = ["prod" for argument in command["arguments"] if not argument["optional"]]
        return arguments + (["--", "x"] if command.get("rest_required") else [])

    def run_one(self, command):
        name = command["name"]
        words = [*name.split(), *ARGUMENTS.get(name, self.ordinary(command))]
        with subprocess.Popen([harness.MVM, *words], env=self.environment(), cwd=self.folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            while name == "pool serve" and process.poll() is None: # it ends by a signal, for which it waits
                with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                    if int(re.search(r"SigBlk:\s*(\w+)", file.read())[1], 16) >> (signal.SIGINT - 1) & 1:
                        process.send_signal(signal.SIGINT)
                        break
                time.sleep(0.01)
            status = process.wait(self.timeout)
            self.assertNotEqual(status, 2, f"add arguments for this command: {words}")
            self.assertGreaterEqual(status, 0, words)

    def test_a_link_in_place_of_a_folder_is_told(self):
        for folder, command in ("tmp", ("template", "build", "web")), ("instances", ("ps",)):
            shutil.rmtree(self.data(folder), ignore_errors=True)
            os.symlink(self.path("outside"), self.data(folder))
            self.assertIn(f"/{folder}': it is a symbolic link", self.mvm(*command).stderr)
            os.unlink(self.data(folder))

    def test_no_command_removes_foreign_files(self):
        *old, _ = self.build_three()
        self.mvm_ok("template", "create", "other", "--flake", "dir:root", "--", "/bin/y")
        self.mvm_ok("pool", "set", "web", "--size", "1")
        os.makedirs(self.data("pool", "web"), mode=0o700)
        for part in "volumes", "keys", "trust":
            os.mkdir(self.data(part), 0o700)
        self.mvm_ok("ps")
        self.mvm_ok("events")
        # one old revision has only mvm's files, so prune removes it, which shows that prune works
        self.plant_everywhere(but={self.data_dir, self.revision_path(old[0])})
        self.plant_likenesses()
        self.age()
        before = self.state()
        for command in self.mvm_json("help")["commands"]:
            self.run_one(command)
            now = self.state()
            self.assertEqual([path for path in before if before[path] != now.get(path)], [],
                             command["name"])
        self.assertFalse(os.path.exists(self.revision_path(old[0])))
        self.assertTrue(os.path.exists(self.revision_path(old[1], "rootfs.ext4")))

    def test_removing_by_name_spares_foreign_files(self):
        self.plant("instances", "prod", "f")
        self.plant("kernels", "prod", "f")
        self.plant("templates", "prod", "f")
        self.mvm_fails(3, "rm", "prod", says="there is no instance 'prod'")
        self.mvm_fails(3, "template", "delete", "prod", "--force", says="no template 'prod'")
        self.mvm_fails(4, "kernel", "rm", "prod", says="'kernels/prod' in the data folder")
        self.mvm_fails(4, "kernel", "add", self.path("kernel"), "--name", "prod", "--force",
                       says="'kernels/prod' in the data folder")
        self.plant("volumes", "prod", "f")
        self.mvm_fails(4, "volume", "rm", "prod", says="'volumes/prod' in the data folder")
        self.plant("trust", "prod.pub")
        self.mvm_fails(3, "key", "untrust", "prod", says="no trusted key has the name 'prod'")
        shutil.copy(self.mvm_json("key", "generate", "own")["path"], self.path("prod.pub"))
        self.mvm_fails(4, "key", "trust", self.path("prod.pub"), says="'trust/prod.pub' in the data folder")
        for path in self.planted:
            self.assertTrue(os.path.exists(path), path)

    def make_instance(self, name, text=None):
        """The folder of an instance that has ended."""
        os.makedirs(self.data("instances", name), mode=0o700, exist_ok=True)
        record = dict(schema_version=1, name=name, template_id="web", revision_hash="0",
                      state="exited", start="boot", backend="qemu", vcpus=1, mem_mib=64,
                      forwards=[], created_at="2026-01-01T00:00:00Z", attached=False,
                      purpose="user", boot_args="", health="none", restarts=0, ttl_ms=0,
                      remove_at_end=False, log_max_bytes=0)
        for file, content in (("lock", "4321 run\n"),
                              ("instance.json", json.dumps(record) if text is None else text)):
            with open(os.open(self.data("instances", name, file), os.O_WRONLY | os.O_CREAT, 0o600),
                      "w", encoding="ascii") as out:
                out.write(content)

    def test_all_removes_only_what_mvm_made(self):
        self.mvm_ok("ps")
        for name, text in ("app", '{"app":"other"}'), ("nothing", ""), ("text", "db"):
            os.makedirs(self.data("instances", name, "db"), mode=0o700)
            with open(self.data("instances", name, "instance.json"), "w", encoding="ascii") as file:
                file.write(text)
        for name in "clean", "fi", "cut":
            self.make_instance(name, "" if name == "cut" else None)
        self.plant("instances", "fi", "notes", "f")
        before = look(self.data("instances", "fi", "notes"))
        for words in (["--all"], ["--all", "--force"]):
            done = self.mvm("rm", *words, status=0)
            self.assertEqual(done.stdout, "clean\n" if words == ["--all"] else "")
            self.assertRegex(done.stderr, r"(?m)^instance 'cut' stays: instance.json:1.*"
                                          r"; remove it with 'mvm rm --force cut'$")
            self.assertRegex(done.stderr, r"(?m)^instance 'fi' stays: mvm did not make 'notes' "
                                          r"in its folder; .*'mvm rm fi'$")
        self.assertEqual([r["result"] for r in self.mvm_json("rm", "--all")], ["kept"] * 2)
        self.assertEqual(look(self.data("instances", "fi", "notes")), before)
        for name in "app", "nothing", "text":
            self.mvm_fails(3, "rm", "--force", name,
                           says=f"there is no instance '{name}', only a folder of that name")
            self.assertTrue(os.path.isdir(self.data("instances", name, "db")))
        # the hints, followed
        self.mvm_ok("rm", "--force", "cut")
        self.mvm_ok("rm", "fi")
        self.assertEqual(sorted(os.listdir(self.data("instances"))), ["app", "nothing", "text"])

    def test_a_copied_or_renamed_folder_is_no_instance(self):
        self.mvm_ok("ps")
        self.make_instance("orig")
        shutil.copytree(self.data("instances", "orig"), self.data("instances", "copy"))
        before = look(self.data("instances", "copy"))
        for command in "rm", "stop", "inspect", "logs":
            says = self.mvm_fails(3, command, "copy", says="there is no instance 'copy': its folder "
                                  "is one of 'orig' that was copied or renamed")
            self.assertIn("'rm -r instances/copy'", says)
        self.mvm_fails(3, "rm", "--force", "copy", says="there is no instance 'copy'")
        self.mvm_ok("rm", "--all")
        self.assertEqual(os.listdir(self.data("instances")), ["copy"])
        self.assertEqual(look(self.data("instances", "copy")), before)

    def test_an_instance_goes_by_name_with_all_in_its_folder(self):
        self.plant("instances", "gone", "lock", mode=0o600)
        with open(self.data("instances", "gone", "lock"), "w", encoding="ascii") as file:
            file.write("4321 run\n") # the form of mvm's lock files
        self.plant("instances", "gone", "f")
        self.age()
        self.mvm_ok("ps")
        self.assertTrue(os.path.exists(self.data("instances", "gone", "f")))
        self.mvm_ok("rm", "gone")
        self.assertFalse(os.path.exists(self.data("instances", "gone")))

    def test_a_folder_without_a_record_is_no_instance(self):
        self.plant("instances", "mine", "lock", mode=0o600)
        os.truncate(self.planted[-1], 0)
        for name in ("console.log", "firecracker-0123456789abcdef/deep/file"):
            self.plant("instances", "mine", *name.split("/"))
        self.plant_folder("instances", "empty")
        os.chmod(self.planted[-1], 0o700)
        self.plant("instances", "damaged", "instance.json")
        self.plant("instances", "damaged", "lock", mode=0o600)
        os.truncate(self.planted[-1], 0)
        self.age()
        before = look(self.data("instances"))
        says = self.mvm("ps", status=0).stderr
        for name in ("empty", "mine"):
            self.assertIn(f"'instances/{name}' in the data folder is left alone", says)
            self.assertNotIn(name, self.mvm("ps", status=0).stderr) # reported only once
        self.plant_folder("instances", "another")
        self.assertRegex(self.mvm("ps", status=0).stderr, r"\A[^\n]*'instances/another'[^\n]*\n\Z")
        os.rmdir(self.planted.pop())
        self.mvm_ok("ps")
        for name in ("empty", "mine"):
            self.mvm_fails(3, "rm", name, says=f"there is no instance '{name}'")
        for command in ("inspect", "logs", "stop", "exec"):
            self.mvm_fails(125 if command == "exec" else 3, command, "mine",
                           *(["true"] if command == "exec" else []),
                           says="there is no instance 'mine', only a folder of that name")
        self.assertEqual(look(self.data("instances")), before)

    def test_a_damaged_record_is_a_failed_instance(self):
        self.mvm_ok("ps")
        self.make_instance("damaged", "precious")
        self.assertRegex(self.mvm_ok("ps"), r"(?m)^damaged +- +failed")
        shown, = self.mvm_json("ps")
        self.assertEqual((shown["name"], shown["state"]), ("damaged", "failed"))
        self.assertIn("instance.json:1", shown["error"])
        for command in ("inspect", "logs", "stop"):
            says = self.mvm_fails(5, command, "damaged", says="instance 'damaged': instance.json:1")
            self.assertIn("hint: remove it with 'mvm rm --force damaged'", says)
        # the hint, followed
        self.mvm_ok("rm", "--force", "damaged")
        self.assertEqual(self.mvm_json("ps"), [])

    def test_an_instance_of_a_newer_mvm_stays(self):
        self.mvm_ok("ps")
        self.make_instance("later", '{"schema_version": 1000}')
        before = look(self.data("instances"))
        says = "instance 'later' stays: instance.json: written by a newer mvm (schema version 1000; this mvm knows 1)"
        for options in ("later",), ("--force", "later"):
            self.mvm_fails(6, "rm", *options, says=says)
        self.mvm_fails(6, "rm", "--force", "--all", says=says)
        self.assertNotIn("hint", self.mvm_fails(6, "stop", "later", says="written by a newer mvm"))
        self.assertEqual(look(self.data("instances")), before)

    def test_an_instance_of_a_newer_mvm_is_listed(self):
        self.mvm_ok("ps")
        self.make_instance("later", '{"schema_version": 1000}')
        self.assertRegex(self.mvm_ok("ps"), r"(?m)^later +- +failed")
        with open(self.data("instances", "later", "lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX) # as its supervisor does
            shown, = self.mvm_json("ps")
        self.assertEqual((shown["name"], shown["state"]), ("later", "running"))
        self.assertIn("written by a newer mvm", shown["error"])

    def test_leftovers_of_a_killed_start_or_removal_are_swept(self):
        halves = [".vm.0123456789abcdef", ".vm.fedcba9876543210", ".vm.1111111111111111",
                  ".vm.00000000000000ff"]
        # a start that takes a pool's VM may write wanted.json into a folder that is being removed
        for name, files in zip(halves, ((), ("lock",), ("wanted.json", "file.0123456789abcdef"),
                                        ("lock", "instance.json", "precious"))):
            os.makedirs(self.data("instances", name), mode=0o700)
            for file in files:
                self.plant("instances", name, file)
        self.mvm_ok("ps")
        self.assertEqual(os.listdir(self.data("instances")), halves[3:])

    def test_a_replaced_revision_must_be_mvms_alone(self):
        revision = self.build()
        for parts in (("notes",), ("deep", "f"), ("snapshot", "foreign"), ("snapshot", "deep", "f")):
            with self.subTest(parts):
                self.plant(self.revision_path(revision), *parts)
                self.damage(revision, "rootfs.ext4")
                says = self.mvm_fails(4, "template", "build", "web", "--force",
                                      says="mvm did not make '" + parts[0])
                self.assertIn("hint: move it", says)
                self.assertTrue(os.path.exists(self.planted[-1]))
                # the hint, followed
                shutil.rmtree(self.data(self.revision_path(revision), parts[0]),
                              ignore_errors=True)
                if len(parts) == 1:
                    os.unlink(self.planted[-1])
                self.mvm_ok("template", "build", "web", "--force")
                self.mvm_ok("template", "verify", "web")

    def test_a_deleted_template_must_be_mvms_alone(self):
        revision = self.build()
        for parts in (("notes",), ("deep", "f"), ("artifacts", "f"), ("artifacts", "mine", "f"),
                      ("artifacts", "mine2", "f"), ("artifacts", revision, "notes"),
                      ("artifacts", revision, "snapshot", "deep", "f"), ("template.json.bak",)):
            with self.subTest(parts):
                self.plant("templates", "web", *parts)
                before = look(self.data("templates"))
                says = self.mvm_fails(4, "template", "delete", "web", "--force",
                                      says="template 'web': it cannot be removed: mvm did not make")
                self.assertRegex(says, f"'templates/web/{parts[0]}.*' in the data folder\nhint: move")
                self.assertEqual(look(self.data("templates")), before)
                # the hint, followed
                where = self.data("templates", "web")
                while parts[0] in ("artifacts", revision, "snapshot"):
                    where, parts = os.path.join(where, parts[0]), parts[1:]
                os.rename(os.path.join(where, parts[0]), self.path("moved"))
                shutil.rmtree(self.path("moved"), ignore_errors=True)
                if os.path.exists(self.path("moved")):
                    os.unlink(self.path("moved"))
                shutil.rmtree(self.revision_path(revision, "snapshot"), ignore_errors=True)
        self.mvm_ok("template", "delete", "web", "--force")
        self.assertEqual(os.listdir(self.data("templates")), [])

    def test_a_foreign_description_is_no_template_to_remove_or_replace(self):
        config = self.write("prod.toml", 'flake_ref = "dir:root"\n[[variants]]\nname = "prod"\n'
                            'role = "worker"\nvcpus = 2\nmem_mib = 512\n')
        for text, mode in ('{"resources": []}', 0o600), ("[]", 0o600), ("precious", 0o644):
            with self.subTest(text):
                path = self.data("templates", "prod", "template.json")
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="ascii") as file:
                    file.write(text)
                os.chmod(path, mode)
                before = look(self.data("templates", "prod"))
                for command in (["delete", "prod", "--force"], ["apply", config],
                                ["create", "prod", "--flake", "dir:root", "--force"]):
                    self.mvm_fails(4, "template", *command,
                                   says="mvm did not make 'templates/prod/template.json'")
                self.assertEqual(look(self.data("templates", "prod")), before)
        os.rename(path, self.path("moved")) # the hint, followed
        self.mvm_ok("template", "create", "prod", "--flake", "dir:root", "--force")
        self.mvm_ok("template", "delete", "prod", "--force")

    def test_a_removed_or_replaced_kernel_must_be_mvms_alone(self):
        for version in ("6.1.0", "6.2.0"):
            with open(self.path(version), "wb") as file:
                file.write(tiny_kernel(version))
        other = self.path("6.2.0")
        self.mvm_ok("kernel", "add", self.path("6.1.0"), "--name", "mine")
        for parts in (("mine",), ("empty", "f"), ("modules", "mine.ko", "f"), ("modules", "mine")):
            with self.subTest(parts):
                self.plant("kernels", "mine", *parts)
                for command in (("kernel", "rm", "mine"),
                                ("kernel", "add", other, "--name", "mine", "--force")):
                    self.mvm_fails(4, *command, says="mvm did not make 'kernels/mine/" + parts[0])
                self.assertTrue(os.path.exists(self.planted[-1]))
                if len(parts) > 1:
                    shutil.rmtree(self.data("kernels", "mine", parts[0]))
                else:
                    os.unlink(self.planted[-1])
        self.mvm_ok("kernel", "add", other, "--name", "mine", "--force")
        self.mvm_ok("kernel", "rm", "mine")
        self.assertNotIn("mine", os.listdir(self.data("kernels")))


class NoDataFolder(harness.TestCase):
    def test_a_foreign_folder_is_refused_with_a_hint(self):
        self.write("project/tmp/precious/f", "x")
        before = look(self.path("project"))
        for command in (["ps"], ["template", "list"], ["doctor"], ["template", "prune"]):
            done = self.mvm("--data-dir", self.path("project"), *command)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout + done.stderr, "is no data folder of mvm: it contains 'tmp'")
            self.assertIn("--data-dir", done.stdout + done.stderr)
        self.assertEqual(look(self.path("project")), before)
        # the hint, followed
        self.write("project/mvm-data.json", '{"format": 1}')
        self.mvm_ok("--data-dir", self.path("project"), "ps")
        self.assertTrue(os.path.exists(self.path("project", "tmp", "precious", "f")))

    def test_a_new_folder_is_usable_with_any_umask(self):
        done = subprocess.run(["sh", "-c", 'umask 777; exec "$0" --data-dir new ps', harness.MVM],
                              cwd=self.folder, env=self.environment(), timeout=self.timeout,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        for where, folders, files in os.walk(self.path("new")):
            for name in [".", *folders, *files]:
                self.assertEqual(os.stat(os.path.join(where, name)).st_mode & 0o600, 0o600, name)

    def test_root_folder_and_home_are_refused(self):
        for folder, says in (("/", "it is the root folder"), (self.folder, "it is a home folder"),
                             (".", "it is a home folder")):
            self.assertIn("--data-dir " + folder.rstrip("/") + "/mvm\n",
                          self.mvm_fails(1, "--data-dir", folder, "ps", says=says))


if __name__ == "__main__":
    harness.main()
