# SPDX-License-Identifier: Apache-2.0
"""Files hold one idea and functions fit a screen: these tests notice what grows."""

import glob
import os
import re

import harness

FILE_LINES_MAX, FUNCTION_LINES_MAX = 600, 80
TOPS = "include", "src", "cli", "service", "guest", "tests", "examples"


def sources():
    for top in TOPS:
        for pattern in "*.c", "*.h", "*.py":
            for path in glob.glob(os.path.join(harness.SOURCE_DIR, top, "**", pattern),
                                  recursive=True):
                with open(path, encoding="utf-8") as file:
                    yield os.path.relpath(path, harness.SOURCE_DIR), file.read().split("\n")


def functions(lines):
    """(first line, number of lines) of every C function: its brace is alone in the first column."""
    start = None
    for i, line in enumerate(lines):
        if line == "{" and i and lines[i - 1].rstrip().endswith(")"):
            start = i
        elif line == "}" and start is not None:
            head = start - 1
            while head > 0 and re.match(r"\s", lines[head]):
                head -= 1
            yield lines[head], i - head + 1
            start = None


class Sizes(harness.TestCase):
    def test_no_file_is_long(self):
        found = list(sources())
        self.assertGreater(len(found), 500)
        self.assertEqual([(path, len(lines)) for path, lines in found
                          if len(lines) > FILE_LINES_MAX], [])

    def test_no_function_is_long(self):
        seen = [(path, *f) for path, lines in sources() if path.endswith((".c", ".h"))
                for f in functions(lines)]
        self.assertGreater(len(seen), 4000)
        self.assertEqual([f for f in seen if f[2] > FUNCTION_LINES_MAX], [])

    def test_a_long_function_would_be_found(self):
        body = ["static int f(int a,", "\t     int b)", "{"] + ["\ta();"] * 80 + ["}"]
        self.assertEqual(list(functions(body)), [("static int f(int a,", 84)])


if __name__ == "__main__":
    harness.main()
