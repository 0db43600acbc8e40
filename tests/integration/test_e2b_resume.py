# SPDX-License-Identifier: Apache-2.0
"""Sandboxes of the e2b packages that sleep: what wakes them, what does not, and ports of their guests."""

import concurrent.futures
import http.client
import json
import os
import re
import socket

import e2b_case
import guests
import harness
import service

SERVER = r"""#!/bin/busybox sh
head=
while read -r line && [ "${#line}" -gt 1 ]; do head="$head$line
"; done
printf 'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' "${#head}" "$head"
"""
WAKES = {"autoPause": True, "autoResume": {"enabled": True}}


@harness.needs_guests
class Resume(e2b_case.TestCase):
    def test_requests_of_the_package_wake_a_sandbox(self):
        self.run_job(None, "e2b_resume_job.py")

    def serve(self, sandbox):
        """Start a server on port 8000, which answers with the request's head."""
        head = {**self.here(sandbox), "Content-Type": "application/octet-stream"}
        self.assertEqual(self.request("POST", "/files?path=/tmp/server", SERVER.encode(), head).status, 200)
        self.start(sandbox, "busybox chmod 755 /tmp/server; exec busybox nc -ll -p 8000 -e /tmp/server")
        self.assertTrue(guests.wait_until(lambda: self.port(sandbox).status != 502))

    def here(self, sandbox, token=None):
        return {"E2b-Sandbox-Id": sandbox["sandboxID"], "X-Access-Token": token or sandbox["envdAccessToken"]}

    def port(self, sandbox, headers=(), port=8000):
        """A request to a guest's port by its host name, over TCP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port_of_mvmd, timeout=harness.PATIENCE_S)
        self.addCleanup(connection.close)
        host = f"{port}-{sandbox['sandboxID']}.localhost"
        connection.request("GET", "/path?query", headers={"Host": host, **dict(headers)})
        return service.Reply(connection.getresponse())

    def pause(self, sandbox, **body):
        self.assertEqual(self.request("POST", self.path_of(sandbox) + "/pause", body).status, 204)
        self.assertEqual(self.state(sandbox), "paused")

    def resumes(self, sandbox):
        """How often it was resumed: it was also started."""
        with open(self.data("logs", "events.jsonl"), encoding="utf-8") as file:
            return sum(json.loads(line)["event"] == "started" for line in file if sandbox["sandboxID"] in line) - 1

    def test_a_request_to_a_port_wakes_its_sandbox(self):
        sandbox = self.create(**WAKES)
        self.serve(sandbox)
        self.pause(sandbox)
        reply = self.port(sandbox, {"Authorization": "Bearer of the guest"})
        self.assertEqual(reply.status, 200, reply.body)
        self.assertIn(b"GET /path?query HTTP/1.1", reply.body)
        self.assertIn(b"Authorization: Bearer of the guest", reply.body)
        self.assertNotIn(self.key.encode(), self.port(sandbox, {"X-API-KEY": self.key}).body)
        self.assertEqual(self.state(sandbox), "running")
        closed = self.port(sandbox, port=8001)
        self.assertEqual((closed.status, closed.json["port"]), (502, 8001))
        self.assertIn("port is not open", closed.json["message"])

    def test_without_auto_resume_a_paused_sandbox_is_not_found(self):
        sandbox = self.create(autoPause=True)
        self.pause(sandbox)
        for reply in (self.port(sandbox), self.request("GET", "/health", headers=self.here(sandbox)),
                      self.envd(sandbox, "process.Process/List", {})):
            self.assertEqual((reply.status, reply.json["message"]), (502, "The sandbox was not found"))
        self.assertEqual(self.state(sandbox), "paused")

    def test_one_that_is_on_its_disk_stays_there(self):
        self.assertEqual(self.request("POST", "/v2/sandboxes", {
            "templateID": "base", "autoPauseMemory": False, **WAKES}).status, 400)
        sandbox = self.create(**WAKES)
        self.pause(sandbox, memory=False)
        self.assertEqual(self.port(sandbox).status, 502)
        self.assertEqual(self.envd(sandbox, "process.Process/List", {}).status, 502)
        self.assertEqual(self.state(sandbox), "paused")

    def test_no_vm_goes_on_whose_lease_cannot_be_written(self):
        sandbox = self.create(**WAKES)
        self.pause(sandbox)
        path = self.data("service", "e2b", sandbox["sandboxID"] + ".json")
        os.rename(path, path + ".aside")
        os.makedirs(path + "/in-the-way")
        self.assertGreaterEqual(self.request("POST", self.path_of(sandbox) + "/connect", {"timeout": 300}).status, 400)
        self.assertEqual((self.state(sandbox), self.resumes(sandbox)), ("paused", 0))
        self.assertGreaterEqual(self.port(sandbox).status, 400)
        self.assertEqual((self.state(sandbox), self.resumes(sandbox)), ("paused", 0))
        os.removedirs(path + "/in-the-way")
        os.rename(path + ".aside", path)
        self.assertEqual(self.request("POST", self.path_of(sandbox) + "/connect", {"timeout": 300}).status, 201)
        self.assertEqual(self.state(sandbox), "running")

    def test_who_may_not_use_it_does_not_wake_it(self):
        sandbox = self.create(network={"allowPublicTraffic": False}, **WAKES)
        self.serve_private(sandbox)
        self.pause(sandbox)
        wrong = self.here(sandbox, "wrong")
        for reply in (self.port(sandbox), self.port(sandbox, {"e2b-traffic-access-token": "wrong"}),
                      self.port(sandbox, {"Authorization": "Bearer mvm_" + "0" * 64}),
                      self.port(sandbox, {"e2b-traffic-access-token": sandbox["envdAccessToken"]}),
                      self.request("GET", "/health", headers={"E2b-Sandbox-Id": sandbox["sandboxID"]}),
                      self.request("GET", "/files?path=x&signature=v1_x", headers=self.here(sandbox, "wrong")),
                      self.request("GET", "/files?path=x&signature=v1_x",
                                   headers={"E2b-Sandbox-Id": sandbox["sandboxID"]}),
                      self.envd(sandbox, "process.Process/List", {}, token="wrong"),
                      self.request("POST", "/files?path=x", b"x", wrong)):
            self.assertEqual(reply.status, 403, reply.body)
        self.assertEqual((self.state(sandbox), self.resumes(sandbox)), ("paused", 0))
        self.assertEqual(self.port(sandbox, {"e2b-traffic-access-token": sandbox["trafficAccessToken"]}).status, 200)
        self.assertEqual(self.port(sandbox, {"X-API-KEY": self.key}).status, 200)
        self.assertEqual(self.port(sandbox).status, 403)

    def serve_private(self, sandbox):
        head = {"e2b-traffic-access-token": sandbox["trafficAccessToken"]}
        plain, self.port = self.port, lambda box, headers=head: type(self).port(self, box, headers)
        try:
            self.serve(sandbox)
        finally:
            self.port = plain

    def test_many_requests_wake_it_once(self):
        sandbox = self.create(**WAKES)
        self.serve(sandbox)
        self.pause(sandbox)
        with concurrent.futures.ThreadPoolExecutor(48) as clients:
            calls = [clients.submit(self.envd, sandbox, "filesystem.Filesystem/Stat", {"path": "/"}) for _ in range(24)]
            calls += [clients.submit(self.port, sandbox) for _ in range(24)]
            gone = socket.socket(socket.AF_UNIX) # and one that does not wait for its reply
            gone.connect(self.mvmd.socket)
            gone.send("".join(["GET /health HTTP/1.1\r\nHost: localhost\r\n",
                               *(f"{k}: {v}\r\n" for k, v in self.here(sandbox).items()), "\r\n"]).encode())
            gone.close()
            self.assertEqual({call.result().status for call in calls}, {200})
        self.assertEqual(self.resumes(sandbox), 1)

    def test_a_request_during_a_pause_wakes_it_afterwards(self):
        sandbox = self.create(**WAKES)
        here = {"E2b-Sandbox-Id": sandbox["sandboxID"]}
        with concurrent.futures.ThreadPoolExecutor() as clients:
            pause = clients.submit(self.request, "POST", self.path_of(sandbox) + "/pause", {})
            self.assertTrue(guests.wait_until(lambda: self.request("GET", "/health", headers=here).status == 403))
            self.assertEqual(self.envd(sandbox, "filesystem.Filesystem/Stat", {"path": "/"}).status, 200)
            self.assertEqual(pause.result().status, 204)
        self.assertEqual(self.state(sandbox), "running")

    def test_an_end_amid_a_waking_is_its_end(self):
        sandbox = self.create(**WAKES)
        self.pause(sandbox)
        with concurrent.futures.ThreadPoolExecutor(16) as clients:
            stat = lambda: self.envd(sandbox, "filesystem.Filesystem/Stat", {"path": "/"}).status
            calls = [clients.submit(stat) for _ in range(8)]
            self.assertEqual(self.request("DELETE", self.path_of(sandbox)).status, 204)
            calls += [clients.submit(stat) for _ in range(8)]
            self.assertLessEqual({call.result() for call in calls}, {200, 502})
        self.assertEqual(self.request("GET", self.path_of(sandbox)).status, 404)

    def test_an_open_connection_to_a_port_does_not_keep_it_awake(self):
        sandbox = self.create(**WAKES)
        self.start(sandbox, "exec busybox nc -ll -p 8000 -e /bin/cat")
        sockets = lambda state: re.search(f":1F40 [0-9A-F]+:[0-9A-F]+ {state} ", self.exec(
            sandbox["sandboxID"], "/bin/busybox", "cat", "/proc/net/tcp", "/proc/net/tcp6"))
        self.assertTrue(guests.wait_until(lambda: sockets("0A"))) # it listens
        client = socket.create_connection(("127.0.0.1", self.port_of_mvmd), timeout=harness.PATIENCE_S)
        self.addCleanup(client.close)
        client.send(f"GET / HTTP/1.1\r\nHost: 8000-{sandbox['sandboxID']}.localhost\r\n\r\n".encode())
        self.assertTrue(guests.wait_until(lambda: sockets("01"))) # the guest answers nothing that is an answer
        self.pause(sandbox)


if __name__ == "__main__":
    guests.main()
