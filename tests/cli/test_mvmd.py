# SPDX-License-Identifier: Apache-2.0
"""mvmd without guests: who may ask, hostile clients, its life under a service manager, its audit log and numbers.
What it serves is in integration/test_service.py."""

import concurrent.futures
import contextlib
import errno
import fcntl
import grp
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

import harness

MVMD = os.path.join(os.path.dirname(harness.MVM), "mvmd")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=harness.PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Case(harness.TestCase):
    """Each test has an mvmd, at a Unix socket and a port."""

    options = "--tcp", "127.0.0.1:0"

    def setUp(self):
        super().setUp()
        self.mvmd = None
        self.start_mvmd(*self.options)

    def start_mvmd(self, *options, **kwargs):
        self.socket = self.path("mvmd.sock")
        self.log = self.path("log")
        with open(self.log, "w", encoding="ascii") as log:
            self.mvmd = subprocess.Popen([MVMD, "--data-dir", self.data_dir, "--socket", self.socket,
                                          "--no-pools", *options], stdin=subprocess.DEVNULL, stderr=log,
                                         env=self.environment(), **kwargs)
        self.addCleanup(self.end_mvmd)
        self.assertTrue(self.wait_for(lambda: "event=ready" in self.log_text() or self.mvmd.poll() is not None))

    def end_mvmd(self):
        """Returns the exit status."""
        if self.mvmd.poll() is None:
            self.mvmd.send_signal(signal.SIGTERM)
        return self.mvmd.wait(harness.PATIENCE_S)

    def wait_for(self, what):
        deadline = time.monotonic() + harness.PATIENCE_S
        while not what():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def log_text(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def port(self):
        """The port that mvmd listens at: the log says so."""
        return int(re.search(r"address=127\.0\.0\.1:(\d+)", self.log_text()).group(1))

    def ask(self, method="GET", target="/v1/operations", headers=(), body=None, connection=None):
        """Ask over TCP; returns status, headers and JSON or text."""
        c = connection or http.client.HTTPConnection("127.0.0.1", self.port(), timeout=harness.PATIENCE_S)
        try:
            with contextlib.suppress(BrokenPipeError): # it may answer before the whole body has come
                c.request(method, target, body, dict(headers))
            reply = c.getresponse()
            text = reply.read().decode()
            is_json = reply.headers.get("Content-Type") == "application/json"
            return reply.status, reply.headers, json.loads(text) if is_json else text
        finally:
            c.close()

    def local(self, method, target, headers=(), body=None):
        """Ask at the Unix socket."""
        return self.ask(method, target, headers, body, UnixConnection(self.socket))

    def token(self, name, *options):
        return {"Authorization": "Bearer " + self.mvm_ok("token", "add", name, *options).strip()}

    def raw(self, data, end=True):
        """Send bytes over TCP; returns what comes until mvmd hangs up."""
        with socket.create_connection(("127.0.0.1", self.port()), timeout=harness.PATIENCE_S) as s:
            s.sendall(data)
            got = b""
            try:
                if end:
                    s.shutdown(socket.SHUT_WR)
                while piece := s.recv(65536):
                    got += piece
            except OSError as error: # it hangs up at once
                if error.errno not in (errno.ECONNRESET, errno.ENOTCONN):
                    raise
            return got

    def audit(self, name="audit"):
        with open(os.path.join(self.data_dir, "logs", name + ".jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]


class Access(Case):
    def test_tcp_needs_a_token_of_the_scope(self):
        self.assertEqual(self.ask(target="/v1")[0], 200) # anybody may ask what this is
        status, headers, reply = self.ask()
        self.assertEqual((status, headers["WWW-Authenticate"], reply["error"]["code"]), (401, "Bearer", "unauthorized"))
        self.assertEqual(self.ask(headers={"Authorization": "Bearer mvm_" + "0" * 64})[0], 401)
        self.assertEqual(self.ask(headers={"Authorization": "Basic eDp5"})[0], 401)
        read = self.token("look", "--scope", "read")
        self.assertEqual(self.ask(headers=read)[0], 200)
        self.assertEqual(self.ask("DELETE", "/v1/instances/x", read)[0], 403)
        run = self.token("run")
        self.assertEqual(self.ask("DELETE", "/v1/instances/x", run)[0], 404)
        e2b = {"X-API-KEY": "e2b_" + run["Authorization"].split("_")[1]}
        self.assertEqual(self.ask(headers=e2b)[0], 200)
        self.mvm_ok("token", "rm", "run")
        self.assertEqual(self.ask(headers=run)[0], 401)
        short = self.token("short", "--expires", "1s")
        self.assertTrue(self.wait_for(lambda: self.ask(headers=short)[0] == 401))
        self.assertEqual(self.local("DELETE", "/v1/instances/x")[0], 404)

    def test_only_an_admin_names_ports_and_addresses_of_the_host(self):
        kind = {"Content-Type": "application/json"}
        tokens = {scope: self.token(scope, "--scope", scope) for scope in ("exec", "admin")}
        for scope, ports, wanted in (("exec", ["8080:80"], 403), ("exec", ["0.0.0.0:0:80"], 403),
                                     ("exec", ["0:80", "[::]:0:80/udp"], 403), ("exec", ["127.0.0.2:22:80"], 403),
                                     ("exec", ["0:80", "[::1]:0:80", "127.0.0.2:0:80/udp"], 404),
                                     ("admin", ["8080:80", "0.0.0.0:0:80"], 404)): # there is no such template
            body = json.dumps({"template": "none", "ports": ports}).encode()
            self.assertEqual(self.ask("POST", "/v1/instances", {**tokens[scope], **kind}, body)[0], wanted, (scope, ports))
        body = json.dumps({"template": "none", "ports": ["8080:80"]}).encode()
        self.assertEqual(self.local("POST", "/v1/instances", kind, body)[0], 404)

    def test_a_token_has_its_rate(self):
        fast = self.token("fast", "--max-rate", "2")
        head = f"GET /v1/instances HTTP/1.1\r\nHost: localhost\r\nAuthorization: {fast['Authorization']}\r\n"
        # at once: one by one, a busy host asks twice a second
        answers = self.raw((20 * (head + "\r\n") + head + "Connection: close\r\n\r\n").encode(), end=False)
        self.assertEqual(set(re.findall(rb"HTTP/1.1 (\d+)", answers)), {b"200", b"429"})
        self.assertIn(b"Retry-After: 1\r\n", answers)
        self.assertIn(b'"limit_reached"', answers)
        self.assertTrue(self.wait_for(lambda: self.ask(headers=fast)[0] == 200))

    def test_pages_of_other_sites_are_refused(self):
        token = self.token("t")
        port = self.port()
        for host, ok in (("localhost", True), ("LOCALHOST:1", True), ("vm.localhost", True), ("127.0.0.1", True),
                         ("[::1]:80", True), ("evil.example", False), ("localhost.evil.example", False),
                         ("127.0.0.1.evil.example", False), ("evillocalhost", False), ("", False),
                         ("localhost:x", False), ("[::1", False), ("8080-../x.localhost", False)):
            self.assertEqual(self.ask(headers={**token, "Host": host})[0], 200 if ok else 403, host)
        no_vm = self.ask(headers={**token, "Host": "8080-vm.localhost"}) # a port of an instance
        self.assertEqual(no_vm[0], 404)
        for origin, ok in ((f"http://127.0.0.1:{port}", True), ("http://evil.example", False), ("null", False),
                           (f"http://127.0.0.1:{port}.evil.example", False), (f"http://localhost:{port}", False)):
            self.assertEqual(self.ask(headers={**token, "Origin": origin})[0], 200 if ok else 403, origin)
        # a form of another page can post this type without asking first
        status, _, reply = self.ask("POST", "/v1/instances", {**token, "Content-Type": "text/plain"}, b"{}")
        self.assertEqual((status, reply["error"]["code"]), (415, "unsupported_media_type"))

    @unittest.skipUnless(os.geteuid() == 0, "only root can be another user")
    def test_another_user_is_refused_at_the_unix_socket(self):
        os.chmod(self.path(), 0o711)
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o600)
        os.chmod(self.socket, 0o666)
        self.assertIn("403 Forbidden", self.ask_as())

    def ask_as(self, group=65534, groups=()):
        """The head of the answer that the user nobody gets, or why there is none."""
        ask = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);" \
              "s.sendall(b'GET /v1/operations HTTP/1.0\\r\\n\\r\\n'); print(s.recv(99).decode())"
        done = subprocess.run([shutil.which("python3", path="/usr/bin:/bin"), "-c", ask, self.socket], user=65534,
                              group=group, extra_groups=groups, capture_output=True, text=True, check=False, cwd="/")
        return done.stdout + done.stderr

    @unittest.skipUnless(os.geteuid() == 0, "only root can be another user")
    def test_a_groups_members_may_use_the_unix_socket(self):
        group = grp.getgrnam("games")
        os.chmod(self.path(), 0o711)
        self.end_mvmd()
        self.start_mvmd("--group", group.gr_name)
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o660)
        self.assertIn("200 OK", self.ask_as(group.gr_gid))
        self.assertIn("200 OK", self.ask_as(groups=[1, group.gr_gid]))
        self.assertIn("PermissionError", self.ask_as(groups=[1]))
        os.chmod(self.socket, 0o666) # mvmd looks, too
        self.assertIn("403 Forbidden", self.ask_as(groups=[1]))
        self.assertIn("403 Forbidden", self.ask_as())

    def test_a_group_that_is_missing_is_an_error(self):
        done = subprocess.run([MVMD, "--data-dir", self.data_dir, "--group", "no-such-group"], text=True,
                              capture_output=True, check=False, timeout=self.timeout)
        self.assertEqual((done.returncode, done.stderr.splitlines()[0]),
                         (2, "mvmd: 'no-such-group' is no group of this host"))


