# SPDX-License-Identifier: Apache-2.0
"""The e2b packages from PyPI, for tests: each version in a folder of its own under ~/.cache/mvm-tests."""

import os
import subprocess
import sys
import time
import unittest

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mvm-tests")
FRESH_S = 7 * 24 * 3600 # then the newest one is looked for again
OLD = "2.31.0" # what openai-agents pins


def folder(version):
    """The folder with a version of the package, or its newest one (None).  Skips the test where it
    cannot be had."""
    place = os.path.join(CACHE, f"e2b-{version or 'newest'}")
    done = os.path.join(place, "done")
    if os.path.exists(done) and (version or time.time() - os.path.getmtime(done) < FRESH_S):
        return place
    os.makedirs(place, exist_ok=True)
    wanted = f"e2b=={version}" if version else "e2b"
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
