# SPDX-License-Identifier: Apache-2.0
"""Messages of mvm name no file of the source tree, which an installed mvm does not have.  Messages of
the library have no words of the command line; its errors have reasons instead."""

import os
import re

import harness

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
STRING_OR_COMMENT = re.compile(STRING.pattern + "|" + COMMENT.pattern, re.S)
TARGETS = "all|deps|check|demo|bench|install|lint|clean"
SOURCE_FILE = re.compile(r"\b(?:scripts|doc|examples|tests)/|\bmake (?:%s)\b(?! [a-z])" % TARGETS)
# options of GNU tar, zstd, QEMU, busybox and Nix may be named
OPTION = r"(?<![\w-])--(?!sparse|ultra|format|version|list|show-trace)[a-z][a-z-]+"
# a template.toml to start from, and the manual of its keys; all other files serve programs
COMMANDS_ARE_MEANT = ("src/template/presets.c", "src/model/config_keys.c")
ARGUMENTS = re.compile(r"^-[\w-]+(=.*)?$")
# a reason, and its subject if it has one
REASON = re.compile(r'(?:mvm_error_reason(?:_unless)?|doctor_reason)\([^;]*?"([a-z-]+)",\s*([^;]*?)\)(?:;|\s*:)')
OTHER_REASON = re.compile(r'BROKE_PROTOCOL "([a-z-]+)"|refuse_because\([^;]*?"([a-z-]+)"[^;"]*\)'
                          r'|budget\.reason = "([a-z-]+)"|mend_reason = [^;]*?"([a-z-]+)"')
HINT = re.compile(r'\{\s*"([a-z-]+)",\s*"((?:[^"\\]|\\.)*)",\s*(?:NULL|"((?:[^"\\]|\\.)*)")\s*\}')
SUBJECT = "%1$s"
PASTED = re.compile(r"'mvm ([^']*)'|^mvm ([^']*)$")
# placeholders, with words that a user could put there
WORDS = {SUBJECT: "web", "REV": "a1b2", "FILE": "f", "SIZE": "2G", "REF": "dir:/x"}


def read(*path):
    with open(os.path.join(harness.SOURCE_DIR, *path), encoding="utf-8") as file:
        return file.read()


def messages():
    """(file, string) of every string in the programs; adjacent literals are joined, as C does."""
    for top in "src", "cli", "service", "guest":
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


def command_line():
    """Matches an option, or mvm with one of its commands."""
    first = {path.split()[0] for name in os.listdir(os.path.join(harness.SOURCE_DIR, "cli"))
             if name.endswith(".c") for path in re.findall(r'\.path = "([^"]+)"', read("cli", name))}
    assert len(first) > 25, first
    return re.compile(OPTION + r"|\bmvm (?:" + "|".join(sorted(first)) + r")\b")


def reasons():
    """(reason, subject) of every place that gives a reason.  The subject is "" where it comes from
    elsewhere."""
    found = []
    for top in "src", "cli":
        for folder, _, names in os.walk(os.path.join(harness.SOURCE_DIR, top)):
            for name in names:
                text = read(folder, name)
                found += REASON.findall(text)
                found += [(word, "") for match in OTHER_REASON.findall(text) for word in match if word]
    return found


def hints():
    """(reason, hint, hint without a subject or "") of the command line's table."""
    table = read("cli", "hints.c").split("hints[] = {")[1].split("\n};")[0]
    return [(reason, text.replace('\\"', '"'), bare.replace('\\"', '"'))
            for reason, text, bare in HINT.findall(re.sub(r'"\s*\n\s*"', "", table))]


class Messages(harness.TestCase):
    def test_no_message_names_a_file_of_the_source_tree(self):
        found = list(messages())
        self.assertGreater(len(found), 2000)
        self.assertEqual([f for f in found if SOURCE_FILE.search(f[1])], [])

    def test_a_bad_message_would_be_found(self):
        for bad in "see doc/x.md", "run scripts/y", "run 'make deps'", "make install":
            self.assertTrue(SOURCE_FILE.search(bad), bad)
        self.assertFalse(SOURCE_FILE.search("cannot make all clones"))

    def test_the_library_knows_no_command_line(self):
        words = command_line()
        found = [f for f in messages() if f[0].startswith("src/") and words.search(f[1])
                 and not ARGUMENTS.match(f[1]) and f[0] not in COMMANDS_ARE_MEANT]
        self.assertEqual(found, [])
        for bad in "see 'mvm ps'", "use --force", "(--mem)", "mvm stats", "4711 mvm pool serve":
            self.assertTrue(words.search(bad), bad)
        for good in "a newer mvm (schema", "mvm did not make it", "'zstd --ultra -22'":
            self.assertFalse(words.search(good), good)

    def test_every_reason_has_a_hint_and_a_row_in_the_docs(self):
        used = {reason for reason, _ in reasons()}
        table = [reason for reason, _, _ in hints()]
        self.assertEqual(table, sorted(table)) # for a binary search
        self.assertEqual(set(table), used)
        rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\|([^|]*)\|$", read("doc", "reasons.md"), re.M))
        self.assertEqual(list(rows), table)
        for reason, text, _ in hints():
            if SUBJECT in text:
                self.assertTrue(rows[reason].strip(), reason + " has a subject")

    def test_a_hint_with_a_name_in_it_gets_the_name(self):
        needs = {reason for reason, text, bare in hints() if SUBJECT in text and not bare}
        self.assertGreater(len(needs), 15)
        self.assertEqual([r for r in reasons() if r[0] in needs and r[1] == "NULL"], [])
        for reason, text, bare in hints():
            self.assertNotIn("%", bare, reason)
            self.assertRegex(text, r"^(?:[^%]|%1\$s|%2\$s)*$", reason)
            if reason.startswith(("data-folder", "lock")): # a path, quoted for the shell
                self.assertNotRegex(text, r"'[^' ]*%1\$s", reason)

    def test_the_commands_of_hints_can_be_pasted(self):
        found = 0
        for reason, text, bare in hints():
            for match in PASTED.findall(text) + PASTED.findall(bare):
                command = match[0] or match[1]
                for word, value in WORDS.items():
                    command = command.replace(word, value)
                with self.subTest(reason, command=command):
                    self.assertIn("Usage: mvm", self.mvm_ok(*command.split(), "--help"))
                    self.assertNotRegex(command, r"\b[A-Z]{3,}\b")
                    found += 1
        self.assertGreater(found, 30)


if __name__ == "__main__":
    harness.main()
