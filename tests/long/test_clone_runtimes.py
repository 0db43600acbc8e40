# SPDX-License-Identifier: Apache-2.0
"""The row of Python in doc/clones.md: what two clones share of a program that ran when they were captured,
and what the program can renew.  Each program reports its values as they were, renews what it can, and reports
them again, when on_restore signals it."""

import json
import os
import shutil
import subprocess
import unittest

import guests
import harness
import outer_vm

PYTHON = """
import json, os, random, secrets, signal, ssl, uuid
def values():
    return {"random": random.random(), "RAND_bytes": ssl.RAND_bytes(16).hex(), "hash": hash("text"),
            "secrets": secrets.token_hex(16), "uuid4": str(uuid.uuid4()),
            "SystemRandom": random.SystemRandom().random()}
def renew(*_):
    before = values()
    random.seed()
    ssl.RAND_add(os.urandom(64), 64)
    with open("/tmp/python.part", "w") as file:
        json.dump([before, values()], file)
    os.rename("/tmp/python.part", "/tmp/python")
values()
signal.signal(signal.SIGUSR2, renew)
open("/tmp/python.ready", "w").close()
while True:
    signal.pause()
"""

# program: how to start it, and the names of values that clones share: before it renews them, and after
RUNTIMES = {
    "python": (["/usr/bin/python3", "/python.py"], {"random", "RAND_bytes", "hash"}, {"hash"}),
}

CONFIG = """
template_id = "t"
flake_ref   = "dir:root"
kernel      = "debian"
command     = {command}
on_restore  = ["/bin/busybox", "killall", "-USR2", "{program}"]
[health]
exec = ["/bin/busybox", "test", "-e", "/tmp/{runtime}.ready"]
timeout_s = 600
[[variants]]
role    = "worker"
vcpus   = 1
mem_mib = 512
"""


class Runtime:
    runtime = None

    @classmethod
    def add(cls, source, to=None):
        """Add a file to the image."""
        to = os.path.join(cls.root, (to or source).lstrip("/"))
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(source, to)

    @classmethod
    def add_text(cls, name, text):
        with open(os.path.join(cls.root, name), "w", encoding="utf-8") as file:
            file.write(text)

    @classmethod
    def make_source(cls):
        cls.add_program()

    def values(self, name):
        record = self.run_detached("t-worker", "--name", name, "--require-snapshot")
        self.assertEqual(record["start"], "restore")
        path = f"/tmp/{self.runtime}"
        return json.loads(self.exec(name, "/bin/busybox", "sh", "-c",
                                    f"until cat {path} 2>/dev/null; do sleep 0.1; done"))

    def test_clones_share_what_the_page_says(self):
        one, other = self.values("one"), self.values("other")
        for i, expected in enumerate(RUNTIMES[self.runtime][1:]):
            self.assertEqual({key for key in one[i] if one[i][key] == other[i][key]}, expected)


def config_of(runtime, program):
    return CONFIG.format(runtime=runtime, program=program, command=json.dumps(RUNTIMES[runtime][0]))


@harness.needs_guests
@unittest.skipUnless(os.path.exists("/usr/bin/python3"), "without Debian's Python")
class Python(Runtime, guests.TestCase):
    runtime = "python"
    config = config_of("python", "python3")

    @classmethod
    def add_program(cls):
        cls.add_text("python.py", PYTHON)
        program = os.path.realpath("/usr/bin/python3")
        folder = subprocess.run([program, "-c", "import os; print(os.path.dirname(os.__file__))"],
                                check=True, capture_output=True, text=True, timeout=60).stdout.strip()
        shutil.copytree(folder, cls.root + folder, symlinks=True,
                        ignore=shutil.ignore_patterns("test", "idlelib", "ensurepip", "lib2to3"))
        cls.add(program, "/usr/bin/python3")
        modules = os.path.join(folder, "lib-dynload")
        for file in (program, *(os.path.join(modules, name) for name in os.listdir(modules))):
            for library in outer_vm.libraries(file):
                cls.add(library)


if __name__ == "__main__":
    guests.main()
