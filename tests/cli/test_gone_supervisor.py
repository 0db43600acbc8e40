#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A VM or its supervisor ends while a command talks to it.  The test stands in for the supervisor."""

import json
import os
import socket
import sys
import threading
import time

import harness

for folder in "crash", "integration":
    sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", folder))
import agentproto as proto # pylint: disable=wrong-import-position
from fake_instance import FakeInstance # pylint: disable=wrong-import-position

GET, WAIT = 10, 69
ESRCH = 3


class Dying(FakeInstance):
    """Its VM ends when a file is asked for, and its supervisor's first process when it is waited for."""

    def __init__(self, data, host, killed):
        self.killed, self.clients = killed, []
        super().__init__(data, "v", "web", "8e09f99e74a7162c4dbf2bdc68bbe9a6")
        self.file = os.path.join(data, "instances", "v", "instance.json")
        self.change(volumes=[dict(host=host, guest="/srv/v", write_back=True)])

    def change(self, **members):
        with open(self.file, encoding="ascii") as file:
            record = json.load(file)
        with open(self.file, "w", encoding="ascii") as file:
            json.dump({**record, **members}, file)

    def serve(self, client):
        self.clients.append(client)
        super().serve(client)

    def on_call(self, agent, stream, fields):
        if fields["CALL"] == GET:
            self.end(agent, stream)
            return True
        if fields["CALL"] == WAIT and self.killed:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            threading.Timer(0.5, self.lock.close).start()
            return True
        return False

    def end(self, agent, stream):
        if self.killed:
            self.close() # its lock, too; its connection follows
            return
        agent.send(proto.REPLY, stream, proto.encode(STATUS=ESRCH, MESSAGE="the VM has ended", REASON="instance-ended"))
        time.sleep(0.5)
        self.note_end()

    def note_end(self):
        self.change(state="failed", error="the VMM was killed; '/srv/v' did not come back to 'x': the VM failed")
        self.close()
        for client in self.clients:
            client.shutdown(socket.SHUT_RDWR)


class Gone(harness.TestCase):
    def fails(self, command, killed):
        os.mkdir(self.path("host"))
        self.mvm_ok("volume", "list")
        vm = Dying(self.data_dir, self.path("host"), killed)
        error = self.mvm_fails(1, command, "v")
        vm.listener.close()
        return error

    def test_a_wait_outlasts_the_last_of_a_killed_supervisor(self):
        self.assertIn("instance 'v' failed: its supervisor was killed", self.fails("wait", True))

    def test_a_vm_that_dies_has_ended_and_its_volume_is_named(self):
        error = self.fails("stop", False)
        self.assertIn("instance 'v' has ended: the VMM was killed; '/srv/v' did not come back", error)
        self.assertNotIn("runs on", error)

    def test_a_killed_supervisors_volume_is_named(self):
        error = self.fails("stop", True)
        lost = f"its supervisor was killed; '/srv/v' did not come back to '{self.path('host')}'"
        self.assertIn(f"instance 'v' has ended: {lost}", error)
        self.assertEqual(self.mvm_json("inspect", "v")["error"], lost)
        self.assertIn("failed (volumes lost)", self.mvm_ok("ps"))


if __name__ == "__main__":
    harness.main()
