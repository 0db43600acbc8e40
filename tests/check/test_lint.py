# SPDX-License-Identifier: Apache-2.0
"""The quick part of `make lint`: all of it but clang's static analyser, which runs over what changed last."""

import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess

import harness

PRODUCT = "src", "cli", "service", "guest"
TIDY_VERSION = 14 # Debian 12's; each version finds something else
ANALYSER = "clang-analyzer-*"
LAST_COMMITS, LAST_FILES = 20, 8 # three seconds of a CPU for a file


def compilations():
    """{path below the source folder: the words of its command that matter to clang}"""
    build = os.path.dirname(os.path.abspath(harness.MVM))
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        return {entry["file"][3:]: [word for word in shlex.split(entry["command"])
                                    if word.startswith(("-I", "-D", "-U", "-W", "-std", "-isystem"))]
                for entry in json.load(file)
                if entry["file"].startswith("../") and entry["file"].endswith((".c", ".cc"))}


def is_product(path):
    return path.split("/")[0] in PRODUCT and path.endswith(".c")


def tidy_version():
    try:
        said = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_S).stdout
    except FileNotFoundError:
        return None
    return int(re.search(r"version (\d+)", said)[1])


def changed_last():
    """Files of the product that differ from the last commit or that the last commits changed, the newest first."""
    if not shutil.which("git"):
        return []
    said = "".join(subprocess.run(["git", *words], text=True, cwd=harness.SOURCE_DIR, capture_output=True, check=False,
                                  timeout=harness.PATIENCE_S).stdout
                   for words in (["diff", "--name-only", "HEAD"],
                                 ["log", f"-{LAST_COMMITS}", "--format=", "--name-only"]))
    return [path for path in dict.fromkeys(said.split("\n")) if is_product(path)]


class Lint(harness.TestCase):
    def lint(self, step):
        if step != "cppcheck" and (not shutil.which("git") or subprocess.run(
                ["git", "-C", harness.SOURCE_DIR, "rev-parse"], capture_output=True, check=False,
                timeout=harness.PATIENCE_S).returncode):
            self.skipTest("no repository lists the sources")
        done = subprocess.run([os.path.join(harness.SOURCE_DIR, "scripts", "lint"), step],
                              capture_output=True, text=True, check=False, timeout=800)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @harness.needs_program("clang-format")
    def test_the_layout_is_clang_formats(self):
        self.lint("clang-format")

    @harness.needs_program("shellcheck")
    def test_shellcheck_finds_nothing_in_scripts(self):
        self.lint("shellcheck")

    @harness.needs_program("cppcheck")
    def test_cppcheck_finds_nothing(self):
        self.lint("cppcheck")


class Clang(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.words = compilations()

    maxDiff = None

    def find_nothing(self, command, paths):
        """Run a checker over each file, with the words of its compilation."""
        build = os.path.dirname(os.path.abspath(harness.MVM))

        def findings(path):
            done = subprocess.run(command(path, self.words[path]), cwd=build, capture_output=True, text=True,
                                  check=False, timeout=harness.PATIENCE_S)
            return "" if done.returncode == 0 else done.stdout + done.stderr

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            self.assertEqual("".join(pool.map(findings, paths)), "")

    def tidy_finds_nothing(self, checks, paths):
        version = tidy_version()
        if version != TIDY_VERSION:
            self.skipTest(f"clang-tidy is {version or 'not installed'}, not {TIDY_VERSION}")
        self.find_nothing(lambda path, words: ["clang-tidy", "--quiet", "--checks=" + checks, "../" + path, "--", *words],
                          paths)

    @harness.needs_program("clang")
    def test_clang_warns_of_nothing(self):
        # clang-tidy has clang's warnings, too
        paths = [path for path in self.words if not is_product(path) or tidy_version() != TIDY_VERSION]
        self.assertGreater(len(paths), 100)
        self.find_nothing(lambda path, words: ["clang" if path.endswith(".c") else "clang++", "-fsyntax-only",
                                               "-O2", "-Werror", *words, "../" + path], paths)

    def test_clang_tidy_finds_nothing(self):
        paths = list(filter(is_product, self.words))
        self.assertGreater(len(paths), 500)
        self.tidy_finds_nothing("-" + ANALYSER, paths)

    def test_the_analyser_finds_nothing_in_what_changed_last(self):
        paths = [path for path in changed_last() if path in self.words][:LAST_FILES]
        if not paths:
            self.skipTest("no repository tells what changed last")
        self.tidy_finds_nothing("", paths)


if __name__ == "__main__":
    harness.main()
