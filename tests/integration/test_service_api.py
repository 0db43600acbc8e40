# SPDX-License-Identifier: Apache-2.0
"""mvmd's API, route by route, with real guests."""

import json
import threading

import guests
import harness
import service


@harness.needs_guests
class Api(service.TestCase):
    config = guests.CONFIG

    def start(self, name, **more):
        return self.ok("POST", "/v1/instances", {"template": "web-worker", "name": name, **more}, 201)

    def act(self, name, action, body=None, status=200):
        return self.ok("POST", f"/v1/instances/{name}/{action}", body, status)

    def test_an_instance_goes_through_its_states(self):
        self.assertEqual(self.start("one", labels={"tier": "a"}, ttl_ms=600000)["labels"], {"tier": "a"})
        for action, state in ("pause", "paused"), ("resume", "running"), ("suspend", "suspended"), (
                "resume", "running"):
            self.assertEqual(self.act("one", action)["state"], state)
            self.assertEqual(self.inspect("one")["state"], state)
        record = self.ok("PUT", "/v1/instances/one/ttl", {"ttl_ms": 1200000.0})
        self.assertEqual((record["ttl_ms"], record["expires_at"]), (1200000, self.inspect("one")["expires_at"]))
        self.mvm_ok("update", "one", "--ttl", "0")
        self.assertEqual((self.inspect("one")["ttl_ms"], self.inspect("one").get("expires_at")), (0, None))
        self.assertEqual(self.act("one", "rename", {"name": "two"})["name"], "two")
        rules = self.ok("PUT", "/v1/instances/two/network", {"allow": ["10.1.0.0/16"]})
        self.assertEqual(rules["network_allow"], ["10.1.0.0/16"])
        self.assertIn("httpd", " ".join(p["command"] for p in self.ok("GET", "/v1/instances/two/processes")))

        found = lambda query: [i["name"] for i in self.ok("GET", "/v1/instances?" + query)]
        self.assertEqual((found("state=running&template=web-worker&label=tier=a"), found("label=tier")),
                         (["two"], ["two"]))
        self.assertEqual((found("state=paused"), found("label=tie"), found("template=other")), ([], [], []))

        forks = self.act("two", "fork", {"name": "fork", "count": 2}, 201)
        self.assertEqual([i["name"] for i in forks], ["fork-1", "fork-2"])
        self.assertEqual(self.act("two", "stop", {"timeout_ms": 0})["state"], "exited")
        self.assertEqual(self.act("two", "start")["state"], "running")
        self.assertEqual(self.act("two", "restart", {"timeout_ms": 0})["state"], "running")
        self.ok("POST", "/v1/instances/two/kill", {"signal": "KILL"})
        self.assertEqual(self.fails(409, "busy", "POST", "/v1/instances/two/pause")["subject"], "two")

    def test_who_waits_is_told_of_the_end(self):
        self.start("waits")
        early = self.ok("GET", "/v1/instances/waits/wait?timeout=0")
        self.assertEqual(early["state"], "running")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(
            self.ok("GET", "/v1/instances/waits/wait?timeout=90")))
        thread.start()
        self.act("waits", "stop", {"timeout_ms": 0})
        thread.join(harness.PATIENCE_S)
        self.assertEqual([a["state"] for a in answers], ["exited"])
        self.assertEqual(self.ok("GET", "/v1/instances/waits/wait?state=exited")["state"], "exited")

    def test_a_key_makes_a_second_request_the_first_one(self):
        key = {"Idempotency-Key": "a-key"}
        body = {"template": "web-worker"}
        first = self.request("POST", "/v1/instances", body, key)
        second = self.request("POST", "/v1/instances", body, key)
        self.assertEqual((first.status, first.json), (201, second.json))
        self.assertEqual(second.headers["Idempotent-Replayed"], "true")
        self.assertEqual(len(self.ok("GET", "/v1/instances")), 1)
        self.fails(409, "exists", "POST", "/v1/instances", {"template": "web-worker", "name": "x"},
                   headers=key)

    def test_a_template_is_defined_built_and_deleted(self):
        settings = {"flake_ref": "dir:" + self.root, "kernel": "debian", "vcpus": 1, "mem_mib": 128,
                    "command": ["/bin/busybox", "sleep", "1000000"]}
        self.assertEqual(self.ok("POST", "/v1/templates", {"template_id": "api", "settings": settings}),
                         [{"template_id": "api", "result": "created"}])
        reply = self.request("POST", "/v1/templates/api/build", {}, {"Prefer": "respond-async"})
        events = self.request("GET", reply.headers["Location"] + "/events").body.splitlines()
        events = [json.loads(line) for line in events]
        self.assertEqual(events[-1]["operation"]["state"], "done", events[-1])
        self.assertIn("begin", [e["event"] for e in events])
        built = events[-1]["operation"]["metadata"]
        self.assertTrue(built["new_revision"])
        info = self.ok("GET", "/v1/templates/api")
        self.assertEqual(info, self.mvm_json("template", "info", "api"))
        self.assertEqual(self.ok("PATCH", "/v1/templates/api", {"settings": {"mem_mib": 160}})["result"],
                         "updated")
        rows = {t["template_id"]: t for t in self.ok("GET", "/v1/templates")}
        self.assertEqual(list(rows.values()), self.mvm_json("template", "list"))
        self.assertEqual(self.ok("GET", "/v1/templates/api/revisions"),
                         self.mvm_json("template", "history", "api"))
        self.assertEqual(self.ok("POST", "/v1/templates/api/verify")["problems"], [])
        self.ok("POST", "/v1/prune", {"template_id": "api"})
        self.ok("DELETE", "/v1/templates/api")
        self.fails(404, "not_found", "GET", "/v1/templates/api")
        toml = guests.CONFIG.replace('"web"', '"toml"').replace("dir:root", "dir:" + self.root)
        self.assertEqual(self.ok("POST", "/v1/templates", {"toml": toml})[0]["template_id"], "toml-worker")
        self.ok("DELETE", "/v1/templates/toml-worker")

    def test_the_host_lists_what_it_has(self):
        self.assertEqual(self.ok("GET", "/v1/kernels"), self.mvm_json("kernel", "list"))
        self.assertEqual(self.ok("PUT", "/v1/pools/web-worker", {"size": 1})["size"], 1)
        self.assertEqual(self.ok("GET", "/v1/pools")["pools"][0]["size"], 1)
        self.ok("PUT", "/v1/pools/web-worker", {"size": 0})
        self.start("vol", volumes=["box:/box"])
        self.assertEqual([v["name"] for v in self.ok("GET", "/v1/volumes")], ["box"])
        self.fails(409, "busy", "DELETE", "/v1/volumes/box")
        self.ok("DELETE", "/v1/instances/vol?force=true")
        self.ok("DELETE", "/v1/volumes/box")
        self.assertIn("qemu", [b["name"] for b in self.ok("GET", "/v1/backends")])
        node, shown = self.ok("GET", "/v1/node"), self.mvm_json("node", "status")
        for moves in "mem_available_bytes", "disk_free_bytes":
            self.assertGreater(node.pop(moves) * shown.pop(moves), 0)
        self.assertEqual(node, shown)

    def state(self, name):
        """None: there is no such instance."""
        reply = self.request("GET", f"/v1/instances/{name}")
        return None if reply.status == 404 else reply.json["metadata"]["state"]

    def test_a_killed_mvmd_loses_no_vm(self):
        self.start("kept")
        for action in "start", "pause":
            if action == "start":
                self.request("POST", "/v1/instances?async", {"template": "web-worker", "name": "half"})
            else:
                self.request("POST", "/v1/instances/kept/pause?async", {})
            self.mvmd.process.kill()
            self.mvmd.process.communicate()
            # a child that it had just forked has its socket until it executes the supervisor
            self.assertTrue(guests.wait_until(lambda: not self.mvmd.answers()))
            type(self).mvmd = self.start_mvmd()
            for instance in self.ok("GET", "/v1/instances"):
                name = instance["name"]
                self.assertTrue(guests.wait_until(lambda: self.state(name) != "starting"), name)
                # a start that was not far enough is undone
                self.assertIn(self.state(name), ("running", "paused", *(["failed", None] if name == "half" else [])))
        self.request("POST", "/v1/instances/kept/resume")
        self.assertEqual(self.exec("kept", "busybox", "echo", "here"), "here\n")

    def test_a_snapshot_that_was_made_anew_is_no_failure_of_the_server(self):
        self.start("early")
        self.ok("POST", "/v1/templates/web-worker/snapshot", {})
        self.fails(409, "stale", "POST", "/v1/instances/early/suspend")

    def test_an_address_that_is_not_the_hosts_is_the_clients_mistake(self):
        self.fails(400, "invalid", "POST", "/v1/instances",
                   {"template": "web-worker", "name": "elsewhere", "ports": ["192.0.2.1:8080:80"]})

    def test_a_registry_that_cannot_be_reached_is_no_failure_of_the_server(self):
        self.fails(502, "peer_failed", "POST", "/v1/templates/web-worker/push", {"to": "127.0.0.1:1/web:v1"})

    def test_a_running_operation_can_be_cancelled(self):
        reply = self.request("POST", "/v1/templates/web-worker/snapshot", {}, {"Prefer": "respond-async"})
        self.ok("DELETE", reply.headers["Location"])
        ended = self.ok("GET", reply.headers["Location"] + "/wait?timeout=90")
        self.assertEqual((ended["state"], ended["error"]["code"]), ("cancelled", "cancelled"))
        self.assertTrue(self.ok("GET", "/v1/templates")[0]["has_snapshot"])


if __name__ == "__main__":
    guests.main()
