# SPDX-License-Identifier: Apache-2.0
"""What a registry, or a proxy before it, does wrong while templates are pushed and pulled: each ends in a
clear error, or in a retry that succeeds.  Nothing is half-published, memory stays bounded, and credentials
reach no other host.  test_registry_faults.py has the same for images."""

import base64
import hashlib
import json
import os
import struct
import subprocess
import time
import unittest

import harness
from registries import Stub
from test_push import PushCase

FAILED, NOT_FOUND, BUSY, DAMAGED = 1, 3, 4, 5
MEMORY_KIB = 256 << 10
GOOD = "Basic " + base64.b64encode(b"me:secret").decode()
ENDLESS = 64 << 20
needs_time = unittest.skipUnless(os.environ.get("MVM_TEST_LONG"), "minutes of waiting: only in make check-long")


class Misbehaving(PushCase):
    """self.stub is a registry.  It calls self.fault(request), which returns True when it has answered."""

    def setUp(self):
        super().setUp()
        self.fault = lambda request: False
        self.stub = self.enterContext(Stub(lambda request: self.fault(request)))
        self.there = f"{self.stub.host}/{self.stub.path}:v1"

    def login(self):
        self.write(".docker/config.json", json.dumps({"auths": {self.stub.host: {
            "auth": base64.b64encode(b"me:secret").decode()}}}))

    def once(self, wrong, when=lambda request: True):
        """The first request of each kind for which `when` is true is answered by wrong()."""
        seen = set()

        def fault(request):
            kind = request.command, request.path.partition("?")[0]
            if kind in seen or not when(request):
                return False
            seen.add(kind)
            wrong(request)
            return True
        self.fault = fault
        return seen

    def always(self, wrong, when=lambda request: True):
        def fault(request):
            if when(request):
                wrong(request)
            return when(request)
        self.fault = fault

    def ask_for_tokens(self, ended, **more):
        """Requests need a token, and another one once ended(request, tokens) says so.  Returns the tokens, to which
        each one is added that a client has fetched.  more: what an answer with a token says besides."""
        tokens = []

        def fault(request):
            if request.path.startswith("/token"):
                tokens.append(f"t{len(tokens)}")
                request.reply(200, json.dumps({"token": tokens[-1], **more}).encode())
            elif not tokens or request.headers.get("Authorization") != f"Bearer {tokens[-1]}" or ended(request, tokens):
                request.reply(401, WWW_Authenticate=f'Bearer realm="http://{self.stub.host}/token"')
            else:
                return False
            return True
        self.fault = fault
        return tokens

    def run_measured(self, *args):
        """Run mvm; returns its exit status and standard error, and fails if it, or mvm-registry, took much
        memory."""
        with open(self.path("stderr"), "w+b") as err:
            process = subprocess.Popen([harness.MVM, *args], env=self.environment(), cwd=self.folder,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            err.seek(0)
            said = err.read().decode()
        self.assertLess(usage.ru_maxrss, MEMORY_KIB, said)
        return process.returncode, said

    def fails(self, status, says, *args):
        code, said = self.run_measured("template", *args)
        self.assertEqual(code, status, said)
        self.assertIn(says, said)
        self.assertRegex(said, r"^mvm: |\nmvm: ")
        return said

    @staticmethod
    def cut(request, body, n, length=None):
        """Begin an answer, and break the connection after n bytes of it."""
        request.send_response(200)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body[:n])
        request.wfile.flush()
        request.close_connection = True

    @staticmethod
    def trickle(request, status=200, length=1 << 20):
        """Send a byte in each half second, until the client has enough of it."""
        request.send_response(status)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        for _ in range(4 * harness.PATIENCE_S * 2):
            request.wfile.write(b"x")
            time.sleep(0.5)
        request.close_connection = True

    @staticmethod
    def endless(request, status=200):
        request.send_response(status)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for _ in range(ENDLESS >> 16):
            request.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        request.close_connection = True


