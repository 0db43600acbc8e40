# SPDX-License-Identifier: Apache-2.0
"""Rules that no linter checks: no ?: inside another one (CONTRIBUTING.md), and no comment's end on a line
of its own unless its beginning is, as clang-format leaves it when a line is too long by the end alone.  And that the
tests which `make check` does not run can be loaded."""

import glob
import os
import re
import subprocess
import sys

import harness

TOPS = "include", "src", "cli", "service", "guest", "tests", "examples"
# what to skip: comments, strings, characters; then the tokens that matter, with the character before
TOKEN = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(\w?)\s*([?(){}\[\];,])""", re.S)


COMMENT = re.compile(r"/\*.*?\*/", re.S)


def lone_ends(text):
    """The lines of */ alone that end a comment whose text begins beside its /*."""
    comments = ((m, m[0].split("\n")) for m in COMMENT.finditer(text))
    return [text.count("\n", 0, m.end()) + 1 for m, lines in comments
            if len(lines) > 1 and lines[-1].strip() == "*/" and lines[0].strip() != "/*"]


def nested(text):
    """The lines on which a ?: stands inside another one, in parentheses or not."""
    found, open_ones = [], [0]  # how many ?: are around us, in each bracket
    for token in TOKEN.finditer(text):
        before, char = token.group(1), token.group(2)
        if char == "?":
            if open_ones[-1]:
                found.append(text.count("\n", 0, token.end()) + 1)
            open_ones[-1] += 1
        elif char == "(" and not before:  # a part of the expression, not a call's arguments
            open_ones.append(open_ones[-1])
        elif char in ("(", "[", "{"):
            open_ones.append(0)
        elif char in (")", "]", "}"):
            open_ones = open_ones[:-1] or [0]
            if char == "}":
                open_ones[-1] = 0
        elif char:
            open_ones[-1] = 0
    return found


class Style(harness.TestCase):
    def find(self, rule):
        n, bad = 0, []
        for top in TOPS:
            for pattern in "*.c", "*.h":
                for path in glob.glob(os.path.join(harness.SOURCE_DIR, top, "**", pattern), recursive=True):
                    with open(path, encoding="utf-8") as file:
                        lines = rule(file.read())
                    n += 1
                    bad += [f"{os.path.relpath(path, harness.SOURCE_DIR)}:{line}" for line in lines]
        self.assertGreater(n, 500)
        return bad

    def test_no_conditional_stands_in_another(self):
        self.assertEqual(self.find(nested), [])

    def test_no_comment_has_its_end_on_a_line_of_its_own(self):
        self.assertEqual(self.find(lone_ends), [])
        self.assertEqual(lone_ends("a; /* b\n    * c.\n    */\n"), [3])
        self.assertEqual(lone_ends("/*\n * b.\n */\n/* c\n * d. */\n"), [])

    def test_a_nested_conditional_would_be_found(self):
        for text in "x = a ? b : c ? d : e;", "x = a\n? b : (c ? d : e);", "f(a ? b ? c : d : e)":
            self.assertEqual(len(nested(text)), 1, text)
        for text in ("x = a ? b : c; y = d ? e : f;", "x = (a ? b : c) | (d ? e : f);",
                     "x = a ? f(b ? c : d) : e;", "/* ? ? */ s = \"? ?\";", "f(a ? b : c, d ? e : f)"):
            self.assertEqual(nested(text), [], text)

    def test_the_long_tests_can_be_loaded(self):
        tests = os.path.join(harness.SOURCE_DIR, "tests")
        folder = os.path.join(tests, "long")
        names = [os.path.basename(path)[:-3] for path in sorted(glob.glob(folder + "/test_*.py"))]
        self.assertIn("test_packages", names)
        done = subprocess.run([sys.executable, "-c", f"import {', '.join(names)}"], cwd=folder, capture_output=True,
                              text=True, check=False, timeout=self.timeout, env={
                                  **os.environ, "PYTHONPATH": f"{tests}:{tests}/integration", "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    harness.main()
