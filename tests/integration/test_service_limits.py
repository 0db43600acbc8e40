# SPDX-License-Identifier: Apache-2.0
"""mvmd's limits, numbers and crashes, with real instances."""

import http.client
import json
import socket

import guests
import harness
import service


@harness.needs_guests
class Limits(service.TestCase):
    config = guests.CONFIG

    @classmethod
    def setUpClass(cls):
        with socket.create_server(("127.0.0.1", 0)) as free:
            cls.port = free.getsockname()[1]
        cls.options = "--tcp", f"127.0.0.1:{cls.port}", "--no-pools"
        super().setUpClass()

    def secret(self, *args):
        return {"Authorization": "Bearer " + self.mvm_ok("token", "add", *args).strip()}

    def start(self, token, name, **more):
        return self.tcp("POST", "/v1/instances", token, {"template": "web-worker", "name": name, **more})

    def tcp(self, method, target, token, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=harness.PATIENCE_S)
        kind = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, target, body and json.dumps(body).encode(), {**token, **kind})
            return service.Reply(connection.getresponse())
        finally:
            connection.close()

    def numbers(self):
        text = self.request("GET", "/metrics").body.decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    def test_only_an_admin_opens_a_guests_network(self):
        token, admin = self.secret("user"), self.secret("boss", "--scope", "admin")
        for more in {"network_allow": ["10.0.0.0/8"]}, {"network_dns": ["10.0.0.1"]}:
            refused = self.start(token, "no", **more)
            self.assertEqual((refused.status, refused.json["error"]["code"]), (403, "forbidden"), more)
        refused = self.tcp("POST", "/v2/sandboxes", token, {
            "templateID": "web-worker", "timeout": 60, "network": {"allowOut": ["10.0.0.0/8"]}})
        self.assertEqual(refused.status, 403, refused.body)
        self.assertEqual(self.instances(), [])
        self.assertEqual(self.start(token, "shut", network_deny=["all"]).status, 201)
        self.assertEqual(self.start(admin, "open", network_allow=["10.0.0.0/8"]).status, 201)

    def test_a_tokens_instances_count_also_after_a_kill(self):
        token, other = self.secret("a", "--max-instances", "1"), self.secret("b", "--max-memory", "64M")
        self.assertEqual(self.start(token, "one").status, 201)
        self.assertIn("mvmd.token=a", [f"{k}={v}" for k, v in self.inspect("one")["labels"].items()])
        refused = self.start(token, "two")
        self.assertEqual((refused.status, refused.json["error"]["code"], refused.headers["Retry-After"]),
                         (429, "limit_reached", "1"))
        self.assertEqual(self.start(other, "three").status, 429) # the template needs more memory
        self.assertTrue(guests.wait_until(lambda: self.numbers()['mvm_starts_total{kind="restore"}'] == 1))
        numbers = self.numbers()
        self.assertEqual(numbers['mvm_start_seconds_count{kind="restore"}'], 1)
        self.assertEqual(numbers['mvm_start_stage_seconds_count{stage="agent"}'], 1)
        self.assertEqual(numbers['mvm_instances{state="running"}'], 1)
        self.assertEqual(numbers['mvmd_refused_total{why="limit"}'], 2)

        pids = self.inspect("one")["supervisor_pid"], self.inspect("one")["vmm_pid"]
        self.mvmd.process.kill()
        self.mvmd.process.wait()
        type(self).mvmd = self.start_mvmd()
        self.assertEqual((self.inspect("one")["supervisor_pid"], self.inspect("one")["vmm_pid"]), pids)
        self.assertEqual(self.exec("one", "busybox", "echo", "alive"), "alive\n")
        self.assertEqual(self.start(token, "two").status, 429)
        self.assertEqual(self.tcp("DELETE", "/v1/instances/one?force=true", token).status, 200)
        self.assertEqual(self.start(token, "two").status, 201)

    def test_one_that_has_ended_counts_again_however_it_is_started(self):
        token = self.secret("c", "--max-instances", "1")
        self.assertEqual(self.start(token, "first").status, 201)
        self.assertEqual(self.tcp("POST", "/v1/instances/first/restart", token, {}).status, 200) # it is the one
        self.assertEqual(self.tcp("POST", "/v1/instances/first/stop", token, {"timeout_ms": 0}).status, 200)
        self.assertEqual(self.start(token, "second").status, 201)
        for action in "start", "restart":
            refused = self.tcp("POST", "/v1/instances/first/" + action, token, {})
            self.assertEqual((refused.status, refused.json["error"]["code"]), (429, "limit_reached"), action)
        self.assertEqual(self.inspect("first")["state"], "exited")
        self.assertEqual(self.tcp("DELETE", "/v1/instances/second?force=true", token).status, 200)
        self.assertEqual(self.tcp("POST", "/v1/instances/first/restart", token, {}).status, 200)


if __name__ == "__main__":
    guests.main()
