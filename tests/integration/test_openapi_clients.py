# SPDX-License-Identifier: Apache-2.0
"""Programs that others wrote read service/openapi.yaml and use mvmd by it: schemathesis looks for answers
that the document does not have, and a client that openapi-python-client generates does the main job.

MVM_TEST_LONG: schemathesis looks for MINUTES (5), and changes the instance as well."""

import os
import subprocess
import sys
import threading

import guests
import harness
import openapi
import pypi
import service

SCHEMATHESIS, GENERATOR = "4.32.5", "0.29.1"
LONG = os.environ.get("MVM_TEST_LONG")

# Requests that would wait for something are not sent: a log that is followed, a folder that is watched.
# Rules of names, of sizes together and the like are in words alone, so a request that the schema allows may
# be refused (positive_data_acceptance).
CONFIG = """
hooks = "hooks.py"
request-timeout = 600
warnings = false
[output.sanitization]
enabled = false
[checks.positive_data_acceptance]
enabled = false
[[operations]]
include-operation-id = ["getEvents", "getLogs"]
parameters = { "query.follow" = false }
[[operations]]
include-operation-id = ["waitInstance", "waitOperation"]
parameters = { "query.timeout" = "0" }
[[operations]]
include-tag = "operations" # DELETE cancels one, and it stays for a while
checks.use_after_free.enabled = false
"""

# the parts that have the instance as their object
GUEST = """
[[operations]]
include-tag = ["exec", "files", "logs", "ports"]
exclude-operation-id = ["watchFiles", "getEvents", "getLogs"]
parameters = { "path.name" = "one" }
[[operations]]
include-operation-id = ["getInstance", "listProcesses", "setNetwork"]
parameters = { "path.name" = "one" }
"""

# what may change it, or end it
OTHERS = """
[[operations]]
include-tag = "instances"
exclude-operation-id = ["listInstances", "startInstance", "waitInstance"]
parameters = { "path.name" = "one" }
"""


def failures():
    """An operation fails as the document says: a peer that fails, a time that is over, a disk that is full."""
    lines = []
    for operation in openapi.operations():
        # the answer of a port is a server's in the guest
        named = {"502", "504"} if operation.path.endswith("/{path}") else operation.statuses & {"502", "504", "507"}
        if named:
            lines += ["[[operations]]", f'include-operation-id = "{operation.name}"',
                      f'checks.not_a_server_error.expected-statuses = {["2xx", "3xx", "4xx", *sorted(named)]}']
    return "\n".join(lines) + "\n"


HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-tar")
def tar(ctx, value):
    return value if isinstance(value, bytes) else b"\\0" * 1024
"""


@harness.needs_guests
class Clients(service.TestCase):
    config = guests.CONFIG

    @classmethod
    def setUpClass(cls):
        cls.port = harness.free_port()
        cls.options = "--tcp", f"127.0.0.1:{cls.port}", "--no-pools"
        super().setUpClass()
        cls.url = f"http://127.0.0.1:{cls.port}"

    def run_python(self, packages, *args, timeout=300):
        """Run a Python program with a package of PyPI's in a folder of its own; returns its output."""
        env = self.environment({"PYTHONPATH": packages, "PATH": f"{packages}/bin:{os.environ['PATH']}"})
        done = subprocess.run([sys.executable, *args], env=env, cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-20000:])
        return done.stdout

    def token(self, name):
        return self.mvm_ok("token", "add", name, "--scope", "admin").strip()

    def test_a_generated_client_does_the_main_job(self):
        packages = pypi.folder("openapi-python-client", GENERATOR)
        config = self.write("generator.yaml", "content_type_overrides:\n" + "".join(
            f"  application/{kind}: application/octet-stream\n" for kind in ("x-tar", "x-ndjson", "yaml")))
        # a warning is a part of the document that it leaves out
        self.run_python(packages, "-m", "openapi_python_client", "generate", "--path", openapi.PATH, "--config", config,
                        "--output-path", self.path("mvmclient"), "--meta", "none", "--fail-on-warning")
        job = os.path.join(os.path.dirname(os.path.abspath(__file__)), "openapi_job.py")
        toml = guests.CONFIG.replace('"web"', '"new"').replace("dir:root", "dir:" + self.root)
        said = self.run_python(f"{packages}:{self.folder}", job, self.url, self.token("client"), toml)
        self.assertEqual(said, "done\n")

    def keep_one(self, over):
        """Let there be an instance, whatever happens to it."""
        while not over.wait(1):
            self.request("POST", "/v1/instances", {"template": "web-worker", "name": "one"})

    def test_every_answer_is_in_the_document(self):
        packages = pypi.folder("schemathesis", SCHEMATHESIS)
        self.ok("POST", "/v1/instances", {"template": "web-worker", "name": "one"}, 201)
        self.write("hooks.py", HOOKS)
        config = self.write("schemathesis.toml", CONFIG + failures() + GUEST + (OTHERS if LONG else ""))
        seconds = int(os.environ.get("MINUTES") or 5) * 60
        how = ["--phases", "examples,coverage,fuzzing,stateful", "--max-time", str(seconds)] if LONG else [
            "--phases", "examples,fuzzing", "--max-examples", "4", "--generation-deterministic", "--no-shrink"]
        left_out = ["fetchKernel", "watchFiles"] + ([] if LONG else ["imageTemplate", "pullTemplate"])
        over = threading.Event()
        keeper = threading.Thread(target=self.keep_one, args=(over,))
        if LONG:
            keeper.start()
        try:
            said = self.run_python(
                packages, "-m", "schemathesis.cli", "--config-file", config, "run", openapi.PATH, "--url", self.url,
                "-H", "Authorization: Bearer " + self.token("judge"), "--no-color", "--suppress-health-check", "all",
                "--continue-on-failure", *how, *(f"--exclude-operation-id={name}" for name in left_out),
                timeout=seconds + 600)
        finally:
            over.set()
            if LONG:
                keeper.join()
        self.assertTrue(self.mvmd.answers())
        self.assertEqual(self.mvmd.stop(), (0, "")) # a sanitizer writes to standard error
        if LONG:
            print("# " + "\n# ".join(said[said.rfind("= SUMMARY ="):].splitlines()[1:-1]))


if __name__ == "__main__":
    guests.main()
