# SPDX-License-Identifier: Apache-2.0
"""examples/e2b-code/code-server: the package e2b-code-interpreter, and what it does not show."""

import http.client
import json
import os
import pwd
import subprocess
import sys

import harness
import pypi

SERVER = os.path.join(harness.SOURCE_DIR, "examples", "e2b-code", "code-server")

PACKAGE_JOB = """
from e2b_code_interpreter import Sandbox
sandbox = Sandbox.create(debug=True) # asks nobody for a sandbox
first = sandbox.run_code("x = 41\\nprint('hi')\\nx + 1")
assert (first.text, first.logs.stdout, first.error) == ("42", ["hi\\n"], None), first
assert sandbox.run_code("1 / 0").error.name == "ZeroDivisionError"
assert sandbox.run_code("import os; os.environ['K']", envs={"K": "v"}).text == "'v'"
context = sandbox.create_code_context(cwd="/")
assert sandbox.run_code("import os; os.getcwd()", context=context).text == "'/'"
assert sandbox.run_code("x", context=context).error.name == "NameError"
assert len(sandbox.list_code_contexts()) == 2
sandbox.restart_code_context(context)
assert sandbox.run_code("os", context=context).error.name == "NameError"
sandbox.remove_code_context(context)
assert len(sandbox.list_code_contexts()) == 1
"""


class CodeServer(harness.TestCase):
    def setUp(self):
        super().setUp()
        env = {**os.environ, "CODE_PORT": "0", "CODE_USER": pwd.getpwuid(os.geteuid()).pw_name}
        server = subprocess.Popen([sys.executable, SERVER], env=env, # pylint: disable=consider-using-with
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.port = int(server.stdout.readline().rsplit(":", 1)[1])

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=harness.PATIENCE_S)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, [json.loads(line) for line in answer.read().splitlines()]
        finally:
            connection.close()

    def run_code(self, code, **more):
        """Returns the events by their kind, but for the last one."""
        status, events = self.request("POST", "/execute", {"code": code, "context_id": None, "language": None, **more})
        self.assertEqual(status, 200, events)
        kinds = {}
        for event in events:
            kinds.setdefault(event.pop("type"), []).append(event)
        return kinds

    def text_of(self, code, **more):
        return self.run_code(code, **more)["result"][0]["text"]

    def test_the_package_of_pypi(self):
        env = {**os.environ, "PYTHONPATH": pypi.folder("e2b-code-interpreter"), "E2B_API_KEY": "e2b_" + "0" * 40,
               "E2B_SANDBOX_URL": f"http://127.0.0.1:{self.port}"}
        job = subprocess.run([sys.executable, "-c", PACKAGE_JOB], env=env, capture_output=True, text=True, check=False,
                             timeout=harness.PATIENCE_S)
        self.assertEqual(job.returncode, 0, job.stdout + job.stderr)

    def test_variables_stay_and_the_last_value_is_the_result(self):
        first = self.run_code("x = 41\nprint('hi')\nx + 1")
        self.assertEqual(first["result"], [{"text": "42", "is_main_result": True}])
        self.assertEqual([o["text"] for o in first["stdout"]], ["hi\n"])
        self.assertEqual(first["number_of_executions"], [{"execution_count": 1}])
        self.assertEqual(self.text_of("x"), "41")

    def test_an_error_shows_the_code_alone(self):
        error = self.run_code("1 / 0")["error"][0]
        self.assertEqual((error["name"], error["value"]), ("ZeroDivisionError", "division by zero"))
        self.assertNotIn("code-server", error["traceback"])
        self.assertEqual(self.run_code("1 +")["error"][0]["name"], "SyntaxError")

    def test_output_of_children_and_much_of_it_comes_whole(self):
        output = self.run_code("import os; os.system('echo child; echo bad >&2'); print('\u20ac' * 100000)")
        self.assertEqual("".join(o["text"] for o in output["stdout"]), "child\n" + "\u20ac" * 100000 + "\n")
        self.assertEqual([o["text"] for o in output["stderr"]], ["bad\n"])

    def test_variables_of_the_environment_are_for_one_run(self):
        self.assertEqual(self.text_of("import os; os.environ['K']", env_vars={"K": "v"}), "'v'")
        self.assertNotIn("result", self.run_code("os.environ.get('K')"))

    def test_code_whose_client_goes_is_interrupted(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=harness.PATIENCE_S)
        connection.request("POST", "/execute", json.dumps({"code": "y = 1\nprint(y)\nwhile True: pass"}))
        self.assertIn(b'"1\\n"', connection.getresponse().readline())
        connection.close()
        self.assertEqual(self.text_of("y"), "1")

    def test_contexts_are_separate_and_may_end(self):
        context = self.request("POST", "/contexts", {"cwd": "/"})[1][0]
        self.assertEqual((context["language"], context["cwd"]), ("python", "/"))
        self.assertEqual(self.text_of("import os; os.getcwd()", context_id=context["id"]), "'/'")
        self.assertEqual(self.run_code("os")["error"][0]["name"], "NameError")
        self.assertEqual(len(self.request("GET", "/contexts")[1][0]), 2)
        self.assertEqual(self.run_code("os._exit(3)", context_id=context["id"])["error"][0]["name"], "ContextEnded")
        self.assertEqual(self.text_of("1", context_id=context["id"]), "1")
        self.assertEqual(self.request("POST", f"/contexts/{context['id']}/restart")[0], 200)
        self.assertEqual(self.text_of("2", context_id=context["id"]), "2")
        self.assertEqual(self.request("DELETE", f"/contexts/{context['id']}")[0], 200)
        self.assertEqual(self.request("POST", "/execute", {"code": "1", "context_id": context["id"]})[0], 404)

    def test_another_language_is_refused_by_name(self):
        status, answer = self.request("POST", "/execute", {"code": "1", "language": "r"})
        self.assertEqual((status, answer), (400, [{"message": "this server runs python, not r"}]))


if __name__ == "__main__":
    harness.main()
