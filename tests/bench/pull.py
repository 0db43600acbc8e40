#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `mvm template pull` moves, and how long it takes, beside `skopeo copy` of the same artifact and, if it is
installed, `casync extract` of the revision's files.

usage: pull.py MVM --kernel DEB [--mib 64] [-n 3] [--only pulls|starts] [--json FILE]

Makes a template of a folder of that size, with a snapshot of its running guest, and pushes it to Debian's
docker-registry on the loopback: then with two changed files, and then with its snapshot made anew.  Pulls each
N times, directly and over a line that adds 20 ms to a round trip, into a copy of a data folder (for skopeo: a copy
of an OCI layout; for casync: a folder with the files, which are its seeds) that has what the row says.

Prints medians of the seconds, those of the CPU, the bytes that came over the line, with headers, and the requests.
Then starts a VM from the registry, without anything here: lazily, and once all of it is here.  Prints the seconds
until `mvm run REF -- true` has ended, and until the revision is published.
"""

import argparse
import functools
import http.server
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import image # pylint: disable=wrong-import-position
import registries # pylint: disable=wrong-import-position

MIB = 1 << 20
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CONFIG = """template_id = "web"
flake_ref = "dir:root"
kernel = "k"
command = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
[health]
http = "http://127.0.0.1:8080/"
[[variants]]
role = "worker"
vcpus = 1
mem_mib = 256
"""
# row: the tag that is here already, the tag that is pulled
ROWS = {"first pull": (None, "b"), "two files differ": ("a-image", "b-image"),
        "snapshot made anew": ("b", "c"), "nothing differs": ("c", "c")}


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"pull.py: {' '.join(command)} failed: {done.stderr}")
    return done.stdout


class Place:
    """Where a program pulls to; before(tag) makes a copy of a folder that has pulled that tag."""

    def __init__(self, folder, name):
        self.made = {None: None}
        self.kept = os.path.join(folder, name)
        self.now = os.path.join(folder, name + "-now")
        os.mkdir(self.kept)

    def before(self, tag, host):
        if tag not in self.made:
            self.made[tag] = os.path.join(self.kept, tag)
            self.pull(self.made[tag], tag, host)
        shutil.rmtree(self.now, ignore_errors=True)
        if self.made[tag]:
            run("cp", "-a", "--sparse=always", self.made[tag], self.now)

    def pull(self, folder, tag, host):
        raise NotImplementedError


class Mvm(Place):
    def __init__(self, folder, program):
        super().__init__(folder, "mvm")
        self.program = program

    def pull(self, folder, tag, host):
        run(self.program, "--data-dir", folder, "template", "pull", f"{host}/team/web:{tag}")


class Skopeo(Place):
    def __init__(self, folder):
        super().__init__(folder, "skopeo")

    def pull(self, folder, tag, host):
        run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{host}/team/web:{tag}", f"oci:{folder}:{tag}")


class Chunks:
    """casync's stores over HTTP, as `casync make` has left them in a folder."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "castr")
        self.count, chunks = 0, self
        os.mkdir(self.folder)

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True # else a body may wait 40 ms for the acknowledgement of its header

            def log_message(self, *_):
                chunks.count += 1

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                                      functools.partial(Handler, directory=self.folder))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, tag, revision, names):
        for name in names:
            index = os.path.join(self.folder, f"{tag}-{os.path.basename(name)}.caibx")
            run("casync", "make", f"--store={self.folder}/default.castr", index, os.path.join(revision, name))

    def answers(self, _):
        """As registries.Registry has it."""
        count, self.count = self.count, 0
        return [None] * count


class Casync(Place):
    """Files of a revision, each with the older file of its name as its seed."""

    def __init__(self, folder, chunks):
        super().__init__(folder, "casync")
        self.chunks = chunks

    def pull(self, folder, tag, host):
        os.makedirs(folder, exist_ok=True)
        prefix = tag + "-"
        for index in sorted(os.listdir(self.chunks.folder)):
            if not index.startswith(prefix) or index.startswith(tag + "-image-"):
                continue
            out = os.path.join(folder, index.removeprefix(prefix).removesuffix(".caibx"))
            seed = [f"--seed={out}"] if os.path.exists(out) else []
            run("casync", "extract", "--what=blob-index", "--punch-holes=yes", "--seed-output=no", *seed,
                f"--store=http://{host}/default.castr", f"http://{host}/{index}", out + ".new")
            os.rename(out + ".new", out)


