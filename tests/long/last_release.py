# SPDX-License-Identifier: Apache-2.0
"""The last release, built from the repository's history.  MVM_TEST_OLD names a folder with that build (its build/), which
saves the minutes that it takes."""

import os
import shutil
import subprocess

import harness

COMMIT = "3ba875a7"
VERSION = "0.2.0"


def why_not():
    """None if it can be had here, else the reason."""
    if os.environ.get("MVM_TEST_OLD"):
        return None
    done = subprocess.run(["git", "-C", harness.SOURCE_DIR, "cat-file", "-e", COMMIT + "^{commit}"],
                          capture_output=True, check=False) if shutil.which("git") else None
    return None if done and done.returncode == 0 else "the sources have no history with the last release"


def build(tree):
    """Build it in an empty folder, for the prefix /usr; returns the folder with its programs."""
    if os.environ.get("MVM_TEST_OLD"):
        return os.environ["MVM_TEST_OLD"]
    tar = subprocess.run(["git", "-C", harness.SOURCE_DIR, "archive", COMMIT], stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-xf", "-", "-C", tree], input=tar.stdout, check=True)
    clean = {name: value for name, value in os.environ.items() if name not in ("BUILD", "MESON_FLAGS", "MAKEFLAGS")}
    done = subprocess.run(["make", "-C", tree, "PREFIX=/usr"], env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stdout[-9000:] + done.stderr[-9000:])
    return tree + "/build"
