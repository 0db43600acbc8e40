# SPDX-License-Identifier: Apache-2.0
"""The web console."""

import re

import harness
import service


class Files(harness.TestCase):
    """What browsers get, without a guest."""

    def setUp(self):
        super().setUp()
        self.mvmd = service.Mvmd(self.data_dir, self.path("mvmd.sock"), env=self.environment())
        self.addCleanup(self.mvmd.stop)

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


if __name__ == "__main__":
    harness.main()
