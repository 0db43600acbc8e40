# SPDX-License-Identifier: Apache-2.0
"""What a registry, or a place that it sends us to, may do wrong: each ends in a clear error, or in a
retry that succeeds.  Nothing is half-published, and no credentials reach another host."""

import base64
import json
import os
import signal
import subprocess
import threading
import time

import harness
import oci_images as oci
from oci_case import BASE, KERNEL, OciCase
from oci_images import file, tar_of
from registries import Stub

BUSY, DAMAGED = 4, 5
BIG = 1 << 20

# In place of mvm-registry, and taken over by a registry: it sends what it should, and writes to the
# layer once more when mvm has judged that.
TAKEN_OVER = """#!/usr/bin/env python3
import json, os, socket

with open({answers!r}, encoding="utf-8") as file:
    answers = json.load(file)
mvm, layer = socket.socket(fileno=0), -1
while True:
    text, fds, _, _ = socket.recv_fds(mvm, 131072, 1)
    message = json.loads(text)
    name = message.get("get") or message.get("blob")
    if fds:
        layer = fds[0]
        os.pwrite(layer, bytes.fromhex(answers[name]), 0)
    if "get" in message or "head" in message:
        mvm.send(json.dumps({{"digest": answers["latest"]}}).encode())
    if "run" in message:
        mvm.send(b'{{"done": true}}')
        if os.fstat(layer).st_size >= {size}:
            while os.fstat(layer).st_mode & 0o222:
                pass
            os.pwrite(layer, b"evil", 0)
"""


