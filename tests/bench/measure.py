# SPDX-License-Identifier: Apache-2.0
"""Statistics of samples, and facts about the machine that a benchmark must report."""

import ctypes
import json
import math
import mmap
import os
import platform
import statistics
import subprocess
import time

PERCENTILES = (50, 95, 99)
SEEK_DATA, SEEK_HOLE = 3, 4


def percentile(samples, percent):
    """The smallest sample that at least this percentage of samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summary(samples):
    result = {"n": len(samples)}
    for percent in PERCENTILES:
        result[f"p{percent}_ms"] = round(percentile(samples, percent), 2)
    result["min_ms"], result["max_ms"] = round(min(samples), 2), round(max(samples), 2)
    return result


def medians(stages):
    """Turn [{stage: ms}] into {stage: median ms}.  All samples have the same stages."""
    return {name: round(statistics.median(sample[name] for sample in stages), 2)
            for name in stages[0]}


def data_extents(fd):
    """(offset, length) of each run of data between holes."""
    size, at = os.fstat(fd).st_size, 0
    while at < size:
        try:
            at = os.lseek(fd, at, SEEK_DATA)
        except OSError: # nothing but a hole is left
            return
        end = os.lseek(fd, at, SEEK_HOLE)
        yield at, end - at
        at = end


def warm(*paths):
    """Read files into the page cache, except their holes."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        for offset, length in data_extents(fd):
            while length > 0:
                n = len(os.pread(fd, min(length, 1 << 20), offset))
                offset, length = offset + n, length - n if n else 0
        os.close(fd)


def cool(*paths):
    """Drop files from the page cache.  Pages that a process maps stay."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def resident_bytes(path):
    """The bytes of a file that are in the page cache."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED) as pages:
        count = (len(pages) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        there = (ctypes.c_ubyte * count)()
        buffer = ctypes.c_char.from_buffer(pages)
        libc = ctypes.CDLL(None, use_errno=True)
        r = libc.mincore(ctypes.c_void_p(ctypes.addressof(buffer)), ctypes.c_size_t(len(pages)),
                         there)
        del buffer
        if r < 0:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in there) * mmap.PAGESIZE


def memory_mib(pid, guest_mib):
    """A VMM's private and shared memory, separately for the guest's memory and all the rest.
    The guest's memory is the mapping of a file mem.bin, or a mapping of exactly its size."""
    sizes = {"guest_private": 0, "guest_shared": 0, "vmm_private": 0}
    inside = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                start, end = (int(address, 16) for address in words[0].split("-"))
                inside = line.rstrip().endswith("/mem.bin") or end - start == guest_mib << 20
            elif words[0] == "Private_Dirty:":
                sizes["guest_private" if inside else "vmm_private"] += int(words[1])
            elif words[0] == "Private_Clean:": # page cache of a file, which all that map it share
                sizes["guest_shared" if inside else "vmm_private"] += int(words[1])
            elif words[0].startswith("Shared_") and inside:
                sizes["guest_shared"] += int(words[1])
    return {f"{name}_mib": round(kib / 1024, 1) for name, kib in sizes.items()}


def wakeups_and_ticks(pid):
    """How often the threads of a process have slept and woken, and its CPU time in clock ticks."""
    wakeups = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as file:
            wakeups += sum(int(line.split()[1]) for line in file
                           if line.startswith("voluntary_ctxt_switches"))
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return wakeups, int(fields[11]) + int(fields[12])


def idle(seconds, *pids):
    """The wake-ups a second and the percentage of a core of processes together."""
    before = [wakeups_and_ticks(pid) for pid in pids]
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    wakeups, ticks = (sum(after) - sum(first) for after, first in
                      zip(zip(*(wakeups_and_ticks(pid) for pid in pids)), zip(*before)))
    return {"wakeups_per_s": round(wakeups / passed, 1),
            "cpu_percent": round(100 * ticks / os.sysconf("SC_CLK_TCK") / passed, 2)}


def processes():
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def cpu_s(pids):
    """The CPU time that the threads of processes have taken, of those that still live."""
    total_ns = 0
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as file:
                    total_ns += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError): # it has ended
            pass
    return total_ns / 1e9


def first_line(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60,
                          stdin=subprocess.DEVNULL)
    return (done.stdout.splitlines() or [""])[0]


VMMS = {"qemu": "QEMU", "firecracker": "Firecracker"}


def vmm(machine_record):
    """The name and version of the VMM that a result's machine names."""
    backend = next(name for name in VMMS if name in machine_record)
    return f"{VMMS[backend]} {machine_record[backend]}"


def write_json(path, result):
    """Write a result, if a path was asked for."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


def machine():
    """The machine that the numbers come from."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file
                      if line.startswith("model name")), "unknown CPU")
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory_kib = int(file.readline().split()[1])
    return {"cpu": model, "cores": os.cpu_count(), "memory_mib": memory_kib >> 10,
            "kernel": platform.release(), "load_before": os.getloadavg()[0]}
