# SPDX-License-Identifier: Apache-2.0
"""Guests of sandboxes that mean harm to mvmd or to others.  They are only played."""

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


if __name__ == "__main__":
    harness.main()