class Faults(OciCase):
    def setUp(self):
        super().setUp()
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.image = oci.Image(Cmd=["x"]).layer(BASE).layer(tar_of(file("big", os.urandom(BIG))), "")
        self.layer = self.image.layers[1]

    def serve(self, answer=None, **more):
        stub = self.enterContext(Stub(answer, **more))
        stub.add(self.image)
        self.mvm_ok("template", "create", "t", "--flake", stub.ref(), "--force")
        return stub

    def builds(self):
        return self.mvm("template", "build", "t", status=0).stderr

    def fails(self, status, says, **more):
        errors = self.mvm_fails(status, "template", "build", "t", says=says, **more)
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])
        self.assertFalse(os.path.exists(self.artifact("t", "rootfs.ext4")))
        blobs = os.path.join(self.data_dir, "blobs", "sha256")
        for name in os.listdir(blobs) if os.path.exists(blobs) else []:
            self.assertEqual(oci.digest_of_file(os.path.join(blobs, name)), name)
        return errors

    def is_layer(self, request):
        return request.path.endswith("/blobs/" + self.layer["digest"])

    def beginning(self):
        """Bytes of the big layer that a pull has left."""
        path = os.path.join(self.data_dir, "cache", "pulls", self.layer["digest"].removeprefix("sha256:"))
        return os.path.getsize(path) if os.path.exists(path) else 0

    def login(self, host):
        os.makedirs(self.path(".docker"), exist_ok=True)
        with open(self.path(".docker/config.json"), "w", encoding="utf-8") as out:
            json.dump({"auths": {host: {"auth": base64.b64encode(b"me:secret").decode()}}}, out)

    # ---- other hosts ----

    def test_credentials_do_not_follow_redirects(self):
        store = self.enterContext(Stub(path="team/web"))
        store.add(self.image)
        good = "Basic " + base64.b64encode(b"me:secret").decode()

        def answer(request):
            if request.headers.get("Authorization") != good:
                request.reply(401, WWW_Authenticate='Basic realm="x"')
            elif "/blobs/" in request.path: # another port is another host; so is another name
                request.reply(307, Location=f"http://{store.host}{request.path}?signature=1")
            else:
                return False
            return True

        def without_query(request):
            request.path = request.path.partition("?")[0]
            return False

        store.answer = without_query
        stub = self.serve(answer)
        self.login(stub.host)
        self.builds()
        self.assertEqual(len(store.seen), 3)
        for _, _, headers in store.seen:
            self.assertNotIn("Authorization", headers)
            self.assertNotIn("secret", str(headers))
        self.assertTrue(any(headers.get("Authorization") == good for _, _, headers in stub.seen))

    def test_a_redirects_url_that_is_too_old_is_asked_for_again(self):
        state = {"old": True}

        def store_answer(request):
            if state.pop("old", False):
                request.reply(403)
                return True
            return False

        store = self.enterContext(Stub(store_answer))
        store.add(self.image)

        def answer(request):
            if "/blobs/" in request.path:
                request.reply(307, Location=f"http://{store.host}{request.path}")
                return True
            return False

        self.serve(answer)
        self.builds()

    def test_a_circle_of_redirects_ends(self):
        def answer(request):
            if "/blobs/" in request.path:
                request.reply(302, Location=request.path)
                return True
            return False

        stub = self.serve(answer)
        self.fails(1, "it redirects in a circle")
        self.assertLess(len(stub.seen), 20)

    def test_a_mirror_with_a_header_without_end_is_passed_over(self):
        def long_header(request):
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300000 + b"\r\n\r\n")
            request.close_connection = True
            return True

        mirror = self.enterContext(Stub(long_header))
        stub = self.serve()
        self.write("data/registries.toml", f'[registry."{stub.host}"]\ninsecure = true\nmirrors = ["{mirror.host}"]')
        self.assertIn(f"; asking {stub.host}", self.builds())

    def test_another_protocol_is_named(self):
        def file_url(request):
            request.reply(302, Location="file:///etc/passwd")
            return True

        def no_headers(request):
            request.wfile.write(bytes(4096))
            request.close_connection = True
            return True

        for answer, says in ((file_url, "it redirects to neither http nor https"),
                             (no_headers, "it does not answer in HTTP")):
            with self.subTest(says=says):
                self.serve(lambda request, to=answer: "/blobs/" in request.path and to(request))
                self.fails(1, says)

    def test_tokens_come_with_tls_when_the_registry_has_it(self):
        """A token service named by http:// gets nothing from a registry with TLS: see also Places."""
        def answer(request):
            request.reply(401, WWW_Authenticate='Bearer realm="ftp://x/token"')
            return True

        self.serve(answer)
        self.fails(1, "names no token service")

    # ---- connections ----

    def cut(self, request, n, length=None):
        body = self.image.blobs[self.layer["digest"]]
        request.send_response(200)
        request.send_header("Content-Length", str(length or len(body)))
        request.end_headers()
        request.wfile.write(body[:n])
        request.wfile.flush()
        request.close_connection = True

    def test_a_lost_connection_goes_on_where_it_was(self):
        def answer(request):
            if self.is_layer(request) and "Range" not in request.headers:
                self.cut(request, BIG // 2)
                return True
            return False

        stub = self.serve(answer)
        self.assertIn("trying again in", self.builds())
        ranges = [headers["Range"] for _, _, headers in stub.seen if "Range" in headers]
        self.assertEqual(ranges, [f"bytes={BIG // 2}-{self.layer['size'] - 1}"])

    def test_a_registry_without_ranges_sends_all_again(self):
        state = {"first": True}

        def answer(request):
            if self.is_layer(request) and state.pop("first", False):
                self.cut(request, BIG // 2)
                return True
            if "Range" in request.headers:
                del request.headers["Range"]
            return False

        self.serve(answer)
        self.builds()

    def test_a_part_that_was_not_asked_for_is_not_taken(self):
        state = {"first": True}
        body = self.image.blobs[self.layer["digest"]]

        def answer(request):
            if self.is_layer(request) and state.pop("first", False):
                self.cut(request, BIG // 2)
                return True
            if "Range" in request.headers:
                request.reply(206, body[100:], Content_Range=f"bytes 100-{len(body) - 1}/{len(body)}")
                return True
            return False

        self.serve(answer)
        self.builds()

    def test_the_next_pull_begins_with_what_the_last_one_left(self):
        """Killed, or stopped by the user: at once, and without a process that stays."""
        for stop in signal.SIGKILL, signal.SIGINT:
            with self.subTest(stop=stop):
                hold, free = threading.Event(), threading.Event()

                def answer(request):
                    if self.is_layer(request) and "Range" not in request.headers:
                        self.cut_and_hold(request, hold, free)
                        return True
                    return False

                self.image = oci.Image(Cmd=["x"]).layer(tar_of(file("big", os.urandom(BIG))), "")
                self.layer = self.image.layers[0]
                stub = self.serve(answer)
                process = subprocess.Popen([harness.MVM, "template", "build", "t"], env=self.environment(),
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.assertTrue(hold.wait(harness.PATIENCE_S))
                deadline = time.monotonic() + harness.PATIENCE_S
                while self.beginning() < BIG // 2 and time.monotonic() < deadline:
                    time.sleep(0.01)
                start = time.monotonic()
                process.send_signal(stop)
                process.communicate()
                self.assertLess(time.monotonic() - start, 30) # after which it gives up the connection
                self.leave_no_process()
                free.set()
                left = self.beginning()
                self.assertGreaterEqual(left, BIG // 2)
                self.builds()
                ranges = [headers["Range"] for _, _, headers in stub.seen if "Range" in headers]
                self.assertEqual(ranges, [f"bytes={left}-{self.layer['size'] - 1}"])
                self.assertEqual(self.beginning(), 0)

    def cut_and_hold(self, request, hold, free):
        body = self.image.blobs[self.layer["digest"]]
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[:BIG // 2])
        request.wfile.flush()
        hold.set()
        free.wait(harness.PATIENCE_S)
        request.close_connection = True

    # ---- wrong bytes ----

    def test_wrong_bytes_are_refused(self):
        wrong = bytearray(self.image.blobs[self.layer["digest"]])
        wrong[1000] ^= 1

        def answer(request):
            if self.is_layer(request):
                request.reply(200, bytes(wrong))
                return True
            return False

        stub = self.serve(answer)
        self.fails(DAMAGED, "its bytes do not match its digest")
        self.assertLessEqual(len(stub.requests(self.layer["digest"])), 4)
        stub.answer = lambda request: False
        self.builds() # what it left does no harm

    def test_a_layer_stays_as_it_was_judged(self):
        manifest = self.image.manifest()["digest"]
        answers = {name: data.hex() for name, data in self.image.blobs.items()} | {"latest": manifest}
        self.write("answers", json.dumps(answers))
        self.write("lib/mvm-registry", TAKEN_OVER.format(answers=self.path("answers"), size=BIG), 0o755)
        os.symlink(os.path.join(os.path.dirname(harness.MVM), "mvm-agent"), self.path("lib/mvm-agent"))
        self.mvm_ok("template", "create", "t", "--flake", "docker://localhost:1/team/web", "--force")
        self.mvm_ok("template", "build", "t", env={"MVM_LIBEXEC_DIR": self.path("lib")})
        blob = os.path.join(self.data_dir, "blobs", "sha256", self.layer["digest"].removeprefix("sha256:"))
        self.assertEqual(oci.digest_of_file(blob), os.path.basename(blob))

    def test_an_endless_body_is_cut(self):
        def answer(request):
            if not self.is_layer(request):
                return False
            request.send_response(200)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            for _ in range(4096):
                request.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            return True

        self.serve(answer)
        self.fails(DAMAGED, "the answer is longer than announced")
        self.assertLessEqual(self.beginning(), self.layer["size"])

    def test_a_manifest_is_at_most_4_mib(self):
        stub = self.serve()
        stub.manifests["latest"] = b" " * (5 << 20), "application/json"
        self.fails(DAMAGED, "the answer is longer than announced")

    def test_a_manifest_matches_its_digest(self):
        stub = self.serve(lambda request: bool(request.command == "HEAD" and request.reply(
            200, Docker_Content_Digest="sha256:" + "1" * 64) is None))
        stub.manifests["sha256:" + "1" * 64] = stub.manifests["latest"]
        self.fails(DAMAGED, "its bytes do not match its digest")

    def test_hostile_manifests_are_named(self):
        text = self.serve().manifests["latest"][0]
        both = json.loads(text) | {"manifests": []}
        old = {"schemaVersion": 1, "fsLayers": []}
        huge = json.loads(text)
        huge["layers"][1]["size"] = 1 << 45
        twice = json.loads(text)
        twice["layers"].append(twice["layers"][1] | {"size": 5})
        other = json.loads(text)
        other["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
        for document, status, says in ((both, DAMAGED, "both an index and a manifest"),
                                       (old, 6, "a manifest of version 1"),
                                       (huge, 1, "take more than 64 GiB"),
                                       (twice, DAMAGED, "it gives a layer two sizes"),
                                       (other, DAMAGED, "this is no container image"),
                                       ([], DAMAGED, "is no image")):
            with self.subTest(says=says):
                stub = self.serve()
                stub.manifests["latest"] = json.dumps(document).encode(), "application/json"
                digest = oci.digest(stub.manifests["latest"][0])
                stub.manifests[digest] = stub.manifests["latest"]
                self.fails(status, says)
                self.assertEqual(stub.requests(self.layer["digest"]), [])

    # ---- busy registries ----

    def test_too_many_requests_wait_as_told(self):
        state = {"first": True}

        def answer(request):
            if state.pop("first", False):
                request.reply(429, Retry_After="1")
                return True
            return False

        self.serve(answer)
        start = time.monotonic()
        self.assertIn("too many requests: trying again in", self.builds())
        self.assertGreater(time.monotonic() - start, 1)

    def test_a_long_wait_is_the_users_decision(self):
        def answer(request):
            request.reply(429, b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}',
                          Retry_After="3600")
            return True

        stub = self.serve(answer)
        start = time.monotonic()
        self.fails(BUSY, "too many requests\nhint: the registry asks to come back in 3600 s")
        self.assertLess(time.monotonic() - start, 3600)
        self.assertEqual(len(stub.seen), 1)

    def test_a_fault_of_a_moment_is_tried_again(self):
        state = {503: True}

        def answer(request):
            if "/blobs/" in request.path and state.pop(503, False):
                request.reply(503)
                return True
            return False

        self.serve(answer)
        self.builds()

    def test_words_of_a_registry_cannot_reach_the_terminal_raw(self):
        def answer(request):
            request.reply(400, json.dumps({"errors": [{"code": "X", "message": "\x1b[2Jgone\n\u202e"}]}).encode())
            return True

        stub = self.serve(answer)
        stub.answer = lambda request: "/blobs/" in request.path and answer(request)
        errors = self.fails(1, "HTTP status 400: X: ^[[2Jgone")
        self.assertNotIn("\x1b", errors)
        self.assertNotIn("\u202e", errors)

    def test_a_token_may_end(self):
        state = {"n": 0}

        def answer(request):
            if request.path.startswith("/token"):
                state["n"] += 1
                request.reply(200, json.dumps({"token": f"t{state['n']}"}).encode())
                return True
            if request.headers.get("Authorization") != f"Bearer t{state['n']}" or state["n"] < 2:
                request.reply(401, WWW_Authenticate=f'Bearer realm="http://{request.headers["Host"]}/token"')
                return True
            if self.is_layer(request) and state["n"] == 2:
                state["n"] = 3 # that token is over now
                request.reply(401, WWW_Authenticate=f'Bearer realm="http://{request.headers["Host"]}/token"')
                return True
            return False

        self.serve(answer)
        self.builds()


if __name__ == "__main__":
    harness.main()
