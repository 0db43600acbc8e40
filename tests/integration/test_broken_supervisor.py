# SPDX-License-Identifier: Apache-2.0
"""What a guest can do that has broken into its supervisor's shut-in part: the tests act in its place."""
import array
import ctypes
import os
import signal
import socket
import struct
import unittest

import guests
import harness

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
ASK_TOUCHED_BYTES = 14
DEADLINE_S = 120


def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


def socket_to(pid, peer, blocking):
    """The process's socket whose other end was made by the peer."""
    pidfd = LIBC.syscall(SYS_PIDFD_OPEN, pid, 0)
    try:
        for fd in sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd")):
            copy = LIBC.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
            if copy < 0:
                continue
            try:
                found = socket.socket(fileno=copy)
            except OSError:
                os.close(copy)
                continue
            maker = struct.unpack("iII", found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            if found.family == socket.AF_UNIX and maker == peer and \
               not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and \
               os.get_blocking(copy) == blocking:
                return found
            found.close()
    finally:
        os.close(pidfd)
    raise unittest.SkipTest("no descriptor of another process can be taken here (pidfd_getfd)")


@harness.needs_guests
@unittest.skipUnless(os.geteuid() == 0, "needs root, to act as another process")
class BrokenSupervisor(guests.TestCase):
    config = guests.CONFIG

    def test_a_question_that_never_becomes_whole_does_not_keep_the_vm(self):
        record = self.run_detached()
        pid = record["supervisor_pid"]
        os.kill(pid, signal.SIGSTOP)
        line = socket_to(pid, parent_of(pid), True)
        line.sendmsg([struct.pack("=iII", ASK_TOUCHED_BYTES, 1000, 0)],
                     [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [line.fileno()]))])
        self.addCleanup(line.close) # as if QEMU had it as well
        os.kill(pid, signal.SIGKILL)
        gone = guests.wait_until(lambda: not os.path.exists(f"/proc/{record['vmm_pid']}/exe"), DEADLINE_S)
        self.assertTrue(gone)
        self.mvm_ok("rm", record["name"])

    def test_a_vm_of_a_pool_that_says_something_is_ended(self):
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        self.addCleanup(self.mvm, "pool", "set", "web-worker", "--size", "0")
        server = self.start_mvm("pool", "serve")
        self.addCleanup(server.kill)
        ready = lambda: self.mvm_json("pool", "list")["pools"][0]["ready"] == 1
        self.assertTrue(guests.wait_until(ready, DEADLINE_S))
        waiting = os.listdir(self.data("instances"))
        pid = self.inspect(waiting[0])["supervisor_pid"]
        os.kill(pid, signal.SIGSTOP) # nor does it answer
        with socket_to(pid, server.pid, False) as leash:
            leash.send(b"x")
            replaced = guests.wait_until(lambda: ready() and os.listdir(self.data("instances")) != waiting,
                                         DEADLINE_S)
        self.assertTrue(replaced)
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(DEADLINE_S), 0)
        self.assertEqual(os.listdir(self.data("instances")), [])


if __name__ == "__main__":
    guests.main()
