# SPDX-License-Identifier: Apache-2.0
"""Local flakes: mvm notices every change, even with the same flake.lock."""

import os
import shutil
import stat
import subprocess

import flakes
import harness

COPY = "$bb mkdir -p $out/rootfs; $bb cp -a ${./files}/. $out/rootfs"


class TestCase(flakes.TestCase):
    def write_flake(self, folder="flake", extra=""):
        self.flake({"default": COPY + extra}, folder)
        self.write(f"{folder}/files/one", "first\n")
        self.write(f"{folder}/files/two", "other\n")
        os.symlink("one", self.path(folder, "files", "link"))

    def overwrite(self, name, text):
        """Change a file secretly: with the same size, time and inode."""
        path = self.path(name)
        before = os.stat(path)
        with open(path, "r+", encoding="utf-8") as file:
            file.write(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertEqual(os.stat(path).st_size, before.st_size)

    def relink(self, name, target):
        os.unlink(self.path(name))
        os.symlink(target, self.path(name))

    def assert_seen(self, config):
        lock = self.revision()["flake_lock_hash"]
        self.assertFalse(self.build(config=config)["cached"])
        self.assertEqual(self.revision()["flake_lock_hash"], lock)
        self.assertTrue(self.build(config=config)["cached"])


class Path(TestCase):
    def test_every_change_is_seen(self):
        self.write_flake()
        config = self.config()
        self.build(config=config)
        one = self.path("flake/files/one")
        changes = {
            "same size and time": lambda: self.overwrite("flake/files/one", "FIRST\n"),
            "a mode": lambda: os.chmod(one, 0o755),
            "where a link leads": lambda: self.relink("flake/files/link", "two"),
            "a file that is gone": lambda: os.unlink(self.path("flake/files/two")),
            "a name": lambda: os.rename(one, self.path("flake/files/One")),
            "an empty folder": lambda: os.mkdir(self.path("flake/files/empty")),
            "flake.nix": lambda: self.flake({"default": COPY + "; echo 4 >$out/rootfs/four"}),
        }
        for what, change in changes.items():
            with self.subTest(change=what):
                change()
                self.assert_seen(config)
        self.assertEqual(self.guest_file("/four"), b"4\n")

    def test_an_input_with_a_lock_counts_as_locked(self):
        self.write("base/motd", "one\n")
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${inputs.base}/motd $out/rootfs"},
                   inputs=f'inputs.base = {{ url = "path:{self.path("base")}"; flake = false; }};')
        self.nix("flake", "lock", "path:" + self.path("flake"))
        self.build()
        # mvm never builds an input that differs from the lock
        self.overwrite("base/motd", "two\n")
        result = self.mvm("template", "build", "--config", self.config())
        if result.returncode == 0:
            self.assertEqual(self.guest_file("/motd"), b"one\n")
        # a new lock is another source
        os.unlink(self.path("flake", "flake.lock"))
        self.nix("flake", "lock", "path:" + self.path("flake"))
        lock = self.revision()["flake_lock_hash"]
        self.assertFalse(self.build()["cached"])
        self.assertEqual(self.guest_file("/motd"), b"two\n")
        self.assertNotEqual(self.revision()["flake_lock_hash"], lock)

    def test_an_input_without_a_lock_counts_as_it_is(self):
        self.write("base/motd", "one\n")
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${inputs.base}/motd $out/rootfs"},
                   inputs=f'inputs.base = {{ url = "path:{self.path("base")}"; flake = false; }};')
        self.build()
        for text in ("two\n", "TWO\n"):
            self.overwrite("base/motd", text)
            self.assertFalse(self.build()["cached"])
            self.assertEqual(self.guest_file("/motd").decode(), text)

    def test_a_flake_inside_of_another_counts_with_it(self):
        self.write_flake("flake/inner")
        shutil.copytree(self.path("flake/bin"), self.path("flake/inner/bin"))
        self.write("flake/flake.nix", f"""{{
  inputs.inner.url = "path:{self.path('flake/inner')}";
  outputs = {{ self, inner }}: {{ packages = inner.packages; }};
}}
""")
        self.build()
        self.overwrite("flake/inner/files/one", "FIRST\n")
        self.assertFalse(self.build()["cached"])
        self.assertEqual(self.guest_file("/one"), b"FIRST\n")


@harness.needs_program("git")
class Git(TestCase):
    def environment(self, extra=None):
        """Allow submodules from folders, for nix's git, too."""
        return {**super().environment(extra), "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}

    def git(self, *args, folder="flake"):
        subprocess.run(["git", "-C", self.path(folder), "-c", "user.name=n", "-c",
                        "user.email=e@x", *args], check=True, env=self.environment(),
                       timeout=harness.PATIENCE_S, capture_output=True)

    def commit(self, folder="flake"):
        self.git("add", ".", folder=folder)
        self.git("commit", "-qm", "all", folder=folder)

    def test_every_change_of_a_file_that_git_knows_is_seen(self):
        self.write_flake()
        self.git("init", "-q")
        self.commit()
        config = self.config("./flake")
        self.build(config=config)
        one = self.path("flake/files/one")
        changes = {
            "same size and time": lambda: self.overwrite("flake/files/one", "FIRST\n"),
            "again": lambda: self.overwrite("flake/files/one", "THIRD\n"),
            "a mode": lambda: os.chmod(one, 0o755),
            "where a link leads": lambda: self.relink("flake/files/link", "two"),
            "a file that is gone": lambda: os.unlink(self.path("flake/files/two")),
        }
        for what, change in changes.items():
            with self.subTest(change=what):
                change()
                self.assert_seen(config)
        self.assertEqual(self.guest_file("/one"), b"THIRD\n")
        # files that git does not know are no part of the source, for Nix and for mvm
        self.write("flake/files/unknown", "x\n")
        self.assertTrue(self.build(config=config)["cached"])
        self.git("add", "files/unknown")
        self.assert_seen(config)
        self.commit()
        self.build(config=config)
        self.assertEqual(self.guest_file("/unknown"), b"x\n")
        self.assertFalse(stat.S_IMODE(os.stat(one).st_mode) & 0o22)

    def test_a_change_in_a_submodule_is_seen(self):
        self.write("sub/file", "one\n")
        self.git("init", "-q", folder="sub")
        self.commit("sub")
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${./sub}/file $out/rootfs"})
        self.git("init", "-q")
        self.git("submodule", "-q", "add", self.path("sub"), "sub")
        self.commit()
        config = self.config(f"git+file://{self.path('flake')}?submodules=1")
        self.build(config=config)
        self.assertEqual(self.guest_file("/file"), b"one\n")
        self.write("sub/file", "two\n")
        self.commit("sub")
        self.git("pull", "-q", folder="flake/sub")
        self.commit()
        self.assertFalse(self.build(config=config)["cached"])
        self.assertEqual(self.guest_file("/file"), b"two\n")
        self.overwrite("flake/sub/file", "six\n") # and an uncommitted change
        self.assertFalse(self.build(config=config)["cached"])
        self.assertEqual(self.guest_file("/file"), b"six\n")


if __name__ == "__main__":
    harness.main()
