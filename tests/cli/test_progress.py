# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on standard error: plain lines, a bar on a terminal, JSON."""

import json
import os
import re
import socket
import subprocess
import tarfile
import sys

import harness

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from tiny_kernel import tiny_kernel # pylint: disable=wrong-import-position

LONG = 448 << 20 # bytes that take more than a tenth of a second to read
TIME = r"\d+(\.\d)? (us|ms|s)"


class Progress(harness.TestCase):
    def setUp(self):
        super().setUp()
        with open(self.path("kernel.elf"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.mvm_ok("kernel", "add", self.path("kernel.elf"), "--name", "tiny")
        self.write("root/etc/hostname", "one\n")
        self.config = self.write("t.toml", 'template_id = "t"\nflake_ref = "dir:root"\n[[variants]]'
                                 '\nname = "t"\nrole = "worker"\nvcpus = 1\nmem_mib = 128\n')

    def make_long(self):
        with open(self.path("root", "large"), "wb") as file:
            file.truncate(LONG)

    def build(self, *args, stderr=subprocess.PIPE, env=None):
        return subprocess.run([harness.MVM, "template", "build", "--config", self.config, *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                              env=self.environment(env), cwd=self.folder, timeout=300, check=False)

    def build_on_terminal(self, columns, term="xterm"):
        """The bytes that a build writes to a terminal of that width."""
        return self.on_terminal("template", "build", "--config", self.config, columns=columns,
                                env={"TERM": term}, stdout=subprocess.DEVNULL).decode()

    def test_a_step_is_one_line_with_time_and_bytes(self):
        root = re.escape(self.path("root"))
        lines = self.build().stderr.decode().splitlines()
        self.assertEqual(len(lines), 4, lines)
        for line, wanted in zip(lines, (
                rf"reading {root} \.\.\. {TIME} \(4 B\)",
                rf"root image from {root} \.\.\. {TIME} \([\d.]+ MiB\)",
                rf"initramfs for kernel 6\.1\.0-test \.\.\. {TIME} \([\d.]+ KiB\)",
                rf"publishing t@[0-9a-f]{{12}} \.\.\. {TIME}")):
            self.assertRegex(line, f"^{wanted}$")

    def test_a_line_is_not_written_byte_by_byte(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            self.assertEqual(self.build(stderr=theirs).returncode, 0)
            theirs.close()
            writes = list(iter(lambda: ours.recv(65536), b""))
        self.assertEqual(b"".join(writes).count(b"\n"), 4)
        self.assertEqual(len(writes), 8, writes) # one for the start and one for the end of each step

    def test_json_has_a_line_for_each_event(self):
        self.make_long()
        done = self.build("--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        json.loads(done.stdout)
        steps = {}
        for line in done.stderr.splitlines():
            (kind, event), = json.loads(line).items()
            self.assertEqual(kind, "progress")
            self.assertEqual(sorted(event), ["detail", "done_bytes", "elapsed_ns", "event", "step",
                                             "total_bytes"])
            steps.setdefault(event["step"], []).append(event)
        self.assertEqual(len(steps), 4)
        for name, events in steps.items():
            words = [event["event"] for event in events]
            self.assertEqual(words, ["begin"] + ["update"] * (len(words) - 2) + ["end"], name)
            for before, after in zip(events, events[1:]):
                self.assertLessEqual(before["done_bytes"], after["done_bytes"])
                self.assertLessEqual(before["elapsed_ns"], after["elapsed_ns"])
        for name in (f"reading {self.path('root')}", f"root image from {self.path('root')}"):
            self.assertGreater(len(steps[name]), 2, steps[name])
            last = steps[name][-1]
            self.assertEqual((last["done_bytes"], last["total_bytes"]), (LONG + 4, LONG + 4))
        self.assertRegex(steps[name][-1]["detail"], "iB$")

    def test_a_long_tar_is_followed_while_it_is_read(self):
        info = tarfile.TarInfo("large")
        info.size = LONG
        with open(self.path("root.tar"), "wb") as file:
            file.write(info.tobuf())
            file.truncate(512 + LONG + 1024)
        with open(self.config, encoding="utf-8") as file:
            text = file.read()
        self.write("t.toml", text.replace("dir:root", "tar:root.tar"))
        done = self.build("--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        events = [json.loads(line)["progress"] for line in done.stderr.splitlines()]
        updates = [e for e in events if e["event"] == "update" and e["step"].startswith("reading")]
        self.assertTrue(updates)
        self.assertEqual(updates[0]["total_bytes"], 512 + LONG + 1024)

    def test_json_tells_of_a_step_that_failed(self):
        os.mkfifo(self.path("root", "fifo"))
        done = self.build("--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, b"")
        events = [json.loads(line) for line in done.stderr.splitlines()]
        self.assertEqual([e.get("progress", {}).get("event") for e in events],
                         ["begin", "failed", None])
        self.assertIn("is a fifo", events[-1]["error"]["message"])

    def test_a_terminal_gets_a_bar_that_fits(self):
        self.make_long()
        for columns in (90, 10):
            text = self.build_on_terminal(columns)
            bars = re.findall(r"\r\x1b\[K([^\r\n]*\[#*-*\][^\r\n]*)", text)
            self.assertTrue(bars, text)
            for bar in bars:
                self.assertRegex(bar, r"\[#*-{0,20}\] +\d+%  [\d.]+ \w+ of 448(\.0)? MiB(, [\d.]+ \w+/s)?$")
                self.assertEqual("/s" in bar, columns >= 80)
                if columns > 50:
                    self.assertLess(len(bar), columns)
            self.write("root/etc/hostname", f"{columns}\n") # so that the next build is not cached

    def test_a_dumb_terminal_gets_plain_lines(self):
        self.make_long()
        text = self.build_on_terminal(80, "dumb")
        self.assertNotIn("\x1b", text)
        self.assertEqual(text.count("\n"), 4, text)


if __name__ == "__main__":
    harness.main()
