#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What mvmd costs: starts and commands through its API beside the command line, files, idle connections.

usage: api.py MVM TEMPLATE [-n N] [--commands N] [--vms N] [--mib N] [--connections N] [--json FILE]

MVM_DATA_DIR must hold the built template, whose image needs busybox.  `first command` is a start and then
a command in the new VM: by the API over one connection, and by `mvm run` and `mvm exec`, in turns.  The
commands at once run `true`, each over a connection of its own, in VMs that run already.  The upload goes
to a command that drops it, and the download is a sparse file, so no disk or memory of the guest's counts.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

import measure
import mvm_cli

BLOCK = bytes(1 << 20)
BUFFER_KIB = 16 # of a connection, for the head of a request (CONNECTION_BYTES in service/listener.c)


class Client(http.client.HTTPConnection):
    """mvmd over its Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=300)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, target, body=None):
        self.request(method, target, json.dumps(body) if body is not None else None,
                     {"Content-Type": "application/json"})
        with self.getresponse() as reply:
            answer = json.loads(reply.read())
        if answer["type"] == "error":
            raise SystemExit(f"{method} {target}: {answer['error']['message']}")
        return answer["metadata"]


def start_mvmd(program, path):
    mvmd = subprocess.Popen([os.path.join(os.path.dirname(program), "mvmd"), "--socket", path, "--no-pools"])
    for _ in range(3000):
        try:
            Client(path).ask("GET", "/v1")
            return mvmd
        except OSError:
            time.sleep(0.01)
    raise SystemExit("mvmd does not answer")


def memory_kib(pid):
    """Private memory: what mvmd alone takes."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


def first_commands(mvm, client, template, n):
    """Milliseconds until a new VM's first command has answered: by the API, and by the command line."""
    by_api, by_cli = [], []
    for i in range(n):
        name = f"api-{i}"
        begin = time.monotonic()
        client.ask("POST", "/v1/instances", {"template": template, "name": name})
        client.ask("POST", f"/v1/instances/{name}/exec", {"command": ["true"]})
        by_api.append((time.monotonic() - begin) * 1000)
        client.ask("DELETE", f"/v1/instances/{name}?force=true")
        begin = time.monotonic()
        record, _ = mvm.start()
        mvm.run("exec", record["name"], "--", "true")
        by_cli.append((time.monotonic() - begin) * 1000)
        mvm.remove(record)
    return measure.summary(by_api), measure.summary(by_cli)


def at_once(path, names, count):
    """Run that many commands at once; milliseconds of each, and of all."""
    times, go = [], threading.Barrier(count + 1)

    def one(name):
        client = Client(path)
        client.ask("GET", "/v1")
        go.wait()
        begin = time.monotonic()
        if client.ask("POST", f"/v1/instances/{name}/exec", {"command": ["true"]})["status"] != 0:
            raise SystemExit("a command failed")
        times.append((time.monotonic() - begin) * 1000)
        client.close()
    threads = [threading.Thread(target=one, args=(names[i % len(names)],)) for i in range(count)]
    for thread in threads:
        thread.start()
    go.wait()
    begin = time.monotonic()
    for thread in threads:
        thread.join()
    if len(times) != count:
        raise SystemExit("a command failed")
    return {**measure.summary(times), "all_ms": round((time.monotonic() - begin) * 1000)}


def upload(path, name, mib):
    """MB/s into a kept command that reads all; mvmd passes a body on as it comes."""
    client = Client(path)
    pid = None
    client.request("POST", f"/v1/instances/{name}/exec?stream=true", json.dumps(
        {"command": ["busybox", "dd", "of=/dev/null", "bs=64k"], "keep": True}), {"Content-Type": "application/json"})
    with client.getresponse() as reply:
        pid = json.loads(reply.readline())["pid"]
        begin = time.monotonic()
        feeder = Client(path)
        feeder.request("POST", f"/v1/instances/{name}/execs/{pid}/stdin", (BLOCK for _ in range(mib)),
                       {"Content-Length": str(mib << 20)})
        if feeder.getresponse().status != 200:
            raise SystemExit("the upload failed")
        for _ in reply:
            pass
    return round((mib << 20) / 1e6 / (time.monotonic() - begin), 1)


