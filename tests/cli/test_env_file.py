# SPDX-License-Identifier: Apache-2.0
"""Files for --env-file as editors of all systems write them, and damaged files."""

import os
import subprocess

import harness


class EnvFile(harness.TestCase):
    def env_file(self, content):
        path = self.path("env")
        with open(path, "wb") as file:
            file.write(content)
        return path

    def test_a_line_that_is_no_variable_is_reported_with_its_number(self):
        for content, says in (
                (b"A=1\noops\n", "env:2: 'oops' is not NAME=VALUE"),
                (b"\n\n=1\n", "env:3: '=1' is not NAME=VALUE"),
                (b"A=1\nB = 2\n", "env:2: the name 'B ' has blanks in it"),
                (b"export A=1\n", "env:1: the name 'export A' has blanks in it"),
                (b"A=1\0\nB=2\n", "env:1: a variable cannot contain a NUL byte"),
                (b"A=1\nB=2\0C=3", "env:2: a variable cannot contain a NUL byte"),
                (b"A=1\nB=gr\xfcn\n", "env:2: it is not UTF-8"),
                (b"\xff\xfeA\0=\x001\0", "env:1: a variable cannot contain a NUL byte")):
            with self.subTest(content):
                self.mvm_fails(2, "exec", "web", "--env-file", self.env_file(content), "true",
                               says=says)
        self.mvm_fails(2, "exec", "web", "-e", b"A=\xfc".decode(errors="surrogateescape"), "true",
                       says="is not UTF-8")

    def test_lines_are_taken_as_container_tools_take_them(self):
        for content in (b"", b"\n\r\n \t\r\n", b"\xef\xbb\xbfA=1\r\nB=2\r\n", b"# B = 2\n  # x\nA=#1",
                        b"A=\nB= x =y ", b"  A=1\n", b"A=" + b"x" * 100000 + b"\nB=1",
                        b"A=1\n" * 50000):
            with self.subTest(content[:20]): # the file is fine; the instance does not exist
                self.mvm_fails(125, "exec", "web", "--env-file", self.env_file(content), "true",
                               says="no instance 'web'")

    def test_a_file_has_a_limit_and_may_be_a_pipe(self):
        path = self.env_file(b"#" * ((1 << 20) + 1))
        self.mvm_fails(125, "exec", "web", "--env-file", path, "true", says="larger than 1 MiB")
        self.mvm_fails(125, "exec", "web", "--env-file", "/dev/zero", "true", says="/dev/zero")
        self.mvm_fails(125, "exec", "web", "--env-file", self.folder, "true", says="directory")
        reader, writer = os.pipe()
        os.write(writer, b"oops\n")
        os.close(writer)
        done = subprocess.run([harness.MVM, "exec", "web", "--env-file", "/dev/stdin", "true"],
                              stdin=reader, env=self.environment(), capture_output=True,
                              check=False, timeout=self.timeout)
        os.close(reader)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"/dev/stdin:1: 'oops' is not", done.stderr)


if __name__ == "__main__":
    harness.main()
