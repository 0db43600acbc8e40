# SPDX-License-Identifier: Apache-2.0
"""Stands in for the supervisor of a running VM, and sends a tar as the guest's root."""

import fcntl
import io
import json
import os
import socket
import sys
import tarfile
import threading
import time

import harness

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "integration"))
import agentproto as proto # pylint: disable=wrong-import-position

COMMIT = 17


def root_tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in ("./etc/hostname", b"one\n"), ("./installed", b"in the guest\n"):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return stream.getvalue()


class FakeInstance:
    def __init__(self, data, name, template, revision):
        self.data = data
        folder = os.path.join(data, "instances", name)
        os.makedirs(folder, mode=0o700)
        os.chmod(os.path.dirname(folder), 0o700)
        record = dict(schema_version=1, name=name, template_id=template, revision_hash=revision,
                      state="running", start="boot", backend="qemu", vcpus=1, mem_mib=128,
                      forwards=[], created_at="2026-01-01T00:00:00Z", attached=False,
                      purpose="user", boot_args="", health="none", restarts=0, ttl_ms=0,
                      remove_at_end=False, log_max_bytes=0)
        for file, content in ("lock", "4321 run\n"), ("instance.json", json.dumps(record)):
            with open(os.path.join(folder, file), "w", encoding="ascii") as out:
                out.write(content)
            os.chmod(os.path.join(folder, file), 0o600)
        self.lock = open(os.path.join(folder, "lock"), "rb") # pylint: disable=consider-using-with
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(folder, "control.sock"))
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError: # closed
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        """Take one client's frames, until it leaves or on_call() says that this is over."""
        agent = proto.Agent(client)
        with client:
            try:
                over = False
                while not over:
                    kind, stream, payload = agent._frame(time.monotonic() + 600) # pylint: disable=W0212
                    if kind == proto.CALL:
                        over = self.on_call(agent, stream, proto.decode(payload))
                    elif kind == proto.DATA:
                        self.on_data(agent, stream, payload[1:])
            except (OSError, proto.Closed):
                pass # it was killed, or has gone
        self.on_left(agent)

    def on_call(self, agent, stream, fields):
        """Answer a call.  Returns True to hang up."""
        self.answer(agent, stream)
        if fields["CALL"] == COMMIT:
            agent.send(proto.DATA, stream, b"\1" + root_tar())
            agent.send(proto.END, stream, proto.encode(EXIT_CODE=0))

    def on_data(self, agent, stream, data):
        """Take what is sent into a stream."""

    def on_left(self, agent):
        """A client's connection is over."""

    @staticmethod
    def answer(agent, stream, status=0):
        agent.send(proto.REPLY, stream, proto.encode(STATUS=status, PID=1))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.lock.close()
