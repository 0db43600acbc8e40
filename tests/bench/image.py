#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast a folder or a tar becomes an ext4 image, compared with mke2fs and genext2fs.

usage: image.py PROGRAMS MVM [--kernel FILE] [--mib 1024] [-n 5] [--json FILE]

Makes a folder of that size (many small files, some large ones, some holes) and a tar of it.  Then each
program makes an image in turn: N rounds on a warm cache.  PROGRAMS is the folder with costs and with
write-image, which is only mvm's writer.  With a kernel, this also measures the whole `mvm template
build`, which reads the source once more and digests the image.  e2fsck checks every image, and ours
must have the same bytes each time.

Prints medians of the wall time, the CPU time, the written bytes (as the kernel counts them: holes cost
nothing), the space that the image takes, and the peak memory.  All programs but genext2fs sync the
image to disk.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

MIB = 1 << 20


def make_tree(folder, total):
    """Fill files of up to 64 KiB with three quarters, large ones with the rest; returns their number."""
    rng = random.Random(1)
    noise = rng.randbytes(16 * MIB)
    files = done = 0

    def piece(size):
        start = rng.randrange(len(noise) - size + 1)
        return noise[start:start + size]

    while done < total * 3 // 4:
        size = min(int(rng.expovariate(1 / 16384)) + 1, 65536)
        where = f"{folder}/usr/{files // 400 % 40:02}/{files // 100 % 100:02}"
        os.makedirs(where, exist_ok=True)
        with open(f"{where}/file-{files:06}", "wb") as file:
            file.write(piece(size))
        files, done = files + 1, done + size
    os.makedirs(folder + "/var/lib")
    while done < total:
        with open(f"{folder}/var/lib/large-{files}", "wb") as file:
            for _ in range(16):
                file.write(piece(MIB * 2))
            file.seek(MIB * 8, os.SEEK_CUR) # a hole
            file.write(b"end")
        files, done = files + 1, done + 32 * MIB
    return files


def run(costs, command, env=None):
    """Run a command; returns its costs."""
    with tempfile.NamedTemporaryFile("r") as told:
        done = subprocess.run([costs, told.name, *command], env={**os.environ, **(env or {})},
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"image.py: {' '.join(command)} failed: {done.stderr}")
        return json.load(told)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(image):
    done = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"image.py: e2fsck finds faults in {image}: {done.stdout}")


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder, self.tree = options, folder, folder + "/tree"
        os.mkdir(self.tree)
        self.files = make_tree(self.tree, options.mib * MIB)
        self.size = None # of our image; the others get the same size
        self.digests, self.tar_digests = set(), set()
        self.tar = folder + "/tree.tar"
        subprocess.run(["tar", "--sort=name", "--sparse", "-cf", self.tar, "-C", self.tree, "."],
                       check=True)

    def run(self, command, env=None):
        return run(self.options.programs + "/costs", command, env)

    def image(self, name):
        path = f"{self.folder}/{name}.ext4"
        if os.path.exists(path):
            os.unlink(path)
        return path

    def ours(self):
        image = self.image("ours")
        result = self.run([self.options.programs + "/write-image", self.tree, image])
        self.size = os.path.getsize(image)
        self.digests.add(digest(image))
        return image, result

    def ours_from_tar(self):
        image = self.image("tar")
        result = self.run([self.options.programs + "/write-image", self.tar, image])
        self.tar_digests.add(digest(image))
        return image, result

    def unpack_and_mke2fs(self):
        """The way without a writer that reads tars."""
        folder, image = self.folder + "/unpacked", self.image("mke2fs")
        shutil.rmtree(folder, ignore_errors=True)
        script = 'mkdir "$1" && tar -xf "$2" -C "$1" && mke2fs -q -F -t ext4 -d "$1" "$3" "$4"'
        return image, self.run(["sh", "-c", script, "sh", folder, self.tar, image,
                                f"{self.size // 1024}k"])

    def mke2fs(self, *args):
        image = self.image("mke2fs")
        return image, self.run(["mke2fs", "-q", "-F", "-t", "ext4", *args, "-d", self.tree, image,
                                f"{self.size // 1024}k"])

    def genext2fs(self):
        image = self.image("genext2fs")
        return image, self.run(["genext2fs", "-B", "4096", "-b", str(self.size // 4096 + 4096),
                                "-N", str(self.files * 2), "-d", self.tree, image])

    def whole_build(self):
        """The whole command, with an empty cache."""
        data = self.folder + "/data"
        shutil.rmtree(data, ignore_errors=True)
        env = {"MVM_DATA_DIR": data}
        self.run([self.options.mvm, "kernel", "add", self.options.kernel, "--name", "k"], env)
        self.run([self.options.mvm, "template", "create", "t", "--flake", "dir:" + self.tree], env)
        result = self.run([self.options.mvm, "template", "build", "t"], env)
        return f"{data}/templates/t/current/rootfs.ext4", result

    def programs(self):
        yield "writer", self.ours
        yield "mke2fs -d", self.mke2fs
        yield "mke2fs -d, no journal", lambda: self.mke2fs("-O", "^has_journal")
        yield "writer, from a tar", self.ours_from_tar
        yield "tar -x, mke2fs -d", self.unpack_and_mke2fs
        if shutil.which("genext2fs"):
            yield "genext2fs (ext2)", self.genext2fs
        if self.options.kernel:
            yield "mvm template build", self.whole_build


def measure(bench, rounds):
    results = {name: [] for name, _ in bench.programs()}
    for number in range(rounds + 1): # the first round warms the cache
        for name, make in bench.programs():
            image, result = make()
            result["image_bytes"] = os.stat(image).st_blocks * 512
            if number == 0:
                check(image)
            else:
                results[name].append(result)
    if len(bench.digests) != 1 or len(bench.tar_digests) != 1:
        sys.exit("image.py: the same source gave different images")
    return {name: {key: statistics.median(one[key] for one in all_of) for key in all_of[0]}
            for name, all_of in results.items()}


def show(bench, results):
    print(f"{bench.options.mib} MiB in {bench.files} files, {bench.options.n} rounds, medians; "
          "every image passes e2fsck -fn")
    print(f"{'':24}{'wall s':>8}{'CPU s':>8}{'written MiB':>13}{'image MiB':>11}{'peak MiB':>10}")
    for name, r in results.items():
        print(f"{name:24}{r['wall_s']:8.2f}{r['cpu_s']:8.2f}{r['written_bytes'] / MIB:13.0f}"
              f"{r['image_bytes'] / MIB:11.0f}{r['peak_bytes'] / MIB:10.1f}")
    for ours, theirs in (("writer", "mke2fs -d"), ("writer, from a tar", "tar -x, mke2fs -d")):
        print(f"{ours} to {theirs}: " + ", ".join(
            f"{what} {results[ours][key] / results[theirs][key]:.2f}" for what, key in
            (("wall", "wall_s"), ("CPU", "cpu_s"), ("written", "written_bytes"),
             ("memory", "peak_bytes"))))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs")
    parser.add_argument("mvm")
    parser.add_argument("--kernel", help="a guest kernel, for the whole command")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mvm-bench-image-") as folder:
        bench = Bench(options, folder)
        results = measure(bench, options.n)
    show(bench, results)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
