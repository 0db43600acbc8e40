# SPDX-License-Identifier: Apache-2.0
"""mvmd is killed at any moment of each operation, under load.  Then the next mvmd finds every VM either there
and usable, or gone and said so."""

import http.client
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import guests
import harness
import service

INSTANCE = "/v1/instances/one"
# name, what must be there before, method, target, body
OPERATIONS = [
    ("start", None, "POST", "/v1/instances", {"template": "web-worker", "name": "one"}),
    ("start many", None, "POST", "/v1/instances", {"template": "web-worker", "name": "one", "count": 2}),
    ("exec", "running", "POST", INSTANCE + "/exec", {"command": ["/bin/busybox", "sleep", "5"], "keep": True}),
    ("upload", "running", "PUT", INSTANCE + "/files?path=/tmp/up", bytes(4 << 20)),
    ("pause", "running", "POST", INSTANCE + "/pause", {}),
    ("resume", "paused", "POST", INSTANCE + "/resume", {}),
    ("suspend", "running", "POST", INSTANCE + "/suspend", {}),
    ("resume suspended", "suspended", "POST", INSTANCE + "/resume", {}),
    ("fork", "running", "POST", INSTANCE + "/fork", {"name": "two"}),
    ("commit", "running", "POST", INSTANCE + "/commit", {"template": "committed"}),
    ("rename", "running", "POST", INSTANCE + "/rename", {"name": "other"}),
    ("restart", "running", "POST", INSTANCE + "/restart", {"timeout_ms": 1000}),
    ("stop", "running", "POST", INSTANCE + "/stop", {"timeout_ms": 5000}),
    ("start again", "exited", "POST", INSTANCE + "/start", {}),
    ("remove", "running", "DELETE", INSTANCE + "?force=true", None),
    ("build", None, "POST", "/v1/templates/spare-worker/build", {"force": True}),
    ("snapshot", None, "POST", "/v1/templates/spare-worker/snapshot", {}),
]
STEPS = {"paused": "pause", "suspended": "suspend", "exited": "stop"}
OPEN_S = 60 # the longest time until a kill
ENDED = {"exited", "failed", "suspended"}


@harness.needs_guests
class Kills(service.TestCase):
    config = guests.CONFIG
    options = ("--no-pools",)

    def seconds_of(self, method, target, body):
        """How long an operation takes when nobody kills mvmd."""
        began = time.monotonic()
        reply = self.request(method, target, body)
        self.assertLess(reply.status, 300, (target, reply.body))
        return min(time.monotonic() - began, OPEN_S)

    def prepare(self, state):
        """Leave nothing but, with a state, an instance in it."""
        for name in self.instances():
            self.mvm("rm", "--force", name)
        if state:
            self.ok("POST", "/v1/instances", {"template": "web-worker", "name": "one"}, 201)
        if state in STEPS:
            self.ok("POST", f"{INSTANCE}/{STEPS[state]}", {"timeout_ms": 1000} if state == "exited" else {})

    def ask(self, method, target, body):
        try:
            self.request(method, target, body)
        except (OSError, http.client.HTTPException):
            pass # mvmd was killed

    def kill_and_start(self):
        self.mvmd.process.kill()
        self.mvmd.process.communicate()
        self.assertTrue(guests.wait_until(lambda: not self.mvmd.answers()))
        type(self).mvmd = self.start_mvmd()

    def state(self, name):
        reply = self.request("GET", f"/v1/instances/{name}").json
        return reply.get("metadata", {}).get("state", "gone")

    def is_sound(self, name):
        """Has an instance ended, or does a command run in it?  What was asked of its supervisor goes on there."""
        state = self.state(name)
        if state == "paused":
            self.request("POST", f"/v1/instances/{name}/resume", {})
        if state != "running":
            return state in ENDED | {"gone"}
        done = self.request("POST", f"/v1/instances/{name}/exec", {"command": ["/bin/busybox", "true"]})
        return done.status == 200 and done.json["metadata"]["status"] == 0

    def check(self, what):
        """Every instance that is listed does what its state says."""
        for name in [i["name"] for i in self.ok("GET", "/v1/instances")]:
            self.assertTrue(guests.wait_until(lambda: self.is_sound(name)), (what, name, self.state(name)))
        listed = {i["name"] for i in self.ok("GET", "/v1/instances")}
        self.assertEqual({i["name"] for i in self.mvm_json("ps", "-a")}, listed, what)
        for template in "web-worker", "spare-worker":
            self.assertEqual(self.ok("POST", f"/v1/templates/{template}/verify", {})["problems"], [], what)

    def load(self, over):
        """Requests that go on all the time."""
        while not over.is_set():
            for method, target, body in ("GET", "/v1/instances", None), ("GET", "/metrics", None), (
                    "POST", "/v1/instances/none/exec", {"command": ["x"]}):
                self.ask(method, target, body)

    def test_at_any_moment_of_each_operation(self):
        spare = guests.CONFIG.replace('"web"', '"spare"').replace("dir:root", "dir:" + self.root)
        self.ok("POST", "/v1/templates", {"toml": spare})
        self.ok("POST", "/v1/templates/spare-worker/build", {})
        chance = random.Random(os.environ.get("MVM_TEST_SEED") or 1)
        end = time.monotonic() + int(os.environ.get("MINUTES") or 1) * 60
        over = threading.Event()
        busy = [threading.Thread(target=self.load, args=(over,)) for _ in range(4)]
        kills = 0
        try:
            for one in busy:
                one.start()
            rounds = 0
            while rounds == 0 or time.monotonic() < end: # each operation at least once
                for what, state, method, target, body in OPERATIONS:
                    self.prepare(state)
                    took = self.seconds_of(method, target, body)
                    self.prepare(state)
                    asked = threading.Thread(target=self.ask, args=(method, target, body))
                    asked.start()
                    time.sleep(chance.uniform(0, took))
                    self.kill_and_start()
                    asked.join()
                    with self.subTest(what, round=rounds):
                        self.check(what)
                    kills += 1
                rounds += 1
        finally:
            over.set()
            for one in busy:
                one.join()
        print(f"# {kills} kills in {rounds} rounds")


if __name__ == "__main__":
    guests.main()
