# SPDX-License-Identifier: Apache-2.0
"""A program as users of the e2b package write it; test_e2b.py runs it with several versions of the
package.  It prints "done" at its end."""

import inspect
import sys
import time

from e2b import CommandExitException, NotFoundException, Sandbox
from e2b.sandbox.commands.command_handle import PtySize


def commands(sandbox):
    result = sandbox.commands.run("echo hello $X; id -un; pwd; echo bad >&2")
    assert result.stdout == "hello there\nuser\n/home/user\n", result
    assert (result.stderr, result.exit_code) == ("bad\n", 0), result
    assert sandbox.commands.run("id -u", user="root").stdout == "0\n"
    try:
        sandbox.commands.run("exit 3")
        raise AssertionError("no exception")
    except CommandExitException as error:
        assert error.exit_code == 3, error
    cat = sandbox.commands.run("cat; echo over", background=True, stdin=True)
    assert cat.pid in [p.pid for p in sandbox.commands.list()]
    other = sandbox.commands.connect(cat.pid)
    sandbox.commands.send_stdin(cat.pid, "typed\n")
    for part, _, _ in other:
        if part:
            assert part == "typed\n", part
            break
    assert sandbox.commands.kill(cat.pid) is True
    assert sandbox.commands.kill(cat.pid) is False


def files(sandbox):
    sandbox.files.write("folder/file", "contents\r\n--x\n")
    assert sandbox.files.read("/home/user/folder/file") == "contents\r\n--x\n"
    sandbox.files.write("empty", "")
    assert sandbox.files.read("empty") == ""
    large = bytes(range(256)) * 4096
    sandbox.files.write("large", large)
    assert bytes(sandbox.files.read("large", format="bytes")) == large
    assert [e.name for e in sandbox.files.list("folder")] == ["file"]
    assert sandbox.files.make_dir("folder") is False
    assert sandbox.files.make_dir("other") is True
    sandbox.files.rename("folder/file", "other/renamed")
    assert not sandbox.files.exists("folder/file") and sandbox.files.exists("other/renamed")
    watch = sandbox.files.watch_dir("other")
    sandbox.files.write("other/new", "x")
    seen, deadline = [], time.monotonic() + 200
    while "write" not in seen and time.monotonic() < deadline:
        seen += [e.type.value for e in watch.get_new_events()]
    assert seen == ["create", "chmod", "write"], seen # as envd's
    sandbox.files.remove("other/renamed")
    seen = []
    deadline = time.monotonic() + 200
    while not seen and time.monotonic() < deadline:
        seen = [(e.name, e.type.value) for e in watch.get_new_events()]
    assert ("renamed", "remove") in seen, seen
    watch.stop()
    try:
        sandbox.files.read("nothing")
        raise AssertionError("no exception")
    except NotFoundException:
        pass


def newer_files(sandbox):
    """What 2.31 does not have."""
    sandbox.files.write("noted", "x", metadata={"Author": "a = b"})
    assert sandbox.files.get_info("noted").metadata == {"author": "a = b"}
    watch = sandbox.files.watch_dir("other", include_entry=True, allow_network_mounts=True)
    sandbox.files.write("other/seen", "x")
    entries, deadline = [], time.monotonic() + 200
    while not entries and time.monotonic() < deadline:
        entries = [e.entry.path for e in watch.get_new_events() if e.entry]
    assert set(entries) == {"/home/user/other/seen"}, entries
    sandbox.files.write("noted", "y")
    assert not sandbox.files.get_info("noted").metadata


def terminal(sandbox):
    output = []
    pty = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=60)
    sandbox.pty.resize(pty.pid, PtySize(rows=30, cols=111))
    sandbox.pty.send_stdin(pty.pid, b"stty size; exit\n")
    pty.wait(on_pty=output.append)
    assert b"30 111" in b"".join(output), output


def life(sandbox):
    sleep = sandbox.commands.run("sleep 1000", background=True)
    pause = getattr(sandbox, "pause", None) or sandbox.beta_pause
    pause()
    assert not sandbox.is_running()
    again = Sandbox.connect(sandbox.sandbox_id, timeout=300)
    assert sleep.pid in [p.pid for p in again.commands.list()], "the command has not survived"
    assert again.is_running()
    again.set_timeout(200)
    info = again.get_info()
    assert info.metadata == {"key": "a value & more"}, info
    ids = [s.sandbox_id for s in Sandbox.list().next_items()]
    assert again.sandbox_id in ids, ids
    metrics = again.get_metrics()[0]
    assert metrics.cpu_count == 1, metrics
    assert metrics.disk_total == 64 << 20, metrics # root_disk_mib
    assert again.kill() is True
    assert again.kill() is False
    assert not again.is_running()


def main():
    sandbox = Sandbox.create(timeout=300, metadata={"key": "a value & more"}, envs={"X": "there"})
    newer = "metadata" in inspect.signature(sandbox.files.write).parameters
    for part in commands, files, *([newer_files] if newer else []), terminal, life:
        part(sandbox)
    print("done")


sys.exit(main())
