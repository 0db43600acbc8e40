# SPDX-License-Identifier: Apache-2.0
"""Packages from PyPI, for tests: each version in a folder of its own under ~/.cache/mvm-tests."""

import os
import subprocess
import sys
import time
import unittest

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mvm-tests")
FRESH_S = 7 * 24 * 3600 # then the newest one is looked for again


def folder(package, version=None):
    """The folder with a version of a package, or its newest one, and what it needs: a PYTHONPATH.  Skips
    the test where it cannot be had."""
    place = os.path.join(CACHE, f"{package}-{version or 'newest'}")
    done = os.path.join(place, "done")
    if os.path.exists(done) and (version or time.time() - os.path.getmtime(done) < FRESH_S):
        return place
    os.makedirs(place, exist_ok=True)
    wanted = f"{package}=={version}" if version else package
    try:
        result = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", place,
                                 "--disable-pip-version-check", wanted],
                                capture_output=True, text=True, timeout=240, check=False)
        failure = result.stderr.strip().splitlines()[-1:] if result.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = [str(error)]
    if failure is None:
        with open(done, "w", encoding="utf-8"):
            pass
        return place
    if os.path.exists(done):
        return place # an older newest one
    raise unittest.SkipTest(f"cannot install {wanted}: {''.join(failure)}")
