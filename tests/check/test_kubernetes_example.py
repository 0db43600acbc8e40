# SPDX-License-Identifier: Apache-2.0
"""examples/kubernetes: manifests that Kubernetes takes and whose commands mvm takes, and the script that labels nodes.

tests/long/test_kubernetes.py runs them on a cluster.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
import unittest

import harness

try:
    import yaml
except ImportError:
    yaml = None

EXAMPLE = os.path.join(harness.SOURCE_DIR, "examples", "kubernetes")
MANIFESTS = "node.yaml", "web.yaml", "job.yaml"
SANDBOX = "sandbox.yaml" # of the agent-sandbox project, whose kinds are not among Kubernetes' schemas
KUBERNETES = "1.34", "1.37" # of tests/long/test_kubernetes.py, and the newest of these schemas
SCHEMAS = "kubernetes-validate==1.37.0" # a Python package that brings the schemas of many versions
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mvm-tests",
                     SCHEMAS.replace("==", "-"))
needs_yaml = unittest.skipIf(yaml is None, "python3-yaml is not installed")


def objects(*names):
    for name in names or MANIFESTS:
        with open(os.path.join(EXAMPLE, name), encoding="utf-8") as file:
            yield from yaml.safe_load_all(file)


def pod_specs():
    """(kind, pod) of whatever makes pods."""
    for thing in objects(*MANIFESTS, SANDBOX):
        for key in "template", "podTemplate":
            if key in thing.get("spec", {}):
                yield thing["kind"], thing["spec"][key]


def schemas():
    """Install the package with the schemas once.  Skips the test where it cannot be had."""
    done = os.path.join(CACHE, "done")
    if not os.path.exists(done):
        try:
            result = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", CACHE,
                                     "--disable-pip-version-check", SCHEMAS],
                                    capture_output=True, text=True, timeout=240, check=False)
            failure = result.stderr.strip().splitlines()[-1:] if result.returncode else None
        except (OSError, subprocess.TimeoutExpired) as error:
            failure = [str(error)]
        if failure is not None:
            raise unittest.SkipTest(f"cannot install {SCHEMAS}: {''.join(failure)}")
        with open(done, "w", encoding="utf-8"):
            pass
    return CACHE


@needs_yaml
class Manifests(harness.TestCase):
    def test_they_fit_the_schemas_of_kubernetes(self):
        for version in KUBERNETES:
            # --strict: no member that the schema does not know
            done = subprocess.run([sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, *MANIFESTS],
                                  env=dict(os.environ, PYTHONPATH=schemas()), cwd=EXAMPLE, check=False,
                                  capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual((done.stdout + done.stderr).count(f"against version {version}"), len(list(objects())))

    def test_what_they_name_is_there(self):
        named = {(thing["kind"], thing["metadata"]["name"]) for thing in objects()}
        for kind, pod in pod_specs():
            for volume in pod["spec"]["volumes"]:
                if "configMap" in volume:
                    self.assertIn(("ConfigMap", volume["configMap"]["name"]), named)
            volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
            for container in pod["spec"]["containers"]:
                self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, volumes, kind)
            if "serviceAccountName" in pod["spec"]:
                self.assertIn(("ServiceAccount", pod["spec"]["serviceAccountName"]), named)
        for thing in objects():
            if thing["kind"] in ("Deployment", "DaemonSet"):
                self.assertEqual(thing["spec"]["selector"]["matchLabels"],
                                 thing["spec"]["template"]["metadata"]["labels"])
            if thing["kind"] == "ValidatingAdmissionPolicyBinding":
                self.assertIn(("ValidatingAdmissionPolicy", thing["spec"]["policyName"]), named)

    def test_mvm_understands_their_commands(self):
        tried, version = 0, self.mvm_ok("version").split()[1]
        for _, pod in pod_specs():
            for container in pod["spec"]["containers"]:
                self.assertEqual(container["image"], "registry.example/mvm:" + version)
                if "args" not in container:
                    continue
                words = [word.replace("$(POD_NAME)", "web-1").replace("registry.example/team/web:stable", "web")
                         .replace("REVISION", "0" * 64) for word in container["args"]]
                done = self.mvm(*words)
                self.assertIn("no template 'web'", done.stderr)
                self.assertNotEqual(done.returncode, 2, done.stderr)
                tried += 1
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    if probe in container:
                        path = f"{os.path.dirname(harness.MVM)}:{os.environ['PATH']}"
                        done = subprocess.run(container[probe]["exec"]["command"], check=False, text=True,
                                              capture_output=True, timeout=60,
                                              env=self.environment({"POD_NAME": "web-1", "PATH": path}))
                        self.assertEqual(done.returncode, 3, done.stderr)
                        self.assertIn("there is no instance 'web-1'", done.stderr)
        self.assertEqual(tried, 3)


class Api(http.server.BaseHTTPRequestHandler):
    """One node, of which label-node reads and patches the labels."""

    def answer(self):
        body = json.dumps(self.server.node).encode()
        self.server.asked.append((self.command, self.path, self.headers["Authorization"]))
        self.send_response(200 if self.path == "/api/v1/nodes/n1" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = answer

    def do_PATCH(self):
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        labels = self.server.node["metadata"]["labels"]
        for key, value in patch["metadata"]["labels"].items():
            labels.pop(key, None)
            if value is not None:
                labels[key] = value
        self.answer()

    def log_message(self, *_):
        pass


@harness.needs_program("curl")
@harness.needs_program("jq")
class LabelNode(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self.server.asked = []
        self.server.node = {"metadata": {"name": "n1", "labels": {
            "kubernetes.io/hostname": "n1", "mvm.dev/kvm": "true", "templates.mvm.dev/old": "1", "notmvm.dev/x": "y"}}}
        threading.Thread(target=self.server.serve_forever).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.write("account/token", "secret")
        self.write("account/ca.crt", "")
        self.say(["mvm.dev/kvm=true", "templates.mvm.dev/web=0123", "other.example/key=1", "no label"])

    def say(self, lines):
        """What `mvm node labels` prints; other commands are noted."""
        self.write("said", "".join(line + "\n" for line in lines))
        self.write("bin/mvm", f"""#!/bin/sh
