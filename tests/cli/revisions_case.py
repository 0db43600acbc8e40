# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of revisions.  Nothing boots, so a few bytes serve as the kernel and any file as
the agent."""

import fcntl
import os
import struct

import harness

F_OFD_SETLK = 37 # Python's fcntl has no name for it
KERNEL = os.path.join(harness.SOURCE_DIR, "tests", "fuzz", "corpus", "kernel", "vmlinux")


class Revisions(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.write("lib/mvm-agent", "agent")
        self.source("one")
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.mvm_ok("template", "create", "web", "--flake", "dir:root", "--", "/bin/x")

    def environment(self, extra=None):
        return super().environment({"MVM_LIBEXEC_DIR": self.path("lib"), **(extra or {})})

    def source(self, text):
        self.write("root/bin/x", text)

    def build(self, template="web", *args):
        return self.mvm_json("template", "build", template, *args)[0]["revision_hash"]

    def build_three(self):
        """Build three revisions; returns them, oldest first."""
        made = []
        for text in ("one", "two", "three"):
            self.source(text)
            made.append(self.build())
            self.next_tick()
        return made

    def next_tick(self):
        """Wait until the file system's clock has moved: two revisions in one tick have no order."""
        before = now = os.stat(self.write("tick", "")).st_mtime_ns
        while now == before:
            os.unlink(self.path("tick"))
            now = os.stat(self.write("tick", "")).st_mtime_ns

    def history(self, template="web"):
        return self.mvm_json("template", "history", template)

    def revision_path(self, revision, *parts, template="web"):
        return os.path.join(self.data_dir, "templates", template, "artifacts", revision, *parts)

    def damage(self, revision, name, template="web"):
        """Change a file of one revision, but not the blob that it shares."""
        path = self.revision_path(revision, name, template=template)
        with open(path, "rb") as file:
            content = bytearray(file.read())
        content[-1] ^= 1
        os.unlink(path)
        with open(path, "wb") as file:
            file.write(content)

    def lease(self, revision, template="web"):
        """Take a lease on a revision, as a running VM does.  Close it to release the revision."""
        path = os.path.join(self.data_dir, "locks", f"lease.{template}")
        # pylint: disable-next=consider-using-with
        file = open(path, "a+", encoding="ascii")
        self.addCleanup(file.close)
        number = 0xcbf29ce484222325
        for byte in revision.encode():
            number = (number ^ byte) * 0x100000001b3 % 2**64
        fcntl.fcntl(file, F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET,
                                                   number >> 2, 1, 0))
        return file

    def blobs(self):
        return set(os.listdir(os.path.join(self.data_dir, "blobs", "sha256")))

    def files(self):
        """Every file of the data folder except locks, with its inode, to show that nothing has changed."""
        found = {}
        for where, _, names in os.walk(self.data_dir):
            for name in names:
                path = os.path.join(where, name)
                if "/locks" not in where:
                    found[path] = os.lstat(path).st_ino
        return found
