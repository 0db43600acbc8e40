# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of OCI images: building an image and looking at the result."""

import json
import os
import shutil
import subprocess

import harness
import oci_images as oci
from oci_images import file, folder, symlink, tar_of

KERNEL = os.path.join(harness.SOURCE_DIR, "tests/fuzz/corpus/kernel/vmlinux")
BASE = tar_of(folder("etc", mode=0o751, uid=70000, gid=80000), file("etc/hostname", b"base\n"),
              folder("gone"), file("gone/a"), folder("kept"), file("kept/a"),
              folder("emptied"), file("emptied/old"), folder("emptied/deep"),
              file("emptied/deep/old"), symlink("sbin", "usr/bin"), folder("usr/bin"),
              symlink("lib", "/usr/lib"), folder("usr/lib"))


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


class OciCase(harness.TestCase):
    def build(self, flake_ref, template="t", **more):
        """Build a template; returns the path of its root image."""
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k", "--force")
        self.mvm_ok("template", "create", template, "--flake", flake_ref, "--force", **more)
        self.mvm_ok("template", "build", template, **more)
        return self.artifact(template, "rootfs.ext4")

    def artifact(self, template, name):
        return os.path.join(self.data_dir, "templates", template, "current", name)

    def revision(self, template="t"):
        with open(self.artifact(template, "revision.json"), encoding="utf-8") as text:
            return json.load(text)

    def describe_image(self, image):
        run("e2fsck", "-fn", image)
        return oci.describe_image(image, self.folder)

    def unpack(self, layout, tag="latest"):
        """Unpack an image with umoci; returns the root folder."""
        bundle = self.path("bundle")
        run("umoci", "unpack", "--image", f"{layout}:{tag}", bundle)
        try:
            return oci.describe(os.path.join(bundle, "rootfs"))
        finally:
            shutil.rmtree(bundle)

    def image_of_tar(self, path, kind="tar:"):
        return oci.digest_of_file(self.build(kind + path))

    def assert_same(self, ours, theirs, but=()):
        lines = [line for line in oci.differences(ours, theirs) if not line.startswith(but)]
        self.assertEqual(lines, [])
