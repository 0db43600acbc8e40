# SPDX-License-Identifier: Apache-2.0
"""Guests of sandboxes that mean harm to mvmd or to others.  They are only played."""

import errno
import os
import socket
import sys
import threading

import harness
import sandbox_case

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from fake_instance import FakeInstance, proto # pylint: disable=wrong-import-position

JSON = {"Content-Type": "application/json"}


class PlayedWatch(FakeInstance):
    """A guest that says that it watches once nobody waits for that any more."""

    asked, says = threading.Event(), threading.Event()

    def on_call(self, agent, stream, fields):
        self.answer(agent, stream)
        self.asked.set()
        self.says.wait(harness.PATIENCE_S)
        agent.send(proto.DATA, stream, b"\1ready\0\0")


class QuickWatch(FakeInstance):
    """A guest that watches at once."""

    def on_call(self, agent, stream, fields):
        self.answer(agent, stream)
        agent.send(proto.DATA, stream, b"\1ready\0\0")


ENTRY = b"\0".join((b"f", b"644", b"0", b"0", b"user", b"user", b"/x", b"", b"", b""))


class EarlyEnd(FakeInstance):
    """A guest that says that a file is written before it has any of it."""

    def on_call(self, agent, stream, fields):
        self.answer(agent, stream)
        agent.send(proto.DATA, stream, b"\1" + ENTRY)
        agent.send(proto.END, stream, proto.encode(EXIT_CODE=0))


class FullDisk(FakeInstance):
    """A guest whose disk is full before a file has come."""

    def on_call(self, agent, stream, fields):
        self.answer(agent, stream)
        agent.send(proto.END, stream, proto.encode(EXIT_CODE=errno.ENOSPC))


class Guests(sandbox_case.Case):
    def leave(self, name, method, target, body=b""):
        """Send a request to a sandbox, and hang up once mvmd has taken it up."""
        kind = "application/octet-stream" if target.startswith("/files") else "application/json"
        before = self.descriptors()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket)
            client.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: {name}\r\n"
                           f"X-Access-Token: {sandbox_case.SECRET}\r\nContent-Type: {kind}\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            # the connection, and that to the guest
            self.assertTrue(self.wait_for(lambda: self.descriptors() > before + 1), target)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.mvmd.pid}/fd"))

    def test_a_silent_guest_keeps_nothing_of_clients_that_have_gone(self):
        name = self.played_sandbox()
        before = self.descriptors()
        for method, target, body in (("GET", "/files?path=/x", b""),
                                     ("POST", "/filesystem.Filesystem/Stat", b'{"path": "/"}'),
                                     ("POST", "/filesystem.Filesystem/CreateWatcher", b'{"path": "/"}'),
                                     ("POST", "/process.Process/SendSignal", b'{"process": {"pid": 1}, "signal": 9}')):
            self.leave(name, method, target, body)
            self.assertTrue(self.wait_for(lambda: self.descriptors() <= before), target)

    def test_a_watcher_whose_id_nobody_has_ends(self):
        name = self.played_sandbox(PlayedWatch)
        before = self.descriptors()
        self.leave(name, "POST", "/filesystem.Filesystem/CreateWatcher", b'{"path": "/"}')
        self.assertTrue(PlayedWatch.asked.wait(harness.PATIENCE_S))
        PlayedWatch.says.set()
        self.assertTrue(self.wait_for(lambda: self.descriptors() <= before))

    def test_one_sandbox_keeps_no_other_from_watching(self):
        names = [self.played_sandbox(QuickWatch, "i" + n * 20) for n in "01"]
        answers = []
        for name in [names[0]] * 65 + [names[1]]:
            here = {**JSON, "E2b-Sandbox-Id": name, "X-Access-Token": sandbox_case.SECRET}
            answers.append(self.local("POST", "/filesystem.Filesystem/CreateWatcher", here, b'{"path": "/"}'))
        self.assertEqual([status for status, _, _ in answers], [200] * 64 + [503, 200], answers[-2:])
        self.assertEqual(answers[64][2]["message"], "the sandbox has 64 watchers already")

    def test_a_file_is_not_written_before_it_has_come(self):
        here = {"E2b-Sandbox-Id": self.played_sandbox(EarlyEnd), "X-Access-Token": sandbox_case.SECRET,
                "Content-Type": "application/octet-stream"}
        status, _, said = self.local("POST", "/files?path=/x", here, bytes(8 << 20))
        self.assertEqual((status, said["message"]), (502, "the guest took a part of the file only"))

    def test_whoever_uploads_learns_why_it_fails(self):
        name = self.played_sandbox(FullDisk)
        here = {"E2b-Sandbox-Id": name, "X-Access-Token": sandbox_case.SECRET, "Content-Type": "application/octet-stream"}
        for method, target in (("POST", "/files?path=/x"), ("PUT", f"/v1/instances/{name}/files?path=/x"),
                               ("PUT", f"/v1/instances/{name}/tar?path=/x")):
            status, _, said = self.local(method, target, here, bytes(8 << 20)) # more than waits in sockets
            self.assertEqual(status, 507, said)


class ShortTime(sandbox_case.Case):
    options = "--tcp", "127.0.0.1:0", "--client-timeout", "2s"

    def test_an_upload_that_has_failed_has_an_end(self):
        name = self.played_sandbox(FullDisk)
        piece = b"1000\r\n" + bytes(4096) + b"\r\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(harness.PATIENCE_S)
            client.connect(self.socket)
            client.sendall(f"POST /files?path=/x HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: {name}\r\n"
                           f"X-Access-Token: {sandbox_case.SECRET}\r\nContent-Type: application/octet-stream\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n".encode())
            with self.assertRaises((BrokenPipeError, ConnectionResetError)):
                while True:
                    client.sendall(piece)


if __name__ == "__main__":
    harness.main()
