# SPDX-License-Identifier: Apache-2.0
"""The wire of the e2b packages: an old and the newest one from PyPI, and what they do not show."""

import base64
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse

import guests
import harness
import pypi
import service

CONFIG = """
template_id = "base"
flake_ref   = "dir:root"
kernel      = "debian"

[[variants]]
name    = "base"
role    = "sandbox"
vcpus   = 1
mem_mib = 192
root_disk_mib = 64
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def add_bash(root):
    """Give the guest what the package needs of it: /bin/bash, some programs, and the user `user`."""
    needs = subprocess.run(["ldd", "/bin/bash"], capture_output=True, text=True, check=True).stdout
    for path in ["/bin/bash"] + re.findall(r"(/\S+) \(", needs):
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(os.path.realpath(path), root + path)
    for name in "cat", "id", "sleep", "stty", "sh":
        if not os.path.lexists(f"{root}/bin/{name}"):
            os.symlink("busybox", f"{root}/bin/{name}")
    os.makedirs(f"{root}/home/user", exist_ok=True)
    os.makedirs(f"{root}/root", exist_ok=True)
    os.makedirs(f"{root}/etc", exist_ok=True)
    os.chown(f"{root}/home/user", 1000, 1000) if os.geteuid() == 0 else os.chmod(f"{root}/home/user", 0o777)
    with open(f"{root}/etc/passwd", "w", encoding="utf-8") as file:
        file.write("root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n")
    with open(f"{root}/etc/group", "w", encoding="utf-8") as file:
        file.write("root:x:0:\nuser:x:1000:\n")


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@harness.needs_guests
class E2b(service.TestCase):
    config = CONFIG

    @classmethod
    def make_source(cls):
        add_bash(cls.root)

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.options = "--tcp", f"127.0.0.1:{cls.port}"
        super().setUpClass()
        token = subprocess.run([harness.MVM, "--data-dir", cls.shared_data, "token", "add", "e2b", "--scope", "admin"],
                               capture_output=True, text=True, check=True, timeout=60).stdout.strip()
        cls.key = token.replace("mvm_", "e2b_")

    def run_job(self, version):
        url = f"http://127.0.0.1:{self.port}"
        env = {**os.environ, "PYTHONPATH": pypi.folder("e2b", version), "E2B_API_KEY": self.key,
               "E2B_API_URL": url, "E2B_SANDBOX_URL": url}
        job = os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2b_job.py")
        done = subprocess.run([sys.executable, job], env=env, capture_output=True, text=True, timeout=self.timeout,
                              check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr)

    def test_an_old_package_works(self):
        self.run_job("2.31.0") # what openai-agents pins

    def test_the_newest_package_works(self):
        self.run_job(None)

    def create(self, **more):
        reply = self.request("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, **more})
        self.assertEqual(reply.status, 201, reply.body)
        return reply.json

    def envd(self, sandbox, method, body, token=None):
        """A unary call of a sandbox's."""
        token = sandbox["envdAccessToken"] if token is None else token
        return self.request("POST", "/" + method, body, {"E2b-Sandbox-Id": sandbox["sandboxID"],
                                                         "X-Access-Token": token})

    def start(self, sandbox, line):
        """Start a command, read that it runs, and hang up; returns its pid."""
        message = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", line]}}).encode()
        connection = self.mvmd.connect()
        connection.request("POST", "/process.Process/Start",
                           b"\0" + len(message).to_bytes(4, "big") + message,
                           {"Content-Type": "application/connect+json", "E2b-Sandbox-Id": sandbox["sandboxID"],
                            "X-Access-Token": sandbox["envdAccessToken"]})
        response = connection.getresponse()
        head = response.read(5)
        event = json.loads(response.read(int.from_bytes(head[1:], "big")))
        connection.close()
        return event["event"]["start"]["pid"]

    def pids(self, sandbox):
        return [p["pid"] for p in self.envd(sandbox, "process.Process/List", {}).json["processes"]]

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
