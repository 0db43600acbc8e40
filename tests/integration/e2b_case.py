# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the e2b wire: an mvmd with a template of the packages' needs, and its clients."""

import json
import os
import re
import shutil
import subprocess
import sys

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


class TestCase(service.TestCase):
    config = CONFIG

    @classmethod
    def make_source(cls):
        add_bash(cls.root)

    @classmethod
    def setUpClass(cls):
        cls.port_of_mvmd = harness.free_port()
        cls.options = "--tcp", f"127.0.0.1:{cls.port_of_mvmd}"
        super().setUpClass()
        token = subprocess.run([harness.MVM, "--data-dir", cls.shared_data, "token", "add", "e2b", "--scope", "admin"],
                               capture_output=True, text=True, check=True, timeout=harness.PATIENCE_S).stdout.strip()
        cls.key = token.replace("mvm_", "e2b_")

    def run_job(self, version, job):
        url = f"http://127.0.0.1:{self.port_of_mvmd}"
        env = {**os.environ, "PYTHONPATH": pypi.folder("e2b", version), "E2B_API_KEY": self.key,
               "E2B_API_URL": url, "E2B_SANDBOX_URL": url}
        job = os.path.join(os.path.dirname(os.path.abspath(__file__)), job)
        done = subprocess.run([sys.executable, job], env=env, capture_output=True, text=True, timeout=self.timeout,
                              check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr)

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

    def path_of(self, sandbox):
        return "/sandboxes/" + sandbox["sandboxID"]

    def state(self, sandbox):
        return self.request("GET", self.path_of(sandbox)).json["state"]
