# SPDX-License-Identifier: Apache-2.0
"""Scripts of the source tree do what the Makefile and other scripts ask of them."""

import os
import re
import subprocess

import harness

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class InstallDeps(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.write("bin/dpkg-query", "#!/bin/sh\necho installed\n", 0o755)

    def install(self, *tasks):
        """Run install-deps where dpkg has every package."""
        return subprocess.run([os.path.join(TOP, "scripts/install-deps"), *tasks], timeout=60,
                              env={"PATH": self.path("bin") + ":/usr/bin:/bin"}, text=True,
                              capture_output=True, check=False)

    def test_every_task_that_is_asked_for_is_known(self):
        asked = set()
        for name in "Makefile", "scripts/check", "scripts/demo", "scripts/bench", "scripts/dist":
            with open(os.path.join(TOP, name), encoding="utf-8") as file:
                text = file.read()
            asked.update(*map(str.split, re.findall(r"scripts/install-deps ([a-z ]+)", text)))
            asked.update(*map(str.split, re.findall(r"tasks\+?=\(([a-z ]+)\)", text)))
        self.assertLess({"build", "test", "fuzz"}, asked)
        done = self.install(*sorted(asked))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_an_unknown_task_names_the_known_ones(self):
        done = self.install("build", "tests")
        self.assertEqual(done.returncode, 2)
        self.assertIn("unknown task 'tests': use bench build deb demo fuzz lint long test", done.stderr)


if __name__ == "__main__":
    harness.main()