def download(path, name, mib):
    """MB/s of a sparse file of that size."""
    client = Client(path)
    client.ask("POST", f"/v1/instances/{name}/exec", {"command": [
        "busybox", "dd", "if=/dev/zero", "of=/tmp/sparse", "bs=1M", "count=0", f"seek={mib}"]})
    begin = time.monotonic()
    client.request("GET", f"/v1/instances/{name}/files?path=/tmp/sparse")
    got = 0
    with client.getresponse() as reply:
        while True:
            data = reply.read(1 << 20)
            if not data:
                break
            got += len(data)
    if got != mib << 20:
        raise SystemExit("the download failed")
    return round(got / 1e6 / (time.monotonic() - begin), 1)


def idle_kib(mvmd, path, count):
    """mvmd's memory, and with connections that have asked once and then are silent."""
    before = memory_kib(mvmd.pid)
    clients = [Client(path) for _ in range(count)]
    for client in clients:
        client.ask("GET", "/v1")
    time.sleep(1)
    after = memory_kib(mvmd.pid)
    for client in clients:
        client.close()
    return before, after


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mvm")
    parser.add_argument("template")
    parser.add_argument("-n", type=int, default=30, help="starts by each way")
    parser.add_argument("--commands", type=int, default=200)
    parser.add_argument("--vms", type=int, default=8)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--json", metavar="FILE")
    o = parser.parse_args()
    mvm = mvm_cli.Mvm(o.mvm, o.template)
    folder = tempfile.mkdtemp(prefix="mvm-bench-")
    path = os.path.join(folder, "mvmd.sock")
    mvmd = start_mvmd(o.mvm, path)
    names = []
    try:
        client = Client(path)
        alone, idle = idle_kib(mvmd, path, o.connections)
        print(f"mvmd: {alone} KiB; with {o.connections} idle connections {idle} KiB, of which "
              f"{o.connections * BUFFER_KIB} KiB are their buffers", flush=True)
        by_api, by_cli = first_commands(mvm, client, o.template, o.n)
        print(f"first command: API p50 {by_api['p50_ms']} p99 {by_api['p99_ms']} ms, command line p50 "
              f"{by_cli['p50_ms']} p99 {by_cli['p99_ms']} ms, {by_api['p50_ms'] - by_cli['p50_ms']:+.2f} ms", flush=True)
        for i in range(o.vms):
            names.append(client.ask("POST", "/v1/instances", {"template": o.template, "name": f"many-{i}"})["name"])
        many = at_once(path, names, o.commands)
        print(f"{o.commands} commands at once in {o.vms} VMs: p50 {many['p50_ms']} p99 {many['p99_ms']} ms, "
              f"all in {many['all_ms']} ms", flush=True)
        speeds = {"in_mb_per_s": upload(path, names[0], o.mib), "out_mb_per_s": download(path, names[0], o.mib)}
        print(f"{o.mib} MiB: {speeds['in_mb_per_s']} MB/s in, {speeds['out_mb_per_s']} MB/s out")
    finally:
        for name in names:
            mvm.run("rm", "--force", name)
        mvmd.terminate()
        mvmd.wait()
        os.rmdir(folder)
    result = {"machine": measure.machine(), "api_first_command": by_api, "cli_first_command": by_cli,
              "commands": o.commands, "vms": o.vms, "at_once": many, "mib": o.mib, **speeds,
              "connections": o.connections, "alone_kib": alone, "idle_kib": idle,
              "buffers_kib": o.connections * BUFFER_KIB}
    measure.write_json(o.json, result)


if __name__ == "__main__":
    sys.exit(main())
