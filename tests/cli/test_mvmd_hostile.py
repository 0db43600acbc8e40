# SPDX-License-Identifier: Apache-2.0
"""Clients that want to harm mvmd, or others through it.  test_mvmd.py has those that send damaged HTTP."""

import base64
import fcntl
import json
import os
import re
import resource
import select
import socket
import sys

import harness
import openapi
import test_mvmd

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
import fake_instance # pylint: disable=wrong-import-position

JSON = {"Content-Type": "application/json"}


class SilentGuest(fake_instance.FakeInstance):
    """A guest that never says which processes it has."""

    asked = 0

    def on_call(self, agent, stream, fields):
        if fields["CALL"] == fake_instance.proto.PROCESSES:
            self.asked += 1
        else:
            self.answer(agent, stream)


class Case(test_mvmd.Case):
    def played(self, kind, name):
        instance = kind(self.data_dir, name, "web", "8e09f99e74a7162c4dbf2bdc68bbe9a6")
        self.addCleanup(instance.close)
        return instance

    def sent(self, head, method="GET"):
        """A connection with a request without a body that nobody has answered yet."""
        s = socket.create_connection(("127.0.0.1", self.port()), timeout=harness.PATIENCE_S)
        self.addCleanup(s.close)
        s.sendall(f"{method} {head}\r\n\r\n".encode())
        return s

    def work(self, kind):
        """(waiting, running) of a kind of work."""
        text = self.local("GET", "/metrics")[2]
        return tuple(int(re.search(rf'mvmd_work_{what}{{class="{kind}"}} (\d+)', text).group(1))
                     for what in ("waiting", "running"))


class Bodies(Case):
    def test_a_body_is_needed_where_the_document_says_so(self):
        for operation in openapi.operations():
            if operation.name == "fetchKernel": # it would ask the internet
                continue
            target = re.sub(r"\{\w+\}", "1", operation.path)
            status, _, reply = self.local(operation.method, target)
            missing = status == 400 and reply["error"]["message"] == "the request needs a body, which is missing"
            self.assertEqual(missing, operation.needs_body, (operation.name, status, reply))


