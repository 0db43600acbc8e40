# SPDX-License-Identifier: Apache-2.0
"""The web console in headless Chromium, with real guests: the whole job by keyboard alone on a wide
screen, and by mouse on a narrow one."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import chromium
import guests
import harness
import service

CONFIG = '''
template_id = "web"
flake_ref   = "dir:root"
kernel      = "debian"
boot_args   = "loglevel=1"
command     = ["/bin/busybox", "sh", "-c", """
while :; do echo hello '<b>from</b>' the workload; /bin/busybox sleep 2; done"""]
''' + guests.VARIANT

# what a terminal shows, as screen readers get it
SCREEN = "document.querySelector('.xterm-accessibility')?.innerText ?? ''"


class Hands:
    """What a person does with a page."""

    def __init__(self, page):
        self.page = page

    def press(self, text, selector="button, a"):
        self.page.click(selector, text)

    def fill(self, label, text):
        self.page.click("label", label)
        self.page.until("document.activeElement.matches('input')")
        self.page.type(text)

    def connected(self):
        pass


class Keyboard(Hands):
    """The same with nothing but keys."""

    back = () # ("Shift",): Tab goes backwards

    def reach(self, is_it):
        for _ in range(60):
            if self.page.eval(f"(e => {is_it})(document.activeElement)"):
                self.back = ()
                return
            self.page.key("Tab", *self.back)
        raise AssertionError(f"Tab reaches nothing with {is_it}; the page says {self.page.text()}")

    def press(self, text, selector="button, a"):
        self.page.find(selector, text)
        self.reach(f"e.matches({json.dumps(selector)}) && e.textContent.trim() === {json.dumps(text)}")
        self.page.key("Enter")

    def fill(self, label, text):
        self.page.find("label", label)
        self.reach(f"e.labels?.[0]?.textContent === {json.dumps(label)}")
        self.page.type(text)

    def connected(self):
        """Leave the terminal, which takes Tab for itself, and go away from it."""
        self.back = ("Shift",)
        self.page.key("L", "Alt", "Shift")
        self.page.until("document.activeElement.matches('button')")


# a folder for the pictures of doc/console.md (scripts/console-pictures)
PICTURES = os.environ.get("MVM_TEST_PICTURES")


@harness.needs_guests
@unittest.skipUnless(chromium.program(), "Chromium is not installed")
class Console(service.TestCase):
    config = CONFIG
    port = harness.free_port()
    url = f"http://127.0.0.1:{port}"
    options = "--tcp", f"127.0.0.1:{port}"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        missing = {"templates", "exec", "logs", "events"} - set(cls.mvmd.request("GET", "/v1").json["metadata"]["features"])
        if missing:
            raise unittest.SkipTest(f"mvmd lacks {missing}")
        folder = os.path.join(cls.shared, "browser")
        os.mkdir(folder)
        cls.browser = chromium.Browser(folder, timeout=harness.PATIENCE_S)
        cls.addClassCleanup(cls.browser.__exit__)

    def setUp(self):
        super().setUp()
        self.token = self.mvm_ok("token", "add", self.id().rpartition(".")[2], "--scope", "admin").strip()

    def open(self, width, height, dark=False):
        page = self.browser.page(width, height, dark)
        page.go(self.url + "/console/")
        page.find("h1", "Sign in")
        return page

    def check(self, page):
        """The page fits, and it neither complained nor asked anybody else."""
        self.assertLessEqual(page.eval("document.documentElement.scrollWidth"), page.eval("innerWidth"), page.text())
        self.assertEqual(page.complaints, [])
        authority = self.url.partition("://")[2]
        self.assertEqual({url for url in page.requests if url.split("/")[2] != authority}, set())

    def picture(self, page, name):
        if PICTURES:
            page.eval("for (const b of document.querySelectorAll('.note button')) b.click()")
            page.eval("document.querySelector('.terminal')?.scrollIntoView({ block: 'end' })")
            page.screenshot(os.path.join(PICTURES, f"{name}-{page.eval('innerWidth')}.webp"))

    def job(self, page, hands, name):
        """Sign in, start a VM, type in its terminal, read its log, fork it, stop it."""
        hands.fill("Token", self.token)
        page.key("Enter")
        hands.press("Start…")
        hands.fill("Name", name)
        hands.press("Start", "dialog button")
        page.until("!document.querySelector('dialog')")
        hands.press(name, "main a")
        page.find("h1", name)
        page.find(".state", "running")
        self.check(page)

        hands.press("Terminal")
        hands.press("Connect")
        page.until(f"({SCREEN}).includes('#')")
        page.type("echo $((6 * 7)) from $HOSTNAME\r")
        page.until(f"({SCREEN}).includes('42 from')")
        self.picture(page, "terminal")
        hands.connected()
        self.check(page)

        hands.press("Logs")
        page.until_text("hello <b>from</b> the workload")
        self.check(page)

        hands.press("Fork…")
        hands.press("Fork", "dialog button")
        page.until("!document.querySelector('dialog')")
        page.until_text(f"{name} was forked: ")
        fork = page.eval("document.querySelector('.note:last-child').textContent").split(": ")[1].rstrip("×")
        hands.press("Stop")
        page.find(".state", "exited")
        self.check(page)

        hands.press("Instances")
        for row in fork, name:
            page.find("main a", row)
        self.check(page)
        self.picture(page, "instances")
        for link, shown in ("Templates", "web"), ("Pools", "No pool."), ("Events", "stopped"), ("Operations", "fork"):
            hands.press(link)
            page.until_text(shown)
            self.check(page)
        hands.press("Sign out")
        page.find("h1", "Sign in")
        self.check(page)

    def test_by_keyboard_on_a_wide_screen(self):
        page = self.open(1280, 800)
        self.job(page, Keyboard(page), "wide")

    def test_on_a_narrow_screen(self):
        page = self.open(375, 700, dark=True)
        self.job(page, Hands(page), "narrow")


if __name__ == "__main__":
    guests.main()