[ "$*" = "node labels" ] || {{ echo "$*" >> {self.path('called')}; exit 4; }}
exec cat {self.path('said')}
""", 0o755)

    def run_once(self, **more):
        env = {"PATH": f"{self.path('bin')}:{os.environ['PATH']}", "INTERVAL": "0", "NODE_NAME": "n1",
               "ACCOUNT": self.path("account"), "SERVER": f"http://127.0.0.1:{self.server.server_port}",
               "TEMPLATES": self.path("templates"), "no_proxy": "*", **more}
        return subprocess.run([os.path.join(EXAMPLE, "label-node")], env=env, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)

    def labels(self):
        return self.server.node["metadata"]["labels"]

    def test_it_writes_what_holds_and_removes_what_held(self):
        done = self.run_once()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.labels(), {"kubernetes.io/hostname": "n1", "notmvm.dev/x": "y", "mvm.dev/kvm": "true",
                                         "templates.mvm.dev/web": "0123"})
        self.assertEqual([(method, who) for method, _, who in self.server.asked],
                         [("GET", "Bearer secret"), ("PATCH", "Bearer secret")])
        self.run_once()
        self.assertEqual([method for method, *_ in self.server.asked], ["GET", "PATCH", "GET"])

    def test_it_keeps_the_labels_while_mvm_or_the_server_fails(self):
        before = dict(self.labels())
        self.write("bin/mvm", "#!/bin/sh\nexit 1\n", 0o755)
        done = self.run_once()
        self.assertIn("labels were not written", done.stderr)
        self.assertEqual((self.labels(), self.server.asked), (before, []))
        self.say(["mvm.dev/kvm=false"])
        self.assertIn("labels were not written", self.run_once(NODE_NAME="n2").stderr)
        self.assertEqual(self.labels(), before)

    def test_it_pulls_the_templates_of_the_list_first(self):
        self.write("templates", "# of the team\nreg.example/team/web:stable web\n\nreg.example/team/db:v2 db")
        done = self.run_once()
        with open(self.path("called"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "template pull reg.example/team/web:stable web\n"
                             "template pull reg.example/team/db:v2 db\n")
        self.assertIn("no new revision of 'db'", done.stderr) # and the labels are written all the same
        self.assertIn("templates.mvm.dev/web", self.labels())


if __name__ == "__main__":
    harness.main()
