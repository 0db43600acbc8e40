# SPDX-License-Identifier: Apache-2.0
"""Sandboxes of E2B's wire whose instances are only played."""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import harness
import sandbox_case

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from fake_instance import FakeInstance, proto # pylint: disable=wrong-import-position

CONNECT, SUSPEND = 23, 76 # calls
JSON = {"Content-Type": "application/json"}


class PlayedServer(FakeInstance):
    """A guest with a server, and a supervisor that suspends nothing."""

    SIZE = 350000
    left = threading.Event() # by who has got an answer

    def on_call(self, agent, stream, fields):
        self.answer(agent, stream, errno.EPERM if fields["CALL"] == SUSPEND else 0)
        agent.served = fields["CALL"] == CONNECT # mvmd may leave once it has the whole body
        if agent.served:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {self.SIZE}\r\n\r\n"
            for piece in head.encode(), *[b"x" * 25000] * 14:
                agent.send(proto.DATA, stream, b"\1" + piece)
            agent.send(proto.END, stream, proto.encode(EXIT_CODE=0))

    def on_left(self, agent):
        if getattr(agent, "served", False):
            self.left.set()


class SlowPause(FakeInstance):
    """Its supervisor thinks about each suspend until it may answer, and then suspends nothing."""

    suspends = 0
    answers = threading.Event()

    def on_call(self, agent, stream, fields):
        suspends = fields["CALL"] == SUSPEND
        if suspends:
            type(self).suspends += 1
            self.answers.wait(harness.PATIENCE_S)
        self.answer(agent, stream, errno.EPERM if suspends else 0)


class Mirror(FakeInstance):
    """A guest with a server on each port, which answers with the request's head."""

    heads = [] # of all

    def on_call(self, agent, stream, fields):
        agent.port, agent.head = fields.get("PORT"), b""
        self.answer(agent, stream)

    def on_data(self, agent, stream, data):
        agent.head += data
        if b"\r\n\r\n" not in agent.head:
            return
        self.heads.append(agent.head)
        body = f"port {agent.port}\n".encode() + agent.head
        head = f"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: {len(body)}\r\n\r\n"
        agent.send(proto.DATA, stream, b"\1" + head.encode() + body)
        agent.send(proto.END, stream, proto.encode(EXIT_CODE=0))


