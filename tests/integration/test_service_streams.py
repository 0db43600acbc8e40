# SPDX-License-Identifier: Apache-2.0
"""mvmd's streams: commands, files, logs, events and ports of one guest."""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import socket
import struct
import subprocess
import tarfile
import threading
import time
import urllib.parse

import guests
import harness
import service

NAME = "one"

# a server of one answer, good or bad
SERVER = """#!/bin/busybox sh
read line
case "$line" in
*chunks*) printf 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\nSet-Cookie: a=b\\r\\nNEL: {}\\r\\nClear-Site-Data: *\\r\\nX-A: b\\r\\n\\r\\n3\\r\\nabc\\r\\n2\\r\\nde\\r\\n0\\r\\n\\r\\n';;
*endless*) printf 'HTTP/1.1 200 OK\\r\\n'; busybox yes 'A: b';;
*lengths*) printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nContent-Length: 6\\r\\n\\r\\nabcdef';;
*short*) printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 50\\r\\n\\r\\nabc';;
*nothing*) ;;
*interim*) while echo 'HTTP/1.1 100 Continue' && echo; do :; done;;
*switch*) while read h && [ "$h" != "$(printf '\\r')" ]; do :; done
  printf 'HTTP/1.1 101 Switching Protocols\\r\\nConnection: upgrade\\r\\nUpgrade: echo\\r\\n\\r\\nhello\\n'; busybox cat;;
*) n=0
  while read h && [ "$h" != "$(printf '\\r')" ]; do echo "$h" >>/tmp/head.$$
    case "$h" in Content-Length*) n=$(echo "$h" | busybox tr -dc 0-9);; esac; done
  busybox head -c "$n" >/tmp/body.$$
  printf 'HTTP/1.1 200 OK\\r\\nX-Line: %s\\r\\nConnection: close\\r\\n\\r\\n' "$(echo "$line" | busybox tr -d '\\r')"
  cat /tmp/head.$$; busybox md5sum </tmp/body.$$;;
esac
"""


class WebSocket:
    """A client of RFC 6455, over mvmd's Unix socket."""

    def __init__(self, mvmd, target, protocol=None, headers=()):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(harness.PATIENCE_S)
        self.sock.connect(mvmd.socket)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
                 *(f"{name}: {value}" for name, value in headers)]
        if protocol:
            lines.append(f"Sec-WebSocket-Protocol: other, {protocol}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self.file = self.sock.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = http.client.parse_headers(self.file)
        if self.status == 101:
            digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            assert self.headers["Sec-WebSocket-Accept"] == base64.b64encode(digest).decode()

    def send(self, data, opcode=None, fin=True):
        if opcode is None:
            opcode = 2 if isinstance(data, bytes) else 1
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        length = len(data)
        size = (struct.pack("!B", 0x80 | length) if length < 126 else
                struct.pack("!BH", 0x80 | 126, length) if length < 65536 else
                struct.pack("!BQ", 0x80 | 127, length))
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i & 3] for i, b in enumerate(data))
        self.sock.sendall(bytes([(0x80 if fin else 0) | opcode]) + size + mask + masked)

    def receive(self):
        """(opcode, payload) of the next message."""
        head = self.file.read(2)
        length = head[1]
        if length >= 126:
            length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
        return head[0] & 15, self.file.read(length)

    def run(self):
        """All output by channel, and the events, to the end."""
        out, events = {1: b"", 2: b""}, []
        while True:
            opcode, data = self.receive()
            if opcode == 8:
                return out, events, struct.unpack("!H", data[:2])[0]
            if opcode == 1:
                events.append(json.loads(data))
            elif opcode == 2:
                out[data[0]] += data[1:]

    def close(self):
        self.file.close()
        self.sock.close()


