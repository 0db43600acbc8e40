# SPDX-License-Identifier: Apache-2.0
"""Files copied into and out of real guests, and volumes."""

import fcntl
import io
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tarfile
import threading
import time

import agentproto as proto
import guests
import harness


def tar_of(*members, data=b""):
    """Make a tar of members (path, type, target or mode); files contain `data`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, kind, more in members:
            info = tarfile.TarInfo(path)
            info.type, info.mode = kind, more if isinstance(more, int) else 0o755
            info.linkname = more if isinstance(more, str) else ""
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(data) if info.size else None)
    return stream.getvalue()


REG, DIR, SYM, HARD, DEV, FIFO = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE,
                                  tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)


class Liar:
    """Stands in for an instance, and answers each call as the test says, as a guest with a foreign agent
    can."""

    def __init__(self, folder):
        path = os.path.join(folder, "instance.json")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record | {"state": "running"}, file)
        self.lock = open(os.path.join(folder, "lock"), "rb") # pylint: disable=consider-using-with
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(folder, "control.sock"))
        self.listener.listen()

    @staticmethod
    def deadline():
        return time.monotonic() + harness.PATIENCE_S

    def answer(self, *frames):
        """Answer the next client's call with these frames (type, payload), then hang up."""
        def serve():
            client, _ = self.listener.accept()
            with client:
                agent = proto.Agent(client)
                try:
                    _, stream, _ = agent._frame(self.deadline()) # pylint: disable=protected-access
                    for kind, payload in frames:
                        agent.send(kind, stream, payload)
                    while agent._frame(self.deadline())[0] != proto.RESET: # pylint: disable=W0212
                        pass # the client's credits
                except (OSError, proto.Closed):
                    pass # the client has hung up
        thread = threading.Thread(target=serve)
        thread.start()
        return thread

    def close(self):
        self.listener.close()
        self.lock.close()


OK = (proto.REPLY, proto.encode(STATUS=0))


def stdout_frames(data):
    return [(proto.DATA, bytes([proto.STDOUT]) + data[at : at + proto.DATA_MAX])
            for at in range(0, len(data), proto.DATA_MAX)]


def end_frame(code):
    return (proto.END, proto.encode(EXIT_CODE=code))


def snapshot(folder):
    """{path: description} of everything in a folder, with the times of files and folders."""
    found = {}
    for where, folders, files in os.walk(folder):
        for name in [""] + files + [f for f in folders if os.path.islink(f"{where}/{f}")]:
            path = os.path.join(where, name) if name else where
            st = os.lstat(path)
            key = os.path.relpath(path, folder)
            if stat.S_ISLNK(st.st_mode):
                found[key] = ("link", os.readlink(path))
            elif stat.S_ISDIR(st.st_mode):
                found[key] = ("folder", stat.S_IMODE(st.st_mode), st.st_mtime_ns)
            else:
                found[key] = ("file", stat.S_IMODE(st.st_mode), st.st_mtime_ns,
                              guests.sha256(path))
    return found


