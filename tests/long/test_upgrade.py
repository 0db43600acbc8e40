# SPDX-License-Identifier: Apache-2.0
"""An upgrade with VMs that run: this version's command talks to the last release's supervisors, and starts VMs from its
templates and snapshots.  Builds that release from the repository's history."""

import os
import shutil
import subprocess
import tempfile
import unittest

import harness

RELEASED = "3ba875a7" # 0.2.0
CONFIG = """
template_id = "web"
flake_ref = "dir:root"
command = ["/bin/busybox", "sleep", "1000000"]
[[variants]]
name = "web"
role = "worker"
vcpus = 1
mem_mib = 128
"""


def why_not():
    done = subprocess.run(["git", "-C", harness.SOURCE_DIR, "cat-file", "-e", RELEASED + "^{commit}"],
                          capture_output=True, check=False) if shutil.which("git") else None
    return None if done and done.returncode == 0 else "the sources have no history with the last release"


@harness.needs_guests
@unittest.skipIf(why_not(), why_not())
class Upgrade(harness.TestCase):
    timeout = 900

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.old = os.environ.get("MVM_TEST_OLD") # that release's build/mvm
        if cls.old:
            return
        tree = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="mvm-test-"))
        tar = subprocess.run(["git", "-C", harness.SOURCE_DIR, "archive", RELEASED], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-xf", "-", "-C", tree], input=tar.stdout, check=True)
        clean = {name: value for name, value in os.environ.items() if name not in ("BUILD", "MESON_FLAGS", "MAKEFLAGS")}
        done = subprocess.run(["make", "-C", tree], env=clean, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(done.stdout[-9000:] + done.stderr[-9000:])
        cls.old = tree + "/build/mvm"

    def with_old(self, *args):
        done = subprocess.run([self.old, *args], env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=self.timeout)
        self.assertEqual(done.returncode, 0, f"{args}: {done.stdout}{done.stderr}")
        return done.stdout

    def echo(self, name, with_mvm=None):
        words = ("exec", name, "--", "/bin/busybox", "echo", "answers")
        self.assertEqual((with_mvm or self.mvm_ok)(*words), "answers\n")

    def test_vms_templates_and_snapshots_of_the_last_release_go_on(self):
        os.makedirs(self.path("root/bin"))
        shutil.copy("/bin/busybox", self.path("root/bin"))
        self.assertEqual(self.with_old("version"), "mvm 0.2.0\n")
        self.with_old("kernel", "add", os.environ["MVM_TEST_KERNEL_DEB"], "--name", "k")
        self.with_old("template", "build", "--config", self.write("template.toml", CONFIG), "--snapshot")
        self.with_old("run", "--template", "web", "-d", "--name", "vm")
        self.addCleanup(self.mvm, "rm", "--force", "vm", "next")

        self.assertEqual([(vm["name"], vm["state"]) for vm in self.mvm_json("ps")], [("vm", "running")])
        self.echo("vm")
        self.mvm_ok("cp", self.path("template.toml"), "vm:/copy")
        self.mvm_ok("cp", "vm:/copy", self.path("back"))
        with open(self.path("back"), encoding="utf-8") as file:
            self.assertEqual(file.read(), CONFIG)
        for words in (["pause", "vm"], ["resume", "vm"], ["logs", "vm"], ["stats"], ["inspect", "vm"]):
            self.mvm_ok(*words)
        refused = self.mvm("rename", "vm", "other") # a call that this supervisor does not know
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("hint: its supervisor is of an older mvm", refused.stderr)
        self.echo("vm")

        self.mvm_ok("template", "verify", "web")
        self.mvm_ok("run", "web", "-d", "--name", "next")
        self.echo("next")
        self.echo("vm", self.with_old)
        self.mvm_ok("template", "snapshot", "web")
        for name in "vm", "next":
            self.mvm_ok("stop", name)
        self.assertLessEqual({vm["state"] for vm in self.mvm_json("ps", "--all")}, {"stopped", "exited"})


if __name__ == "__main__":
    harness.main()
