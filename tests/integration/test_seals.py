# SPDX-License-Identifier: Apache-2.0
"""Artifacts on a file system with fs-verity: sealed, known by their seals, never written again.

Needs root and a kernel with fs-verity.  tests/long/test_nested_kvm.py runs it in a VM that has one.
"""

import array
import fcntl
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import unittest

import guests
import harness

FS_IOC_ENABLE_VERITY, FS_IOC_MEASURE_VERITY = 0x40806685, 0xC0046686
FIBMAP = 1
BLOCK = 4096
SEALED = ("vmlinux", "initrd", "rootfs.ext4", "snapshot/mem.bin", "snapshot/vmstate.bin")
DISK_BYTES = 1200 << 20


class Disk:
    """An ext4 file system with fs-verity, mounted; its blocks can be damaged."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="mvm-test-disk-")
        self.image = os.path.join(self.folder, "image")
        self.root = os.path.join(self.folder, "root")
        os.mkdir(self.root)
        with open(self.image, "wb") as file:
            file.truncate(DISK_BYTES)
        self.call("mkfs.ext4", "-q", "-b", str(BLOCK), "-O", "verity", self.image)
        try:
            self.call("mount", "-t", "ext4", "-o", "loop", self.image, self.root)
        except subprocess.CalledProcessError as error:
            shutil.rmtree(self.folder)
            raise unittest.SkipTest("this kernel mounts no ext4 with fs-verity: "
                                    + error.stderr.strip()) from error
        try:
            self.try_seal()
        except OSError as error:
            self.close()
            raise unittest.SkipTest(f"this kernel has no fs-verity: {error.strerror}") from error

    def try_seal(self):
        path = os.path.join(self.root, "try")
        with open(path, "wb"):
            pass
        with open(path, "rb") as file:
            how = struct.pack("IIIIQIIQ11Q", 1, 1, BLOCK, 0, 0, 0, 0, 0, *[0] * 11)
            fcntl.ioctl(file, FS_IOC_ENABLE_VERITY, how)

    @staticmethod
    def call(*command):
        subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)

    def close(self):
        subprocess.run(["umount", self.root], check=False, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def damage(self, path, offset):
        """Change a byte of a file on the disk, as a failing disk would: the first from this offset
        on that is in no hole."""
        os.sync()
        with open(path, "rb") as file:
            offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            block = array.array("I", [offset // BLOCK])
            fcntl.ioctl(file, FIBMAP, block, True)
        with open(self.image, "r+b") as image:
            image.seek(block[0] * BLOCK + offset % BLOCK)
            byte = image.read(1)[0]
            image.seek(-1, os.SEEK_CUR)
            image.write(bytes([byte ^ 1]))
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3\n")


def seal_of(path):
    """The file's seal in hex; None without one."""
    with open(path, "rb") as file:
        digest = bytearray(struct.pack("HH", 0, 64) + bytes(64))
        try:
            fcntl.ioctl(file, FS_IOC_MEASURE_VERITY, digest, True)
        except OSError:
            return None
    return digest[4:4 + struct.unpack_from("HH", digest)[1]].hex()


@harness.needs_guests
@harness.needs_program("mkfs.ext4")
@unittest.skipIf(os.getuid(), "only root can mount")
class Base(guests.TestCase):
    """A template with a snapshot, on such a disk."""

    config = guests.CONFIG

    @classmethod
    def setUpClass(cls):
        cls.disk = Disk()
        cls.addClassCleanup(cls.disk.close)
        usual = tempfile.tempdir
        tempfile.tempdir = cls.disk.root
        try:
            super().setUpClass()
        finally:
            tempfile.tempdir = usual
            guests.Kernel.forget() # it lies on that disk
            guests.Kernel.folder = None