class Hostile(Case):
    def status(self, data, **kwargs):
        got = self.raw(data, **kwargs)
        return int(got.split()[1]) if got.startswith(b"HTTP/") else None

    def test_large_heads_and_odd_requests(self):
        head = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n"
        for target, more, wanted in (
                (b"/v1", b"", {200}), (b"/" + b"a" * 100_000, b"", {414, 431, None}),
                (b"/v1", b"X: " + b"a" * 100_000 + b"\r\n", {431, None}),
                (b"/v1", b"".join(b"X%d: a\r\n" % i for i in range(5000)), {431, None}),
                (b"/v1?" + b"a&" * 40, b"", {400}), (b"/v1?%zz", b"", {400}), (b"/v1?a=%00", b"", {400}),
                (b"//v1", b"", {404}), (b"/v1/", b"", {404}), (b"/v1/./operations", b"", {401, 404}),
                (b"/v1/instances/../operations", b"", {401, 404}), (b"/%2e%2e/%2e%2e/etc/passwd", b"", {404}),
                (b"http://localhost/v1", b"", {400, 404}), (b"*", b"", {400, 404}), (b"/v1%00", b"", {400, 404}),
                (b"/v1", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", {400})):
            self.assertIn(self.status(head % (target, more)), wanted, (target[:60], more[:60]))
        for data in b"\0" * 1000, b"\r\n" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET\r\n\r\n":
            self.assertNotIn(self.status(data), (200, 500), data[:20])
        self.assertEqual(self.local("GET", "/v1")[0], 200)

    def test_no_name_leads_to_a_file_of_the_host(self):
        """The logs of an instance, and the documents of a template and a sandbox, are files by their names."""
        secret = self.token("all", "--scope", "admin")["Authorization"]
        for folder in self.folder, os.path.join(self.data_dir, "logs"):
            os.makedirs(folder, exist_ok=True)
            for name in "secret", "secret.log", "secret.json":
                with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                    file.write("a secret of the host")
        for name in "..%2fsecret", "..%2flogs%2fsecret", "%2e%2e", "..", ".", "%2e%2e%2f%2e%2e%2fsecret", "secret", \
                "%2fetc%2fpasswd", "..%5csecret":
            for target in f"/v1/instances/{name}/logs?console=true", f"/v1/instances/{name}/logs", f"/v1/instances/{name}", \
                    f"/v1/templates/{name}", f"/sandboxes/{name}", f"/console/{name}", f"/v1/volumes/{name}":
                got = self.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                               f"Authorization: {secret}\r\n\r\n".encode(), end=False)
                self.assertIn(got.split()[1], (b"400", b"404"), (target, got))
                self.assertNotIn(b"secret of the host", got, target)

    def test_a_head_that_can_be_read_in_two_ways_is_refused(self):
        """A proxy in front might read it in the other way."""
        head = b"POST /v1/instances HTTP/1.1\r\n%s\r\n{}GET /v1 HTTP/1.1\r\nHost: localhost\r\n" \
               b"Connection: close\r\n\r\n"
        one = b"Host: localhost\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
        self.assertEqual(self.raw(head % one, end=False).count(b"HTTP/1.1 "), 2)
        for more in (b"Content-Length: 42", b"Content-Length: 2", b"Host: evil.example", b"Transfer-Encoding : chunked",
                     b"Transfer-Encoding: chunked", b"X\0: a", b"X\x0b: a", b"X: a\rY: b",
                     b"Authorization: a\r\nAuthorization: b", b"Content-Length:\r\n 42", b"Origin: http://evil\r\n .example",
                     b"Transfer-Encoding:\r\n\tchunked", b"Host: evil\r\n .example",
                     b"Origin: http://localhost\r\nOrigin: http://evil.example"):
            got = self.raw(head % (one + more + b"\r\n"), end=False)
            self.assertEqual((got[:12], got.count(b"HTTP/1.1 ")), (b"HTTP/1.1 400", 1), (more, got))
        # a body in an encoding that is not known has no end
        body = b"%s HTTP/1.%d\r\nHost: localhost\r\n%s\r\n2\r\n{}\r\n0\r\n\r\n"
        for line, minor, more in ((b"PUT /v1", 1, b"Transfer-Encoding: gzip\r\n"),
                                  (b"PUT /v1", 1, b"Transfer-Encoding: chunked, gzip\r\n"),
                                  (b"PUT /v1", 1, b"Transfer-Encoding: \x0bchunked\r\n"),
                                  (b"PUT /v1", 0, b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n"),
                                  (b"P\x01T /v1", 1, b""), (b"PUT /v1\rX", 1, b""), (b"PUT /v1?a=\x7f", 1, b"")):
            got = self.raw(body % (line, minor, more), end=False)
            self.assertEqual((got[9:12], got.count(b"HTTP/1.")), (b"400", 1), (line, more, got))

    def test_bodies_are_bounded_and_read_strictly(self):
        kind = {"Content-Type": "application/json"}
        for body, wanted in ((b'{"template":' + b"[" * 100 + b"]" * 100 + b"}", 400), (b'{"a":1,"a":2}', 400),
                             (b"[]", 400), (b"{", 400), (b'{"template":"\\u0000"}', 400), (b"\xff\xfe", 400),
                             (b'{"template":"x","nosuch":1}', 400)):
            self.assertEqual(self.local("POST", "/v1/instances", kind, body)[0], wanted, body[:40])
        for call, body in ("mkdir", b'{"path":""}'), ("move", b'{"from":"","to":"/x"}'), ("move", b'{"from":"/x","to":""}'):
            said = self.local("POST", "/v1/instances/x/files/" + call, kind, body)
            self.assertEqual((said[0], "expected a path" in said[2]["error"]["message"]), (400, True), body)
        deep = self.local("POST", "/v1/instances", kind, b'{"template":' + b"[" * 100 + b"]" * 100 + b"}")[2]
        self.assertIn("nested deeper than 64 levels", deep["error"]["message"])
        # one that is announced as too long is not read, and one that does not say how long it is ends
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(harness.PATIENCE_S)
            s.connect(self.socket)
            s.sendall(b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 2000000\r\n\r\n")
            self.assertIn(b" 413 ", s.recv(4096))
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(harness.PATIENCE_S)
            s.connect(self.socket)
            s.sendall(b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n")
            try:
                for _ in range(200):
                    s.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
                s.sendall(b"0\r\n\r\n")
            except OSError:
                pass
            try:
                self.assertIn(b" 413 ", s.recv(4096))
            except ConnectionResetError:
                pass
        self.assertEqual(self.local("GET", "/v1")[0], 200)


class Slow(Case):
    options = "--tcp", "127.0.0.1:0", "--client-timeout", "2s"

    def test_slow_clients_are_cut_off_and_idle_ones_cost_little(self):
        with open(f"/proc/{self.mvmd.pid}/status", encoding="ascii") as file:
            before = int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))
        slow = [socket.create_connection(("127.0.0.1", self.port()), timeout=harness.PATIENCE_S) for _ in range(200)]
        begun = time.monotonic()
        body = socket.socket(socket.AF_UNIX)
        body.settimeout(harness.PATIENCE_S)
        body.connect(self.socket)
        body.sendall(b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 10\r\n\r\n{")
        gone = None
        while gone is None and time.monotonic() - begun < harness.PATIENCE_S:
            try:
                for s in slow:
                    s.send(b"G" if slow.index(s) == 0 else b"")
                time.sleep(0.05)
                slow[0].setblocking(False)
                gone = slow[0].recv(10)
            except BlockingIOError:
                pass
            except OSError:
                gone = b""
        self.assertIsNotNone(gone)
        with open(f"/proc/{self.mvmd.pid}/status", encoding="ascii") as file:
            after = int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))
        self.assertLess(after - before, 200 * 40) # KiB
        self.assertEqual(body.recv(100), b"") # half a body
        for s in [*slow, body]:
            s.close()

        def answers():
            try:
                return self.local("GET", "/v1")[0] == 200
            except (OSError, http.client.HTTPException):
                return False # this client was slow as well
        self.assertTrue(self.wait_for(answers))

    def test_the_body_of_an_upload_that_has_failed_has_its_time(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(harness.PATIENCE_S)
            s.connect(self.socket)
            s.sendall(b"PUT /v1/instances/none/files?path=/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\nx")
            self.assertEqual(s.recv(100), b"") # the rest does not come


class Life(Case):
    def await_half(self):
        """Wait until mvmd has begun a request, besides the one for its numbers."""
        self.assertTrue(self.wait_for(lambda: "\nmvmd_requests_open 2\n" in self.local("GET", "/metrics")[2]))

    def test_a_request_under_way_may_end_and_new_clients_are_refused(self):
        half = socket.socket(socket.AF_UNIX)
        half.settimeout(harness.PATIENCE_S)
        half.connect(self.socket)
        half.sendall(b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 2\r\n\r\n")
        self.await_half()
        self.mvmd.send_signal(signal.SIGTERM)
        self.assertTrue(self.wait_for(lambda: not os.path.exists(self.socket)))
        self.assertIsNone(self.mvmd.poll())
        half.sendall(b"{}")
        answer = half.recv(4096)
        self.assertIn(b" 400 ", answer)
        self.assertIn(b"Connection: close", answer)
        self.assertEqual(self.end_mvmd(), 0)
        half.close()

    def test_a_second_signal_or_the_grace_ends_it(self):
        for options, signals in ((), 2), (("--grace", "100ms"), 1):
            self.end_mvmd()
            self.start_mvmd(*options)
            with socket.socket(socket.AF_UNIX) as half:
                half.connect(self.socket)
                half.sendall(b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
                self.await_half()
                for _ in range(signals):
                    self.mvmd.send_signal(signal.SIGTERM)
                    time.sleep(0.05)
                self.assertEqual(self.mvmd.wait(harness.PATIENCE_S), 0)

    def test_what_waits_for_a_lock_ends_with_its_client_and_with_mvmd(self):
        self.end_mvmd()
        self.start_mvmd("--grace", "100ms")
        self.mvm_ok("template", "create", "web", "--flake", "dir:root", "--", "/bin/x")
        works = lambda: 'mvmd_work_running{class="start"} 1' in self.local("GET", "/metrics")[2]
        with open(os.path.join(self.data_dir, "locks", "template.web"), "r", encoding="ascii") as lock, \
                socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for client in first, second:
                client.connect(self.socket)
                client.sendall(b"DELETE /v1/templates/web HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertTrue(self.wait_for(works))
                if client == first:
                    client.close()
                    self.assertTrue(self.wait_for(lambda: not works()))
            self.assertEqual(self.end_mvmd(), 0)
        self.assertEqual([t["template_id"] for t in self.mvm_json("template", "list")], ["web"])

    def test_under_a_service_manager(self):
        self.end_mvmd()
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.settimeout(harness.PATIENCE_S)
        notify.bind(self.path("notify"))
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path("given.sock"))
        listening.listen()
        script = f'exec 3<&{listening.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        env = {**self.environment(), "NOTIFY_SOCKET": self.path("notify"), "WATCHDOG_USEC": "300000"}
        process = subprocess.Popen(["bash", "-c", script, "-", MVMD, "--data-dir", self.data_dir, "--no-pools"],
                                   pass_fds=[listening.fileno()], env=env, stderr=subprocess.DEVNULL)
        try:
            self.assertEqual(notify.recv(100), b"READY=1")
            self.assertEqual([notify.recv(100) for _ in range(3)], [b"WATCHDOG=1"] * 3)
            self.assertEqual(self.ask(target="/v1", connection=UnixConnection(self.path("given.sock")))[0], 200)
            with open(f"/proc/{process.pid}/environ", "rb") as file:
                self.assertIn(b"LISTEN_PID", file.read()) # it had them
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(harness.PATIENCE_S), 0)
            news = []
            while not news or news[-1] != b"STOPPING=1":
                news.append(notify.recv(100))
            self.assertTrue(os.path.exists(self.path("given.sock"))) # the manager's
        finally:
            process.kill()
            process.wait()
            notify.close()
            listening.close()

    def test_a_kill_leaves_a_socket_that_the_next_one_replaces(self):
        self.mvmd.kill()
        self.mvmd.wait()
        self.assertTrue(os.path.exists(self.socket))
        self.start_mvmd()
        self.assertEqual(self.local("GET", "/v1")[0], 200)

    def test_a_child_of_a_killed_one_does_not_keep_the_address(self):
        self.end_mvmd()
        hold = "import os,socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();" \
               "os.fork() and os._exit(0); print(flush=True); sys.stdin.read()"
        with subprocess.Popen(["python3", "-c", hold, self.socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            child.wait()
            self.start_mvmd()
            self.assertEqual(self.local("GET", "/v1")[0], 200)
        # but one that lives does, and what is no socket is nobody's to remove
        other = self.path("file")
        with open(other, "w", encoding="ascii") as file:
            file.write("mine")
        for path, why in (self.socket, "another process serves"), (other, "is no socket"):
            done = subprocess.run([MVMD, "--data-dir", self.data_dir, "--no-pools", "--socket", path], text=True,
                                  capture_output=True, check=False, timeout=harness.PATIENCE_S)
            self.assertEqual(done.returncode, 1)
            self.assertIn(why, done.stderr)
        with open(other, encoding="ascii") as file:
            self.assertEqual(file.read(), "mine")


class Records(Case):
    def test_the_audit_log_has_changes_and_refusals(self):
        self.ask(target="/v1/operations?secret=1")
        token = self.token("bot")
        self.ask(headers=token)
        self.ask("DELETE", "/v1/instances/web-1?force=true&secret=1", token)
        self.local("DELETE", "/v1/instances/web-2")
        lines = self.audit("audit-unknown") + self.audit()
        self.assertEqual([(x["method"], x["path"], x["status"], x.get("client"), x.get("from"), x.get("instance"))
                          for x in lines],
                         [("GET", "/v1/operations", 401, None, "127.0.0.1", None),
                          ("DELETE", "/v1/instances/web-1", 404, "token:bot", "127.0.0.1", "web-1"),
                          ("DELETE", "/v1/instances/web-2", 404, f"uid:{os.geteuid()}", None, "web-2")])
        self.assertEqual([x["code"] for x in lines], ["unauthorized", "not_found", "not_found"])
        path = os.path.join(self.data_dir, "logs", "audit.jsonl")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        # what goes on after its answer has a line for its end
        status, headers, _ = self.local("POST", "/v1/instances", {"Prefer": "respond-async",
                                        "Content-Type": "application/json"}, b'{"template":"nosuch"}')
        self.assertEqual(status, 202)
        self.assertTrue(self.wait_for(lambda: len(self.audit()) == 4))
        self.assertEqual([(x["status"], x.get("code"), x["operation"]) for x in self.audit()[2:]],
                         [(202, None, headers["Location"]), (404, "not_found", headers["Location"])])
        # a full file becomes the old one
        self.end_mvmd()
        os.truncate(path, 16 << 20)
        self.start_mvmd()
        self.local("DELETE", "/v1/instances/web-3")
        self.assertEqual([x["instance"] for x in self.audit()], ["web-3"])
        self.assertEqual(os.stat(path + ".1").st_size, 16 << 20)

    def test_who_has_no_token_removes_no_line_of_the_audit_log(self):
        self.end_mvmd()
        path = os.path.join(self.data_dir, "logs", "audit.jsonl")
        os.truncate(path, 16 << 20)
        self.start_mvmd(*self.options)
        for headers in {}, {"Authorization": "Bearer mvm_" + "0" * 64}, {"Host": "evil.example"}, {"Transfer-Encoding": "x"}:
            self.assertIn(self.ask("DELETE", "/v1/instances/x", headers)[0], (400, 401, 403))
        self.assertFalse(os.path.exists(path + ".1"))
        self.assertEqual([x["status"] for x in self.audit("audit-unknown")], [401, 401, 403, 400])

    def test_the_numbers_may_be_asked_for_by_many(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: self.local("GET", "/metrics")[0], range(400)))
        self.assertEqual(set(answers), {200})

    def test_the_numbers_have_prometheus_format(self):
        self.ask()
        status, headers, text = self.local("GET", "/metrics")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        sample = re.compile(r'^([a-z_:]+)(\{([a-z_]+="(\\.|[^"\\])*",?)*\})? ([0-9.e+-]+)$')
        heads, values = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split()[2:]
                self.assertNotIn(name, heads)
                heads[name] = kind
            elif not line.startswith("# HELP "):
                found = sample.match(line)
                self.assertIsNotNone(found, line)
                base = re.sub(r"_(bucket|sum|count)$", "", found[1])
                self.assertTrue(found[1] in heads or heads.get(base) == "histogram", line)
                values[line.rsplit(" ", 1)[0]] = float(found[5])
        self.assertEqual(len(values), len([x for x in text.splitlines() if not x.startswith("#")]))
        self.assertEqual(values['mvmd_refused_total{why="token"}'], 1)
        self.assertEqual(values['mvmd_requests_total{status="4xx"}'], 1)
        self.assertGreater(values["mvm_host_memory_bytes"], 1 << 20)
        self.assertEqual(values['mvmd_request_seconds_bucket{le="+Inf"}'], values["mvmd_request_seconds_count"])
        for name in 'mvm_starts_total{kind="restore"}', 'mvm_instances{state="running"}', "process_open_fds":
            self.assertIn(name, values)
        self.assertEqual(self.ask(target="/metrics")[0], 401)
        if shutil.which("promtool"):
            subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=True)


if __name__ == "__main__":
    harness.main()