@harness.needs_guests
class Streams(service.TestCase):
    """One instance for all tests."""

    config = guests.CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        reply = cls.mvmd.request("POST", "/v1/instances", {"template": "web-worker", "name": NAME})
        assert reply.status == 201, reply.body
        cls.addClassCleanup(cls.remove)
        put = cls.mvmd.request("PUT", f"/v1/instances/{NAME}/files?path=/tmp/server&mode=0755", SERVER.encode())
        assert put.status == 200, put.body
        run = cls.mvmd.request("POST", f"/v1/instances/{NAME}/exec", {"command": [
            "/bin/busybox", "sh", "-c",
            "busybox nc -ll -p 9000 -e /tmp/server >/dev/null 2>&1 & "
            "for i in 1 2 3 4 5 6 7 8 9; do busybox netstat -ltn | busybox grep -q :9000 && exit; sleep 0.2; done"]})
        assert run.json["metadata"]["status"] == 0, run.body

    @classmethod
    def remove(cls):
        subprocess.run([harness.MVM, "--data-dir", cls.shared_data, "rm", "--force", NAME], check=True, timeout=300,
                       stdout=subprocess.DEVNULL)

    def leave_no_instance(self):
        pass

    def at(self, path):
        return f"/v1/instances/{NAME}/{path}"

    @contextlib.contextmanager
    def opened(self, method, target, body=None, headers=()):
        """A reply that is read as it comes."""
        connection = self.mvmd.connect()
        headers = dict(headers)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection.request(method, target, body, headers)
        try:
            with connection.getresponse() as reply:
                yield reply
        finally:
            connection.close()

    def shell(self, script, **more):
        return self.ok("POST", self.at("exec"), {"command": ["/bin/busybox", "sh", "-c", script], **more})

    def test_a_command_gives_status_and_output(self):
        done = self.shell("echo out; echo err >&2; exit 3")
        self.assertEqual((done["stdout"], done["stderr"], done["status"], done["signal"]),
                         ("out\n", "err\n", 3, 0))
        done = self.shell("cat; echo $A; pwd; kill -9 $$", stdin="in\n", env={"A": "b"}, workdir="/tmp")
        self.assertEqual((done["stdout"], done["status"], done["signal"]), ("in\nb\n/tmp\n", 137, 9))
        self.fails(404, "not_found", "POST", self.at("exec"), {"command": ["/no/such"]})
        self.fails(404, "not_found", "POST", "/v1/instances/none/exec", {"command": ["x"]})
        self.fails(400, "invalid", "POST", self.at("exec"), {"command": []})
        self.fails(504, "timeout", "POST", self.at("exec"),
                   {"command": ["/bin/busybox", "sleep", "100"], "timeout_ms": 300})
        raw = self.ok("POST", self.at("exec?encoding=base64"),
                      {"command": ["/bin/busybox", "printf", "\\377\\0"]})
        self.assertEqual(base64.b64decode(raw["stdout"]), b"\xff\0")

    def test_a_stream_has_the_output_as_it_comes(self):
        with self.opened("POST", self.at("exec?stream=true"), {"command": [
                "/bin/busybox", "sh", "-c", "printf 'a\\303'; sleep 0.3; printf '\\244\\377'; exit 7"]}) as reply:
            events = [json.loads(line) for line in reply]
        self.assertEqual(events[0]["event"], "started")
        self.assertEqual("".join(e["data"] for e in events if e["event"] == "stdout"), "a\u00e4\ufffd")
        self.assertEqual(events[-1], {"event": "exited", "status": 7, "signal": 0})

    def test_a_slow_reader_stops_the_command_and_loses_nothing(self):
        script = "busybox yes 0123456789 | busybox head -n 200000"
        with self.opened("POST", self.at("exec?stream=true"),
                         {"command": ["/bin/busybox", "sh", "-c", script + "; touch /tmp/written"]}) as reply:
            first = reply.readline()
            time.sleep(1)
            self.assertEqual(self.shell("ls /tmp/written")["status"], 1)
            events = [json.loads(first), *(json.loads(line) for line in reply)]
        self.assertEqual("".join(e.get("data", "") for e in events), "0123456789\n" * 200000)

    def test_a_client_that_goes_away_ends_its_command_unless_it_is_kept(self):
        for keep in False, True:
            with self.opened("POST", self.at("exec?stream=true"), {
                    "command": ["/bin/busybox", "sleep", f"{1000 + keep}"], "keep": keep}) as reply:
                pid = json.loads(reply.readline())["pid"]
            count = f"ps | grep -c '[s]leep {1000 + keep}'"
            self.assertTrue(guests.wait_until(lambda: self.shell(count)["stdout"] == f"{int(keep)}\n"), keep)
        self.assertIn({"pid": pid}, self.ok("GET", self.at("execs")))
        self.ok("POST", self.at(f"execs/{pid}/signal"), {"signal": "KILL"})
        self.assertTrue(guests.wait_until(lambda: self.ok("GET", self.at("execs")) == []))

    def test_the_status_of_a_kept_command_outlives_mvmd(self):
        script = "until [ -e /tmp/go ]; do busybox sleep 0.1; done; echo $$ > /tmp/went; exit 7"
        with self.opened("POST", self.at("exec?stream=true"), {
                "command": ["/bin/busybox", "sh", "-c", script], "keep": True}) as reply:
            pid = json.loads(reply.readline())["pid"]
        self.mvmd.process.kill()
        self.mvmd.process.communicate()
        self.exec(NAME, "busybox", "sh", "-c", f"touch /tmp/go; while kill -0 {pid}; do busybox sleep 0.1; done")
        type(self).mvmd = self.start_mvmd()
        events = [json.loads(line) for line in self.request("GET", self.at(f"execs/{pid}")).body.splitlines()]
        self.assertEqual(events[-1], {"event": "exited", "status": 7, "signal": 0})
        self.assertNotIn({"pid": pid}, self.ok("GET", self.at("execs")))

    def test_input_of_a_command_that_has_ended_is_refused(self):
        with self.opened("POST", self.at("exec?stream=true"), {
                "command": ["/bin/busybox", "sh", "-c", "busybox sleep 1000 & exit 7"], "keep": True}) as reply:
            pid = json.loads(reply.readline())["pid"]
        self.assertTrue(guests.wait_until(lambda: {"pid": pid} not in self.ok("GET", self.at("execs"))))
        for path, body in ("stdin", b"one\n"), ("stdin?end=false", b"one\n"), ("stdin", b""), ("signal", {"signal": "TERM"}):
            said = self.fails(409, "not_running", "POST", self.at(f"execs/{pid}/{path}"), body)
            self.assertEqual(said["message"], "the command has ended")

    def test_input_that_nobody_reads_is_refused(self):
        for script, ends in ("busybox cat; echo read; busybox sleep 1000", True), ("exec <&-; echo closed; busybox sleep 1000", False):
            with self.opened("POST", self.at("exec?stream=true"), {
                    "command": ["/bin/busybox", "sh", "-c", script], "keep": True}) as reply:
                pid = json.loads(reply.readline())["pid"]
                if ends:
                    self.ok("POST", self.at(f"execs/{pid}/stdin"), b"")
                reply.readline()
            for query in "", "?end=false":
                said = self.fails(409, "not_running", "POST", self.at(f"execs/{pid}/stdin{query}"), b"one\n")
                self.assertEqual(said["message"], "the command's input has ended")
            self.ok("POST", self.at(f"execs/{pid}/stdin"), b"") # it has ended, as asked for
            self.ok("POST", self.at(f"execs/{pid}/signal"), {"signal": "KILL"})

    def test_several_clients_follow_one_command_and_feed_it(self):
        for _ in range(30): # a client that leaves at once must not lose what it has sent
            self.follow_and_feed()
        self.fails(404, "not_found", "GET", self.at("execs/999999"))
        self.fails(404, "not_found", "POST", self.at("execs/999999/signal"), {"signal": "TERM"})

    def follow_and_feed(self):
        with self.opened("POST", self.at("exec?stream=true"), {
                "command": ["/bin/busybox", "cat"], "keep": True}) as first:
            pid = json.loads(first.readline())["pid"]
            with self.opened("GET", self.at(f"execs/{pid}")) as second:
                self.assertEqual(json.loads(second.readline())["pid"], pid)
                self.ok("POST", self.at(f"execs/{pid}/stdin?end=false"), b"one\n")
                for listener in first, second:
                    self.assertEqual(json.loads(listener.readline())["data"], "one\n")
                self.ok("POST", self.at(f"execs/{pid}/stdin"), b"two\n")
                for listener in first, second:
                    rest = [json.loads(line) for line in listener]
                    self.assertEqual("".join(e.get("data", "") for e in rest), "two\n")
                    self.assertEqual(rest[-1]["status"], 0)

    def test_a_terminal_by_websocket(self):
        ws = WebSocket(self.mvmd, self.at("exec?command=/bin/busybox&command=sh&tty=true&rows=24&columns=80"),
                       "mvm.exec.v1")
        self.assertEqual((ws.status, ws.headers["Sec-WebSocket-Protocol"]), (101, "mvm.exec.v1"))
        ws.send(b"stty size\n")
        seen = b""
        while b"24 80" not in seen:
            seen += ws.receive()[1]
        ws.send({"resize": {"rows": 30, "columns": 90}})
        ws.send(b"stty ", fin=False)
        ws.send(b"hello", opcode=9)
        ws.send(b"size; exit 5\n", opcode=0)
        with contextlib.closing(ws):
            out, events, code = ws.run()
        self.assertIn(b"30 90", out[1])
        self.assertEqual(events[-1], {"event": "exited", "status": 5, "signal": 0})
        self.assertEqual(code, 1000)

    def test_a_websocket_carries_much_both_ways(self):
        ws = WebSocket(self.mvmd, self.at("exec?command=/bin/busybox&command=cat"))
        block = os.urandom(200_000)
        with contextlib.closing(ws):
            def feed():
                for _ in range(10):
                    ws.send(block)
                ws.send({"stdin": "end"})
            feeder = threading.Thread(target=feed)
            feeder.start()
            out, events, code = ws.run()
            feeder.join()
        self.assertEqual((out[1] == block * 10, events[-1]["status"], code), (True, 0, 1000))

    def test_wrong_frames_close_a_websocket(self):
        target = self.at("exec?command=/bin/busybox&command=cat")
        for frame, code in ((b"\x82\x01x", 1002), (b"\xf2\x80\0\0\0\0", 1002), (b"\x82\xff" + b"\xff" * 12, 1002),
                            (b"\x82\xff" + struct.pack("!Q", 2 << 20) + b"\0" * 4, 1009),
                            (b"\x81\x81\0\0\0\0\xff", 1007)):
            ws = WebSocket(self.mvmd, target)
            ws.sock.sendall(frame)
            with contextlib.closing(ws):
                self.assertEqual(ws.run()[2], code, frame)
        self.assertEqual(WebSocket(self.mvmd, self.at("exec?command=/no/such")).run()[1][0]["error"]["code"],
                         "not_found")

    def files(self, what, path, **query):
        return self.at(f"files{what}?" + urllib.parse.urlencode({"path": path, **query}))

    def test_a_file_goes_in_and_comes_out(self):
        data = os.urandom(700_000)
        entry = self.ok("PUT", self.files("", "/tmp/new/deep/file", mode="0640"), data)
        self.assertEqual((entry["path"], entry["type"], entry["size"], entry["mode"], entry["owner"]),
                         ("/tmp/new/deep/file", "file", len(data), "0640", "root"))
        reply = self.request("GET", self.files("", "/tmp/new/deep/file"))
        self.assertEqual((reply.status, reply.headers["Content-Length"], reply.body == data), (200, "700000", True))
        for text, part, where in (("0-9", data[:10], "0-9"), ("699990-", data[-10:], "699990-699999"),
                                  ("-5", data[-5:], "699995-699999"), ("10-999999", data[10:], "10-699999")):
            reply = self.request("GET", self.files("", "/tmp/new/deep/file"), headers={"Range": f"bytes={text}"})
            self.assertEqual((reply.status, reply.body == part, reply.headers["Content-Range"]),
                             (206, True, f"bytes {where}/700000"))
        reply = self.request("GET", self.files("", "/tmp/new/deep/file"), headers={"Range": "bytes=700000-"})
        self.assertEqual((reply.status, reply.headers["Content-Range"]), (416, "bytes */700000"))
        self.assertIn(b"MemTotal", self.request("GET", self.files("", "/proc/meminfo")).body)
        self.fails(404, "not_found", "GET", self.files("", "/tmp/none"))
        self.fails(409, "is_folder", "GET", self.files("", "/tmp"))
        self.fails(409, "is_folder", "PUT", self.files("", "/tmp"), b"x")
        self.fails(400, "invalid", "GET", self.at("files"))

    def test_a_broken_upload_leaves_the_old_file(self):
        self.ok("PUT", self.files("", "/tmp/whole/file", mode="0600"), b"old")
        self.ok("PUT", self.files("", "/tmp/whole/file"), b"newer")
        connection = self.mvmd.connect()
        connection.putrequest("PUT", self.files("", "/tmp/whole/file"))
        connection.putheader("Content-Length", "10")
        connection.endheaders(b"newest")
        writes = lambda: "/tmp/whole" in self.shell("busybox ls -l /proc/[0-9]*/fd")["stdout"]
        self.assertTrue(guests.wait_until(writes))
        connection.close()
        self.assertTrue(guests.wait_until(lambda: not writes()))
        self.assertEqual(self.request("GET", self.files("", "/tmp/whole/file")).body, b"newer")
        listed = self.ok("GET", self.files("/list", "/tmp/whole"))
        self.assertEqual([(e["name"], e["mode"]) for e in listed], [("file", "0600")])
        self.shell("busybox ln -s file /tmp/whole/link")
        self.ok("PUT", self.files("", "/tmp/whole/link"), b"by link")
        self.assertEqual(self.request("GET", self.files("", "/tmp/whole/file")).body, b"by link")
        self.ok("DELETE", self.files("", "/tmp/whole"))

    def test_pages_of_names_that_look_the_same_have_an_end(self):
        self.shell(r"busybox mkdir -p /tmp/odd/a; cd /tmp/odd; for n in '\377' '\376' '%41' 'a/x' 'a b' 'a-b' 'a+b'; do "
                   'busybox touch "$(busybox printf "${n/\\%/%%}")"; done')
        whole = [e["path"] for e in self.ok("GET", self.files("/list", "/tmp/odd", depth=2))]
        got, page = [], {"next": ""}
        while "next" in page and len(got) < 20:
            page = self.request("GET", self.files("/list", "/tmp/odd", depth=2, limit=1, next=page["next"])).json
            got += [e["path"] for e in page["metadata"]]
        self.assertEqual((got, len(got)), (whole, 8))
        self.shell("cd /tmp/odd/a; busybox chown 1:2 . x; busybox chown 3:0 ../a-b")
        owners = {e["path"]: (e["owner"], e["group"]) for e in self.ok("GET", self.files("/list", "/tmp/odd", depth=2))}
        self.assertEqual([owners["/tmp/odd/" + name] for name in ("a", "a/x", "a b", "a+b", "a-b")],
                         [("1", "2"), ("1", "2"), ("root", "root"), ("root", "root"), ("3", "root")])
        self.ok("DELETE", self.files("", "/tmp/odd"))

    def test_folders_are_made_listed_moved_and_removed(self):
        self.ok("POST", self.at("files/mkdir"), {"path": "/tmp/box/inner"}, 201)
        self.fails(409, "exists", "POST", self.at("files/mkdir"), {"path": "/tmp/box"})
        for name in "a", "b", "c\u00e4":
            self.ok("PUT", self.files("", f"/tmp/box/{name}"), b"12345")
        self.shell("busybox ln -s a /tmp/box/z")
        listed = self.ok("GET", self.files("/list", "/tmp/box"))
        self.assertEqual([e["name"] for e in listed], ["a", "b", "c\u00e4", "inner", "z"])
        self.assertEqual((listed[4]["target"], listed[3]["type"]), ("/tmp/box/a", "folder"))
        page = self.request("GET", self.files("/list", "/tmp/box", limit=2)).json
        self.assertEqual(([e["name"] for e in page["metadata"]], page["next"]), (["a", "b"], "/tmp/box/b"))
        rest = self.request("GET", self.files("/list", "/tmp/box", next=page["next"])).json
        self.assertEqual(([e["name"] for e in rest["metadata"]], "next" in rest), (["c\u00e4", "inner", "z"], False))
        self.ok("DELETE", self.files("", "/tmp/box/b")) # the page before ended with it
        again = self.ok("GET", self.files("/list", "/tmp/box", next=page["next"]))
        self.assertEqual([e["name"] for e in again], ["c\u00e4", "inner", "z"])
        moved = self.ok("POST", self.at("files/move"), {"from": "/tmp/box/a", "to": "/tmp/box/n/a"})
        self.assertEqual(moved["path"], "/tmp/box/n/a")
        self.assertEqual(self.ok("GET", self.files("/stat", "/tmp/box/n/a"))["size"], 5)
        self.ok("DELETE", self.files("", "/tmp/box"))
        self.fails(404, "not_found", "GET", self.files("/stat", "/tmp/box"))
        self.fails(404, "not_found", "GET", self.files("/list", "/tmp/box"))

    def test_a_path_that_leads_nowhere_is_no_failure_of_the_server(self):
        self.shell("busybox ln -s circle /tmp/circle; busybox mkfifo /tmp/fifo")
        self.fails(400, "invalid", "GET", self.files("", "/tmp/circle"))
        self.fails(400, "invalid", "PUT", self.files("", "/tmp/circle"), b"x")
        self.fails(400, "invalid", "GET", self.files("/list", "/tmp/circle/x"))
        self.fails(422, "not_supported", "PUT", self.files("", "/tmp/fifo"), b"x") # nobody reads it

    def test_a_tar_goes_in_and_comes_out(self):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as out:
            for name, data in ("x/1", b"one"), ("x/2", b"two"):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))
        self.ok("PUT", self.at("tar?path=/tmp/tree"), tar.getvalue())
        reply = self.request("GET", self.at("tar?path=/tmp/tree/x"))
        self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, "application/x-tar"))
        with tarfile.open(fileobj=io.BytesIO(reply.body)) as back:
            self.assertEqual(sorted(back.getnames()), ["x", "x/1", "x/2"])
            self.assertEqual(back.extractfile("x/2").read(), b"two")
        self.fails(404, "not_found", "GET", self.at("tar?path=/tmp/none"))
        self.fails(400, "invalid", "PUT", self.at("tar?path=/tmp/tree"), b"no tar" * 1000)

    def test_a_watch_tells_changes(self):
        self.ok("POST", self.at("files/mkdir"), {"path": "/tmp/watched"}, 201)
        with self.opened("GET", self.files("/watch", "/tmp/watched", recursive="true")) as reply:
            self.assertEqual(json.loads(reply.readline())["event"], "ready")
            self.ok("PUT", self.files("", "/tmp/watched/sub/f"), b"x")
            seen = set()
            while ("create", "sub/f") not in seen:
                event = json.loads(reply.readline())
                seen.add((event["event"], event["name"]))
            self.assertIn(("create", "sub"), seen)
        self.fails(404, "not_found", "GET", self.files("/watch", "/tmp/none"))

    def test_a_flood_of_changes_waits_for_a_slow_reader(self):
        last, names = {"event": "create", "name": "last"}, {"x" * 200 + str(n) for n in range(1, 3001)}
        self.ok("POST", self.at("files/mkdir"), {"path": "/tmp/flood"}, 201)
        with self.opened("GET", self.files("/watch", "/tmp/flood")) as reply:
            self.assertEqual(json.loads(reply.readline())["event"], "ready")
            # more than fits between the guest's kernel, which keeps 16384 changes, and the reader
            self.shell(f"cd /tmp/flood; busybox seq 3000 | busybox sed s/^/{'x' * 200}/ | busybox xargs busybox touch; "
                       ": > last")
            events = list(iter(lambda: json.loads(reply.readline()), last))
        self.assertEqual({e["name"] for e in events if e["event"] == "create"}, names)
        self.assertEqual({e["event"] for e in events} - {"create", "write", "chmod"}, set())

    def test_logs_and_events_are_followed(self):
        with self.opened("GET", self.at("logs?follow=true&log=workload&tail=0")) as reply:
            self.shell("echo hello > /proc/1/fd/1")
            entry = json.loads(reply.readline())
            self.assertEqual((entry["log"], entry["text"], entry["full"]), ("workload", "hello", True))
        last = self.request("GET", self.at("logs?tail=1&log=workload")).body.splitlines()
        self.assertEqual([json.loads(line)["text"] for line in last], ["hello"])
        with self.opened("GET", "/v1/events?follow=true&since=1s&instance=other",
                         headers={"Accept": "text/event-stream"}) as reply:
            self.run_detached("web-worker", "--name", "other")
            line = reply.readline()
            self.assertTrue(line.startswith(b"data: "), line)
            self.assertEqual(json.loads(line[6:])["instance"], "other")
            self.assertEqual(reply.readline(), b"\n")
        self.ok("DELETE", "/v1/instances/other?force=true")
        self.fails(404, "not_found", "GET", "/v1/instances/none/logs")
        self.fails(400, "invalid", "GET", self.at("logs?log=no"))

    def port(self, path, port=9000):
        return self.at(f"ports/{port}/{path}")

    def test_requests_reach_a_server_of_the_guest(self):
        self.assertEqual(self.request("GET", self.port("", 8080)).status, 200)
        reply = self.request("POST", self.port("a%2Fb?c=%20&d"), b"x" * 100_000, headers={
            "X-Mine": "1", "Cookie": "session", "Content-Type": "text/plain", "Connection": "x-gone", "X-Gone": "1"})
        self.assertEqual((reply.status, reply.headers["X-Line"]), (200, "POST /a%2Fb?c=%20&d HTTP/1.1"))
        text = reply.body.decode()
        self.assertIn("Host: localhost:9000", text)
        self.assertIn("X-Mine: 1", text)
        self.assertIn(hashlib.md5(b"x" * 100_000).hexdigest(), text)
        for gone in "Cookie", "X-Gone":
            self.assertNotIn(gone, text)
        self.assertIn("sandbox", reply.headers["Content-Security-Policy"])
        reply = self.request("GET", self.port("chunks"))
        self.assertEqual((reply.body, reply.headers["X-A"]), (b"abcde", "b"))
        for header in "Set-Cookie", "NEL", "Clear-Site-Data":
            self.assertIsNone(reply.headers[header], header)
        reply = self.request("GET", "/v1/x", headers={"Host": f"9000-{NAME}.localhost"})
        self.assertEqual(reply.headers["X-Line"], "GET /v1/x HTTP/1.1")
        self.assertIn(f"Host: 9000-{NAME}.localhost", reply.body.decode())

    def test_hostile_servers_are_refused(self):
        self.fails(502, "port_closed", "GET", self.port("", 9))
        for path in "endless", "lengths", "nothing", "interim":
            reply = self.request("GET", self.port(path))
            self.assertEqual((reply.status, reply.json["error"]["code"]), (502, "peer_failed"), path)
        with self.assertRaises(http.client.IncompleteRead):
            self.request("GET", self.port("short"))
        self.fails(404, "not_found", "GET", self.at("ports/0/"))
        self.fails(404, "not_found", "GET", "/v1/instances/none/ports/80/")

    def test_another_protocol_goes_both_ways(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(harness.PATIENCE_S)
            client.connect(self.mvmd.socket)
            client.sendall(f"GET {self.port('switch')} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                           "Upgrade: echo\r\n\r\n".encode())
            file = client.makefile("rwb")
            self.assertIn(b" 101 ", file.readline())
            headers = http.client.parse_headers(file)
            self.assertEqual((headers["Upgrade"], file.readline()), ("echo", b"hello\n"))
            file.write(b"one\n" * 50_000)
            file.flush()
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(file.read() == b"one\n" * 50_000, True)


if __name__ == "__main__":
    guests.main()
