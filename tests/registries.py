# SPDX-License-Identifier: Apache-2.0
"""Registries on the loopback: Debian's docker-registry, and a stub that misbehaves on demand.

    with Registry(folder) as registry:
        registry.push(layout, "v1", "team/web:v1")
        registry.ref("team/web:v1")         -> "docker://127.0.0.1:5000/team/web:v1"
        registry.requests()                 -> ["HEAD /v2/team/web/manifests/v1", ...]
"""

import hashlib
import http.server
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
import time

from harness import PATIENCE_S, free_port

DOCKER_REGISTRY = shutil.which("docker-registry")
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """One docker-registry, or another program that reads its configuration.  auth, tls: lines of that."""

    def __init__(self, folder, auth="", tls="", host="127.0.0.1", program=DOCKER_REGISTRY):
        self.folder, self.program = folder, program
        self.port = free_port()
        self.host = f"{host}:{self.port}"
        self.log = os.path.join(folder, f"registry.{self.port}.log")
        self.auth, self.tls = auth, tls
        self.process = None
        self.seen = 0

    def __enter__(self):
        config = os.path.join(self.folder, f"registry.{self.port}.yml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f"""version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {self.folder}/registry}}
http:
  addr: 127.0.0.1:{self.port}
{self.tls}
{self.auth}
""")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([self.program, "serve", config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ref(self, name):
        return f"docker://{self.host}/{name}"

    def push(self, layout, tag, name, *more):
        command = ["skopeo", "copy", "-q", "--dest-tls-verify=false", *more, f"oci:{layout}:{tag}", self.ref(name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.stderr}")

    def answers(self, agent="mvm/"):
        """A program's requests since the last call, each with the status and bytes of the answer."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            log.seek(self.seen)
            text = log.read()
            self.seen = log.tell()
        lines = re.findall(r'"((?:GET|HEAD|POST|PUT) \S+) HTTP/[\d.]+" (\d+) (\d+) "" "' + re.escape(agent), text)
        return [(re.sub(r"(sha256:[0-9a-f]{8})[0-9a-f]+", r"\1", line), int(status), int(size))
                for line, status, size in lines]

    def requests(self):
        """mvm's requests since the last call, without digests' ends."""
        return [line for line, _, _ in self.answers()]


def only_for(folder, user, password):
    """The lines for Registry's auth that let in this user alone."""
    path = os.path.join(folder, "htpasswd")
    with open(path, "w", encoding="ascii") as out:
        subprocess.run(["htpasswd", "-Bbn", user, password], stdout=out, check=True)
    return f"auth: {{htpasswd: {{realm: basic-realm, path: {path}}}}}"


class Line:
    """A slow line to a server on this machine: bytes arrive delay_s later, and connections break.

    rate: bytes a second from the server, of each connection; None: any.  cut: after so many bytes from the
    server, all connections break, once; None: never.  hold: after so many, no more come until they break.
    """

    def __init__(self, port, delay_s=0.0, rate=None, cut=None, hold=None):
        self.to, self.delay_s, self.rate, self.cut, self.hold = port, delay_s, rate, cut, hold
        self.broken = threading.Event()
        self.received = self.connections = 0
        self.lock = threading.Lock()
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.host = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.break_all()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.to))
            with self.lock:
                self.open |= {client, server}
            for one, other, counts in (client, server, False), (server, client, True):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting = queue.Queue()
                threading.Thread(target=self.read, args=(one, waiting, counts), daemon=True).start()
                threading.Thread(target=self.write, args=(other, waiting), daemon=True).start()

    def read(self, one, waiting, counts):
        data = b"more"
        while data:
            try:
                data = one.recv(1 << 16)
            except OSError:
                data = b""
            if counts:
                self.received += len(data)
                if self.rate:
                    time.sleep(len(data) / self.rate)
                if self.hold is not None and self.received >= self.hold:
                    self.broken.wait()
                if self.cut is not None and self.received >= self.cut:
                    self.cut = None
                    self.break_all()
            waiting.put((time.monotonic() + self.delay_s, data))

    def write(self, other, waiting):
        while True:
            at, data = waiting.get()
            if self.delay_s:
                time.sleep(max(0.0, at - time.monotonic()))
            try:
                if not data:
                    other.shutdown(socket.SHUT_WR)
                    return
                other.sendall(data)
            except OSError:
                return

    def break_all(self):
        self.broken.set()
        with self.lock:
            for one in self.open:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                one.close()
            self.open.clear()


