# SPDX-License-Identifier: Apache-2.0
"""Programs of others that judge ours.  No package of Debian has them: they are built from Go modules, once,
and kept in ~/.cache/mvm-tests (or $XDG_CACHE_HOME/mvm-tests).

    @needs_go_tools("oras", "crane")
    def test_x(self):
        run(tool("oras"), "cp", ...)

Without Go, without the modules, or when a build takes too long, the test is skipped with that reason.
"""

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
import time
import unittest

MODULES = {
    "oras": "oras.land/oras/cmd/oras@v1.3.6",
    "regctl": "github.com/regclient/regclient/cmd/regctl@v0.11.7",
    "crane": "github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "cosign": "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3",
    "registry": "github.com/distribution/distribution/v3/cmd/registry@v3.1.2",
}
OWN = {"referrers": "github.com/google/go-containerregistry/pkg/registry@v0.22.1"} # a program of our own, on a module
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mvm-tests")
BUILD_S = 1500 if os.environ.get("MVM_TEST_LONG") else 240 # for all builds of one test program
FAILED_FOR_S = 3600 # so long a failed build is not tried again
until = time.monotonic() + BUILD_S


def tool(name):
    """The path of a program, which is built if it is not there yet."""
    return os.path.join(CACHE, f"{name}@{(MODULES | OWN)[name].partition('@')[2]}")


def commands(name, folder):
    """The commands that build a program in a folder."""
    flags = "-trimpath", "-ldflags=-s -w"
    if name in MODULES:
        return [["go", "install", *flags, MODULES[name]]]
    shutil.copy(os.path.join(os.path.dirname(__file__), name, "main.go"), folder)
    return [["go", "mod", "init", name], ["go", "get", OWN[name]], ["go", "build", *flags, "-o", name, "."]]


def build(name):
    """Build a program; returns None or the reason why it cannot be had."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOMAXPROCS": "1"}
    if os.path.exists(tool(name)):
        return None
    if not shutil.which("go"):
        return f"{name} needs Go, which is not installed"
    failed = tool(name) + ".failed"
    if os.path.exists(failed) and time.time() - os.stat(failed).st_mtime < FAILED_FOR_S:
        with open(failed, encoding="utf-8") as file:
            return file.read()
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        for command in commands(name, folder):
            try:
                done = subprocess.run(command, env={**environment, "GOBIN": folder}, cwd=folder,
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                      check=False, timeout=max(1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                return f"{name} was not built in {BUILD_S} s; the next run goes on"
            if done.returncode != 0:
                break
        else:
            os.rename(os.path.join(folder, name), tool(name))
            return None
    reason = f"{name} cannot be built: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    with open(failed, "w", encoding="utf-8") as file:
        file.write(reason)
    return reason


@functools.lru_cache
def why_no(name):
    """None if a program is there now, else the reason."""
    try:
        os.makedirs(CACHE, exist_ok=True)
        with open(os.path.join(CACHE, "lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX) # another test program may be building
            return build(name)
    except OSError as error:
        return f"{name}: {error}"


def needs_go_tools(*names):
    """Skip a test if one of these programs cannot be had.  They are built when the test begins."""
    def decorate(test):
        @functools.wraps(test)
        def wrapper(*args):
            for name in names:
                if why_no(name):
                    raise unittest.SkipTest(why_no(name))
            return test(*args)
        return wrapper
    return decorate
