# SPDX-License-Identifier: Apache-2.0
"""`mvm logs`: the output of a guest."""

import json
import os
import re
import signal

import guests
import harness
from instance_case import TIME, TestCase


@harness.needs_guests
class Logs(TestCase):
    def test_console_and_workload_are_kept_apart(self):
        name = self.run_detached("web-worker", "--cold")["name"]
        # lines of the workload and of the console come on different channels
        self.assertTrue(guests.wait_until(lambda: "no newline" in self.logs(name)))
        self.exec(name, "sh", "-c", "echo to-the-console >/dev/console")
        self.assertTrue(guests.wait_until(lambda: "to-the-console" in self.logs(name)))
        workload = self.logs(name, "--workload")
        self.assertEqual(workload, "hello from the workload\nand this is stderr\nno newline")
        self.assertNotIn("hello", self.logs(name, "--console"))
        self.assertIn("to-the-console\n", self.logs(name, "--console"))
        both = self.logs(name)
        self.assertIn("hello from the workload\n", both)
        self.assertIn("no newline\nto-the-console\n", both)

        self.assertEqual(self.logs(name, "--workload", "--tail", "2"),
                         "and this is stderr\nno newline")
        self.assertEqual(self.logs(name, "--tail", "1"), "to-the-console\n")
        self.assertEqual(self.logs(name, "--tail", "0"), "")
        self.assertEqual(self.logs(name, "--since", "2099-01-01T00:00:00Z"), "")
        self.assertEqual(self.logs(name, "--since", "10m"), both)
        self.mvm_fails(2, "logs", name, "--since", "teatime", says="'teatime' is no time")
        line = self.logs(name, "--timestamps", "--tail", "1")
        self.assertRegex(line, "^" + TIME + "to-the-console\n$")
        self.assertEqual(self.logs(name, "--since", line.split()[0][:19] + "Z", "--tail", "1"),
                         "to-the-console\n")

    def test_a_clone_does_not_repeat_its_twins_output(self):
        name = self.run_detached()["name"]
        self.assertEqual(self.logs(name, "--workload"), "")

    def test_a_terminal_shows_escape_sequences_and_obeys_none(self):
        name = self.run_detached()["name"]
        nasty = rb"\033]0;title\007\033[2J\233\302\2332J\342\200\256\177\r."
        raw = b"\x1b]0;title\x07\x1b[2J\x9b\xc2\x9b2J\xe2\x80\xae\x7f\r."
        shown = b"^[]0;title^G^[[2J<9B><U+009B>2J<U+202E>^?^M."
        self.exec(name, "sh", "-c", f"printf '{nasty.decode()}grün\\nend\\n' >/dev/console; "
                  f"printf 'x{nasty.decode()}' >/tmp/sick")
        self.assertTrue(guests.wait_until(lambda: "end" in self.logs(name)))
        self.assertIn(raw + "grün".encode(), self.mvm_bytes("logs", name).stdout)
        self.assertIn(raw + "grün".encode(), self.on_terminal("logs", "--raw", name))
        self.assertIn(shown + "grün\r\nend\r\n".encode(), self.on_terminal("logs", name))
        entries = [json.loads(line) for line in self.logs(name, "--json").splitlines()]
        joined = "".join(e["text"] + "\n" * e["full"] for e in entries if e["log"] == "console")
        self.assertRegex(joined, "grün\r\nend\r\n")
        self.assertRegex(entries[0]["time"] + " ", TIME)

        self.wait_for_event(name, "unhealthy")
        self.assertIn("\x1b]0;title\x07", self.inspect(name)["health_message"])
        for args in (["inspect", name], ["events"], ["events", "--json"], ["ps"], ["ps", "--json"]):
            with self.subTest(args=args):
                text = self.on_terminal(*args)
                self.assertNotRegex(text.replace(b"\r\n", b"\n"), rb"[\0-\x08\x0b-\x1f\x7f]")
                self.assertNotRegex(text.decode(), "[\x80-\x9f\u202e]")
        self.assertIn(b"\\u009b2J\\u202e\\u007f", self.on_terminal("inspect", name))

    def test_a_flood_is_cut_and_the_log_says_how_much_is_missing(self):
        name = self.run_detached()["name"]
        # through the workload's standard output, which is faster than the console
        self.exec(name, "sh", "-c", "busybox yes '' | busybox head -c 8000000 >/proc/$(cat "
                  "/tmp/said)/fd/1", timeout=harness.PATIENCE_S)
        self.mvm_ok("stop", name)
        text = self.logs(name, "--workload")
        dropped = sum(map(int, re.findall(r"^mvm: (\d+) bytes of output were dropped$", text,
                                          re.M)))
        self.assertGreater(dropped, 0)

    def test_a_full_output_is_not_blamed_on_the_log(self):
        name = self.run_detached("web-worker", "--cold")["name"]
        for option in (), ("--json",):
            with open("/dev/full", "wb") as full:
                logs = self.start_mvm("logs", *option, name, stdout=full)
                _, err = logs.communicate(timeout=harness.PATIENCE_S)
            self.assertEqual(logs.returncode, 1)
            self.assertRegex(err, "cannot write the (output|result): No space left on device")

    def test_follow_ends_with_the_instance(self):
        name = self.run_detached()["name"]
        follower = self.start_mvm("logs", "-f", name)
        self.exec(name, "sh", "-c", "echo one >/dev/console; sleep 0.3; echo two >/dev/console")
        self.mvm_ok("stop", name)
        out, _ = follower.communicate(timeout=harness.PATIENCE_S)
        self.assertIn("one\ntwo\n", out)
        self.assertEqual(follower.returncode, 0)

    def test_a_character_is_not_cut_between_two_objects(self):
        name = self.run_detached()["name"]
        self.exec(name, "sh", "-c", "printf 'gr\\303' >/dev/console; sleep 1; "
                  "printf '\\274n\\nend\\342' >/dev/console")
        self.assertTrue(guests.wait_until(lambda: "end" in self.logs(name)))
        self.mvm_ok("stop", name)
        entries = [json.loads(line) for line in self.logs(name, "--json").splitlines()]
        joined = "".join(e["text"] + "\n" * e["full"] for e in entries if e["log"] == "console")
        self.assertRegex(joined, "grün\r?\nend\ufffd")

    def test_following_a_quiet_guest_ends_with_the_reader(self):
        name = self.run_detached()["name"]
        for words in ("logs", "-f", name), ("logs", "-f", "--json", name):
            follower = self.start_mvm(*words)
            follower.stdout.close()
            self.assertEqual(follower.wait(harness.PATIENCE_S), -signal.SIGPIPE, words)
        attached = self.start_mvm("run", "-T", "web-worker", "--name", "attached")
        attached.stdout.close()
        self.assertEqual(attached.wait(harness.PATIENCE_S), -signal.SIGPIPE)
        self.assertEqual(self.instances(), [name])

    def test_a_log_is_rotated_at_its_limit(self):
        name = self.run_detached("web-worker", "--log-size", "1M")["name"]
        self.exec(name, "sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo "
                  "line-$i-of-a-text-that-is-long-enough-to-fill-the-log-quickly; done "
                  ">/dev/console; echo the-end >/dev/console", timeout=harness.PATIENCE_S)
        self.assertTrue(guests.wait_until(lambda: self.logs(name, "--tail", "1") == "the-end\n"))
        sizes = [os.path.getsize(self.data("instances", name, file))
                 for file in ("console.log", "console.log.1")]
        self.assertLessEqual(max(sizes), 1 << 20)
        lines = [line for line in self.logs(name).splitlines() if line.startswith("line-")]
        numbers = [int(line.split("-")[1]) for line in lines]
        self.assertEqual(numbers, list(range(30000 - len(numbers) + 1, 30001)))
        self.assertFalse(os.path.exists(self.data("instances", name, "console.log.2")))


if __name__ == "__main__":
    guests.main()