class Referrers:
    """A registry that has the API for referrers: tests/referrers, built by go_tools."""

    def __init__(self, program):
        self.program = program

    def __enter__(self):
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([self.program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.host = "127.0.0.1:" + self.process.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class Stub:
    """A registry with one repository: a hand-made image (oci_images.Image), an artifact, and what is pushed.

    answer(request): called first for each request, an http.server handler with the request's body; returns
    True once it has answered.  seen: (method, path, headers) of all requests.
    """

    def __init__(self, answer=None, path="team/web", tls=None, address="127.0.0.1"):
        self.path = path
        self.answer = answer or (lambda request: False)
        self.seen = []
        self.manifests = {} # tag or digest: (bytes, media type)
        self.blobs = {}
        self.lock = threading.Lock()
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except OSError: # the client has gone
                    self.close_connection = True

            def serve(self):
                with stub.lock:
                    stub.seen.append((self.command, self.path, dict(self.headers)))
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if stub.answer(self):
                    return
                if self.command in ("POST", "PUT"):
                    stub.take(self)
                else:
                    stub.serve_image(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
            daemon_threads = True

        self.server = Server((address, 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.host = (f"[{address}]" if ":" in address else address) + ":%d" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def ref(self, tag="latest"):
        return f"docker://{self.host}/{self.path}:{tag}"

    def add(self, image, tag="latest"):
        """Serve an image; returns the digest of its manifest."""
        descriptor = image.manifest()
        self.blobs.update(image.blobs)
        text = image.blobs[descriptor["digest"]]
        self.manifests[tag] = self.manifests[descriptor["digest"]] = text, MANIFEST
        return descriptor["digest"]

    def add_layout(self, folder, tag="latest"):
        """Serve what is in an OCI layout; returns the digest of its first manifest."""
        with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
            listed = [entry["digest"] for entry in json.load(file)["manifests"]]
        for name in os.listdir(os.path.join(folder, "blobs/sha256")):
            with open(os.path.join(folder, "blobs/sha256", name), "rb") as file:
                self.blobs["sha256:" + name] = file.read()
        for digest in listed:
            self.manifests[digest] = self.blobs[digest], MANIFEST
        self.manifests[tag] = self.manifests[listed[0]]
        return listed[0]

    def take(self, request):
        """Take an upload as registries do: with the right digest, and no manifest before its blobs."""
        kind, _, name = request.path.removeprefix(f"/v2/{self.path}/").partition("/")
        name, _, query = name.partition("?")
        digest = "sha256:" + hashlib.sha256(request.body).hexdigest()
        if request.command == "POST":
            request.reply(202, Location=f"/v2/{self.path}/blobs/uploads/one?state=a%2Fb")
        elif kind == "blobs" and query == "state=a%2Fb&digest=" + digest:
            self.blobs[digest] = request.body
            request.reply(201)
        elif kind == "manifests" and self.has_all(json.loads(request.body)):
            media = request.headers["Content-Type"]
            self.manifests[name] = self.manifests[digest] = request.body, media
            request.reply(201)
        else:
            request.reply(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}')

    def has_all(self, manifest):
        parts = [manifest["config"], *manifest["layers"]] if "config" in manifest else []
        return all(part["digest"] in self.blobs for part in parts)

    def serve_image(self, request):
        kind, _, name = request.path.removeprefix(f"/v2/{self.path}/").partition("/")
        body, media = b"", "application/octet-stream"
        if kind == "manifests" and name in self.manifests:
            body, media = self.manifests[name]
        elif kind == "blobs" and name in self.blobs:
            body = self.blobs[name]
        else:
            request.reply(404, json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN",
                                                       "message": "manifest unknown"}]}).encode())
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range") or "")
        if wanted and kind == "blobs":
            first, last = map(int, wanted.groups())
            request.reply(206, body[first:last + 1], Content_Type=media,
                          Content_Range=f"bytes {first}-{last}/{len(body)}")
        else:
            request.reply(200, body, Content_Type=media)

    def requests(self, kind=""):
        with self.lock:
            return [(method, path) for method, path, _ in self.seen if kind in path]
