# SPDX-License-Identifier: Apache-2.0
"""A pull fetches the chunks that no local revision has.  Nothing boots."""

import contextlib
import hashlib
import os
import re
import signal
import struct
import subprocess
import time
import unittest

import harness
import registries
from registries import Line, Registry
from test_artifact import Crafted
from test_push import PushCase

FAILED, DAMAGED = 1, 5
MIB = 1 << 20
FILE = MIB // 2


def noise(seed, size):
    """Bytes that cannot be compressed."""
    return hashlib.shake_128(seed.encode()).digest(size)


class ChunkCase(PushCase):
    """The image has 6 MiB in 12 files."""

    def source(self, text):
        super().source(text)
        os.makedirs(self.path("root/data"), exist_ok=True)
        for i in range(12):
            self.put(i, f"file {i}")

    def put(self, i, seed):
        with open(self.path(f"root/data/{i:02}"), "wb") as file:
            file.write(noise(seed, FILE))

    def change_two_files(self):
        self.put(3, "another three")
        self.put(8, "another eight")
        return self.build()

    def rootfs(self, template="web"):
        with open(self.current(template, "rootfs.ext4"), "rb") as file:
            return file.read()

    def left(self):
        """What pulls have left behind, but for caches."""
        return [os.path.join(folder, name) for folder in ("tmp", "cache/pulls")
                for name in os.listdir(os.path.join(self.data_dir, folder))]

    def pull_here(self, ref, *more):
        return self.mvm_json("template", "pull", ref, *more)


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class RealRegistry(ChunkCase):
    def setUp(self):
        super().setUp()
        self.registry = Registry(self.folder)
        self.enterContext(self.registry)
        self.ref = f"{self.registry.host}/team/web:v1"

    def push(self):
        pushed = self.mvm_json("template", "push", "web", self.ref)
        self.registry.answers()
        return pushed

    def blobs(self):
        """Requests for blobs since the last call: (status, bytes)."""
        return [(status, size) for line, status, size in self.registry.answers() if line.startswith("GET") and "/blobs/" in line]

    def test_only_chunks_that_differ_are_fetched(self):
        first = self.push()
        here, self.data_dir = self.data_dir, self.path("other")
        got = self.pull_here(self.ref)
        asked = self.blobs()
        self.assertEqual(got["revision_hash"], self.revision)
        self.assertEqual(sum(size for status, size in asked if status == 206), got["moved_bytes"])
        self.assertLessEqual(got["moved_bytes"], first["blob_bytes"])
        self.assertLessEqual(len(asked), 8) # the documents, and a range of each file
        # two files of the image change
        other, self.data_dir = self.data_dir, here
        newer = self.change_two_files()
        pushed, rootfs = self.push(), self.rootfs()
        self.data_dir = other
        done = self.mvm("template", "pull", self.ref, "--json", status=0)
        asked = self.blobs()
        ranges = [size for status, size in asked if status == 206]
        self.assertIn("chunks of", done.stderr)
        self.assertEqual(self.rootfs(), rootfs)
        self.assertGreater(pushed["blob_bytes"], 5 * MIB)
        self.assertGreater(sum(ranges), 2 * FILE) # they cannot be compressed
        self.assertLess(sum(ranges), 2 * FILE + 3 * MIB // 2) # some neighbours, as chunks are up to 1 MiB
        self.assertLessEqual(len(ranges), 4)
        self.assertLessEqual(len(asked), 6)
        self.assertEqual(self.mvm_json("template", "info", "web")["revision"]["revision_hash"], newer)
        self.mvm_ok("template", "verify")
        self.assertEqual(self.left(), [])

    def test_lists_are_made_of_what_was_built_here(self):
        """This host has pulled nothing, but built nearly the same."""
        self.push()
        self.data_dir = self.path("other")
        self.mvm_ok("kernel", "add", os.path.join(harness.SOURCE_DIR, "tests/fuzz/corpus/kernel/vmlinux"), "--name", "k")
        self.mvm_ok("template", "create", "mine", "--flake", "dir:root", "--", "/bin/x")
        self.put(5, "another five")
        self.build("mine")
        got = self.pull_here(self.ref)
        self.assertLess(got["moved_bytes"], FILE + 3 * MIB // 2)
        self.assertGreater(got["reused_bytes"], 3 * MIB)
        lists = os.path.join(self.data_dir, "cache/chunks")
        self.assertGreaterEqual(len(os.listdir(lists)), 2)
        # a wrong list, and a file that is not what it was, cost a fetch and no more
        rootfs = self.rootfs()
        self.mvm_ok("template", "delete", "web", "--force")
        self.mvm_ok("template", "prune")
        for name in os.listdir(lists):
            with open(os.path.join(lists, name), "r+b") as file:
                file.seek(-44 * 2, os.SEEK_END)
                file.write(b"\1\2\3\4")
        self.damage_blob("mine")
        self.pull_here(self.ref)
        self.assertEqual(self.rootfs(), rootfs)

    def damage_blob(self, template):
        path = os.path.realpath(self.current(template, "rootfs.ext4"))
        size = os.stat(path).st_size
        os.chmod(path, 0o644)
        with open(path, "r+b") as file:
            for at in range(0, size, size // 8):
                file.seek(at + 100)
                file.write(b"damage")

    def test_a_broken_connection_goes_on(self):
        pushed = self.push()
        self.data_dir = self.path("other")
        with Line(self.registry.port, cut=3 * MIB) as line:
            done = self.mvm("template", "pull", f"{line.host}/team/web:v1", "--json", status=0)
            self.assertIn("trying again", done.stderr)
            # a lost connection takes what is under way with it, and no more
            self.assertLess(line.received, 2 * pushed["blob_bytes"])
        self.mvm_ok("template", "verify")
        self.assertEqual(self.left(), [])

    def test_a_killed_pull_goes_on(self):
        pushed = self.push()
        self.data_dir = self.path("other")
        pulls = os.path.join(self.data_dir, "cache/pulls")
        with Line(self.registry.port, rate=2 * MIB, hold=4 * MIB) as line:
            process = subprocess.Popen([harness.MVM, "template", "pull", f"{line.host}/team/web:v1"],
                                       env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + harness.PATIENCE_S
            while self.fetched(pulls) < 5 * MIB // 2 and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            line.break_all()
        self.assertEqual(len(os.listdir(pulls)), 1)
        got = self.pull_here(self.ref)
        self.assertLess(got["moved_bytes"], pushed["blob_bytes"] - MIB)
        self.mvm_ok("template", "verify")
        self.assertEqual(self.left(), [])

    @staticmethod
    def fetched(folder):
        """Bytes of the unfinished pulls."""
        total = 0
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            with contextlib.suppress(FileNotFoundError): # it has just been finished
                total += os.stat(os.path.join(folder, name)).st_blocks * 512 if len(name) == 64 else 0
        return total

    def test_two_pulls_of_one_thing_share_one_run(self):
        pushed = self.push()
        self.data_dir = self.path("other")
        self.mvm_ok("template", "list")
        with Line(self.registry.port, delay_s=0.05) as line:
            pulls = [subprocess.Popen([harness.MVM, "template", "pull", f"{line.host}/team/web:v1", name],
                                      env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                     for name in ("a", "b")]
            texts = [process.communicate(timeout=self.timeout)[1].decode() for process in pulls]
            self.assertEqual([process.returncode for process in pulls], [0, 0], texts)
            self.assertLess(line.received, pushed["blob_bytes"] + MIB)
        self.mvm_ok("template", "verify")


class Faults(ChunkCase):
    """Registries that answer badly."""

    def serve(self, answer):
        self.export()
        stub = registries.Stub(answer)
        self.enterContext(stub)
        stub.add_layout(self.unpacked())
        self.data_dir = self.path("other")
        self.rootfs_layer = self.layer(self.path("layout"), "rootfs.ext4")["digest"]
        return stub

    def pull(self, stub, status=0):
        return self.mvm("template", "pull", f"{stub.host}/{stub.path}:latest", status=status)

    def test_a_registry_without_ranges_sends_whole_blobs(self):
        for answer in (200, 416):
            with self.subTest(answer):
                def fault(request, answer=answer):
                    if answer == 200:
                        del request.headers["Range"]
                    elif request.headers.get("Range"):
                        request.reply(416)
                        return True
                    return False
                stub = self.serve(fault)
                done = self.pull(stub)
                self.assertRegex(done.stderr, r"parts of it; pulling whole files")
                self.mvm_ok("template", "verify")
                self.assertEqual(self.left(), [])
                self.data_dir = self.path("data")
                os.rename(self.path("other"), self.path(f"other {answer}"))
                os.rename(self.path("layout"), self.path(f"layout {answer}"))
                os.unlink(self.file)

    def damaging(self, times):
        """Damage a chunk of the root image, so many times."""
        self.damaged = 0

        def fault(request):
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range") or "")
            if not wanted or self.rootfs_layer not in request.path or self.damaged == times:
                return False
            self.damaged += 1
            first, last = map(int, wanted.groups())
            whole = self.stub.blobs[self.rootfs_layer]
            body = bytearray(whole[first:last + 1])
            body[len(body) // 2] ^= 1
            request.reply(206, bytes(body), Content_Range=f"bytes {first}-{last}/{len(whole)}")
            return True
        self.stub = self.serve(fault)
        return self.stub

    def test_a_damaged_chunk_is_fetched_again(self):
        done = self.pull(self.damaging(1))
        self.assertIn("1 chunks came damaged, and are fetched again", done.stderr)
        self.mvm_ok("template", "verify")
        again = [path for _, path in self.stub.requests(self.rootfs_layer)]
        self.assertEqual(len(again), 2)

    def test_a_chunk_that_stays_damaged_is_refused(self):
        done = self.pull(self.damaging(-1), DAMAGED)
        self.assertIn("1 chunks of 'rootfs.ext4' and other files do not have their digests", done.stderr)
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])
        self.assertEqual(self.mvm_json("template", "list"), [])
        # what was sound is kept: only that chunk is asked for once the registry is mended
        self.damaged = -1
        self.stub.seen.clear()
        self.pull(self.stub)
        ranges = [headers["Range"] for _, path, headers in self.stub.seen if "/blobs/" in path and "Range" in headers]
        self.assertEqual(len(ranges), 1)
        first, last = map(int, re.findall(r"\d+", ranges[0]))
        self.assertLessEqual(last - first, MIB + 4096)

    def test_another_part_than_asked_for_is_refused(self):
        def fault(request):
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range") or "")
            if not wanted:
                return False
            request.reply(206, b"x" * 10, Content_Range="bytes 5-14/100")
            return True
        self.assertIn("the answer is another part than asked for", self.pull(self.serve(fault), DAMAGED).stderr)


class Snapshots(PushCase, Crafted):
    """Snapshots of strangers, whose memory is made here.  A host without a VMM takes those of any host."""

    def environment(self, extra=None):
        return super().environment({"MVM_QEMU": "/nonexistent", "MVM_FIRECRACKER": "/nonexistent", **(extra or {})})

    @staticmethod
    def frame(data):
        """A zstd frame of data that is not compressed."""
        return (b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data)) +
                struct.pack("<I", len(data) << 3 | 1)[:3] + data)

    def memory(self, chunks):
        """mem.bin as add_snapshot() takes it."""
        frames = [self.frame(chunk) for chunk in chunks]
        entries = b"".join(struct.pack("<II", len(f), len(c)) for f, c in zip(frames, chunks))
        table = struct.pack("<II", 0x184d2a5e, len(entries) + 9) + entries + struct.pack("<IBI", len(frames), 0, 0x8f92eab1)
        whole = b"".join(chunks)
        return (b"".join(frames) + table, len(whole), hashlib.sha256(whole).digest(),
                b"".join(self.chunk(c, len(f)) for f, c in zip(frames, chunks)))

    def serve(self, stub, chunks):
        """Put a snapshot with this memory into the registry."""
        self.data_dir = self.path("data")
        subprocess.run(["rm", "-rf", self.path("layout"), self.file], check=True)
        self.export()
        self.layout = self.unpacked()
        self.add_snapshot({"snapshot/vmstate.bin": noise("state", 4), "snapshot/mem.bin": self.memory(chunks)},
                          mem_size_bytes=sum(map(len, chunks)))
        stub.add_layout(self.layout)
        self.data_dir = self.path("other")

    def test_a_snapshot_made_anew_moves_what_differs(self):
        size = 128 * 1024 - 4096
        chunks = [noise(f"chunk {i}", size) for i in range(64)]
        with registries.Stub() as stub:
            ref = f"{stub.host}/{stub.path}:latest"
            self.serve(stub, chunks)
            first = self.mvm_json("template", "pull", ref)
            self.assertGreater(first["moved_bytes"], 64 * size)
            chunks[10], chunks[40] = noise("new 10", size), noise("new 40", size)
            self.serve(stub, chunks)
            stub.seen.clear()
            second = self.mvm_json("template", "pull", ref)
            self.assertTrue(second["new_snapshot"])
            self.assertLess(second["moved_bytes"], 2 * size + 100)
            self.assertEqual(len(stub.requests("/blobs/")), 3) # the index and two ranges
            self.assertGreaterEqual(second["reused_bytes"], 62 * size)
            with open(self.current("web", "snapshot/mem.bin"), "rb") as file:
                self.assertEqual(file.read(), b"".join(chunks))
            # moved by one chunk, and one of them twice
            chunks = [chunks[5], chunks[5]] + chunks[:-1]
            self.serve(stub, chunks)
            third = self.mvm_json("template", "pull", ref)
            self.assertEqual(third["moved_bytes"], 0)
            with open(self.current("web", "snapshot/mem.bin"), "rb") as file:
                self.assertEqual(file.read(), b"".join(chunks))
            self.mvm_ok("template", "verify")


if __name__ == "__main__":
    harness.main()
