# SPDX-License-Identifier: Apache-2.0
"""mvmd: the API that programs drive, and the command line beside it."""

import http.client
import json
import os
import socket

import guests
import harness
import service


@harness.needs_guests
class Service(service.TestCase):
    config = guests.CONFIG
    options = "--tcp", "127.0.0.1:0"

    def test_the_root_lists_version_and_features(self):
        root = self.ok("GET", "/v1")
        self.assertEqual((root["api"], root["version"]), ("v1", self.mvm_ok("version").split()[1]))
        self.assertIn("operations", root["features"])
        reply = self.request("GET", "/v1/openapi.yaml")
        with open(os.path.join(harness.SOURCE_DIR, "service", "openapi.yaml"), "rb") as file:
            self.assertEqual((reply.status, reply.body), (200, file.read()))

    def test_an_instance_lives_and_the_command_line_sees_it(self):
        started = self.ok("POST", "/v1/instances", {"template": "web-worker", "name": "one"}, 201)
        self.assertEqual((started["name"], started["state"]), ("one", "running"))
        self.assertEqual([i["name"] for i in self.ok("GET", "/v1/instances")], ["one"])
        self.assertEqual(self.exec("one", "busybox", "echo", "hello"), "hello\n")
        self.assertEqual(self.ok("GET", "/v1/instances/one")["supervisor_pid"],
                         self.inspect("one")["supervisor_pid"])
        self.run_detached("web-worker", "--name", "two")
        self.assertEqual([i["name"] for i in self.ok("GET", "/v1/instances")], ["one", "two"])

        first = self.request("GET", "/v1/instances?limit=1").json
        self.assertEqual(([i["name"] for i in first["metadata"]], first["next"]), (["one"], "one"))
        second = self.request("GET", "/v1/instances?limit=1&next=" + first["next"]).json
        self.assertEqual([i["name"] for i in second["metadata"]], ["two"])
        self.assertNotIn("next", second)

        self.assertEqual(self.fails(409, "busy", "DELETE", "/v1/instances/one")["subject"], "one")
        self.ok("DELETE", "/v1/instances/one?force=true")
        self.assertEqual([i["name"] for i in self.mvm_json("ps")], ["two"])
        self.fails(404, "not_found", "GET", "/v1/instances/one")

    def test_an_operation_is_left_waited_for_and_followed(self):
        reply = self.request("POST", "/v1/instances", {"template": "web-worker", "name": "slow"},
                             {"Prefer": "respond-async"})
        self.assertEqual((reply.status, reply.json["type"]), (202, "async"), reply.body)
        address = reply.headers["Location"]
        self.assertEqual(address, reply.json["operation"])
        operation = self.ok("GET", address + "/wait?timeout=90")
        self.assertEqual((operation["state"], operation["status"], operation["metadata"]["name"]),
                         ("done", 201, "slow"))
        lines = self.request("GET", address + "/events").body.splitlines()
        self.assertEqual(json.loads(lines[-1])["operation"]["state"], "done")
        self.assertIn(operation["id"], [o["id"] for o in self.ok("GET", "/v1/operations")])
        self.fails(409, "busy", "DELETE", address)

    def test_mistakes_have_codes(self):
        self.fails(404, "not_found", "GET", "/v1/nothing")
        self.fails(404, "not_found", "GET", "/v1/operations/00")
        self.assertEqual(self.fails(404, "not_found", "POST", "/v1/instances", {"template": "no"})["reason"],
                         "no-template")
        error = self.fails(400, "invalid", "POST", "/v1/instances", {"templete": "x"})
        self.assertIn("did you mean 'template'?", error["message"])
        self.fails(400, "invalid", "POST", "/v1/instances", b"{", headers={
            "Content-Type": "application/json"})
        self.fails(400, "invalid", "GET", "/v1/instances?limit=0")
        self.fails(400, "invalid", "POST", "/v1/instances/No.Name/pause?async=true")
        self.fails(415, "unsupported_media_type", "POST", "/v1/instances", b"{}")
        connection = self.mvmd.connect() # the answer comes before the body
        connection.putrequest("POST", "/v1/instances")
        connection.putheader("Content-Length", str(2 << 20))
        connection.endheaders()
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()
        self.assertEqual(self.request("PUT", "/v1/instances").headers["Allow"], "GET, POST")

    def test_a_host_name_of_somebody_else_is_refused(self):
        with open(f"/proc/{self.mvmd.process.pid}/net/tcp", encoding="ascii") as file:
            sockets = [line.split() for line in file][1:]
        inodes = {os.readlink(f"/proc/{self.mvmd.process.pid}/fd/{fd}")
                  for fd in os.listdir(f"/proc/{self.mvmd.process.pid}/fd")}
        port = next(int(s[1].split(":")[1], 16) for s in sockets if f"socket:[{s[9]}]" in inodes)
        for host, status in (f"127.0.0.1:{port}", 200), ("evil.example", 403):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE_S)
            connection.request("GET", "/v1", headers={"Host": host})
            self.assertEqual(connection.getresponse().status, status, host)
            connection.close()

    def test_a_client_that_goes_away_leaves_its_operation(self):
        body = json.dumps({"template": "web-worker", "name": "left"}).encode()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.mvmd.socket)
            client.sendall(b"POST /v1/instances HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                           % (len(body), body))
            self.assertTrue(guests.wait_until(lambda: any(
                o["state"] == "running" for o in self.ok("GET", "/v1/operations"))))
        self.assertTrue(guests.wait_until(lambda: self.request(
            "GET", "/v1/instances/left").json.get("metadata", {}).get("state") == "running"))

    def test_its_end_leaves_the_instances(self):
        self.ok("POST", "/v1/instances", {"template": "web-worker", "name": "stays"}, 201)
        self.assertEqual(self.mvmd.stop(), (0, ""))
        self.assertFalse(os.path.exists(self.mvmd.socket))
        type(self).mvmd = self.start_mvmd()
        self.assertEqual(self.ok("GET", "/v1/instances/stays")["state"], "running")


if __name__ == "__main__":
    guests.main()