class Pulls(Misbehaving):
    def setUp(self):
        super().setUp()
        self.export()
        self.layout = self.unpacked()
        self.digest = self.stub.add_layout(self.layout, "v1")
        self.large = self.layer(self.layout, "rootfs.ext4")
        self.other_host()

    def is_blob(self, request):
        return "/blobs/" in request.path

    def is_large(self, request):
        return request.path.endswith(self.large["digest"])

    def pulls(self):
        done = self.mvm("template", "pull", self.there, status=0)
        self.assertEqual(self.mvm_json("template", "info", "web")["revision"]["revision_hash"], self.revision)
        self.mvm_ok("template", "verify")
        return done.stderr

    def refused(self, status, says):
        said = self.fails(status, says, "pull", self.there)
        for folder in "templates", "tmp":
            path = os.path.join(self.data_dir, folder)
            self.assertEqual(os.listdir(path) if os.path.isdir(path) else [], [])
        blobs = os.path.join(self.data_dir, "blobs", "sha256")
        for name in os.listdir(blobs) if os.path.isdir(blobs) else []:
            with open(os.path.join(blobs, name), "rb") as file:
                self.assertEqual(hashlib.file_digest(file, "sha256").hexdigest(), name)
        return said

    def test_credentials_do_not_follow_redirects(self):
        store = self.enterContext(Stub())
        store.add_layout(self.layout)

        def fault(request):
            if request.headers.get("Authorization") != GOOD:
                request.reply(401, WWW_Authenticate='Basic realm="x"')
            elif self.is_blob(request):
                request.reply(307, Location=f"http://{store.host}{request.path}")
            else:
                return False
            return True
        self.fault = fault
        self.login()
        self.pulls()
        self.assertGreater(len(store.seen), 3)
        self.assertNotIn("secret", str(store.seen))
        self.assertEqual([headers for _, _, headers in store.seen if "Authorization" in headers], [])

    def test_a_token_that_ends_is_renewed(self):
        tokens = self.ask_for_tokens(lambda request, tokens: self.is_large(request) and len(tokens) == 1, expires_in=1)
        self.pulls()
        self.assertEqual(len(tokens), 2)

    def test_what_fails_for_a_moment_is_tried_again(self):
        body = self.stub.blobs[self.large["digest"]]
        for name, wrong in {
                "429": lambda request: request.reply(429, Retry_After="1"),
                "503": lambda request: request.reply(503),
                "no answer": lambda request: setattr(request, "close_connection", True),
                "truncated": lambda request: self.cut(request, body, len(body) // 2),
                "corrupted": lambda request: request.reply(200, body[:1000] + b"x" + body[1001:]),
                "a length that is too short": lambda request: self.cut(request, body, 1000, length=1000),
        }.items():
            with self.subTest(name):
                self.data_dir = self.path(name.replace(" ", "-"))
                seen = self.once(wrong, self.is_large)
                self.pulls()
                self.assertEqual(len(seen), 1)

    def test_ranges_that_are_ignored(self):
        body = self.stub.blobs[self.large["digest"]]

        def fault(request):
            if not self.is_large(request):
                return False
            if fault.first:
                self.cut(request, body, len(body) // 2)
            else:
                request.reply(200, body)
            fault.first = False
            return True
        fault.first = True
        self.fault = fault
        self.pulls()

    def test_a_slow_answer(self):
        """It is a lost connection after half a minute, and the next one may be better."""
        seen = self.once(self.trickle, self.is_large)
        self.pulls()
        self.assertEqual(len(seen), 1)

    @needs_time
    def test_slow_answers_without_end(self):
        self.always(self.trickle, self.is_large)
        self.refused(FAILED, "cannot fetch layer")
        self.always(self.trickle, lambda request: request.command == "GET")
        self.refused(FAILED, "cannot fetch manifest")

    def test_a_length_that_is_too_long(self):
        body = self.stub.blobs[self.large["digest"]]
        self.always(lambda request: request.reply(200, body + b"more"), self.is_large)
        self.refused(DAMAGED, "longer than announced")

    def test_wrong_bytes(self):
        body = self.stub.blobs[self.large["digest"]]
        self.always(lambda request: request.reply(200, bytes(len(body))), self.is_large)
        self.refused(DAMAGED, "its bytes do not match its digest")
        self.fault = lambda request: False
        self.pulls() # what it left does no harm

    def test_an_endless_body(self):
        for when in (lambda request: request.command == "GET" and "/manifests/" in request.path, self.is_blob):
            self.always(self.endless, when)
            self.refused(DAMAGED, "longer than announced")

    def test_a_circle_of_redirects(self):
        self.always(lambda request: request.reply(302, Location=request.path))
        self.refused(FAILED, "it redirects in a circle")
        self.assertLess(len(self.stub.seen), 20)

    def test_busy_for_long(self):
        self.always(lambda request: request.reply(429, Retry_After="3600"))
        self.refused(BUSY, "too many requests")
        self.assertEqual(len(self.stub.seen), 1)

    def test_hostile_documents(self):
        text, media = self.stub.manifests[self.digest]
        good = json.loads(text)

        def tagged(document, kind=media):
            data = json.dumps(document).encode()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            self.stub.manifests["v1"] = self.stub.manifests[digest] = data, kind
            return {"mediaType": kind, "digest": digest, "size": len(data)}

        def changed(**more):
            return json.loads(json.dumps(good)) | more

        index = "application/vnd.oci.image.index.v1+json"
        platform = {"platform": {"os": "linux", "architecture": {"x86_64": "amd64"}.get(os.uname().machine, "arm64")}}
        huge = changed()
        huge["layers"][0]["size"] = 1 << 40
        twice = changed()
        twice["layers"].append(twice["layers"][-1])
        many = changed(layers=[good["layers"][0]] * 4096)
        config = changed()
        config["config"]["size"] = 1 << 40
        negative = changed()
        negative["config"]["size"] = -1
        for name, document, kind, status, says in (
                ("both", changed(manifests=[]), media, DAMAGED, "both an index and a manifest"),
                ("neither", {"schemaVersion": 2}, media, DAMAGED, "is no image"),
                ("huge", huge, media, DAMAGED, "chunk index exceeds"),
                ("twice", twice, media, DAMAGED, "names other blobs than the manifest"),
                ("many", many, media, DAMAGED, "items, not 1 to"),
                ("config", config, media, DAMAGED, "is larger than"),
                ("negative", negative, media, DAMAGED, ""),
                ("empty index", {"schemaVersion": 2, "manifests": []}, index, NOT_FOUND, ""),
                ("deep", 100 * '{"a":', media, DAMAGED, "")):
            with self.subTest(name):
                tagged(document, kind)
                self.refused(status, says)
        # an index in an index in an index
        entry = tagged(good) | platform
        for _ in range(20):
            entry = tagged({"schemaVersion": 2, "mediaType": index, "manifests": [entry]}, index) | platform
        self.refused(DAMAGED, "indexes lead to indexes")
        # an index of our platform's artifact is none of its faults
        tagged({"schemaVersion": 2, "mediaType": index, "manifests": [tagged(good) | platform]}, index)
        self.pulls()

    def test_hostile_chunk_indexes(self):
        blob = self.stub.blobs[self.manifest(self.layout)["layers"][0]["digest"]]
        for name, index in {
                "empty": b"",
                "zeros": bytes(1 << 20),
                "many files": blob[:16] + struct.pack("<II", 0xffffffff, 1) + blob[24:],
                "many chunks": blob[:16] + struct.pack("<II", 1, 0xffffffff) + blob[24:],
                "cut": blob[:-1],
                "longer": blob + b"x",
                "as large as may be": blob[:24] + bytes((16 << 20) - 24)}.items():
            with self.subTest(name):
                manifest = json.loads(self.stub.manifests[self.digest][0])
                digest = "sha256:" + hashlib.sha256(index).hexdigest()
                self.stub.blobs[digest] = index
                manifest["layers"][0] |= {"digest": digest, "size": len(index)}
                text = json.dumps(manifest).encode()
                named = "sha256:" + hashlib.sha256(text).hexdigest()
                self.stub.manifests["v1"] = self.stub.manifests[named] = text, self.stub.manifests[self.digest][1]
                self.refused(DAMAGED, "")

    def test_a_hostile_list_of_signatures(self):
        """It signs nothing, and the pull goes on."""
        key = self.mvm_json("key", "generate", "mine")
        self.mvm_ok("key", "trust", key["path"])
        tag = self.digest.replace(":", "-")
        entry = {"mediaType": self.stub.manifests[self.digest][1], "digest": self.digest, "size": 1 << 40}
        gone = entry | {"digest": "sha256:" + 64 * "1", "size": 100}
        for n, text in enumerate((b"", b"[]", json.dumps({"manifests": [entry] * 5000}).encode(), bytes(5 << 20),
                                  json.dumps({"schemaVersion": 2, "manifests": [gone] * 1000}).encode(),
                                  self.stub.manifests[self.digest][0])):
            self.stub.manifests[tag] = text, "application/vnd.oci.image.index.v1+json"
            # the registry's API says so as well, on pages without end
            self.always(lambda request, text=text: request.reply(200, text, Link='</v2/x?page=2>; rel="next"'),
                        lambda request: "/referrers/" in request.path or "page=2" in request.path)
            self.stub.seen.clear()
            code, said = self.run_measured("template", "pull", self.there, f"t{n}")
            self.assertEqual(code, 0, said)
            self.assertLess(len(self.stub.seen), 60)
        self.always(self.endless, lambda request: tag in request.path or "/referrers/" in request.path)
        code, said = self.run_measured("template", "pull", self.there, "last")
        self.assertEqual(code, 0, said)
        self.assertIn("the signatures of", said)


class Pushes(Misbehaving):
    def push(self, status=0, *more):
        code, said = self.run_measured("template", "push", "web", self.there, *more)
        self.assertEqual(code, status, said)
        return said

    def assert_whole(self):
        self.assertEqual(len(self.stub.blobs), 5)
        manifest = json.loads(self.stub.manifests["v1"][0])
        self.assertTrue(self.stub.has_all(manifest))

    def refused(self, status, says, *more):
        """The push fails, and its tag leads to nothing."""
        self.assertIn(says, self.push(status, *more))
        self.assertNotIn("v1", self.stub.manifests)
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])

    def test_what_fails_for_a_moment_is_tried_again(self):
        for name, wrong in {
                "429": lambda request: request.reply(429, Retry_After="1"),
                "500": lambda request: request.reply(500),
                "no answer": lambda request: setattr(request, "close_connection", True),
        }.items():
            with self.subTest(name):
                self.stub.blobs.clear()
                self.stub.manifests.clear()
                seen = self.once(wrong)
                self.assertIn("trying again", self.push())
                self.assertEqual({command for command, _ in seen}, {"HEAD", "POST", "PUT"})
                self.assert_whole()

    def test_one_connection_serves_all_requests(self):
        connections = set()

        def note(request):
            connections.add(request.client_address)
            return False
        self.fault = note
        self.push()
        self.assert_whole()
        self.assertEqual(len(connections), 1)

    @needs_time
    def test_slow_answers(self):
        """A registry may be silent for minutes while it hashes a blob, but not for ever."""
        seen = self.once(lambda request: self.trickle(request, 201),
                         lambda request: request.command in ("POST", "PUT") and "v1" not in request.path)
        self.timeout = 1200
        self.assertIn("trying again", self.push())
        self.assertEqual({command for command, _ in seen}, {"POST", "PUT"})
        self.assert_whole()

    def test_a_truncated_answer(self):
        self.once(lambda request: self.cut(request, b"abc", 1), lambda request: request.command == "PUT")
        self.push()
        self.assert_whole()

    def test_bytes_that_do_not_arrive_whole(self):
        """The registry, which compares them with their digest, says so."""
        self.always(lambda request: request.reply(
            400, b'{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}'),
            lambda request: request.command == "PUT" and "/blobs/" in request.path)
        self.refused(FAILED, "HTTP status 400 to PUT: DIGEST_INVALID: other bytes")

    def test_an_upload_that_nobody_asked_for(self):
        """"Created", before it has a byte."""
        self.always(lambda request: request.reply(201), lambda request: request.command == "POST")
        self.refused(FAILED, "HTTP status 201 to POST")

    def test_a_refusal_says_why(self):
        self.always(lambda request: request.reply(413, b'{"errors":[{"code":"TOO_BIG","message":"it is too big"}]}'),
                    lambda request: request.command == "PUT")
        self.refused(FAILED, "HTTP status 413 to PUT: TOO_BIG: it is too big")

    def test_credentials_stay_with_the_registry(self):
        thief = self.enterContext(Stub(lambda request: request.reply(201) is None))

        def fault(request):
            if not request.headers.get("Authorization"):
                request.reply(401, WWW_Authenticate='Basic realm="x"')
            elif request.command == "POST":
                request.reply(202, Location=f"http://{thief.host}/upload?x")
            elif request.command == "PUT": # of the manifest, whose blobs the other place has
                request.reply(201)
            elif fault.redirect:
                request.reply(307, Location=f"http://{thief.host}{request.path}")
            else:
                return False
            return True
        self.login()
        for fault.redirect, n in (False, 5), (True, 5):
            thief.seen.clear()
            thief.answer = lambda request: request.reply(404 if request.command == "HEAD" else 201) is None
            self.fault = fault
            self.push()
            self.assertEqual(len([method for method, _, _ in thief.seen if method == "PUT"]), n)
            self.assertEqual([headers for _, _, headers in thief.seen if "Authorization" in headers], [])

    def test_a_registry_that_sends_uploads_to_files_and_other_protocols(self):
        for to in "file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "", "//", "x" * 9000:
            self.always(lambda request, to=to: request.reply(202, Location=to),
                        lambda request: request.command == "POST")
            self.refused(FAILED, "cannot push to")

    def test_a_token_that_ends_is_renewed(self):
        tokens = self.ask_for_tokens(lambda request, tokens: request.command == "PUT" and len(tokens) < 3)
        self.push()
        self.assertEqual(len(tokens), 3)
        for _, path in self.stub.requests("/token"):
            self.assertIn("push", path)
        self.assert_whole()

    def test_busy_for_long(self):
        self.always(lambda request: request.reply(429, Retry_After="3600"))
        start = time.monotonic()
        self.refused(BUSY, "429")
        self.assertEqual(len(self.stub.seen), 1)
        self.assertLess(time.monotonic() - start, 3600)

    def test_a_circle_of_redirects(self):
        self.always(lambda request: request.reply(302, Location=request.path))
        self.refused(FAILED, "it redirects in a circle")
        self.assertLess(len(self.stub.seen), 20)
        self.always(lambda request: request.reply(302, Location=request.path), lambda request: request.command != "HEAD")
        self.refused(FAILED, "HTTP status 302 to POST")

    def test_an_endless_answer(self):
        for command in "POST", "PUT":
            self.stub.seen.clear()
            self.always(self.endless, lambda request, command=command: request.command == command)
            self.refused(FAILED, "far too many words")
            self.assertEqual(len([method for method, _, _ in self.stub.seen if method == command]), 1)

    def test_headers_without_end(self):
        def long_header(request):
            request.wfile.write(b"HTTP/1.1 202 Accepted\r\n" + b"X: " + b"y" * 90000 + b"\r\n")
            for _ in range(4000):
                request.wfile.write(b"X: " + b"y" * 9000 + b"\r\n")
            request.close_connection = True
        self.always(long_header, lambda request: request.command == "POST")
        self.refused(FAILED, "cannot push to")

    def test_a_hostile_list_of_signatures(self):
        """A new signature cannot be listed: the tag does not move."""
        key = self.mvm_json("key", "generate", "mine")
        self.assertTrue(key["path"])
        for text in bytes(5 << 20), b"[", b'{"manifests": 7}', json.dumps({"manifests": [[[]]] * 1000}).encode():
            self.fault = lambda request, text=text: bool(
                request.command == "GET" and "/manifests/sha256-" in request.path and request.reply(200, text) is None)
            self.stub.manifests.clear()
            code, said = self.run_measured("template", "push", "web", self.there, "--sign", "mine")
            if code == 0:
                listed = next(json.loads(body) for name, (body, _) in self.stub.manifests.items() if "sha256-" in name)
                self.assertEqual(listed["mediaType"], "application/vnd.oci.image.index.v1+json")
            else:
                self.assertNotIn("v1", self.stub.manifests, said)


if __name__ == "__main__":
    harness.main()
