# SPDX-License-Identifier: Apache-2.0
"""template init writes files that build unchanged, and overwrites nothing."""

import os
import shutil
import subprocess
import unittest

import harness
from test_template_store import OWN_MOUNTS, can_mount

KERNEL = os.path.join(harness.SOURCE_DIR, "tests", "fuzz", "corpus", "kernel", "vmlinux")


def why_no_busybox():
    """None if this host has a static busybox to copy, else the reason."""
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(path):
            with open(path, "rb") as file:
                if b"/lib64/ld-" not in file.read():
                    return None
    return "there is no static busybox"


@unittest.skipIf(why_no_busybox(), why_no_busybox())
class Init(harness.TestCase):
    def environment(self, extra=None):
        # the flake is self-contained, so Nix need not ask a substituter
        return super().environment({"MVM_LIBEXEC_DIR": self.path("lib"),
                                    "NIX_CONFIG": "substitute = false", **(extra or {})})

    def build(self, preset):
        folder = self.path("shop")
        made = self.mvm_json("template", "init", folder, "--preset", preset)
        self.assertEqual(made["dir"], folder)
        for name in made["files"]:
            self.assertTrue(os.path.lexists(os.path.join(folder, name)), name)
        for command in "ls", "sh", "uname", "cat", "ps":
            self.assertEqual(os.readlink(os.path.join(folder, "rootfs/bin", command)), "busybox")
        self.write("lib/mvm-agent", "agent")
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        built = self.mvm_json("template", "build", "--strict", "--config",
                              os.path.join(folder, "template.toml"))
        self.assertEqual([b["template_id"] for b in built], ["shop-worker"])
        self.assertTrue(built[0]["new_revision"])

    def test_busybox_builds(self):
        self.build("busybox")

    def test_http_builds(self):
        self.build("http")

    @harness.needs_program("nix")
    def test_nix_builds(self):
        self.build("nix")

    def test_busybox_is_the_default_and_a_bad_folder_name_is_not_used(self):
        made = self.mvm_json("template", "init", self.path("My Shop"))
        self.assertIn("rootfs/bin/busybox", made["files"])
        with open(self.path("My Shop", "template.toml"), encoding="utf-8") as file:
            self.assertIn('template_id = "busybox"', file.read())

    def test_an_existing_file_is_kept_and_nothing_is_written(self):
        mine = self.write("shop/template.toml", "mine")
        self.mvm_fails(4, "template", "init", self.path("shop"),
                       says="shop/template.toml' exists")
        self.assertEqual(os.listdir(self.path("shop")), ["template.toml"])
        with open(mine, encoding="utf-8") as file:
            self.assertEqual(file.read(), "mine")
        os.unlink(mine)
        self.mvm_ok("template", "init", self.path("shop"))
        self.mvm_fails(4, "template", "init", self.path("shop"), says="exists")
        shutil.rmtree(self.path("shop"))
        self.write("shop", "a file")
        self.mvm_fails(1, "template", "init", self.path("shop"), says="cannot make folder")

    @unittest.skipUnless(can_mount(), "nothing may be mounted here")
    def test_a_full_disk_leaves_earlier_files(self):
        os.mkdir(self.path("disk"))
        done = subprocess.run(
            [*OWN_MOUNTS, "sh", "-c", """
            mount -t tmpfs -o size=64k none disk
            mkdir -p disk/mine/rootfs # bin/ is new, and the busybox does not fit
            for folder in disk/new disk/mine; do "$MVM" template init $folder; echo $?; done
            find disk -mindepth 1 | sort
            """], cwd=self.folder, env={**self.environment(), "MVM": harness.MVM}, text=True,
            capture_output=True, check=True, timeout=self.timeout)
        self.assertEqual(done.stdout, "1\n1\ndisk/mine\ndisk/mine/rootfs\n", done.stderr)
        self.assertEqual(done.stderr.count("No space left on device"), 2)

    def test_every_choice_is_a_preset(self):
        self.mvm_fails(2, "template", "init", "x", "--preset", "debian", says="busybox, http or")


if __name__ == "__main__":
    harness.main()
