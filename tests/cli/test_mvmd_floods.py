# SPDX-License-Identifier: Apache-2.0
"""Guests that answer a client of mvmd with more than it should keep.  They are only played."""

import json
import os
import re
import sys
import time

import harness
import test_mvmd
import test_mvmd_guests

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from fake_instance import FakeInstance, proto # pylint: disable=wrong-import-position


class Lister(FakeInstance):
    """A guest whose agent answers each call of files with `entries`, as far as they are taken."""

    entries = ()

    def serve(self, client):
        agent = proto.Agent(client)
        with client:
            try:
                while True:
                    kind, stream, payload = agent._frame(time.monotonic() + 600) # pylint: disable=W0212
                    if kind == proto.CALL:
                        agent.send(proto.REPLY, stream, proto.encode(STATUS=0, PID=1))
                        self.answer(agent, stream)
            except (OSError, proto.Closed):
                pass # mvmd has let go

    def answer(self, agent, stream):
        room = proto.WINDOW
        for entry in self.entries:
            for at in range(0, len(entry), proto.DATA_MAX):
                piece = entry[at : at + proto.DATA_MAX]
                while room < len(piece):
                    kind, _, payload = agent._frame(time.monotonic() + 600) # pylint: disable=W0212
                    room += int.from_bytes(payload[:4], "little") if kind == proto.CREDIT else 0
                agent.send(proto.DATA, stream, b"\1" + piece)
                room -= len(piece)
        agent.send(proto.END, stream, proto.encode(EXIT_CODE=0))


def entry(path):
    return b"f\x000\x000\x000\x00\x00\x00" + path + b"\0\0\0"


class TinyLister(Lister):
    entries = [entry(b"/") * 2000] * 590 # 16 MiB have room for them


class LargeLister(Lister):
    entries = [entry(b"/%06d" % i + b"\1" * 800) for i in range(8000)]


class EndlessWatch(Lister):
    """A guest whose folder never comes to rest."""

    sent = 0 # bytes

    def answer(self, agent, stream):
        agent.send(proto.DATA, stream, b"\1ready\0\0")
        events = b"create\0x\0" * 3000
        room = proto.WINDOW - 7
        while True:
            while room < len(events):
                kind, _, payload = agent._frame(time.monotonic() + 600) # pylint: disable=W0212
                room += int.from_bytes(payload[:4], "little") if kind == proto.CREDIT else 0
            agent.send(proto.DATA, stream, b"\1" + events)
            room -= len(events)
            EndlessWatch.sent += len(events)


class Lists(test_mvmd.Case):
    played_sandbox = test_mvmd_guests.Guests.played_sandbox

    def peak_kib(self):
        with open(f"/proc/{self.mvmd.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1))

    def test_a_million_files_without_names_are_too_many_for_one_answer(self):
        here = {**test_mvmd_guests.JSON, "E2b-Sandbox-Id": self.played_sandbox(TinyLister), "X-Access-Token": "s" * 80}
        before = self.peak_kib()
        status, _, reply = self.local("POST", "/filesystem.Filesystem/ListDir", here, b'{"path": "/"}')
        self.assertEqual((status, reply["message"]), (413, "the answer is too large"))
        self.assertLess(self.peak_kib() - before, 512 * 1024)

    def test_a_page_of_large_files_has_fewer_of_them(self):
        target = f"/v1/instances/{self.played_sandbox(LargeLister)}/files/list?path=/&limit=8000"
        before = self.peak_kib()
        status, _, first = self.local("GET", target)
        self.assertEqual((status, first["metadata"][0]["path"][:8]), (200, "/000000\1"))
        self.assertLess(len(first["metadata"]), 2000)
        status, _, second = self.local("GET", f"{target}&next={first['next'].replace('%', '%25')}")
        self.assertEqual(status, 200)
        self.assertEqual(int(second["metadata"][0]["path"][1:7]), len(first["metadata"]))
        self.assertIn("next", second)
        self.assertLess(self.peak_kib() - before, 256 * 1024)


class Events(test_mvmd.Case):
    played_sandbox = test_mvmd_guests.Guests.played_sandbox

    def test_a_guest_with_endless_events_takes_a_share_of_the_loop(self):
        here = {**test_mvmd_guests.JSON, "E2b-Sandbox-Id": self.played_sandbox(EndlessWatch), "X-Access-Token": "s" * 80}
        for _ in range(4):
            status, _, made = self.local("POST", "/filesystem.Filesystem/CreateWatcher", here, b'{"path": "/"}')
            self.assertEqual(status, 200)
        answered = 0
        while EndlessWatch.sent < 6 << 20: # a turn of the loop could take four
            self.assertEqual(self.local("GET", "/v1")[0], 200)
            answered += 1
        self.assertGreater(answered, 30)
        status, _, reply = self.local("POST", "/filesystem.Filesystem/GetWatcherEvents", here, json.dumps(made).encode())
        self.assertEqual((status, len(reply["events"])), (200, 4096))


if __name__ == "__main__":
    harness.main()