class Others(Case):
    """What a client with few rights can do to the others."""

    def test_silent_guests_keep_nobody_from_looking_at_the_rest(self):
        guest = self.played(SilentGuest, "silent")
        token = self.token("look", "--scope", "read")
        head = f"/v1/instances/silent/processes HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token['Authorization']}"
        clients = [self.sent(head) for _ in range(40)]
        self.assertTrue(self.wait_for(lambda: guest.asked == 4))
        status, _, reply = self.ask(target="/v1/instances", headers=token)
        self.assertEqual((status, [i["name"] for i in reply["metadata"]]), (200, ["silent"]))
        self.assertTrue(self.wait_for(lambda: self.work("guest") == (36, 4)))
        for client in clients:
            client.close()
        self.assertTrue(self.wait_for(lambda: self.work("guest") == (0, 0)))
        self.assertEqual(guest.asked, 4) # those that waited for a thread did not ask any more

    def test_stops_that_take_a_day_leave_threads_to_other_tokens(self):
        self.played(SilentGuest, "vm")
        for name, begun in ("one", (12, 8)), ("two", (28, 12)), ("three", (46, 14)):
            token = self.token(name)["Authorization"]
            for _ in range(20): # it has no right to all, however many wait
                self.sent("/v1/instances/vm/stop?timeout=86400 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                          f"Authorization: {token}", "POST")
            self.assertTrue(self.wait_for(lambda begun=begun: self.work("start") == begun), (name, self.work("start")))
        other = self.token("other")
        self.assertEqual(self.ask("DELETE", "/v1/instances/none", other)[0], 404)
        self.assertEqual(self.ask("DELETE", "/sandboxes/none", other)[0], 404)
        for _ in range(238): # half of the queue
            self.sent("/v1/instances/vm/stop?timeout=86400 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                      f"Authorization: {token}", "POST")
        self.assertTrue(self.wait_for(lambda: self.work("start") == (284, 14)))
        status, headers, reply = self.ask("POST", "/v1/instances/vm/stop", {"Authorization": token})
        self.assertEqual((status, headers["Retry-After"], reply["error"]["code"]), (429, "1", "limit_reached"))
        self.assertEqual(self.ask("DELETE", "/v1/instances/none", other)[0], 404)

    def test_many_who_wait_for_one_instance_leave_the_threads_to_others(self):
        self.played(SilentGuest, "vm")
        secret = self.token("look", "--scope", "read")["Authorization"]
        clients = [self.sent(f"/v1/instances/vm/wait HTTP/1.1\r\nHost: localhost\r\nAuthorization: {secret}")
                   for _ in range(400)]
        event = '{"event":"started","instance":"vm","template_id":"t","time":"2100-01-01T00:00:00.000000000Z"}\n'
        with open(os.path.join(self.data_dir, "logs", "events.jsonl"), "a", encoding="ascii") as events:
            statuses = set()
            for _ in range(100): # each wakes all of them
                events.write(event)
                events.flush()
                statuses.add(self.local("GET", "/v1/instances")[0])
        self.assertEqual(statuses, {200})
        for client in clients:
            client.close()

    def test_mvmd_has_as_many_descriptors_as_it_may(self):
        self.end_mvmd()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.start_mvmd(*self.options, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)))
        with open(f"/proc/{self.mvmd.pid}/limits", encoding="ascii") as file:
            self.assertIn(["Max", "open", "files", str(hard), str(hard), "files"], [line.split() for line in file])

    def test_an_events_time_is_not_what_its_labels_say(self):
        folder = os.path.join(self.data_dir, "logs")
        with open(os.path.join(folder, "events.jsonl"), "w", encoding="ascii") as events:
            for name, label, day in (("old", "2099-01-01", "01"), ("new", "2000-01-01", "03"), ("even-newer", "x", "04")):
                event = {"event": "started", "instance": name, "labels": {"time": label}, "template_id": "t",
                         "time": f"2026-01-{day}T00:00:00.000000000Z"}
                events.write(json.dumps(event, separators=(",", ": ") if name == "new" else (",", ":")) + "\n")
        listed = lambda since: [json.loads(line)["instance"] for line in
                                self.local("GET", "/v1/events?since=" + since)[2].splitlines()]
        self.assertEqual(listed("2026-01-02T00:00:00Z"), ["new", "even-newer"])
        self.assertEqual(listed("2026-01-04T00:00:00Z"), ["even-newer"])
        self.assertEqual(listed("2027-01-04T00:00:00Z"), [])

    def test_who_may_not_begin_an_operation_may_not_cancel_it(self):
        self.mvm_ok("template", "create", "web", "--flake", "dir:root", "--", "/bin/x")
        admin, run = self.token("boss", "--scope", "admin"), self.token("run")
        with open(os.path.join(self.data_dir, "locks", "template.web"), "r", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            status, headers, _ = self.ask("POST", "/v1/templates/web/build", {**admin, "Prefer": "respond-async"})
            self.assertEqual(status, 202)
            self.assertEqual(self.ask("DELETE", headers["Location"], run)[0], 403)
            self.assertEqual(self.ask(target=headers["Location"], headers=run)[2]["metadata"]["state"], "running")
            self.assertEqual(self.ask("DELETE", headers["Location"], admin)[0], 200)
            ended = self.ask(target=headers["Location"] + "/wait?timeout=60", headers=admin)[2]["metadata"]
            self.assertEqual(ended["state"], "cancelled")


class Memory(Case):
    """What a client can make mvmd keep."""

    def resident_kib(self):
        with open(f"/proc/{self.mvmd.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def test_bodies_of_operations_that_ended_are_not_kept(self):
        body = json.dumps({"template": "none", "env": {f"A{i}": "" for i in range(30000)}}).encode()
        ask = lambda times: [self.assertEqual(self.local("POST", "/v1/instances", JSON, body)[0], 404) for _ in range(times)]
        ask(40)  # malloc keeps some memory for each thread
        before = self.resident_kib()
        ask(100)
        self.assertLess((self.resident_kib() - before) * 1024, 100 * len(body) // 2)

    def test_a_key_knows_the_body_it_came_with(self):
        self.mvm_ok("template", "create", "web", "--flake", "dir:root", "--", "/bin/x")
        ask = lambda body, more=(): self.local("POST", "/v1/templates/web/verify", {**JSON, "Idempotency-Key": "k", **dict(more)}, body)
        status, headers, first = ask(b'{"revision": null}')
        self.assertEqual((status, headers["Idempotent-Replayed"]), (200, None), first)
        status, headers, reply = ask(b'{ "revision":null }')
        self.assertEqual((status, headers["Idempotent-Replayed"], reply["operation"]), (200, "true", first["operation"]))
        self.assertEqual(ask(b"{}")[0], 409)

    def test_pings_of_who_reads_no_answer_are_not_answered_without_end(self):
        self.played(SilentGuest, "vm")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            key = base64.b64encode(bytes(16)).decode()
            s.sendall("\r\n".join(["GET /v1/instances/vm/exec?command=x HTTP/1.1", "Host: x", "Connection: Upgrade",
                                   "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
                                   "", ""]).encode())
            self.assertIn(b" 101 ", s.recv(13))
            ping = bytes([0x89, 0x80 | 125]) + bytes(4) + b"x" * 125
            s.setblocking(False)
            sent, pings = 0, ping * 500
            while sent < 32 << 20 and select.select([], [s], [], 2)[1]:
                sent += s.send(pings[sent % len(ping):])
            self.assertLess(sent, 8 << 20)
            # and the rest is answered once it reads
            s.settimeout(harness.PATIENCE_S)
            got = 0
            while got < sent // len(ping) * 127:
                got += len(s.recv(1 << 20))
        self.assertEqual(self.local("GET", "/v1")[0], 200)


if __name__ == "__main__":
    harness.main()
