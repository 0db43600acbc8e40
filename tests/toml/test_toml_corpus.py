#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The toml-test corpus (Debian: golang-github-burntsushi-toml-dev) against src/codec/toml.

Environment: TOML_JSON, the program that prints a document as tagged JSON.
"""

import datetime
import json
import math
import os
import re
import subprocess
import unittest

import harness

CORPUS = "/usr/share/gocode/src/github.com/BurntSushi/toml/internal/toml-test/tests"
PROGRAM = os.environ["TOML_JSON"]

# Known differences from the corpus, with reasons.  A difference that no longer exists fails the test,
# and must leave the list.
KNOWN = {
    "valid/string/escape-esc": "\\e is of TOML 1.1; 1.0, which we read, has it as an error",
}


def parse(text):
    """The tagged value, or None and the message."""
    done = subprocess.run([PROGRAM], input=text, capture_output=True, check=False, timeout=300)
    if done.returncode not in (0, 1):
        raise AssertionError(f"status {done.returncode}: {done.stderr}")
    said = done.stderr.decode(errors="replace").strip()
    return (json.loads(done.stdout) if done.returncode == 0 else None), said


def moment(text):
    """A date or time for comparison, cut to microseconds; offsets compare as instants."""
    text = text.replace(" ", "T").upper().replace("Z", "+00:00")
    text = re.sub(r"\.(\d+)", lambda m: "." + m[1][:6].ljust(6, "0"), text)
    if ":" not in text:
        return datetime.date.fromisoformat(text)
    if "-" not in text:
        return datetime.time.fromisoformat(text)
    return datetime.datetime.fromisoformat(text)


def same_value(kind, want, have):
    if kind == "float":
        a, b = float(want), float(have)
        return (math.isnan(a) and math.isnan(b)) or a == b
    if kind in ("datetime", "datetime-local", "date-local", "time-local"):
        return moment(want) == moment(have)
    return want == have


def is_value(node):
    return isinstance(node, dict) and set(node) == {"type", "value"} and \
        isinstance(node["type"], str)


def same(want, have):
    if is_value(want) and is_value(have):
        return want["type"] == have["type"] and \
            same_value(want["type"], want["value"], have["value"])
    if isinstance(want, dict) and isinstance(have, dict):
        return set(want) == set(have) and all(same(want[key], have[key]) for key in want)
    if isinstance(want, list) and isinstance(have, list):
        return len(want) == len(have) and all(map(same, want, have))
    return False


def documents(folder):
    top = os.path.join(CORPUS, folder)
    for where, _, names in sorted(os.walk(top)):
        for name in sorted(names):
            if name.endswith(".toml"):
                path = os.path.join(where, name)
                with open(path, "rb") as file:
                    yield os.path.relpath(path, CORPUS).removesuffix(".toml"), file.read()


@unittest.skipUnless(os.path.isdir(CORPUS), f"{CORPUS} is not installed")
class Corpus(unittest.TestCase):
    def compare(self, wrong, seen):
        """Check that exactly the known cases differ; `wrong` maps a case's name to its difference."""
        known = {name for name in KNOWN if name.startswith(seen)}
        unknown = {name: why for name, why in wrong.items() if name not in known}
        self.assertEqual(unknown, {}, "departures that are not listed")
        self.assertEqual(known - set(wrong), set(), "mended: take them off the list")

    def test_valid_documents_have_the_values_that_the_corpus_says(self):
        wrong, n = {}, 0
        for name, text in documents("valid"):
            n += 1
            with open(os.path.join(CORPUS, name + ".json"), encoding="utf-8") as file:
                want = json.load(file)
            have, said = parse(text)
            if have is None or not same(want, have):
                wrong[name] = said or have
        self.assertGreater(n, 90)
        self.compare(wrong, "valid/")

    def test_invalid_documents_are_refused_with_their_line(self):
        wrong, n = {}, 0
        for name, text in documents("invalid"):
            n += 1
            have, said = parse(text)
            if have is not None:
                wrong[name] = have
            elif not re.match(r"input:[1-9]\d*: .", said):
                wrong[name] = said
        self.assertGreater(n, 200)
        self.compare(wrong, "invalid/")


if __name__ == "__main__":
    harness.main()
