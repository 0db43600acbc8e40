# SPDX-License-Identifier: Apache-2.0
"""The wire of the e2b packages: an old and the newest one from PyPI, and what they do not show."""

import base64
import concurrent.futures
import hashlib
import json
import os
import signal
import threading
import time
import urllib.parse

import e2b_case
import guests
import harness
from e2b_case import read_json


@harness.needs_guests
class E2b(e2b_case.TestCase):
    def test_an_old_package_works(self):
        self.run_job("2.31.0", "e2b_job.py") # what openai-agents pins

    def test_the_newest_package_works(self):
        self.run_job(None, "e2b_job.py")

    def create_without_its_folder(self):
        """Create a sandbox whose record cannot be written once it is up.  Returns the status."""
        folder = os.path.join(self.shared_data, "service/e2b")
        before, replies = set(os.listdir(folder)), []
        creates = threading.Thread(target=lambda: replies.append(
            self.request("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300})))
        creates.start()
        guests.wait_until(lambda: set(os.listdir(folder)) > before)
        os.rename(folder, folder + ".away")
        creates.join()
        os.rename(folder + ".away", folder)
        if replies[0].status == 201: # it was faster
            self.request("DELETE", self.path_of(replies[0].json))
        return replies[0].status

    def test_no_sandbox_runs_whose_create_has_failed(self):
        instances = os.path.join(self.shared_data, "instances")
        before = set(os.listdir(instances))
        self.assertTrue(any(self.create_without_its_folder() == 500 for _ in range(10)))
        self.assertLessEqual(set(os.listdir(instances)), before)

    def test_commands_and_leases_outlive_mvmd(self):
        sandbox = self.create(timeout=300)
        pid = self.start(sandbox, "sleep 1000")
        short = self.create(timeout=1, autoPause=True)
        self.mvmd.process.kill()
        self.mvmd.process.communicate()
        time.sleep(1) # the lease's end, while nobody is there
        type(self).mvmd = self.start_mvmd()
        self.assertIn(pid, self.pids(sandbox))
        path = "/sandboxes/" + short["sandboxID"]
        self.assertTrue(guests.wait_until(lambda: self.request("GET", path).json["state"] == "paused"))
        self.assertEqual(self.request("GET", "/health", headers={"E2b-Sandbox-Id": short["sandboxID"]}).status, 502)

    def test_a_pause_without_memory_keeps_the_files(self):
        sandbox = self.create(autoPause=True, autoPauseMemory=False)
        path, here = "/sandboxes/" + sandbox["sandboxID"], {"E2b-Sandbox-Id": sandbox["sandboxID"]}
        file = {**here, "X-Access-Token": sandbox["envdAccessToken"], "Content-Type": "application/octet-stream"}
        boot = self.request("GET", "/files?path=/proc/sys/kernel/random/boot_id", headers=file).body
        self.assertEqual(self.request("POST", "/files?path=kept", b"contents", file).status, 200)
        self.assertEqual(self.request("POST", path + "/timeout", {"timeout": 0}).status, 204)
        record = os.path.join(self.shared_data, "service/e2b", sandbox["sandboxID"] + ".json")
        self.assertTrue(guests.wait_until(lambda: "onDisk" in read_json(record)))
        self.assertEqual(self.request("POST", path + "/pause", {}).status, 409) # its shutdown is under way
        self.assertTrue(guests.wait_until(lambda: self.request("GET", path).json["state"] == "paused"))
        self.assertTrue(guests.wait_until(lambda: self.inspect(sandbox["sandboxID"])["state"] == "exited"))
        self.mvmd.process.kill() # the next one must not take the VM's end for the sandbox's
        self.mvmd.process.communicate()
        type(self).mvmd = self.start_mvmd()
        self.assertEqual(self.request("POST", path + "/pause", {}).status, 409)
        self.assertEqual(self.request("POST", "/v2" + path + "/connect", {}).status, 201)
        self.assertEqual(self.request("GET", "/files?path=kept", headers=file).body, b"contents")
        self.assertNotEqual(self.request("GET", "/files?path=/proc/sys/kernel/random/boot_id", headers=file).body, boot)
        self.mvmd.process.kill() # as if between its note of a pause and the VM's end
        self.mvmd.process.communicate()
        document = {**read_json(record), "onDisk": True, "autoPause": False}
        with open(record, "w", encoding="utf-8") as out:
            json.dump(document, out)
        type(self).mvmd = self.start_mvmd()
        self.assertTrue(guests.wait_until(lambda: self.inspect(sandbox["sandboxID"])["state"] == "exited"))
        self.assertEqual(self.request("POST", "/v2" + path + "/connect", {}).status, 201)
        self.assertEqual(self.request("GET", "/files?path=kept", headers=file).body, b"contents")

    def test_a_lease_of_a_vm_that_was_booted_ends_with_its_files_kept(self):
        sandbox = self.create(autoPause=True)
        path, here = "/sandboxes/" + sandbox["sandboxID"], {"E2b-Sandbox-Id": sandbox["sandboxID"]}
        file = {**here, "X-Access-Token": sandbox["envdAccessToken"], "Content-Type": "application/octet-stream"}
        self.assertEqual(self.request("POST", path + "/pause", {"memory": False}).status, 204)
        self.assertEqual(self.request("POST", "/v2" + path + "/connect", {}).status, 201)
        self.assertEqual(self.request("POST", "/files?path=kept", b"contents", file).status, 200)
        self.assertEqual(self.request("POST", path + "/timeout", {"timeout": 0}).status, 204)
        self.assertTrue(guests.wait_until(lambda: self.request("GET", path).json.get("state") == "paused"))
        self.assertEqual(self.request("POST", "/v2" + path + "/connect", {}).status, 201)
        self.assertEqual(self.request("GET", "/files?path=kept", headers=file).body, b"contents")

    def test_no_change_undoes_a_pause_that_is_under_way(self):
        sandbox = self.create()
        path = "/sandboxes/" + sandbox["sandboxID"]
        record = os.path.join(self.shared_data, "service/e2b", sandbox["sandboxID"] + ".json")
        with concurrent.futures.ThreadPoolExecutor() as clients:
            pause = clients.submit(self.request, "POST", path + "/pause", {"memory": False})
            self.assertTrue(guests.wait_until(lambda: "onDisk" in read_json(record)))
            network = clients.submit(self.request, "PUT", path + "/network", {"denyOut": ["10.0.0.0/8"]})
            self.assertEqual(self.request("POST", path + "/timeout", {"timeout": 0}).status, 404)
            self.assertEqual(pause.result().status, 204)
            network.result()
        document = read_json(record)
        self.assertEqual((document["onDisk"], document["endAt"]), (True, 0))
        self.assertEqual(self.request("GET", path).json["state"], "paused")
        memory = self.create()
        path = "/sandboxes/" + memory["sandboxID"]
        with concurrent.futures.ThreadPoolExecutor() as clients:
            pause = clients.submit(self.request, "POST", path + "/pause", {})
            here = {"E2b-Sandbox-Id": memory["sandboxID"]}
            self.assertTrue(guests.wait_until(lambda: self.request("GET", "/health", headers=here).status == 502))
            self.assertEqual(self.request("POST", path + "/timeout", {"timeout": 0}).status, 404)
            self.assertEqual(pause.result().status, 204)
        self.assertEqual(self.request("GET", path).json["state"], "paused")
        self.assertEqual(self.request("POST", "/v2" + path + "/connect", {}).status, 201)

    def test_who_connects_while_a_sandbox_is_paused_gets_it_resumed(self):
        sandbox = self.create(autoPause=True)
        path = "/sandboxes/" + sandbox["sandboxID"]
        self.assertEqual(self.request("POST", path + "/timeout", {"timeout": 0}).status, 204)
        here = {"E2b-Sandbox-Id": sandbox["sandboxID"]}
        self.assertTrue(guests.wait_until(lambda: self.request("GET", "/health", headers=here).status == 502))
        reply = self.request("POST", "/v2" + path + "/connect", {"timeout": 100})
        self.assertEqual(reply.status, 201, reply.body)
        self.assertEqual(self.request("GET", "/health", headers=here).status, 204)
        stat = self.envd(sandbox, "filesystem.Filesystem/Stat", {"path": "/"})
        self.assertEqual(stat.json["entry"]["type"], "FILE_TYPE_DIRECTORY")

    def test_mvmd_ends_without_a_guest_that_does_not(self):
        sandbox = self.create(autoPause=True, autoPauseMemory=False)
        record = self.data("service/e2b", sandbox["sandboxID"] + ".json")
        machines = [pid for pid, line in harness.processes_of(self.data_dir).items()
                    if "qemu" in line.split()[0] and sandbox["sandboxID"] in line]
        self.assertEqual(len(machines), 1)
        os.kill(machines[0], signal.SIGSTOP)
        try:
            self.assertEqual(self.request("POST", self.path_of(sandbox) + "/timeout", {"timeout": 0}).status, 204)
            self.assertTrue(guests.wait_until(lambda: "onDisk" in read_json(record)))
            self.assertEqual(self.mvmd.stop()[0], 0)
            self.assertTrue(guests.is_alive(machines[0])) # its supervisor gives the guest 30 s
        finally:
            os.kill(machines[0], signal.SIGCONT)
        type(self).mvmd = self.start_mvmd()
        self.assertTrue(guests.wait_until(lambda: self.inspect(sandbox["sandboxID"])["state"] == "exited"))
        self.assertTrue(guests.wait_until(lambda: self.state(sandbox) == "paused"))
        self.assertEqual(self.request("POST", "/v2" + self.path_of(sandbox) + "/connect", {}).status, 201)

    def test_input_of_a_process_that_has_ended_is_refused(self):
        sandbox = self.create()
        pid = self.start(sandbox, "exit 7")
        self.assertTrue(guests.wait_until(lambda: pid not in self.pids(sandbox)))
        process = {"process": {"pid": pid}}
        for method, more in ("SendInput", {"input": {"stdin": "eAo="}}), ("CloseStdin", {}), ("SendSignal", {"signal": 15}):
            reply = self.envd(sandbox, "process.Process/" + method, {**process, **more})
            self.assertEqual((reply.status, reply.json["code"]), (404, "not_found"), method)

    def test_input_of_a_process_whose_input_has_ended_is_refused(self):
        sandbox = self.create()
        process = {"process": {"pid": self.start(sandbox, "exec sleep 1000")}}
        one = {**process, "input": {"stdin": "eAo="}}
        self.assertEqual(self.envd(sandbox, "process.Process/SendInput", one).status, 200)
        self.assertEqual(self.envd(sandbox, "process.Process/CloseStdin", process).status, 200)
        reply = self.envd(sandbox, "process.Process/SendInput", one)
        self.assertEqual((reply.status, reply.json["code"]), (400, "failed_precondition"))
        self.assertEqual(self.envd(sandbox, "process.Process/CloseStdin", process).status, 200)

    def test_who_may_do_what(self):
        sandbox = self.create()
        reply = self.envd(sandbox, "filesystem.Filesystem/Stat", {"path": "/"}, token="wrong")
        self.assertEqual((reply.status, reply.json["code"]), (401, "unauthenticated"))
        gone = {"E2b-Sandbox-Id": "nothere"}
        reply = self.request("GET", "/health", headers=gone)
        self.assertEqual((reply.status, reply.json["code"]), (502, 502))
        self.assertIn("was not found", reply.json["message"])
        reply = self.request("GET", "/volumes")
        self.assertEqual((reply.status, reply.json["code"]), (501, 501))
        reply = self.request("POST", "/v2/sandboxes", {"templateID": "missing"})
        self.assertEqual((reply.status, reply.json["code"]), (404, 404))

        def signed(path, what, user="user"):
            text = f"{path}:{what}:{user}:{sandbox['envdAccessToken']}".encode()
            digest = base64.b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")
            query = urllib.parse.urlencode({"path": path, "username": user, "signature": "v1_" + digest})
            return self.request("POST" if what == "write" else "GET", "/files?" + query,
                                b"text" if what == "write" else None,
                                {"Content-Type": "application/octet-stream",
                                 "E2b-Sandbox-Id": sandbox["sandboxID"]})
        self.assertEqual(signed("new/file", "write").status, 200)
        self.assertEqual(signed("new/file", "read").body, b"text")
        plain = self.request("GET", "/files?path=new/file", headers={"E2b-Sandbox-Id": sandbox["sandboxID"]})
        self.assertEqual(plain.status, 401)


if __name__ == "__main__":
    guests.main()
