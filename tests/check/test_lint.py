# SPDX-License-Identifier: Apache-2.0
"""The quick part of `make lint`: checks that do not compile the code, and clang's warnings."""

import concurrent.futures
import json
import os
import shlex
import subprocess

import harness


class Lint(harness.TestCase):
    def lint(self, step):
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

    @harness.needs_program("clang")
    def test_clang_warns_of_nothing(self):
        build = os.path.dirname(os.path.abspath(harness.MVM))
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
            commands = {entry["file"]: entry for entry in json.load(file)
                        if entry["file"].startswith(("../src/", "../cli/", "../service/", "../guest/"))
                        and entry["file"].endswith(".c")}
        self.assertGreater(len(commands), 300)

        def warnings(entry):
            words = [word for word in shlex.split(entry["command"])
                     if word.startswith(("-I", "-D", "-U", "-W", "-std", "-isystem"))]
            return subprocess.run(["clang", "-fsyntax-only", "-O2", "-Werror", *words, entry["file"]],
                                  cwd=entry["directory"], capture_output=True, text=True, check=False,
                                  timeout=harness.PATIENCE_S).stderr

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            self.assertEqual("".join(pool.map(warnings, commands.values())), "")


if __name__ == "__main__":
    harness.main()
