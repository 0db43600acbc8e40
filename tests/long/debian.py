# SPDX-License-Identifier: Apache-2.0
"""The root of a new Debian 12, from a mirror."""

import os
import re
import subprocess
import unittest

UNREACHABLE = re.compile("(failure|could not) resolv|connect to|connection (failed|timed out)", re.IGNORECASE)


def make(tar, *options):
    """Have mmdebstrap make it as a tar, which is whole or does not exist."""
    done = subprocess.run(["mmdebstrap", "--variant=minbase", "--format=tar", *options, "bookworm", tar + ".part"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=3600)
    said = done.stdout[-20000:] + done.stderr[-20000:]
    if done.returncode and UNREACHABLE.search(said):
        raise unittest.SkipTest(f"no Debian mirror can be reached: {said}")
    if done.returncode:
        raise AssertionError(f"mmdebstrap {options}: {said}")
    os.rename(tar + ".part", tar)
