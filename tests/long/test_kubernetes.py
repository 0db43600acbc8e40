# SPDX-License-Identifier: Apache-2.0
"""VMs as pods of a real Kubernetes, with two nodes: examples/kubernetes does what doc/kubernetes.md says.

One story is one test, because a cluster is dear: a template is on one node only; that node is drained; the template
comes to both; it gets another revision; a node is lost.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import cluster
import guests
import harness
import registries

try:
    import yaml
except ImportError:
    yaml = None

EXAMPLE = os.path.join(harness.SOURCE_DIR, "examples", "kubernetes")


def manifests(name, **words):
    """The objects of an example, with other words in place of some."""
    with open(os.path.join(EXAMPLE, name), encoding="utf-8") as file:
        text = file.read()
    for old, new in words.items():
        text = text.replace(old, new)
    return list(yaml.safe_load_all(text))


def pod_of(thing):
    spec = thing.get("spec", {})
    return (spec.get("template") or spec.get("podTemplate") or {}).get("spec")


CONTROLLER = os.path.join(cluster.BINARIES, "agent-sandbox-controller")


@harness.needs_guests
@harness.needs_program("docker-registry")
@unittest.skipIf(cluster.why_none(), cluster.why_none())
@unittest.skipIf(yaml is None, "python3-yaml is not installed")
class Kubernetes(guests.TestCase):
    config = guests.CONFIG
    snapshot = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp(prefix="mk-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.registry = cls.enterClassContext(registries.Registry(cls.shared))
        cls.cluster = cls.enterClassContext(cluster.Cluster(folder))
        images = [(cls.mvm_image(), "registry.example/mvm"), (cls.pause_image(), "mvm.test/pause")]
        cls.stores, cls.nodes = {}, {}
        for name in "n1", "n2":
            cls.stores[name] = os.path.join(cls.shared, "store." + name)
            guests.copy_data(guests.Kernel.data(), cls.stores[name])
            cls.nodes[name] = cls.cluster.add_node(name, images, cls.stores[name])
        cls.cluster.apply(cls.adapt(manifests("node.yaml")))
        cls.cluster.wait(lambda: all(cls.label(name, "mvm.dev/arch") for name in cls.nodes), "the nodes have labels")

    def setUp(self):
        """The cluster is that of the test before, which is taken off both nodes.  The test that loses one is the last."""
        super().setUp()
        for kinds in "deployments,jobs", "sandboxclaims,sandboxwarmpools,sandboxtemplates": # the API may lack the latter
            self.cluster.kubectl("delete", kinds, "--all", check=False)
        for name, store in self.stores.items():
            self.cluster.wait(lambda name=name: not self.vms_on(name), f"no VM is on {name}")
            if self.mvm_json("--data-dir", store, "template", "list"):
                self.mvm_ok("--data-dir", store, "template", "delete", "--force", "web")
        self.cluster.wait(lambda: not any(map(self.label, self.nodes)), "no node has the template")

    @classmethod
    def mvm_image(cls):
        """What the example's script makes, or $MVM_TEST_KUBERNETES_IMAGE, an earlier one."""
        made = os.environ.get("MVM_TEST_KUBERNETES_IMAGE")
        if not made:
            subprocess.run([os.path.join(EXAMPLE, "make-image")], check=True, stdout=subprocess.DEVNULL, timeout=1500,
                           env={**os.environ, "BUILD": os.path.dirname(harness.MVM)})
            made = shutil.move(os.path.join(EXAMPLE, "image.tar"), os.path.join(cls.shared, "mvm.tar"))
        return made

    @classmethod
    def pause_image(cls):
        """The container that holds a pod's namespaces."""
        folder, layout = os.path.join(cls.shared, "pause"), os.path.join(cls.shared, "pause.oci")
        os.makedirs(folder + "/bin")
        shutil.copy(shutil.which("busybox"), folder + "/bin")
        subprocess.run(["tar", "-C", folder, "-cf", folder + ".tar", "."], check=True)
        for words in (["init", "--layout", layout], ["new", "--image", layout + ":1"],
                      ["raw", "add-layer", "--image", layout + ":1", folder + ".tar"],
                      ["config", "--image", layout + ":1", "--config.entrypoint", "/bin/busybox",
                       "--config.cmd", "sleep", "--config.cmd", "2147483647"]):
            subprocess.run(["umoci", *words], check=True, capture_output=True)
        subprocess.run(["tar", "-C", layout, "-cf", layout + ".tar", "."], check=True)
        return layout + ".tar"

    @classmethod
    def adapt(cls, things):
        """For this cluster: the host's network instead of one for pods, emulated guests, short waits."""
        for thing in things:
            pod = pod_of(thing)
            if pod is None:
                continue
            pod.update(hostNetwork=True, tolerations=pod.get("tolerations", []))
            [container] = pod["containers"]
            container["args"] = [word for word in container.get("args", []) # both VMs would have the host's port 8080
                                 if word not in ("--publish", "0.0.0.0:8080:8080")]
            container.pop("ports", None)
            container.setdefault("env", []).extend([
                {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
                {"name": "KUBERNETES_SERVICE_PORT", "value": str(cls.cluster.port)},
                {"name": "INTERVAL", "value": "2"}])
            affinity = pod.get("affinity", {}).get("nodeAffinity", {})
            for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", []):
                if harness.why_no_kvm():
                    term["matchExpressions"] = [e for e in term["matchExpressions"] if e["key"] != "mvm.dev/kvm"]
                if not term["matchExpressions"]: # would match no node
                    del affinity["requiredDuringSchedulingIgnoredDuringExecution"]
            for probe, failures in ("startupProbe", 100), ("readinessProbe", 3), ("livenessProbe", 100):
                if probe in container: # of a guest that is emulated on a busy host
                    container[probe] = {**container[probe], "timeoutSeconds": 60, "failureThreshold": failures}
        return things

    def push(self):
        """Build the template, and push it under the list's tag; returns its revision."""
        self.mvm_ok("template", "build", "--config", self.toml)
        self.mvm_ok("template", "push", "web-worker", f"{self.registry.host}/team/web:stable", "--image-only")
        return self.mvm_json("template", "info", "web-worker")["revision"]["revision_hash"]

    @classmethod
    def label(cls, node, key="templates.mvm.dev/web"):
        return cls.cluster.json("get", "node", node)["metadata"]["labels"].get(key)

    def web(self, revision):
        return self.adapt(manifests("web.yaml", REVISION=revision))

    def wait_for_pods(self, what, condition):
        took = self.cluster.wait(lambda: condition(self.cluster.pods("app=web")), what)
        print(f"# {what}: {took:.1f} s")

    def all_ready_on(self, node, count=2):
        return lambda pods: len(pods) == count and all(pod == (node, True) for pod in pods.values())

    def list_of_templates(self, text):
        [thing] = [thing for thing in manifests("node.yaml") if thing["kind"] == "ConfigMap"]
        thing["data"]["templates"] = text
        self.cluster.apply([thing])

    def vms_on(self, node):
        """What `mvm ps` says on a node, which also removes what an ended pod has left there."""
        return {vm["name"] for vm in self.mvm_json("--data-dir", self.stores[node], "ps")}

    def check_probe(self, name):
        """A pod is ready as long as its guest is healthy."""
        self.mvm_ok("--data-dir", self.stores["n2"], "pause", name)
        self.wait_for_pods("the pod of a paused VM is not ready", lambda pods: pods[name] == ("n2", False))
        self.mvm_ok("--data-dir", self.stores["n2"], "resume", name)
        self.wait_for_pods("it is ready again", self.all_ready_on("n2"))

    def check_end(self, name):
        """SIGTERM ends a VM within the grace period: a finalizer keeps the pod's last state for us."""
        patch = ["patch", "pod", name, "--type", "merge", "-p"]
        self.cluster.kubectl(*patch, json.dumps({"metadata": {"finalizers": ["mvm.dev/test"]}}))
        self.cluster.kubectl("delete", "pod", name, "--wait=false")

        def ended():
            [status] = self.cluster.json("get", "pod", name)["status"]["containerStatuses"]
            return status["state"].get("terminated")

        took = self.cluster.wait(ended, "the pod's container has ended")
        self.assertEqual(ended()["exitCode"], 143, ended())
        self.assertNotIn(name, self.vms_on("n2"))
        print(f"# the pod's container has ended: {took:.1f} s")
        self.cluster.kubectl(*patch, json.dumps({"metadata": {"finalizers": None}}))

    def test_a_job_has_the_status_of_its_command(self):
        self.push()
        for command, phase in ("uname -n; exit 0", "Succeeded"), ("exit 7", "Failed"):
            [job] = self.adapt(manifests("job.yaml", **{"registry.example": self.registry.host, "uname -a": command}))
            job["spec"].update(backoffLimit=0)
            [container] = job["spec"]["template"]["spec"]["containers"]
            container["image"] = "registry.example/mvm:" + self.mvm_ok("version").split()[1]
            self.cluster.apply([job])

            def pod():
                pods = self.cluster.json("get", "pods", "-l", "batch.kubernetes.io/job-name=task")["items"]
                return next((p for p in pods if p["status"]["phase"] == phase), None)

            took = self.cluster.wait(pod, f"the job's pod has {phase.lower()}")
            print(f"# the job's pod has {phase.lower()}: {took:.1f} s")
            [status] = pod()["status"]["containerStatuses"]
            self.assertEqual(status["state"]["terminated"]["exitCode"], 0 if phase == "Succeeded" else 7)
            self.cluster.kubectl("delete", "job", "task")

    @unittest.skipUnless(os.path.exists(CONTROLLER), f"{CONTROLLER} does not exist: see tests/long/kube-binaries")
    def test_an_agent_sandbox_is_a_vm(self):
        revision = self.push()
        self.mvm_ok("--data-dir", self.stores["n2"], "template", "pull", f"{self.registry.host}/team/web:stable", "web")
        self.cluster.wait(lambda: self.label("n2") == revision, "n2's label says so")
        for name in os.listdir(os.path.join(os.path.dirname(cluster.BINARIES), "crds")):
            self.cluster.kubectl("apply", "--server-side", "-f",
                                 os.path.join(os.path.dirname(cluster.BINARIES), "crds", name))
        # kubectl fails if it comes before their status
        self.cluster.wait(lambda: self.cluster.kubectl("wait", "--for=condition=Established", "crd", "--all",
                                                       check=False).returncode == 0, "the API has the sandboxes")
        self.cluster.start("agent-sandbox", CONTROLLER, "--kubeconfig", self.cluster.path("admin.kubeconfig"),
                           "--extensions", "--leader-elect=false", "--enable-webhook=false",
                           f"--metrics-bind-address=127.0.0.1:{registries.free_port()}",
                           f"--health-probe-bind-address=127.0.0.1:{registries.free_port()}")
        self.cluster.apply(self.adapt(manifests("sandbox.yaml", REVISION=revision)))

        def is_ready(kind, name):
            conditions = self.cluster.json("get", kind, name).get("status", {}).get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        took = self.cluster.wait(lambda: is_ready("sandboxclaim", "web-1"), "a claim has a VM")
        print(f"# a claim has a VM: {took:.1f} s")
        sandbox = self.cluster.json("get", "sandboxclaim", "web-1")["status"]["sandbox"]["name"]
        self.assertIn(sandbox, self.vms_on("n2"))
        self.mvm_ok("--data-dir", self.stores["n2"], "exec", sandbox, "hostname")
        self.cluster.kubectl("delete", "sandboxclaim/web-1", "sandboxwarmpool/web", "sandboxtemplate/web")
        self.cluster.wait(lambda: not self.vms_on("n2"), "its VMs have ended")

    def test_pods_follow_templates_and_outlive_nodes(self):
        old = self.push()

        # only n2 has the template: both VMs go there
        self.mvm_ok("--data-dir", self.stores["n2"], "template", "pull", f"{self.registry.host}/team/web:stable", "web")
        self.cluster.wait(lambda: self.label("n2") == old, "n2's label says so")
        self.cluster.apply(self.web(old))
        self.wait_for_pods("two VMs are ready on the node with the template", self.all_ready_on("n2"))
        self.assertEqual(self.vms_on("n2"), set(self.cluster.pods("app=web")))
        self.check_probe(min(self.vms_on("n2")))
        self.check_end(min(self.vms_on("n2")))
        self.wait_for_pods("its successor is ready", self.all_ready_on("n2"))

        # a drain ends them in order; nowhere else is the template, until the list names it
        self.cluster.kubectl("drain", "n2", "--ignore-daemonsets", "--delete-emptydir-data")
        self.wait_for_pods("their successors wait", lambda pods: len(pods) == 2 and
                           all(pod == (None, False) for pod in pods.values()))
        self.assertEqual(self.vms_on("n2"), set())
        self.list_of_templates(f"{self.registry.host}/team/web:stable web\n")
        self.wait_for_pods("two VMs are ready where the template came to", self.all_ready_on("n1"))
        self.assertEqual(self.label("n1"), old)
        self.cluster.kubectl("uncordon", "n2")

        # another revision: nodes get it first, then VMs
        with open(os.path.join(self.root, "www", "index.html"), "a", encoding="utf-8") as file:
            file.write("another revision\n")
        new = self.push()
        self.assertNotEqual(new, old)
        self.cluster.wait(lambda: self.label("n1") == self.label("n2") == new, "both nodes have the new revision")
        before = set(self.cluster.pods("app=web"))
        self.assertEqual(len(before), 2) # the label that went has moved none
        self.cluster.apply(self.web(new))
        self.wait_for_pods("two VMs run the new revision", lambda pods: len(pods) == 2 and not before & set(pods) and
                           all(ready for _, ready in pods.values()))
        for name, (node, _) in self.cluster.pods("app=web").items():
            record = self.mvm_json("--data-dir", self.stores[node], "inspect", name)
            self.assertEqual(record["revision_hash"], new)

        # a node is lost: its VMs end with it, and others take their place
        lost = next(iter(self.cluster.pods("app=web").values()))[0]
        other = {"n1": "n2", "n2": "n1"}[lost]
        self.nodes[lost].kill()
        self.assertEqual(self.nodes[lost].pids(), set())
        self.wait_for_pods("two VMs are ready on the node that is left", self.all_ready_on(other))

    def test_a_node_labels_only_itself(self):
        pods = self.cluster.json("get", "pods", "-n", "mvm", "-l", "app=label-node")["items"]
        pod = next(pod for pod in pods if pod["spec"]["nodeName"] == "n1")
        token = self.cluster.kubectl("create", "token", "label-node", "-n", "mvm", "--bound-object-kind", "Pod",
                                     "--bound-object-name", pod["metadata"]["name"]).stdout
        for node, patch, says in (
                ("n1", {"metadata": {"labels": {"mvm.dev/tried": "1"}}}, None),
                ("n1", {"metadata": {"labels": {"mvm.dev/tried": None}}}, None),
                ("n2", {"metadata": {"labels": {"mvm.dev/tried": "1"}}}, "only label the node that it runs on"),
                ("n1", {"metadata": {"labels": {"kubernetes.io/hostname": "x"}}}, "only write labels of mvm.dev"),
                ("n1", {"metadata": {"labels": {"node-role": "x"}}}, "only write labels of mvm.dev"),
                ("n1", {"metadata": {"annotations": {"a": "x"}}}, "only write labels of mvm.dev"),
                ("n1", {"spec": {"unschedulable": True}}, "only write labels of mvm.dev")):
            with self.subTest(node=node, patch=patch):
                done = self.cluster.kubectl("--token", token, "patch", "node", node, "--type", "merge", "-p",
                                            json.dumps(patch), check=False)
                self.assertEqual((done.returncode == 0, says or ""), (says is None, says or ""), done.stderr)
                self.assertIn(says or "", done.stderr)


if __name__ == "__main__":
    guests.main()