@harness.needs_guests
class Copies(guests.TestCase):
    config = guests.CONFIG

    def make_tree(self):
        tree = self.path("tree")
        os.makedirs(f"{tree}/sub/deep")
        for name, size, mode in [("a", 5, 0o640), ("sub/big", 3000001, 0o755),
                                 ("sub/deep/empty", 0, 0o400), ("name with spaces\n", 1, 0o600),
                                 ("n" * 200, 1, 0o644)]:
            with open(f"{tree}/{name}", "wb") as file:
                file.write(os.urandom(size))
            os.chmod(f"{tree}/{name}", mode)
            os.utime(f"{tree}/{name}", ns=(0, 1000000000_123456789))
        os.symlink("../a", f"{tree}/sub/up")
        os.symlink("/etc/shadow", f"{tree}/abs")
        os.symlink("nowhere" * 30, f"{tree}/dangling")
        os.chmod(f"{tree}/sub/deep", 0o700)
        for folder in ("sub/deep", "sub", ""):
            os.utime(f"{tree}/{folder}", ns=(0, 1234567890_987654321))
        return tree

    def test_trees_keep_their_attributes_both_ways(self):
        tree, name = self.make_tree(), self.run_detached()["name"]
        before = snapshot(tree)
        self.mvm_ok("cp", tree, f"{name}:/tmp")          # into an existing folder
        self.mvm_ok("cp", tree, f"{name}:/tmp/renamed")  # under a new name
        self.mvm_ok("cp", tree + "/.", f"{name}:/tmp/new/contents")
        self.mvm_ok("cp", tree, f"{name}:/tmp")          # over the first copy
        for path in ("/tmp/tree", "/tmp/renamed", "/tmp/new/contents/."):
            out = self.path("out" + path.replace("/", "_"))
            self.mvm_ok("cp", f"{name}:{path}", out)
            after = snapshot(out)
            if "contents" in path: # the user has made this folder
                after["."] = before["."]
            self.assertEqual(after, before)
        os.mkdir(self.path("in"))
        self.mvm_ok("cp", f"{name}:/tmp/tree", self.path("in"))
        self.assertEqual(os.listdir(self.path("in")), ["tree"])

        # single files, and links to them
        self.mvm_ok("cp", f"{tree}/a", f"{name}:/tmp/one")
        self.mvm_ok("cp", f"{name}:/tmp/one", self.path("one"))
        self.assertEqual(guests.sha256(self.path("one")), guests.sha256(f"{tree}/a"))
        self.mvm_ok("cp", f"{name}:/tmp/tree/sub/up", self.path("up"))
        self.assertEqual(os.readlink(self.path("up")), "../a")
        self.mvm_ok("cp", "-L", f"{name}:/tmp/tree/sub/up", self.path("followed"))
        self.assertFalse(os.path.islink(self.path("followed")))

        # a whole root, with files that do not report their size
        self.mvm_ok("cp", f"{name}:/", self.path("root"))
        self.assertTrue(os.path.exists(self.path("root/etc/hostname")))
        self.assertEqual(os.listdir(self.path("root/proc")), [])
        self.mvm_ok("cp", f"{name}:/proc/version", self.path("version"))
        with open(self.path("version"), encoding="utf-8") as file:
            self.assertEqual(file.read(), self.mvm_ok("exec", name, "--", "cat", "/proc/version"))

        # tar streams
        out = self.mvm_bytes("cp", f"{name}:/tmp/tree", "-")
        self.assertEqual(out.returncode, 0, out.stderr)
        with tarfile.open(fileobj=io.BytesIO(out.stdout)) as tar:
            self.assertIn("tree/sub/big", tar.getnames())
        done = self.mvm_bytes("cp", "-", f"{name}:/tmp/untar", stdin=out.stdout)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.mvm_ok("cp", f"{name}:/tmp/untar/tree", self.path("again"))
        self.assertEqual(snapshot(self.path("again")), before)

        # errors have a message and a status
        for status, source, target, says in [
                (3, self.path("none"), f"{name}:/tmp", "No such file"),
                (3, f"{name}:/none", self.path("x"), "in the guest: cannot read '/none'"),
                (3, tree, f"{name}:/none/of/these", "No such file"),
                (1, f"{tree}/.", f"{name}:/tmp/one", "in the guest"),
                (3, f"{tree}/.", f"{name}:/proc/x", "in the guest"),
                (1, f"{tree}/a", f"{name}:/tmp/tree/sub/big/x", "Not a directory"),
                (2, tree, self.path("x"), "NAME:PATH"),
                (2, f"{name}:/a", f"{name}:/b", "NAME:PATH"),
                (2, f"{name}:a", self.path("x"), "begins with a slash"),
                (3, "nobody:/a", self.path("x"), "no instance")]:
            with self.subTest(source=source, target=target):
                self.mvm_fails(status, "cp", source, target, says=says)
        self.assertFalse(os.path.lexists(self.path("x")))

    def test_the_last_words_can_be_interrupted(self):
        name = self.run_detached()["name"]
        _, full = self.full_pipe()
        for args in (("cp", f"{name}:/none", "-"), ("exec", name, "/none")):
            process = subprocess.Popen([harness.MVM, *args], stdout=full, stderr=full,
                                       env=self.environment(), cwd=self.folder)
            def is_writing(): # poll(2), for standard error, with no signal blocked any more
                with open(f"/proc/{process.pid}/syscall", encoding="ascii") as file:
                    waits = file.read().startswith("7 ")
                with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                    return waits and "SigBlk:\t0000000000000000\n" in file.read()
            self.assertTrue(guests.wait_until(is_writing))
            process.terminate()
            self.assertEqual(process.wait(harness.PATIENCE_S), -signal.SIGTERM)
        os.close(full)
        self.mvm_ok("rm", "--force", name)

    def test_streams_cannot_leave_their_place(self):
        """The agent refuses bad members of a user's tar."""
        name = self.run_detached()["name"]
        for members in ([("../evil", REG, "")], [("/tmp/evil", REG, "")],
                        [("l", SYM, "/tmp"), ("l/evil", REG, "")],
                        [("l", SYM, "m"), ("m", SYM, ".."), ("l/evil", REG, "")],
                        [("h", HARD, "../www/index.html")], [("d", DEV, "")]):
            with self.subTest(members=members):
                done = self.mvm_bytes("cp", "-", f"{name}:/tmp/place", stdin=tar_of(*members))
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"refused", done.stderr)
        self.assertEqual(self.mvm("exec", name, "--", "ls", "/tmp/evil").returncode, 1)

    def test_a_lying_guest_writes_nothing_outside_the_target(self):
        self.own_data()
        name = self.run_detached()["name"]
        self.mvm_ok("stop", name)
        liar = Liar(self.data("instances", name))
        self.addCleanup(liar.close)
        outside = self.write("outside", "precious")
        os.mkdir(self.path("place"))
        def around():
            st = os.lstat(outside)
            return (guests.sha256(outside), st.st_mtime_ns, st.st_mode, st.st_nlink,
                    sorted(os.listdir(self.folder)))
        before = around()
        big = tarfile.TarInfo("new")
        big.size = 1 << 50
        whole = tar_of(("new", REG, 0o644), data=b"x" * 100000)

        def copy(*frames, timeout="10m"):
            thread = liar.answer(*frames)
            done = self.mvm("cp", "--timeout", timeout, f"{name}:/asked", self.path("place/new"))
            thread.join(harness.PATIENCE_S)
            return done
        for says, stream in [
                ("was not asked for", tar_of(("asked", REG, 0))), # the file's new name, not its name in the guest
                ("refused", tar_of(("../outside", REG, 0), data=b"evil")),
                ("refused", tar_of(("new", DIR, ""), ("new/../../outside", REG, 0))),
                ("refused", tar_of((outside, REG, 0))),
                ("refused", tar_of(("new", DIR, ""), ("new/l", SYM, self.folder),
                                   ("new/l/outside", REG, 0))),
                ("refused", tar_of(("new", SYM, outside), ("new", HARD, outside))),
                ("refused", tar_of(("new", DIR, ""), ("new/h", HARD, "../outside"))),
                ("refused", tar_of(("new", DEV, ""))), ("refused", tar_of(("new", FIFO, ""))),
                ("may be copied", big.tobuf()), ("", bytes(511) + b"x"), ("", whole[:50000]),
                ("", b"\xff" * 4096)]:
            with self.subTest(stream=stream[:120]):
                done = copy(OK, *stdout_frames(stream), end_frame(0))
                self.assertNotEqual(done.returncode, 0, stream[:200])
                self.assertIn(says, done.stderr)
                if os.path.lexists(self.path("place/new")):
                    # members before the bad one are in place: a folder, or a link that leads nowhere else
                    self.remove("place/new")
                self.assertEqual(around(), before)

        self.assertIn("the copy did not end in time", copy(OK, timeout="500ms").stderr)
        for frames in ([], # no answer, so the timeout ends the copy
                       [OK, (proto.DATA, b"")], [OK, (proto.DATA, b"\x07abc")],
                       [OK, (proto.END, b"")], [OK, (proto.END, b"\xff" * 9)],
                       [(proto.REPLY, b"")], [(proto.REPLY, proto.encode(STATUS=1 << 40))],
                       [OK, *stdout_frames(whole)], # no end, so the timeout ends the copy
                       [OK, *stdout_frames(whole), end_frame(5)],
                       [(proto.REPLY, proto.encode(STATUS=2, MESSAGE="\033[31mred\nmvm: fine"))]):
            with self.subTest(frames=[f[:1] for f in frames]):
                done = copy(*frames, timeout="2s")
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn("\033", done.stderr)
                self.assertNotIn("\nmvm: fine", done.stderr)
                if os.path.lexists(self.path("place/new")): # then it must be complete
                    self.assertEqual(os.path.getsize(self.path("place/new")), 100000)
                    self.remove("place/new")

        # a correct stream is accepted, but without the set-user-ID and set-group-ID bits
        done = copy(OK, *stdout_frames(tar_of(("new", REG, 0o6755), data=b"x" * 300000)),
                    end_frame(0))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("place/new")).st_mode), 0o755)
        self.assertEqual(os.stat(self.path("place/new")).st_size, 300000)
        self.assertEqual([f for f in os.listdir(self.path("place")) if f.startswith(".mvm-")], [])

    def remove(self, name):
        path = self.path(name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def test_volumes_go_along(self):
        host = self.path("host")
        os.mkdir(host)
        for file in ("same", "changed", "removed"):
            self.write(f"host/{file}", file)
        same = os.stat(f"{host}/same")
        out = self.mvm_ok("run", "-T", "web-worker", "-v", f"{host}:/srv/a/b:rw", "--", "sh", "-c",
                          "cat /srv/a/b/same; cd /srv/a/b; echo new > new; echo x > changed;"
                          "busybox rm removed")
        self.assertEqual(out, "same")
        after = os.stat(f"{host}/same")
        self.assertEqual((after.st_ino, after.st_ctime_ns), (same.st_ino, same.st_ctime_ns))
        self.assertEqual(sorted(os.listdir(host)), ["changed", "new", "removed", "same"])
        with open(f"{host}/changed", encoding="ascii") as file:
            self.assertEqual(file.read(), "x\n")

        record = self.run_detached("web-worker", "-v", f"{host}:/v:rw", "-v", f"{host}:/ro")
        name = record["name"]
        self.exec(name, "sh", "-c", "echo late > /v/late; echo no > /ro/no")
        self.mvm_ok("stop", name)
        self.assertTrue(os.path.exists(f"{host}/late"))
        self.assertFalse(os.path.exists(f"{host}/no"))

        # a restarted VM has the volumes, too
        record = self.run_detached("web-worker", "--restart", "on-failure", "-v", f"{host}:/v:rw")
        again = record["name"]
        for restarts in (1, 2):
            self.exec(again, "sh", "-c", "echo lost > /v/same")
            self.write(f"host/at-{restarts}", "")
            os.kill(self.inspect(again)["vmm_pid"], signal.SIGKILL)
            self.assertTrue(guests.wait_until(
                lambda n=restarts: self.inspect(again)["restarts"] == n
                and self.inspect(again)["state"] == "running"))
            self.assertEqual(self.exec(again, "sh", "-c", f"cat /v/same; ls /v/at-{restarts}"),
                             f"same/v/at-{restarts}\n")
        os.rename(host, host + "2")
        os.kill(self.inspect(again)["vmm_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(
            lambda: "No such file" in (self.inspect(again)["error"] or "")))
        self.assertIn(f"copying '{host}' to '/v'", self.inspect(again)["error"])
        os.rename(host + "2", host)
        self.assertTrue(guests.wait_until(lambda: self.inspect(again)["state"] == "running"))
        self.mvm_ok("rm", "--force", again)

        # a volume that cannot be copied
        self.mvm_ok("rm", name)
        self.mvm_fails(2, "run", "-T", "web-worker", "-d", "-v", f"{host}:v", says="no volume")
        self.mvm_fails(3, "run", "-T", "web-worker", "-d", "-v", self.path("none") + ":/v",
                       says="cannot use")
        self.mvm("run", "-T", "web-worker", "-d", "--name", "none", "-v", f"{host}:/bin/busybox/none")
        self.assertIn("copying", self.inspect("none")["error"])

    def writes_without_a_name(self, pid):
        fds = f"/proc/{pid}/fd"
        for fd in os.listdir(fds):
            try:
                name = os.readlink(f"{fds}/{fd}")
            except FileNotFoundError: # closed meanwhile
                continue
            if re.fullmatch(re.escape(self.path("out")) + r"/.*#\d+ \(deleted\)", name):
                return True
        return False

    def test_an_interrupted_copy_leaves_no_half_file_in_the_guest(self):
        name = self.run_detached()["name"]
        whole = tar_of(("half", REG, 0o644), data=b"x" * 300000)
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143),
                               (signal.SIGKILL, -9)):
            with self.subTest(number=number):
                process = self.start_mvm("cp", "-", f"{name}:/srv/into", stdin=subprocess.PIPE)
                process.stdin.buffer.write(whole[:200000])
                process.stdin.buffer.flush()
                self.assertTrue(guests.wait_until(lambda: re.search(
                    r"/srv/into/(\.mvm-|#.*deleted)",
                    self.exec(name, "sh", "-c", "busybox ls -l /proc/[0-9]*/fd 2>&1; true"))))
                process.send_signal(number)
                self.assertEqual(process.wait(harness.PATIENCE_S), status)
                self.assertTrue(guests.wait_until(
                    lambda: "mvm-agent copy" not in self.exec(name, "busybox", "ps")))
                self.assertEqual(self.exec(name, "ls", "-A", "/srv/into"), "")

    def test_a_copy_that_is_killed_leaves_no_half_file(self):
        name = self.run_detached()["name"]
        target = self.path("out")
        process = self.start_mvm("cp", f"{name}:/dev/.", self.path("devices"))
        self.assertEqual(process.wait(harness.PATIENCE_S), 0) # /dev has only entries that cp skips
        self.exec(name, "sh", "-c", guests.endless("/tmp/large"))
        process = self.start_mvm("cp", f"{name}:/tmp/large", target)
        self.assertTrue(guests.wait_until(lambda: self.writes_without_a_name(process.pid)))
        process.kill()
        process.wait(harness.PATIENCE_S)
        for folder, _, files in os.walk(target):
            self.assertLessEqual(set(files), {"f"})
            self.assertTrue(all(os.stat(os.path.join(folder, file)).st_size == 8 << 20 for file in files))
        done = self.mvm("cp", "--max-size", "1M", f"{name}:/tmp/large", target)
        self.assertIn("may be copied", done.stderr)
        self.assertEqual(self.exec(name, "echo", "ok"), "ok\n")


if __name__ == "__main__":
    guests.main()
