# SPDX-License-Identifier: Apache-2.0
"""The quick part of `make lint`: checks that do not compile the code."""

import os
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


if __name__ == "__main__":
    harness.main()
