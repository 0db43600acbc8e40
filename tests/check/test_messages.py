# SPDX-License-Identifier: Apache-2.0
"""What mvm prints names no file of the source tree, which an installed mvm does not have."""

import os
import re

import harness

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
STRING_OR_COMMENT = re.compile(STRING.pattern + "|" + COMMENT.pattern, re.S)
TARGETS = "all|deps|check|demo|bench|install|lint|clean"
SOURCE_FILE = re.compile(r"\b(?:scripts|doc|examples|tests)/|\bmake (?:%s)\b(?! [a-z])" % TARGETS)


def messages():
    """(file, string) of every string in the programs, joined where C joins them."""
    for top in "src", "cli", "guest":
        for folder, _, names in os.walk(os.path.join(harness.SOURCE_DIR, top)):
            for name in sorted(names):
                if not name.endswith((".c", ".cc", ".h")):
                    continue
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    lines = [line for line in file if not line.startswith("#include")]
                text = re.sub(r'"\s*"', "", STRING_OR_COMMENT.sub(
                    lambda m: m[0] if m[0].startswith('"') else " ", "".join(lines)))
                for string in STRING.findall(text):
                    yield os.path.relpath(path, harness.SOURCE_DIR), string


class Messages(harness.TestCase):
    def test_no_message_names_a_file_of_the_source_tree(self):
        found = list(messages())
        self.assertGreater(len(found), 2000)
        self.assertEqual([f for f in found if SOURCE_FILE.search(f[1])], [])

    def test_such_a_message_would_be_found(self):
        for bad in "see doc/x.md", "run scripts/y", "run 'make deps'", "make install":
            self.assertTrue(SOURCE_FILE.search(bad), bad)
        self.assertFalse(SOURCE_FILE.search("cannot make all clones"))


if __name__ == "__main__":
    harness.main()
