# SPDX-License-Identifier: Apache-2.0
"""^C ends check, demo and bench at once, with everything that they have started."""

import os
import pty
import shutil
import signal
import time

import harness

# reports its start, then runs as long as a guest may
STUB = """#!/bin/sh
case "$*" in
%s) echo $$ >"$STARTED.new" && mv "$STARTED.new" "$STARTED"; exec sleep 1000 ;;
"kernel fetch --download"*) echo "$STARTED.deb" ;;
esac
"""


class Interrupt(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.started = self.path("started")

    def stub(self, name, hangs_on):
        return self.write(name, STUB % hangs_on, 0o755)

    def wait_for(self, condition):
        deadline = time.monotonic() + harness.PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def interrupt(self, script, **env):
        """Run a script on its own terminal and press ^C when the stub hangs; returns the output."""
        env = self.environment({"STARTED": self.started, "PATH": self.path("bin") + ":"
                                + os.environ["PATH"], **env})
        pid, terminal = pty.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.execvpe(script, [script], env)
            finally:
                os._exit(126)
        said, status = b"", None
        try:
            os.set_blocking(terminal, False)
            self.wait_for(lambda: os.path.exists(self.started))
            os.write(terminal, b"\x03")
            deadline = time.monotonic() + harness.PATIENCE_S
            while status is None and time.monotonic() < deadline:
                done, code = os.waitpid(pid, os.WNOHANG)
                status = os.waitstatus_to_exitcode(code) if done else None
                time.sleep(0.02)
            try:
                while chunk := os.read(terminal, 65536):
                    said += chunk
            except OSError:
                pass
        finally:
            os.close(terminal)
            if status is None:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.assertIn(status, (130, -signal.SIGINT), said)
        with open(self.started, encoding="ascii") as file:
            child = int(file.read())
        self.wait_for(lambda: not os.path.exists(f"/proc/{child}"))
        return said.decode(errors="replace")

    def script(self, name):
        return os.path.join(harness.SOURCE_DIR, "scripts", name)

    def test_the_demo_ends_and_removes_its_instances(self):
        self.stub("build/mvm", "backends")
        self.interrupt(self.script("demo"), BUILD=self.path("build"))

    def test_the_benchmark_ends(self):
        self.stub("build/mvm", '"kernel add"*')
        self.interrupt(self.script("bench"), BUILD=self.path("build"))

    def test_check_ends_and_counts_nothing(self):
        # a tree of its own, since the script installs and configures
        for name in "scripts/install-deps", "bin/make", "bin/ninja":
            self.write(name, "#!/bin/sh\n", 0o755)
        self.stub("bin/meson", '"test -C build --logbase"*')
        self.write("build/mvm", "#!/bin/sh\nexit 1\n", 0o755)
        self.write("tests/summary.py", "print('counted')\n")
        os.makedirs(self.path("build/meson-logs"))
        shutil.copy(self.script("check"), self.path("scripts/check"))
        said = self.interrupt(self.path("scripts/check"), BUILD="build")
        self.assertIn("check: interrupted", said)
        self.assertNotIn("counted", said)


if __name__ == "__main__":
    harness.main()
