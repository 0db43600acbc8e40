# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of mvmd: the service itself, and a client of Python's own.

    import guests, harness, service

    @harness.needs_guests
    class Api(service.TestCase):
        config = guests.CONFIG

        def test_the_list_is_empty(self):
            self.assertEqual(self.ok("GET", "/v1/instances"), [])

Each class has one mvmd, on the class's data folder.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time

import guests
import harness

MVMD = os.path.join(os.path.dirname(harness.MVM), "mvmd")


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=harness.PATIENCE_S):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Reply:
    """A reply that was read whole."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Mvmd:
    """A running mvmd."""

    def __init__(self, data_dir, socket_path, *options, env=None):
        self.socket = socket_path
        self.process = subprocess.Popen([MVMD, "--data-dir", data_dir, "--socket", socket_path, *options],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
        deadline = time.monotonic() + harness.PATIENCE_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"mvmd does not answer: {self.process.communicate()[1]}")
            time.sleep(0.01)

    def answers(self):
        try:
            return self.request("GET", "/v1").status == 200
        except OSError:
            return False

    def connect(self):
        return Connection(self.socket)

    def request(self, method, target, body=None, headers=()):
        """Ask, and read the whole reply.  A body that is not bytes is sent as JSON."""
        headers = dict(headers)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            connection.request(method, target, body, headers)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def stop(self):
        """Ask it to end; returns its exit status and what it wrote to standard error, but its news."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        error = self.process.communicate(timeout=harness.PATIENCE_S)[1]
        return self.process.returncode, "".join(line for line in error.splitlines(True)
                                                if not line.startswith("level=info "))


class TestCase(guests.TestCase):
    options = () # mvmd's, besides its folder and its socket

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mvmd = cls.start_mvmd()

    @classmethod
    def start_mvmd(cls, *options):
        mvmd = Mvmd(cls.shared_data, os.path.join(cls.shared, "mvmd.sock"), *cls.options, *options,
                    env={**os.environ, "HOME": cls.shared})
        cls.addClassCleanup(mvmd.stop)
        return mvmd

    def leave_no_instance(self):
        """As for other guests; mvmd itself has the data folder open and stays."""
        for name in self.instances():
            self.mvm("rm", "--force", name)
        others = lambda: {pid: what for pid, what in harness.processes_of(self.data_dir).items()
                          if pid != self.mvmd.process.pid}
        self.assertTrue(guests.wait_until(lambda: not others()), others())
        self.assertEqual(self.instances(), [])

    def request(self, method, target, body=None, headers=()):
        return self.mvmd.request(method, target, body, headers)

    def ok(self, method, target, body=None, status=200, **kwargs):
        """A request that must succeed; returns its metadata."""
        reply = self.request(method, target, body, **kwargs)
        self.assertEqual(reply.status, status, reply.body)
        self.assertEqual((reply.json["type"], reply.json["status"]), ("sync", status))
        return reply.json["metadata"]

    def fails(self, status, code, method, target, body=None, **kwargs):
        """A request that must fail; returns the error."""
        reply = self.request(method, target, body, **kwargs)
        self.assertEqual((reply.status, reply.json["type"], reply.json["status"],
                          reply.json["error"]["code"]), (status, "error", status, code), reply.body)
        return reply.json["error"]
