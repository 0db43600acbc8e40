# SPDX-License-Identifier: Apache-2.0
"""A rule of CONTRIBUTING.md that no linter checks: no ?: inside another one."""

import glob
import os
import re

import harness

TOPS = "include", "src", "cli", "service", "guest", "tests", "examples"
# what to skip: comments, strings, characters; then the tokens that matter, with the character before
TOKEN = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(\w?)\s*([?(){}\[\];,])""", re.S)


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
    def test_no_conditional_stands_in_another(self):
        n, bad = 0, []
        for top in TOPS:
            for pattern in "*.c", "*.h":
                for path in glob.glob(os.path.join(harness.SOURCE_DIR, top, "**", pattern), recursive=True):
                    with open(path, encoding="utf-8") as file:
                        lines = nested(file.read())
                    n += 1
                    bad += [f"{os.path.relpath(path, harness.SOURCE_DIR)}:{line}" for line in lines]
        self.assertGreater(n, 500)
        self.assertEqual(bad, [])

    def test_a_nested_conditional_would_be_found(self):
        for text in "x = a ? b : c ? d : e;", "x = a\n? b : (c ? d : e);", "f(a ? b ? c : d : e)":
            self.assertEqual(len(nested(text)), 1, text)
        for text in ("x = a ? b : c; y = d ? e : f;", "x = (a ? b : c) | (d ? e : f);",
                     "x = a ? f(b ? c : d) : e;", "/* ? ? */ s = \"? ?\";", "f(a ? b : c, d ? e : f)"):
            self.assertEqual(nested(text), [], text)


if __name__ == "__main__":
    harness.main()
