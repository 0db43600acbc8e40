# SPDX-License-Identifier: Apache-2.0
"""The build cache and local sources: every change is seen, nothing else costs a build."""

import gzip
import json
import mmap
import os
import shutil
import subprocess
import sys
import tarfile

import harness
import oci_images as oci

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from tiny_kernel import tiny_kernel # pylint: disable=wrong-import-position

MIB = 1 << 20


class TestCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        with open(self.path("kernel.elf"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.mvm_ok("kernel", "add", self.path("kernel.elf"), "--name", "tiny")

    def template(self, ref, name="t"):
        self.mvm_ok("template", "create", name, "--flake", ref, "--force")

    def build(self, name="t"):
        result, = self.mvm_json("template", "build", name)
        return result

    def plan(self, name="t"):
        result, = self.mvm_json("template", "build", name, "--dry-run")
        return result

    def assert_seen(self):
        """A build notices the changed source, and the next build takes the result from the cache."""
        self.assertFalse(self.plan()["cached"])
        result = self.build()
        self.assertFalse(result["cached"])
        self.assertTrue(result["new_revision"])
        self.assertTrue(self.build()["cached"])


def keeping_times(path, change):
    """Change a file, and restore its times to hide that."""
    before = os.stat(path)
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


class Folder(TestCase):
    def setUp(self):
        super().setUp()
        self.write("root/etc/one", "first\n")
        self.write("root/etc/two", "other\n")
        os.symlink("one", self.path("root/etc/link"))
        os.makedirs(self.path("root/empty"))
        self.template("dir:" + self.path("root"))
        self.build()

    def overwrite(self, name, text):
        with open(self.path(name), "r+", encoding="utf-8") as file:
            file.write(text)

    def map_and_write(self):
        with open(self.path("root/etc/one"), "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[0] = ord("F")

    def swap(self):
        one, two, other = (self.path("root/etc", name) for name in ("one", "two", "other"))
        os.rename(one, other)
        os.rename(two, one)
        os.rename(other, two)

    def relink(self, name, target):
        os.unlink(self.path(name))
        os.symlink(target, self.path(name))

    def edit_outside(self):
        os.link(self.path("root/etc/one"), self.path("outside"))
        self.overwrite("outside", "LINKS\n")

    def replace_by_link(self):
        os.unlink(self.path("root/etc/two"))
        os.symlink("one", self.path("root/etc/two"))

    def replace_by_folder(self):
        os.unlink(self.path("root/etc/two"))
        os.mkdir(self.path("root/etc/two"))

    def test_every_change_is_seen(self):
        one = self.path("root/etc/one")
        changes = {
            "same size, same time": lambda: keeping_times(
                one, lambda: self.overwrite("root/etc/one", "FIRST\n")),
            "at once, same size": lambda: self.overwrite("root/etc/one", "third\n"),
            "through memory": self.map_and_write,
            "through another name of the file": self.edit_outside,
            "two files for one another": self.swap,
            "a mode": lambda: os.chmod(one, 0o755),
            "a set-user-id bit": lambda: os.chmod(one, 0o4755),
            "a folder's mode": lambda: os.chmod(self.path("root/empty"), 0o700),
            "where a link leads": lambda: self.relink("root/etc/link", "two"),
            "a link to nowhere": lambda: self.relink("root/etc/link", "xyz"),
            "a link instead of a file": self.replace_by_link,
            "a name": lambda: os.rename(one, self.path("root/etc/One")),
            "a file that is gone": lambda: os.unlink(self.path("root/etc/One")),
            "a folder instead of a link": self.replace_by_folder,
            "an empty folder more": lambda: os.mkdir(self.path("root/more")),
            "an empty folder less": lambda: os.rmdir(self.path("root/empty")),
            "an empty file more": lambda: self.write("root/etc/none", ""),
            "a hole at the end": lambda: os.truncate(self.path("root/etc/none"), 4096),
            "the whole folder": lambda: shutil.move(self.path("root/etc"), self.path("root/Etc")),
        }
        for what, change in changes.items():
            with self.subTest(change=what):
                change()
                self.assert_seen()

    def test_writes_through_memory_are_seen_though_no_time_changes(self):
        with open(self.path("root/etc/one"), "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            for letter in b"123": # after the first change, the kernel updates no time until writeback
                memory[0] = letter
                self.assert_seen()

    def test_properties_that_no_image_has_cost_no_build(self):
        changes = {
            "times": lambda: os.utime(self.path("root/etc/one"), (1, 1)),
            "the same contents again": lambda: self.write("root/etc/one", "first\n"),
            "who else may write": lambda: os.chmod(self.path("root/etc/one"), 0o666),
            "another name outside": lambda: os.link(self.path("root/etc/one"), self.path("out")),
            "the root folder's mode": lambda: os.chmod(self.path("root"), 0o700),
            "a copy in its place": lambda: (
                shutil.copytree(self.path("root"), self.path("copy"), symlinks=True),
                shutil.rmtree(self.path("root")),
                os.rename(self.path("copy"), self.path("root"))),
        }
        for what, change in changes.items():
            with self.subTest(change=what):
                change()
                result = self.build()
                self.assertTrue(result["cached"])
                self.assertFalse(result["new_revision"])

    def test_going_back_is_a_hit(self):
        before = self.build()["revision_hash"]
        self.overwrite("root/etc/one", "third\n")
        self.assert_seen()
        self.overwrite("root/etc/one", "first\n")
        result = self.build()
        self.assertTrue(result["cached"])
        self.assertEqual(result["revision_hash"], before)

    def test_other_inputs_of_a_build_are_seen_too(self):
        self.assertTrue(self.build()["cached"])
        result, = json.loads(self.mvm_ok("template", "build", "t", "--json",
                                         env={"SOURCE_DATE_EPOCH": "1"}))
        self.assertFalse(result["cached"])
        with open(self.path("kernel.elf"), "wb") as file:
            file.write(tiny_kernel("6.1.0-other"))
        self.mvm_ok("kernel", "add", self.path("kernel.elf"), "--name", "tiny", "--force")
        self.assert_seen()

    def test_a_hit_is_shared_and_force_is_not(self):
        self.template("dir:" + self.path("root"), "other")
        self.mvm_ok("template", "edit", "other", "--mem", "512M")
        self.assertTrue(self.build("other")["cached"])
        forced, = self.mvm_json("template", "build", "other", "--force")
        self.assertFalse(forced["cached"])
        self.assertTrue(self.build("t")["cached"])
        self.assertTrue(self.build("other")["cached"])

    def test_a_dry_run_tells_the_plan_and_the_reason(self):
        cases = (
            ((), "would change nothing: the build cache has its artifacts"),
            (("--force",), "would build a revision: a new build was asked for"),
            (("--snapshot",), "would change nothing and make a snapshot: the build cache has"),
        )
        for options, says in cases:
            with self.subTest(options=options):
                self.assertIn(says, self.mvm_ok("template", "build", "t", "--dry-run", *options))
        self.mvm_ok("template", "edit", "t", "--mem", "512M")
        self.assertIn("would publish a revision: the build cache has its artifacts",
                      self.mvm_ok("template", "build", "t", "--dry-run"))
        self.template("dir:" + self.path("root"), "new")
        self.assertIn("would publish a revision: ", # with another template's build
                      self.mvm_ok("template", "build", "new", "--dry-run"))
        self.mvm_ok("template", "edit", "t", "--mem", "256M")
        self.build()
        self.overwrite("root/etc/one", "third\n")
        for name, why in (("t", "the source has changed since the current revision was built"),
                          ("new", "it has not been built, and the build cache has nothing for")):
            self.assertIn("would build a revision: " + why,
                          self.mvm_ok("template", "build", name, "--dry-run"))
        self.overwrite("root/etc/one", "first\n")
        with open(self.path("kernel.elf"), "wb") as file:
            file.write(tiny_kernel("6.1.0-other"))
        self.mvm_ok("kernel", "add", self.path("kernel.elf"), "--name", "tiny", "--force")
        self.assertIn("the lock is the same, but the source, the kernel or mvm itself has changed",
                      self.plan()["why"])
        self.build()
        shutil.rmtree(os.path.join(self.data_dir, "cache", "builds"))
        self.assertIn("the build cache no longer has its artifacts", self.plan()["why"])


class Archive(TestCase):
    def pack(self, text, path):
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo("etc/name")
            info.size = len(text)
            self.write("content", text)
            with open(self.path("content"), "rb") as file:
                tar.addfile(info, file)

    def test_a_tar_that_hides_its_change(self):
        path = self.path("root.tar")
        self.pack("one", path)
        self.template("tar:" + path)
        self.build()
        keeping_times(path, lambda: self.pack("two", path))
        self.assert_seen()
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file: # the same contents, but mvm must read them to know
            file.write(gzip.compress(data))
        self.assertFalse(self.build()["cached"])

    def test_a_source_that_is_no_file_is_refused_at_once(self):
        path = self.path("fifo")
        os.mkfifo(path)
        self.mvm_fails(1, "kernel", "add", path, "--name", "k", says="it is no regular file")
        for ref in ("tar:", "oci-archive:", "docker-archive:"):
            self.template(ref + path)
            self.mvm_fails(1, "template", "build", "t", says="is no regular file")

    def image(self, text):
        return oci.Image(Cmd=["/bin/" + text]).layer(oci.tar_of(oci.file("name", text.encode())),
                                                     "")

    def test_a_tag_that_moves_to_another_image(self):
        layout = self.path("image")
        self.image("one").save(layout)
        self.template("oci:" + layout)
        self.build()
        index = os.path.join(layout, "index.json")
        keeping_times(index, lambda: self.image("two").save(layout))
        self.assert_seen()
        self.image("one").save(layout)
        self.assertTrue(self.build()["cached"])

    def test_only_the_settings_of_an_image_changed(self):
        layout, layer = self.path("image"), oci.tar_of(oci.file("name", b"x"))
        for number, settings in enumerate(({"Cmd": ["/bin/a"]}, {"Cmd": ["/bin/b"]},
                                           {"Cmd": ["/bin/b"], "Env": ["A=1"]},
                                           {"Cmd": ["/bin/b"], "User": "app"})):
            oci.Image(**settings).layer(layer).save(layout)
            if number == 0:
                self.template("oci:" + layout)
            self.assert_seen()

    @harness.needs_program("skopeo")
    def test_a_docker_archive_that_was_saved_again(self):
        archive = self.path("saved.tar")
        hashes = set()
        for text in ("one", "two", "one"):
            self.image(text).save(self.path(text))
            if os.path.exists(archive):
                os.unlink(archive)
            subprocess.run(["skopeo", "copy", "-q", "--insecure-policy",
                            f"oci:{self.path(text)}:latest", f"docker-archive:{archive}:a:v1"],
                           check=True, timeout=300, env={**os.environ, "TMPDIR": self.folder})
            self.template("docker-archive:" + archive)
            self.build()
            current = os.path.join(self.data_dir, "templates/t/current/revision.json")
            with open(current, encoding="utf-8") as file:
                hashes.add(json.load(file)["flake_lock_hash"])
            # the lock is the image's id: the digest of its configuration
            with tarfile.open(archive) as tar:
                manifest, = json.load(tar.extractfile("manifest.json"))
            self.assertIn(manifest["Config"].removesuffix(".json").rpartition("/")[2], hashes)
        self.assertEqual(len(hashes), 2)
        self.assertTrue(self.build()["cached"])


class Memory(TestCase):
    """Peak memory does not depend on the sizes of files."""

    LIMIT = 40 * MIB

    def peak_of_build(self, ref):
        self.template(ref)
        env = self.environment()
        pid = os.fork() # a child of vfork(2) would start with this program's peak
        if pid == 0:
            os.execvpe("sh", ["sh", "-c", '"$0" template build t >/dev/null 2>&1; exit $?',
                              harness.MVM], env)
        _, status, usage = os.wait4(pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        return usage.ru_maxrss * 1024

    def test_large_files_are_streamed(self):
        size = 5 * self.LIMIT
        os.makedirs(self.path("root"))
        with open(self.path("root", "large"), "wb") as file:
            file.truncate(size)
            for offset in range(0, size, 16 * MIB):
                os.pwrite(file.fileno(), b"x" * MIB, offset)
        with tarfile.open(self.path("root.tar"), "w") as tar:
            tar.add(self.path("root"), ".")
        with open(self.path("root.tar"), "rb") as file:
            oci.Image().layer(file.read(), "").save(self.path("image"))
        for ref in ("dir:" + self.path("root"), "tar:" + self.path("root.tar"),
                    "oci:" + self.path("image")):
            with self.subTest(ref=ref):
                peak = self.peak_of_build(ref)
                print(f"# {ref.partition(':')[0]}: {peak >> 20} MiB")
                self.assertLess(peak, self.LIMIT)


if __name__ == "__main__":
    harness.main()
