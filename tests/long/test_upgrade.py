# SPDX-License-Identifier: Apache-2.0
"""An upgrade with VMs that run: this version's command talks to the last release's supervisors, and starts VMs from its
templates and snapshots.  Builds that release from the repository's history."""

import os
import shutil
import subprocess
import tempfile
import unittest

import harness
import last_release

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


@harness.needs_guests
@unittest.skipIf(last_release.why_not(), last_release.why_not())
class Upgrade(harness.TestCase):
    timeout = 900

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        tree = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="mvm-test-"))
        cls.old = last_release.build(tree) + "/mvm"

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
        self.assertEqual(self.with_old("version"), f"mvm {last_release.VERSION}\n")
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
