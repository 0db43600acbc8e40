#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast commands are with many templates.

usage: scale.py MVM [--templates 10000] [--revisions 3] [-n 30] [--json FILE]

Writes the files of a data folder directly (small files stand for images; ten templates share theirs)
in a temporary folder, and runs each command N times on a warm cache.  The prune that is no dry run
comes last, and runs once.  Prints p50 and p95 of the wall time, p50 of the CPU time (more reliable on
a busy machine), the wall time's ratio to its goal, and the peak memory, which must be little more than
that of `mvm version`.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

# ms; a name is the command without the template's id
GOALS = {"version": 2, "template list": 100, "template list --json": 100, "template info": 5,
         "template prune --dry-run": 2000, "template prune --keep 1 --dry-run": 2000}


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def blob(data, text):
    """Make a blob with this text; returns its path."""
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
    """Make a revision's folder; returns its name."""
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


def once(command, env):
    """Run a command once; returns the wall and the CPU time in ms."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, cpu * 1000


def measure(command, env, runs):
    """Run a command several times; returns sorted wall times and CPU times."""
    for _ in range(2): # to warm the page cache and the command's own cache
        once(command, env)
    walls, cpus = zip(*(once(command, env) for _ in range(runs)))
    return sorted(walls), sorted(cpus)


def peak_mib(command, env):
    """The peak memory, or None without busybox.  Until the exec, the memory of the command's starter
    counts, so the starter must be small."""
    if not shutil.which("busybox"):
        return None
    done = subprocess.run(["busybox", "time", "-v", *command], env=env, text=True, check=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)[1]) / 1024


def show(name, result):
    goal, ratio = result["goal_ms"], ""
    if goal:
        ratio = f"{result['wall_p50_ms'] / goal:.2f}"
    print(f"{name:38} {result['wall_p50_ms']:8.1f} {result['wall_p95_ms']:8.1f} "
          f"{result['cpu_p50_ms']:8.1f} {goal or '':>8} {ratio:>6} "
          f"{result['peak_mib'] or 0:9.1f}", flush=True)


def summary(walls, cpus, peak, goal):
    return {"n": len(walls), "wall_p50_ms": statistics.median(walls),
            "wall_p95_ms": walls[min(len(walls) - 1, round(0.95 * len(walls)))],
            "cpu_p50_ms": statistics.median(cpus), "goal_ms": goal, "peak_mib": peak}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mvm")
    parser.add_argument("--templates", type=int, default=10000)
    parser.add_argument("--revisions", type=int, default=3)
    parser.add_argument("-n", type=int, default=30)
    parser.add_argument("--json", metavar="FILE", help="also write the results here")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="mvm-scale-") as folder:
        data = folder + "/data"
        make_store(data, args.templates, args.revisions)
        time.sleep(3) # younger entries are listed but not cached
        env = dict(os.environ, MVM_DATA_DIR=data)
        one = f"template-{args.templates // 2:05}"
        commands = [["version"], ["template", "list"], ["template", "list", "--json"],
                    ["template", "info", one], ["template", "history", one],
                    ["template", "prune", "--dry-run"],
                    ["template", "prune", "--keep", "1", "--dry-run"]]
        results = {}
        print(f"{args.templates} templates with {args.revisions} revisions, N={args.n}, load "
              f"{os.getloadavg()[0]:.1f}")
        print(f"{'command':38} {'p50 ms':>8} {'p95 ms':>8} {'CPU ms':>8} {'goal ms':>8} "
              f"{'ratio':>6} {'peak MiB':>9}")
        for words in commands:
            name = " ".join(word for word in words if word != one)
            walls, cpus = measure([args.mvm, *words], env, args.n)
            results[name] = summary(walls, cpus, peak_mib([args.mvm, *words], env),
                                    GOALS.get(name))
            show(name, results[name])
        wall, cpu = once([args.mvm, "template", "prune", "--keep", "1"], env)
        results["template prune --keep 1"] = summary([wall], [cpu], None, None)
        show("template prune --keep 1", results["template prune --keep 1"])
    if args.json:
        write(args.json, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
