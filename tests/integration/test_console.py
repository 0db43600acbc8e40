# SPDX-License-Identifier: Apache-2.0
"""The web console."""

import http.client
import json
import re

import harness
import service


class Files(harness.TestCase):
    """What browsers get, without a guest."""

    def setUp(self):
        super().setUp()
        self.port = harness.free_port()
        self.mvmd = service.Mvmd(self.data_dir, self.path("mvmd.sock"), "--tcp", f"127.0.0.1:{self.port}",
                                 env=self.environment())
        self.addCleanup(self.mvmd.stop)

    def browse(self, method, path, body=None, **headers):
        """A request as a browser sends it, by TCP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=harness.PATIENCE_S)
        self.addCleanup(connection.close)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, json.dumps(body) if body else None,
                           {"Content-Type": "application/json", **headers})
        return service.Reply(connection.getresponse())

    def signed_in(self, **headers):
        return self.browse("GET", "/console/session", **headers).json["metadata"]["signed_in"]

    def test_pages_load_nothing_from_elsewhere(self):
        wanted, seen = ["index.html"], set()
        while wanted:
            name = wanted.pop()
            if name in seen:
                continue
            seen.add(name)
            reply = self.mvmd.request("GET", "/console/" + name)
            self.assertEqual(reply.status, 200, name)
            policy = reply.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(reply.headers["X-Content-Type-Options"], "nosniff")
            text = reply.body.decode()
            if name.startswith("xterm."):
                continue # not ours; the policy keeps it from loading anything
            self.assertNotRegex(text, r"(?:src|href|from|import|url)[=( ]*[\"']?(?:https?:)?//", name)
            wanted += re.findall(r'(?:src|href)="([^"#/]+)"', text) if name == "index.html" else []
            wanted += re.findall(r' from "\./([^"]+)"', text)
        self.assertLessEqual({"app.js", "terminal.js", "xterm.js", "style.css", "icon.svg"}, seen)

    def test_a_browser_keeps_them_until_they_change(self):
        first = self.mvmd.request("GET", "/console/style.css")
        tag = first.headers["ETag"]
        again = self.mvmd.request("GET", "/console/style.css", headers={"If-None-Match": tag})
        self.assertEqual((again.status, again.body, again.headers["ETag"]), (304, b"", tag))
        other = self.mvmd.request("GET", "/console/style.css", headers={"If-None-Match": '"x"'})
        self.assertEqual((other.status, other.body), (200, first.body))

    def test_there_is_nothing_but_these_files(self):
        self.assertEqual(self.mvmd.request("GET", "/console").headers["Location"], "/console/")
        self.assertEqual(self.mvmd.request("GET", "/console/").body,
                         self.mvmd.request("GET", "/console/index.html").body)
        for path in "none.js", "..%2fconsole.c", "%2e%2e/console.c", "session.c", "embed":
            self.assertEqual(self.mvmd.request("GET", "/console/" + path).status, 404, path)

    def test_a_session_needs_its_cookie_and_its_key(self):
        token = {"token": self.mvm_ok("token", "add", "one", "--scope", "admin").strip()}
        self.assertFalse(self.signed_in())
        refused = self.browse("POST", "/console/session", {"token": "mvm_" + "0" * 64})
        self.assertEqual((refused.status, refused.json["error"]["code"], refused.headers["Set-Cookie"]),
                         (401, "unauthorized", None))
        self.assertEqual(self.browse("POST", "/console/session", token, Origin="http://other.example").status, 403)

        reply = self.browse("POST", "/console/session", token, Origin=f"http://127.0.0.1:{self.port}")
        self.assertEqual(reply.status, 200, reply.body)
        cookie, *options = reply.headers["Set-Cookie"].split("; ")
        self.assertLessEqual({"Path=/", "HttpOnly", "SameSite=Strict"}, set(options))
        key = reply.json["metadata"]["key"]
        both = {"Cookie": f"a=b; {cookie}", "X_Mvm_Session_Key": key}
        self.assertTrue(self.signed_in(**both))
        self.assertTrue(self.signed_in(Cookie=cookie, Sec_WebSocket_Protocol=f"mvm.exec.v1, mvm.key.{key}"))
        for less in ({"Cookie": cookie}, {"X_Mvm_Session_Key": key},
                     {"Cookie": cookie, "X_Mvm_Session_Key": key[:-1] + "x"}):
            self.assertFalse(self.signed_in(**less), less)

        self.assertEqual(self.browse("DELETE", "/console/session", **both).status, 200)
        self.assertFalse(self.signed_in(**both))

    def test_a_session_ends_with_its_token(self):
        token = {"token": self.mvm_ok("token", "add", "one").strip()}
        reply = self.browse("POST", "/console/session", token)
        both = {"Cookie": reply.headers["Set-Cookie"].split(";")[0], "X_Mvm_Session_Key": reply.json["metadata"]["key"]}
        self.assertTrue(self.signed_in(**both))
        self.mvm_ok("token", "rm", "one")
        self.assertFalse(self.signed_in(**both))

    def test_no_other_site_comes_through_a_forwarded_socket(self):
        for origin, host, status in (("http://evil.example", "localhost:7700", 403),
                                     ("http://evil.example", "evil.example", 403),
                                     ("http://localhost:7700", "localhost:7700", 200)):
            reply = self.mvmd.request("GET", "/v1/instances", headers={"Origin": origin, "Host": host})
            self.assertEqual(reply.status, status, (origin, host))


if __name__ == "__main__":
    harness.main()
