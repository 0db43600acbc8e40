# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of templates from Nix flakes: hermetic flakes without nixpkgs and network, which
the real nix builds in a separate Nix store for each test."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import unittest

import harness

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from tiny_kernel import tiny_kernel # pylint: disable=wrong-import-position

NIX = shutil.which("nix")
SYSTEM = platform.machine() + "-linux"
FAILED, NOT_FOUND, BUSY, UNSUPPORTED = 1, 3, 4, 6


def why_no_nix():
    for program in ("nix", "busybox", "debugfs", "e2fsck", "mke2fs"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def rootfs_with(name):
    """A builder's script that makes a root folder with one file, which names the package."""
    return f"$bb mkdir -p $out/rootfs/etc; echo {name} >$out/rootfs/etc/name"


@unittest.skipIf(why_no_nix(), why_no_nix())
class TestCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.unlock_store)
        self.wrapper_log = self.path("nix-runs")
        self.write("wrap/nix", f'#!/bin/sh\necho "$*" >>{self.wrapper_log}\nexec {NIX} "$@"\n',
                   0o755)
        self.write("nix/etc/nix.conf",
                   "substitute = false\nsandbox = false\nbuild-users-group =\n")
        os.makedirs(self.path("flake", "bin"))
        shutil.copy(shutil.which("busybox"), self.path("flake", "bin", "busybox"))
        with open(self.path("kernel.elf"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.mvm_ok("kernel", "add", self.path("kernel.elf"), "--name", "tiny")

    def unlock_store(self):
        """Make the store writable, since Nix makes all its files and folders read-only."""
        for folder, _, _ in os.walk(self.path("nix")):
            os.chmod(folder, 0o755)

    def environment(self, extra=None):
        env = super().environment(extra)
        nix = self.path("nix")
        env.setdefault("PATH", "")
        env.update(NIX_STORE_DIR=f"{nix}/store", NIX_STATE_DIR=f"{nix}/var",
                   NIX_LOG_DIR=f"{nix}/log", NIX_CONF_DIR=f"{nix}/etc", NIX_REMOTE="")
        if not extra or "PATH" not in extra:
            env["PATH"] = self.path("wrap") + ":" + env["PATH"]
        return env

    def nix(self, *args):
        done = subprocess.run([NIX, "--extra-experimental-features", "nix-command flakes", *args],
                              env=self.environment(), capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def nix_builds(self):
        """How many times mvm has run nix build."""
        with open(self.wrapper_log, encoding="utf-8") as file:
            return sum(" build " in line for line in file)

    def flake(self, packages, folder="flake", inputs="", extra=""):
        """Write a flake with these packages, {name: script}."""
        text = "".join(f'''
      "{name}" = derivation {{
        name = "guest"; system = "{SYSTEM}"; inherit bb;
        builder = bb; args = [ "sh" "-euc" ''{script}'' ]; {extra}
      }};''' for name, script in packages.items())
        return self.write(f"{folder}/flake.nix", f'''{{
  {inputs}
  outputs = inputs: let bb = "${{./bin}}/busybox"; in {{
    packages.{SYSTEM} = {{{text}
    }};
  }};
}}
''')

    def config(self, ref="path:./flake", variants=(("worker", "minimal"),), name="t", mem=128):
        text = f'template_id = "{name}"\nflake_ref = "{ref}"\n'
        for role, profile in variants:
            text += (f'[[variants]]\nname = "{name}"\nrole = "{role}"\nprofile = "{profile}"\n'
                     f'vcpus = 1\nmem_mib = {mem}\n')
        return self.write(f"{name}.toml", text)

    def build(self, *args, config=None, **kwargs):
        result, = self.mvm_json("template", "build", "--config", config or self.config(), *args,
                                **kwargs)
        return result

    def build_fails(self, status, *args, config=None, **kwargs):
        return self.mvm_fails(status, "template", "build", "--config", config or self.config(),
                              *args, **kwargs)

    def current(self, *parts, name="t"):
        return os.path.join(self.data_dir, "templates", name, "current", *parts)

    def revision(self, name="t"):
        return json.loads(read(self.current("revision.json", name=name)))

    def guest_file(self, path, name="t"):
        return subprocess.run(["debugfs", "-R", f"cat {path}", self.current("rootfs.ext4",
                                                                            name=name)],
                              capture_output=True, check=True, timeout=harness.PATIENCE_S).stdout

    def check_image(self):
        done = subprocess.run(["e2fsck", "-fn", self.current("rootfs.ext4")], capture_output=True,
                              text=True, check=False, timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stdout)
