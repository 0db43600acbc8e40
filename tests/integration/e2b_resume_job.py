# SPDX-License-Identifier: Apache-2.0
"""A program of a user of the e2b package whose sandbox sleeps and is waked by its requests; test_e2b_resume.py
runs it.  It prints "done" at its end."""

import datetime
import time
import urllib.request

from e2b import Sandbox, SandboxState


def sleep(sandbox):
    """Let the sandbox's lease end."""
    sandbox.set_timeout(0)
    deadline = time.monotonic() + 200
    while sandbox.get_info().state != SandboxState.PAUSED:
        assert time.monotonic() < deadline, "it is not paused"
        time.sleep(0.1)


def main():
    sandbox = Sandbox.create(timeout=400, lifecycle={"on_timeout": "pause", "auto_resume": True})
    assert sandbox.get_info().lifecycle["auto_resume"] is True
    command = sandbox.commands.run("sleep 1000", background=True)
    sandbox.files.write("file", "contents")
    sleep(sandbox)
    assert sandbox.commands.run("echo awake").stdout == "awake\n"
    assert command.pid in [p.pid for p in sandbox.commands.list()], "the command has not survived"
    info = sandbox.get_info()
    left = (info.end_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert info.state == SandboxState.RUNNING and 300 < left <= 400, info
    sleep(sandbox)
    assert sandbox.files.read("file") == "contents"
    sleep(sandbox)
    with urllib.request.urlopen(sandbox.download_url("file"), timeout=200) as reply:
        assert reply.read() == b"contents"
    sandbox.pause()
    assert sandbox.files.write("other", "x").path == "/home/user/other"
    sandbox.pause()
    assert sandbox.is_running() # asking wakes it, too
    assert sandbox.kill() is True
    assert not sandbox.is_running()
    print("done")


main()