class Seals(Base):
    def lines(self):
        with open(self.current("web-worker", "verified"), encoding="ascii") as file:
            return {path: mark for mark, _, path in map(str.split, file.read().splitlines())}

    def run_once(self, *options):
        return self.mvm("run", "--template", "web-worker", *options, "--", "true", status=0)

    def test_all_artifacts_are_sealed_and_the_doctor_says_so(self):
        self.assertIn("fs-verity seals kernels, images and snapshots", self.mvm("doctor").stdout)
        for name in SEALED:
            self.assertIsNotNone(seal_of(self.current("web-worker", name)), name)
            self.assertEqual(len(seal_of(self.current("web-worker", name))), 64, name)
        mode = os.stat(self.current("web-worker", "rootfs.ext4")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o444)

    def test_the_snapshot_is_known_by_its_seals_from_the_start(self):
        marks = self.lines()
        for name in ("snapshot/mem.bin", "snapshot/vmstate.bin"):
            self.assertEqual(marks[name], "fsverity:" + seal_of(self.current("web-worker", name)))

    def test_nothing_is_read_twice(self):
        self.run_once("--require-snapshot")
        self.assertLessEqual(set(SEALED), set(self.lines()))
        before = os.stat(self.current("web-worker", "verified")).st_ino
        # another name changes an unsealed file's identity
        for name in SEALED:
            another = os.path.join(self.shared, "another")
            os.link(self.current("web-worker", name), another)
            os.unlink(another)
        self.run_once("--require-snapshot")
        self.run_once("--cold")
        self.run_once("--require-snapshot", "--private-memory")
        self.assertEqual(os.stat(self.current("web-worker", "verified")).st_ino, before)
        self.run_once("--require-snapshot", "--verify") # reads all, and writes that down anew

    def test_root_cannot_write_to_them(self):
        for name in SEALED:
            with self.subTest(name), self.assertRaises(PermissionError):
                with open(self.current("web-worker", name), "r+b"):
                    pass

    def test_another_file_in_the_place_of_a_sealed_one_is_not_run(self):
        self.run_once("--require-snapshot")
        for name in SEALED:
            path = self.current("web-worker", name)
            with open(path, "rb") as file:
                text = bytearray(file.read())
            text[len(text) // 2] ^= 1
            times = os.stat(path)
            os.rename(path, path + ".kept")
            with open(path, "wb") as file:
                file.write(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            try:
                with self.subTest(name):
                    self.mvm_fails(5, "run", "--template", "web-worker", "-d",
                                   "--require-snapshot", says="damaged")
            finally:
                os.rename(path + ".kept", path)
        self.run_once("--require-snapshot") # as it was

    def test_a_new_snapshot_a_build_and_a_prune_go_on_as_before(self):
        old = seal_of(self.current("web-worker", "snapshot/mem.bin"))
        self.run_once("--require-snapshot")
        self.mvm_ok("template", "snapshot", "web-worker")
        self.assertNotEqual(seal_of(self.current("web-worker", "snapshot/mem.bin")), old)
        self.assertLessEqual({"rootfs.ext4", "snapshot/mem.bin"}, set(self.lines())) # went on
        with open(os.path.join(self.root, "www", "new.html"), "w", encoding="ascii") as file:
            file.write("new")
        self.mvm_ok("template", "build", "--config", self.toml)
        self.mvm_ok("template", "build", "--config", self.toml, "--force")
        self.mvm_ok("template", "prune", "--keep", "2")
        self.mvm_ok("template", "rollback", "web-worker")
        self.run_once("--require-snapshot")
        self.mvm_ok("template", "verify")

    def test_a_pool_of_sealed_snapshots_is_ready(self):
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        server = self.start_mvm("pool", "serve")
        self.assertTrue(guests.wait_until(
            lambda: self.mvm_json("pool", "list")["pools"][0]["ready"] == 1))
        self.assertTrue(self.run_detached()["from_pool"])
        self.mvm_ok("pool", "set", "web-worker", "--size", "0")
        server.terminate()
        self.assertEqual(server.wait(harness.PATIENCE_S), 0)

    def test_where_memory_cannot_be_lent_a_copy_is_suggested(self):
        # QEMU would open the sealed file for writing
        def run(*options):
            return subprocess.run(
                [harness.MVM, "run", "--template", "web-worker", "--require-snapshot", *options,
                 "--", "true"], env=self.environment(), capture_output=True, text=True,
                check=False, timeout=harness.PATIENCE_S, close_fds=False,
                preexec_fn=guests.without_lending())
        done = run()
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn("the snapshot's memory is sealed", done.stderr)
        self.assertIn("--private-memory", done.stderr)
        done = run("--private-memory")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_copy_without_seals_is_known_by_its_times(self):
        self.data_dir = os.path.join(self.folder, "data") # not on the disk with fs-verity
        guests.copy_data(self.shared_data, self.data_dir)
        self.run_once("--require-snapshot")
        marks = self.lines()
        self.assertEqual([m for m in marks.values() if m.startswith("fsverity:")],
                         [marks["snapshot/vmstate.bin"]]) # that is hashed each time
        before = os.stat(self.current("web-worker", "verified")).st_ino
        self.run_once("--require-snapshot")
        self.assertEqual(os.stat(self.current("web-worker", "verified")).st_ino, before)

    @harness.needs_program("setpriv")
    def test_an_ordinary_user_seals_as_well(self):
        folder = os.path.join(self.disk.root, "user")
        os.mkdir(folder)
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        for path in (self.disk.folder, self.disk.root, self.shared):
            os.chmod(path, 0o755)
        guests.copy_data(guests.Kernel.data(), os.path.join(folder, "data")) # unsealed
        for where, folders, files in os.walk(folder):
            for name in [*folders, *files, "."]:
                os.chown(os.path.join(where, name), 12345, 12345, follow_symlinks=False)
        done = subprocess.run(
            ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", harness.MVM,
             "--data-dir", os.path.join(folder, "data"), "template", "build", "--config",
             self.toml], capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.data_dir = os.path.join(folder, "data")
        for name in ("vmlinux", "initrd", "rootfs.ext4"):
            self.assertIsNotNone(seal_of(self.current("web-worker", name)), name)
        self.data_dir = self.shared_data


class Damage(Base):
    def test_damaged_rootfs_is_found_when_all_is_read(self):
        path = self.current("web-worker", "rootfs.ext4")
        self.disk.damage(path, 1 << 20)
        says = "a part of it is not what was sealed"
        self.mvm_fails(5, "run", "--template", "web-worker", "-d", "--verify", says=says)
        self.assertIn("rootfs.ext4", self.mvm("template", "verify", status=5).stdout)

    def test_damaged_memory_is_never_given_to_a_guest(self):
        path = self.current("web-worker", "snapshot", "mem.bin")
        for offset in range(1 << 20, 24 << 20, 1 << 20): # where the kernel is
            self.disk.damage(path, offset)
        done = self.mvm("run", "--template", "web-worker", "--require-snapshot", "--", "true")
        print("# with damaged memory:", done.returncode, done.stderr.strip().replace("\n", "; "))
        self.assertEqual(done.returncode, 125)


if __name__ == "__main__":
    guests.main()