def make(folder, args, registry, chunks):
    """Push the three revisions; returns the size of the first one's blobs."""
    root = os.path.join(folder, "root")
    shutil.copytree(os.path.join(SOURCE, "examples", "http", "rootfs"), root, symlinks=True)
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin", "busybox"))
    image.make_tree(root, args.mib * MIB)
    with open(os.path.join(folder, "web.toml"), "w", encoding="ascii") as file:
        file.write(CONFIG)

    def mvm(*words):
        return run(args.mvm, "--data-dir", os.path.join(folder, "data"), *words, cwd=folder)

    def push(tag, *options):
        if chunks:
            snapshot = [] if options else ["snapshot/mem.bin", "snapshot/vmstate.bin"]
            chunks.add(tag, os.path.join(folder, "data/templates/web-worker/current/."),
                       ["vmlinux", "initrd", "rootfs.ext4", *snapshot])
        return json.loads(mvm("template", "push", "web-worker", f"{registry.host}/team/web:{tag}", "--sign", "bench",
                              "--json", *options))

    mvm("key", "generate", "bench")
    mvm("kernel", "add", args.kernel, "--name", "k")
    mvm("template", "apply", "web.toml")
    mvm("template", "build", "web-worker")
    push("a-image", "--image-only")
    for name, size in ("usr/00/00/file-000001", 5000), ("usr/01/02/file-000700", 300000):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.urandom(size))
    mvm("template", "build", "web-worker")
    push("b-image", "--image-only")
    mvm("template", "snapshot", "web-worker")
    size = push("b")["blob_bytes"]
    mvm("template", "snapshot", "web-worker")
    push("c")
    return size


def measure(place, row, line, server):
    """server: counts the requests that come over the line."""
    here, tag = ROWS[row]
    place.before(here, f"127.0.0.1:{server.port}")
    server.answers("")
    received = line.received
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    place.pull(place.now, tag, line.host)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"s": seconds, "cpu_s": cpu, "bytes": line.received - received, "requests": len(server.answers(""))}


def measure_start(folder, args, line, lazy):
    """Start a VM from the registry, and wait until the revision is published."""
    data = tempfile.mkdtemp(dir=folder) # the last one's pull may still tidy up in its own
    run(args.mvm, "--data-dir", data, "key", "trust", os.path.join(folder, "data/keys/bench.pub"))
    received, began = line.received, time.perf_counter()
    run(args.mvm, "--data-dir", data, "run", "--template", f"{line.host}/team/web:b", "--require-snapshot", "--lazy", lazy,
        "--", "true")
    answered, got = time.perf_counter() - began, line.received - received
    while not json.loads(run(args.mvm, "--data-dir", data, "template", "list", "--json")):
        if time.perf_counter() - began > 300:
            sys.exit("pull.py: the revision is not published")
        time.sleep(0.05)
    return {"s": answered, "bytes": got, "whole_s": time.perf_counter() - began}


def measure_starts(folder, args, line, delay, results):
    samples = {"auto": [], "off": []}
    for _ in range(args.n):
        for lazy, got in samples.items():
            got.append(measure_start(folder, args, line, lazy))
    for lazy, got in samples.items():
        median = {key: statistics.median(sample[key] for sample in got) for key in got[0]}
        spread = [min(x["s"] for x in got), max(x["s"] for x in got)]
        row = "start, lazy" if lazy == "auto" else "start, whole pull first"
        results.append({"row": row, "program": "mvm", "round_trip_ms": delay * 2000, **median, "spread_s": spread})
        print(f"{row + (' +20 ms' if delay else ''):32}{median['s']:9.2f}  ({spread[0]:.2f} to {spread[1]:.2f}), "
              f"{median['bytes'] / MIB:.2f} MiB by then; published after {median['whole_s']:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mvm")
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("-n", type=int, default=3)
    parser.add_argument("--only", choices=("pulls", "starts"))
    parser.add_argument("--json")
    args = parser.parse_args()
    args.mvm = os.path.abspath(args.mvm)
    results = []
    with tempfile.TemporaryDirectory() as folder, registries.Registry(folder) as registry:
        chunks = Chunks(folder) if shutil.which("casync") and args.only != "starts" else None
        size = make(folder, args, registry, chunks)
        places = {"mvm": (Mvm(folder, args.mvm), registry), "skopeo": (Skopeo(folder), registry)}
        if chunks:
            places["casync"] = Casync(folder, chunks), chunks
        print(f"all blobs: {size / MIB:.1f} MiB; N = {args.n}")
        print(f"{'':32}{'seconds':>9}{'CPU':>9}{'MiB':>9}{'requests':>10}")
        for delay in 0, 0.010: # each way
            for row in [] if args.only == "starts" else ROWS:
                samples = {name: [] for name in places}
                for _ in range(args.n):
                    for name, (place, server) in places.items():
                        with registries.Line(server.port, delay_s=delay) as line:
                            samples[name].append(measure(place, row, line, server))
                for name, got in samples.items():
                    median = {key: statistics.median(sample[key] for sample in got) for key in got[0]}
                    results.append({"row": row, "program": name, "round_trip_ms": delay * 2000, **median,
                                    "spread_s": [min(x["s"] for x in got), max(x["s"] for x in got)]})
                    print(f"{row + ', ' + name + (' +20 ms' if delay else ''):32}{median['s']:9.2f}"
                          f"{median['cpu_s']:9.2f}"
                          f"{median['bytes'] / MIB:9.2f}{median['requests']:10.0f}", flush=True)
            if args.only != "pulls":
                with registries.Line(registry.port, delay_s=delay) as line:
                    measure_starts(folder, args, line, delay, results)
    if args.json:
        with open(args.json, "w", encoding="ascii") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
