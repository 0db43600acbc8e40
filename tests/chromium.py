# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium, driven by its DevTools protocol over a pipe.

    with chromium.Browser(folder, timeout=100) as browser:
        page = browser.page(1280, 800)
        page.go("http://127.0.0.1:8080/")
        page.click("button", "Start…")
"""

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time

PROGRAMS = "chromium", "chromium-browser", "google-chrome"
SWITCHES = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
            "--no-default-browser-check", "--password-store=basic", "--hide-scrollbars", "--force-color-profile=srgb",
            "--lang=en-GB", "about:blank"]
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " "), "ArrowDown": (40, ""), "L": (76, "L")}
MODIFIERS = {"Alt": 1, "Control": 2, "Shift": 8}


def program():
    """The browser's path, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def high_pipe():
    """A pipe whose descriptors are none of those that the browser gets, 3 and 4."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high


class Browser:
    def __init__(self, folder, timeout):
        self.timeout, self.number, self.rest, self.pages = timeout, 0, b"", {}
        commands, self.commands = high_pipe()
        self.answers, answers = high_pipe()
        # as root it has no sandbox of its own; it only ever opens our pages
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", program(), f"--user-data-dir={folder}",
             *root, *SWITCHES],
            pass_fds=(commands, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ | {"HOME": folder})
        os.close(commands)
        os.close(answers)
        os.set_blocking(self.answers, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.commands)
        os.close(self.answers)

    def send(self, method, session=None, **params):
        """Call a method and return its result.  Events that come meanwhile go to their pages."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            page = self.pages.get(answer.get("sessionId"))
            if page:
                page.noticed(answer["method"], answer["params"])

    def receive(self, deadline):
        while b"\0" not in self.rest:
            if time.monotonic() > deadline:
                raise AssertionError("the browser does not answer")
            try:
                data = os.read(self.answers, 1 << 20)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            if not data:
                raise AssertionError("the browser has ended")
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def page(self, width, height, dark=False):
        return Page(self, width, height, dark)


class Page:
    def __init__(self, browser, width, height, dark):
        self.browser, self.requests, self.complaints = browser, [], []
        context = browser.send("Target.createBrowserContext")["browserContextId"] # its own cookies and storage
        target = browser.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in "Page", "Runtime", "Network", "Log", "Audits":
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.send("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def send(self, method, **params):
        return self.browser.send(method, self.session, **params)

    def noticed(self, method, params):
        """Keep what a test asserts to be empty, and where requests went."""
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("exception", {}).get("description") or str(params))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([arg.get("value") or arg.get("description") for arg in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Audits.issueAdded" and params["issue"]["code"] != "GenericIssue":
            self.complaints.append(json.dumps(params["issue"]))

    def go(self, url):
        self.send("Page.navigate", url=url)

    def eval(self, expression):
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']['exception']['description']}")
        return result["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true; return its value."""
        deadline = time.monotonic() + self.browser.timeout
        while True:
            try:
                value = self.eval(expression)
            except AssertionError as error:  # the page is being replaced
                value = None
                if time.monotonic() > deadline:
                    raise AssertionError(f"never true: {expression}: {error}") from error
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"never true: {expression}; the page says: {self.text()}; {self.complaints}")
            time.sleep(0.03)

    def text(self):
        return self.eval("document.body.innerText")

    def until_text(self, text):
        self.until(f"document.body.innerText.includes({json.dumps(text)})")

    def find(self, selector, text=None):
        """Wait for an element that shows, and return an expression for it."""
        found = (f"[...document.querySelectorAll({json.dumps(selector)})].find((e) => e.checkVisibility()"
                 + (f" && e.textContent.trim() === {json.dumps(text)})" if text else ")"))
        self.until(f"Boolean({found})")
        return found

    def click(self, selector, text=None):
        """Click with the mouse, where the element is."""
        x, y = self.until(f"""(() => {{ const e = {self.find(selector, text)};
            e.scrollIntoView({{ block: "center" }});
            const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
            const top = document.elementFromPoint(x, y); // a note may lie over it
            return top && (e.contains(top) || top.contains(e)) ? [x, y] : null; }})()""")
        for kind in "mousePressed", "mouseReleased":
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        """Type text where the focus is."""
        for char in text:
            self.send("Input.dispatchKeyEvent", type="char", text=char)

    def key(self, key, *modifiers):
        code, text = KEYS[key]
        held = sum(MODIFIERS[name] for name in modifiers)
        common = {"key": key, "code": f"Key{key}" if len(key) == 1 and key.isalpha() else key,
                  "windowsVirtualKeyCode": code, "modifiers": held}
        if text and not held & 3:
            common["text"] = text
        self.send("Input.dispatchKeyEvent", type="keyDown" if "text" in common else "rawKeyDown", **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def focused(self):
        """What a screen reader would call the element that has the focus."""
        return self.eval("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()")

    def screenshot(self, path):
        """A picture of what shows, as the path's suffix says: .webp or .png."""
        quality = {"quality": 70} if path.endswith(".webp") else {}
        data = self.send("Page.captureScreenshot", format=path.rpartition(".")[2], **quality)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
