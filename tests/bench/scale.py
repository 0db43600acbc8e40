#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How commands fare with many templates.

usage: scale.py MVM [--templates 10000] [--revisions 3] [-n 30]

Makes a data folder directly, as doc and formats have it (small files stand for images; every ten
templates share theirs), in a temporary folder, and runs each command N times on a warm cache.
Prints p50 and p95 of the wall time and the peak memory.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

GOALS = {"template list": 100, "template info": 5, "template prune --dry-run": 2000}


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def blob(data, text):
    """The path of a blob with this text."""
    path = f"{data}/blobs/sha256/{hashlib.sha256(text.encode()).hexdigest()}"
    if not os.path.exists(path):
        write(path, text, 0o444)
    return path


def spec(name, moment):
    return {"schema_version": 1, "template_id": name, "flake_ref": "dir:/srv/images/" + name,
            "profile": "minimal", "role": "worker", "vcpus": 2, "mem_mib": 512,
            "data_disk_mib": 0, "created_at": moment, "updated_at": moment,
            "run": {"command": ["/bin/httpd", "-f"], "env": {"PORT": "8080"}}}


def make_revision(data, name, group, number):
    """A revision's folder; returns its name."""
    moment = f"2025-01-{number % 28 + 1:02}T00:00:00Z"
    files = {"vmlinux": blob(data, "kernel"), "initrd": blob(data, "initramfs"),
             "rootfs.ext4": blob(data, f"image {group} {number}")}
    revision = hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:32]
    folder = f"{data}/templates/{name}/artifacts/{revision}"
    os.makedirs(folder)
    for file, source in files.items():
        os.link(source, f"{folder}/{file}")
    config = '{"boot-source": {"kernel_image_path": "vmlinux"}}\n'
    write(f"{folder}/fc-base.json", config, 0o444)
    digests = {file: os.path.basename(source) for file, source in files.items()}
    digests["fc-base.json"] = hashlib.sha256(config.encode()).hexdigest()
    write(f"{folder}/checksums.json", json.dumps(
        {"schema_version": 1, "template_id": name, "revision_hash": revision,
         "files": dict(sorted(digests.items()))}, indent=2) + "\n")
    known = spec(name, moment)
    write(f"{folder}/revision.json", json.dumps(
        {"schema_version": 1, "revision_hash": revision, "flake_ref": known["flake_ref"],
         "flake_lock_hash": hashlib.sha256(name.encode()).hexdigest(),
         "artifact_paths": {"vmlinux": "vmlinux", "rootfs": "rootfs.ext4",
                            "fc_base_config": "fc-base.json", "initrd": "initrd",
                            "sizes": {"vmlinux_bytes": 6, "rootfs_bytes": 10, "initrd_bytes": 9}},
         "built_at": moment, "profile": "minimal", "role": "worker", "vcpus": 2, "mem_mib": 512,
         "data_disk_mib": 0, "snapshot": None, "run": known["run"],
         "build": {"builder": "dir", "source_fingerprint": "0" * 64, "mvm_version": "0.1.0"}},
        indent=2) + "\n")
    return revision


def make_store(data, templates, revisions):
    os.makedirs(f"{data}/blobs/sha256", mode=0o700)
    os.chmod(data, 0o700)
    for index in range(templates):
        name = f"template-{index:05}"
        os.makedirs(f"{data}/templates/{name}/artifacts")
        write(f"{data}/templates/{name}/template.json",
              json.dumps(spec(name, "2025-01-01T00:00:00Z"), indent=2) + "\n", 0o600)
        for number in range(revisions):
            last = make_revision(data, name, index // 10, number)
        os.symlink(f"artifacts/{last}", f"{data}/templates/{name}/current")


def measure(command, env, runs):
    """Wall times in ms."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times[1:]) # the first run warmed the cache


def peak_mib(command, env):
    """The peak memory, or None without busybox: what starts a command counts in its peak until the
    exec, so it has to be small."""
    if not shutil.which("busybox"):
        return None
    done = subprocess.run(["busybox", "time", "-v", *command], env=env, text=True, check=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mvm")
    parser.add_argument("--templates", type=int, default=10000)
    parser.add_argument("--revisions", type=int, default=3)
    parser.add_argument("-n", type=int, default=30)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="mvm-scale-") as folder:
        data = folder + "/data"
        make_store(data, args.templates, args.revisions)
        env = dict(os.environ, MVM_DATA_DIR=data)
        one = f"template-{args.templates // 2:05}"
        commands = [["version"], ["template", "list"], ["template", "list", "--json"],
                    ["template", "info", one], ["template", "history", one],
                    ["template", "prune", "--dry-run"],
                    ["template", "prune", "--keep", "1", "--dry-run"]]
        print(f"{args.templates} templates with {args.revisions} revisions, N={args.n}")
        print(f"{'command':42} {'p50 ms':>8} {'p95 ms':>8} {'goal ms':>8} {'peak MiB':>9}")
        for words in commands:
            times = measure([args.mvm, *words], env, args.n)
            peak = peak_mib([args.mvm, *words], env)
            shown = " ".join(words)
            p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
            print(f"{shown:42} {statistics.median(times):8.1f} {p95:8.1f} "
                  f"{GOALS.get(' '.join(w for w in words if w != one), ''):>8} {peak or 0:9.1f}",
                  flush=True)


if __name__ == "__main__":
    main()
