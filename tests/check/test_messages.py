# SPDX-License-Identifier: Apache-2.0
"""What mvm prints: no file of the source tree, which an installed mvm does not have, and no word of
the command line in the library, whose errors have reasons instead."""

import os
import re

import harness

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
STRING_OR_COMMENT = re.compile(STRING.pattern + "|" + COMMENT.pattern, re.S)
TARGETS = "all|deps|check|demo|bench|install|lint|clean"
SOURCE_FILE = re.compile(r"\b(?:scripts|doc|examples|tests)/|\bmake (?:%s)\b(?! [a-z])" % TARGETS)
COMMAND = re.compile(r"'mvm [a-z]|(?<![\w-])--(?!sparse|version|list|show-trace)[a-z][a-z-]+")
# commands to paste and files to start from are what these are for; the others speak to programs
COMMANDS_ARE_MEANT = ("src/template/doctor", "src/template/presets.c", "src/model/config_keys.c",
                      "src/vmm/mend.c")
ARGUMENTS = re.compile(r"^-[\w-]+(=.*)?$")
REASON = re.compile(r'mvm_error_reason\([^;]*?"([a-z-]+)"|refuse_because\([^;]*?"([a-z-]+)"[^;"]*\)'
                    r'|"(guest-broke-protocol)"|budget\.reason = "([a-z-]+)"')
HINT = re.compile(r'^\t\{ "([a-z-]+)",', re.M)


def read(*path):
    with open(os.path.join(harness.SOURCE_DIR, *path), encoding="utf-8") as file:
        return file.read()


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

    def test_the_library_knows_no_command_line(self):
        found = [f for f in messages() if f[0].startswith("src/") and COMMAND.search(f[1])
                 and not ARGUMENTS.match(f[1]) and not f[0].startswith(COMMANDS_ARE_MEANT)]
        self.assertEqual(found, [])
        for bad in "see 'mvm ps'", "use --force", "(--mem)":
            self.assertTrue(COMMAND.search(bad), bad)

    def test_every_reason_has_a_hint_and_a_row_in_the_docs(self):
        used = set()
        for folder, _, names in os.walk(os.path.join(harness.SOURCE_DIR, "src")):
            for name in names:
                for match in REASON.findall(read(folder, name)):
                    used |= {word for word in match if word}
        hints = HINT.findall(read("cli", "hints.c"))
        self.assertEqual(hints, sorted(hints)) # it is searched by halves
        self.assertEqual(set(hints), used)
        self.assertEqual(re.findall(r"^\| `([a-z-]+)` \|", read("doc", "reasons.md"), re.M), hints)


if __name__ == "__main__":
    harness.main()