class Sandboxes(sandbox_case.Case):
    def test_a_paused_one_of_a_newer_mvm_gets_no_lease(self):
        name = self.played_sandbox(endAt=0)
        self.end_mvmd()
        path = os.path.join(self.data_dir, "instances", name, "instance.json")
        with open(path, "r+", encoding="ascii") as file:
            record = {**json.load(file), "schema_version": 1000, "state": "suspended"}
            file.seek(0)
            json.dump(record, file)
        self.start_mvmd(*self.options)
        self.assertEqual(self.local("GET", "/sandboxes/" + name)[0], 501)
        status, _, reply = self.local("POST", f"/sandboxes/{name}/timeout", JSON, b'{"timeout": 3600}')
        self.assertEqual((status, reply and reply["message"]), (404, f"sandbox '{name}' is paused"))
        for target, wanted in ("/sandboxes/" + name, 501), (f"/v1/instances/{name}?force=true", 422): # and it stays
            status, _, reply = self.local("DELETE", target)
            self.assertEqual((status, "written by a newer mvm" in str(reply)), (wanted, True), reply)
        self.assertTrue(os.path.exists(path))

    def test_an_end_whose_client_has_gone_takes_its_turn_all_the_same(self):
        name = self.played_sandbox(SlowPause)
        pause = f"POST /sandboxes/{name}/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        open_now = lambda: int(re.search(r"mvmd_requests_open (\d+)", self.local("GET", "/metrics")[2]).group(1)) - 1
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(self.socket)
            first.sendall(pause)
            self.assertTrue(self.wait_for(lambda: SlowPause.suspends == 1))
            with socket.socket(socket.AF_UNIX) as second:
                second.connect(self.socket)
                second.sendall(pause)
                self.assertTrue(self.wait_for(lambda: open_now() == 2))
            self.assertTrue(self.wait_for(lambda: open_now() == 1))
            time.sleep(2.5) # work that ends with its client waits two seconds for its turn
            SlowPause.answers.set()
            self.assertIn(b" 403 ", first.recv(4096))
            self.assertTrue(self.wait_for(lambda: SlowPause.suspends == 2))

    def test_the_port_of_one_that_has_gone_is_not_found(self):
        gone = "ia0b1c2d3e4f5g5h4i3j2"
        for headers in {"Host": f"3000-{gone}.localhost"}, {"E2b-Sandbox-Id": gone, "E2b-Sandbox-Port": "3000"}, \
                {"Host": f"3000-{gone}.localhost", **self.token("t")}:
            status, _, reply = self.ask(target="/", headers=headers)
            self.assertEqual((status, reply), (502, {"sandboxId": gone, "message": "The sandbox was not found", "code": 502}))
        self.assertEqual(self.ask(target="/", headers={"Host": "3000-web.localhost"})[0], 401)

    def test_a_header_leads_to_a_port(self):
        name = self.played_sandbox(Mirror)
        here = {"E2b-Sandbox-Id": name, "E2b-Sandbox-Port": "49999", "Cookie": "session=1"}
        status, headers, said = self.ask("POST", "/execute?a", {**here, "E2B-Traffic-Access-Token": sandbox_case.SECRET}, b"x")
        self.assertEqual((status, headers["Set-Cookie"]), (200, None))
        self.assertTrue(said.startswith("port 49999\nPOST /execute?a HTTP/1.1\r\nHost: localhost:49999\r\n"), said)
        self.assertNotIn("Cookie", said)
        self.assertNotIn("raffic", said)
        self.assertEqual(self.ask("POST", "/execute", here, b"x")[0], 403) # no token
        for port in "49983", "x", "0":
            self.assertEqual(self.ask(target="/health", headers={**here, "E2b-Sandbox-Port": port,
                                                                 "X-Access-Token": sandbox_case.SECRET})[0], 204, port)

    def test_a_token_that_cannot_be_looked_up_reaches_no_guest(self):
        name = self.played_sandbox(Mirror, publicTraffic=True)
        secret = self.token("t")["Authorization"]
        ask = lambda given: self.ask(target="/", headers={"Host": f"80-{name}.localhost", "Authorization": given})[0]
        self.assertEqual((ask(secret), ask("Bearer of the guest")), (200, 200))
        if not shutil.which("strace"):
            self.skipTest("there is no strace, which lets calls fail")
        tokens = os.path.join(self.data_dir, "tokens")
        with subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-P", tokens, "-e", "inject=openat:error=EIO",
                               "-p", str(self.mvmd.pid)], stderr=subprocess.PIPE, text=True) as strace:
            self.wait_for(lambda: self.traced() or strace.poll() is not None)
            os.utime(tokens) # they are read anew
            status = ask(secret)
            strace.terminate()
            if status == 200 and strace.wait() == 1:
                self.skipTest("strace: " + strace.stderr.read())
            self.assertEqual(status, 500)
        self.assertEqual(ask(secret), 200)
        self.assertNotIn(secret.encode(), b"".join(Mirror.heads))
        self.assertIn(b"Bearer of the guest", b"".join(Mirror.heads))

    def traced(self):
        with open(f"/proc/{self.mvmd.pid}/status", encoding="ascii") as file:
            return "TracerPid:\t0\n" not in file.read()

    def test_one_that_is_started_again_during_a_look_stays(self):
        name = self.played_sandbox()
        path = os.path.join(self.data_dir, "instances", name, "instance.json")
        with open(path, encoding="ascii") as file:
            record = json.load(file)

        def write(state):
            with open(path + ".new", "w", encoding="ascii") as file:
                json.dump({**record, "state": state}, file)
            os.chmod(path + ".new", 0o600)
            os.rename(path + ".new", path)

        write("exited") # and its lock is held: a supervisor that ends, or one that has just begun
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket)
            client.sendall(f"GET /sandboxes/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertTrue(self.wait_for(lambda: 'mvmd_work_running{class="read"} 1' in self.local("GET", "/metrics")[2]))
            write("running")
            self.assertIn(b" 200 ", client.recv(4096))
        self.assertEqual(self.local("GET", "/sandboxes/" + name)[0], 200)

    def test_a_page_of_a_sandbox_may_use_its_other_ports(self):
        name = self.played_sandbox(Mirror, publicTraffic=True)
        here = f"8000-{name}.localhost:{self.port()}"
        for origin, wanted in ((f"http://3000-{name}.localhost:{self.port()}", 200), ("http://" + here, 200),
                               (f"https://3000-{name}.localhost:{self.port()}", 200), ("http://evil.example", 403),
                               (f"http://3000-{name}.evil.example", 403), (f"http://x3000-{name}.localhost:{self.port()}", 403),
                               (f"http://3000-{name}0.localhost:{self.port()}", 403), ("null", 403)):
            self.assertEqual(self.ask(target="/", headers={"Host": here, "Origin": origin})[0], wanted, origin)
        elsewhere = {"Host": "localhost", "Origin": f"http://3000-{name}.localhost"}
        self.assertEqual(self.ask(headers={**self.token("t"), **elsewhere})[0], 403)

    def test_a_pause_cuts_no_answer_that_the_guest_has_given_whole(self):
        name = self.played_sandbox(PlayedServer, publicTraffic=True)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket)
            client.sendall(f"GET / HTTP/1.1\r\nHost: 80-{name}.localhost\r\nConnection: close\r\n\r\n".encode())
            self.assertTrue(PlayedServer.left.wait(harness.PATIENCE_S)) # mvmd has the answer, the socket has less
            self.assertEqual(self.local("POST", f"/sandboxes/{name}/pause", JSON, b"{}")[0], 403)
            got = b""
            while piece := client.recv(65536):
                got += piece
        self.assertEqual(len(got.partition(b"\r\n\r\n")[2]), PlayedServer.SIZE)

    def test_who_may_only_look_gets_no_access_token(self):
        name = self.played_sandbox()
        for scope, has in ("read", False), ("exec", True):
            status, _, sandbox = self.ask(target="/sandboxes/" + name, headers=self.token(scope, "--scope", scope))
            self.assertEqual((status, sandbox["sandboxID"], sandbox_case.SECRET in json.dumps(sandbox)), (200, name, has))
        for target in "/sandboxes", "/v2/sandboxes":
            status, _, sandboxes = self.ask(target=target, headers=self.token(target[1:3], "--scope", "read"))
            self.assertEqual((status, sandboxes[0]["sandboxID"], sandbox_case.SECRET in json.dumps(sandboxes)), (200, name, False))

    def test_a_missing_template_has_a_next_step(self):
        status, _, said = self.ask("POST", "/sandboxes", {**self.token("any"), **JSON}, b'{"templateID": "base"}')
        self.assertEqual((status, said["code"]), (404, 404))
        self.assertEqual(said["message"], "no template 'base' (see 'mvm template list'; the examples e2b-base and "
                                          "e2b-code make those that the packages ask for)")

    def test_the_length_of_a_message_is_bounded(self):
        name = self.played_sandbox()
        here = {"E2b-Sandbox-Id": name, "X-Access-Token": sandbox_case.SECRET}
        call = "/filesystem.Filesystem/Stat"
        stream = {**here, "Content-Type": "application/connect+json"}
        status, _, said = self.ask("POST", call, {**here, "Content-Type": "application/json"}, b" " * (6 << 20) + b"{}")
        self.assertEqual((status, said["code"]), (413, "resource_exhausted"))
        for frame in b"\0\xff\xff\xff\xff{}", b"\0\0\0", b"\0\0\0\0\x02{", b"\0\0\0\0\xc8" + b"[" * 100 + b"]" * 100:
            status, _, said = self.ask("POST", "/process.Process/Start", stream, frame)
            self.assertIn("invalid_argument", str(said), frame[:8])

    def test_an_id_that_is_no_text_is_unknown(self):
        token = self.token("t")
        self.assertEqual(self.ask("DELETE", "/sandboxes/%ff", token)[0], 404)
        status, _, reply = self.ask("GET", "/health", {"E2b-Sandbox-Id": "\xff"})
        self.assertEqual((status, reply["message"]), (502, "The sandbox was not found"))


if __name__ == "__main__":
    harness.main()
