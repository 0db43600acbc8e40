# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes cluster on this host: the real control plane on the loopback, and nodes with a kubelet and a
containerd each.

    with Cluster(folder) as cluster:
        node = cluster.add_node("n1", images=[("mvm.tar", "registry.example/mvm")], store="/path/for/var/lib/mvm")
        cluster.apply([{...}])
        cluster.json("get", "pods")
        node.kill()

A node has cgroups and mounts of its own, so it can be lost with all that runs on it.
Every port asks for a secret of this run, since who has the API or etcd has the host: tokens, and for etcd the key.
kube-binaries builds the programs.  Root only; the folder's path must be short (sockets).
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import time

import harness
import registries

PROGRAMS = "etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubelet", "kubectl"
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mvm-tests", "kubernetes")
BINARIES = os.path.join(os.environ.get("MVM_TEST_KUBERNETES", CACHE), "bin")
CGROUPS = "/sys/fs/cgroup"
PATIENCE_S = 300
PAUSE = "mvm.test/pause:1"


def why_none():
    """None if a cluster can be had here, else the reason."""
    if os.geteuid() != 0:
        return "a kubelet needs root"
    for name in ("containerd", "crun", "ctr", "umoci", "mmdebstrap", "openssl"):
        if not shutil.which(name):
            return f"{name} is not installed"
    for name in PROGRAMS:
        if not os.path.exists(os.path.join(BINARIES, name)):
            return f"{BINARIES}/{name} does not exist: tests/long/kube-binaries {os.path.dirname(BINARIES)}"
    return None


def hierarchies():
    """Where cgroups are made: one folder with cgroup v2, one for each controller with v1."""
    if os.path.exists(CGROUPS + "/cgroup.controllers"):
        return [CGROUPS]
    return [os.path.join(CGROUPS, name) for name in os.listdir(CGROUPS)
            if os.path.exists(os.path.join(CGROUPS, name, "cgroup.procs"))]


def copy_setting(folder, name):
    """A new cgroup of v1 has no CPUs and no memory nodes, and weighs more than ours may."""
    try:
        with open("/proc/self/cgroup", encoding="ascii") as file:
            paths = dict(line.strip().split(":", 2)[1:] for line in file)
        own = os.path.dirname(folder) + paths.get(os.path.basename(os.path.dirname(folder)), "")
        with open(os.path.join(own, name), encoding="ascii") as source, \
                open(os.path.join(folder, name), "w", encoding="ascii") as target:
            target.write(source.read())
    except (FileNotFoundError, PermissionError):
        pass


class Node:
    def __init__(self, cluster, name):
        self.processes = ()
        self.cluster, self.name, self.folder = cluster, name, os.path.join(cluster.folder, name)
        self.cgroup = f"mvm-test-{os.getpid()}-{name}"
        self.socket = os.path.join(self.folder, "containerd.sock")
        for part in ("cni", "kubelet", "log", "root", "run"):
            os.makedirs(os.path.join(self.folder, part))
        for folder in hierarchies():
            path = os.path.join(folder, self.cgroup)
            os.makedirs(path)
            for setting in ("cpuset.cpus", "cpuset.mems", "cpu.shares"):
                copy_setting(path, setting)

    def begin(self, images, store):
        cluster = self.cluster
        self.write("cni/10-host.conflist", json.dumps({
            "cniVersion": "0.4.0", "name": "host", "plugins": [{"type": "loopback"}]}))
        self.write("containerd.toml", f"""version = 2
root = "{self.folder}/root"
state = "{self.folder}/run"
disabled_plugins = ["io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{self.folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{self.folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "crun"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
BinaryName = "{shutil.which('crun')}"
""")
        self.write("kubelet.yaml", json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"}, "address": "127.0.0.1", "port": registries.free_port(),
            "healthzPort": 0, "readOnlyPort": 0, "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + self.cgroup,
            "enforceNodeAllocatable": [], "failCgroupV1": False, "failSwapOn": False,
            "makeIPTablesUtilChains": False, "oomScoreAdj": 0,
            "containerRuntimeEndpoint": "unix://" + self.socket, "podLogsDir": self.folder + "/log",
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100, "syncFrequency": "5s", "nodeStatusUpdateFrequency": "2s",
            "nodeLeaseDurationSeconds": 20, "volumePluginDir": self.folder + "/plugins"}))
        # the store is at the same path on every node; crun takes no hybrid of both kinds of cgroup
        self.start("containerd", f"""
mkdir -p /var/lib/mvm && mount --bind {store} /var/lib/mvm || exit
! mountpoint -q {CGROUPS}/unified || umount {CGROUPS}/unified || exit
exec containerd --config {self.folder}/containerd.toml""", "unshare", "--mount", "--propagation", "private")
        cluster.wait(lambda: self.ctr("version", check=False).returncode == 0, "containerd answers")
        for image, base in images:
            self.ctr("images", "import", "--base-name", base, image)
        self.start("kubelet", f"""exec {BINARIES}/kubelet --config {self.folder}/kubelet.yaml \
--kubeconfig {cluster.kubeconfig('system:node:' + self.name)} \
--root-dir {self.folder}/kubelet --cert-dir {self.folder}/kubelet/pki --hostname-override {self.name}""",
                   "nsenter", "--mount", "--target", str(self.processes[0].pid))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def start(self, name, script, *namespaces):
        """Start a program in the node's cgroups and mounts."""
        join = "".join(f"echo 0 > {folder}/{self.cgroup}/cgroup.procs\n" for folder in hierarchies())
        if hierarchies() == [CGROUPS]: # v2: processes only in leaves
            join = f"mkdir -p {CGROUPS}/{self.cgroup}/own\necho 0 > {CGROUPS}/{self.cgroup}/own/cgroup.procs\n"
        self.processes = *self.processes, self.cluster.start(
            f"{self.name}.{name}", *namespaces, "sh", "-c", join + script)

    def ctr(self, *words, check=True):
        return subprocess.run(["ctr", "--address", self.socket, "--namespace", "k8s.io", *words], check=check,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)

    def pids(self):
        """Everything that runs on the node, its containers included."""
        top = next((folder for folder in hierarchies() if folder.endswith("/pids")), CGROUPS)
        found = set()
        for folder, _, _ in os.walk(os.path.join(top, self.cgroup)):
            with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
                found |= set(map(int, file.read().split()))
        return found

    def kill(self):
        """The node is lost, with all that runs on it."""
        deadline = time.monotonic() + PATIENCE_S
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)

    def remove(self):
        self.kill()
        with open("/proc/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1] for line in file]
        for path in sorted((path for path in mounts if path.startswith(self.folder + "/")), reverse=True):
            subprocess.run(["umount", "--lazy", path], check=False)
        for top in hierarchies():
            for folder, _, _ in os.walk(os.path.join(top, self.cgroup), topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass # a process is on its way out


class Cluster(harness.Begun):
    def __init__(self, folder):
        self.folder, self.nodes, self.children, self.tokens = folder, [], [], {}
        self.port = registries.free_port()
        self.server = f"https://127.0.0.1:{self.port}"

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, *command):
        with open(self.path(name + ".log"), "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                       start_new_session=True)
        self.children.append((name, process))
        return process

    def wait(self, condition, what, patience_s=PATIENCE_S):
        """Wait until it holds; returns how long that took."""
        start = time.monotonic()
        while not condition():
            for name, process in self.children:
                if process.poll() is not None and not any(name.startswith(n.name + ".") for n in self.nodes):
                    with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as file:
                        raise AssertionError(f"{name} ended: {file.read()[-3000:]}")
            if time.monotonic() - start > patience_s:
                raise AssertionError(f"after {patience_s} s this does not hold: {what}\n{self.logs()}")
            time.sleep(0.3)
        return time.monotonic() - start

    def openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.folder)

    def kubeconfig(self, user):
        """The file with which a user's program talks to the API."""
        path = self.path(user.replace(":", "-") + ".kubeconfig")
        with open(path, "w", encoding="utf-8") as file: # in the folder, which is for its owner alone
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "test",
                       "clusters": [{"name": "test", "cluster": {
                           "server": self.server, "certificate-authority": self.path("ca.crt")}}],
                       "users": [{"name": "test", "user": {"token": self.tokens[user]}}],
                       "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}, file)
        return path

    def begin(self):
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
                     "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "ca.key", "-out", "ca.crt")
        self.openssl("genrsa", "-out", "account.key", "2048")
        with open(self.path("tokens.csv"), "w", encoding="ascii") as file:
            for user, group in ("admin", "masters"), ("system:node:n1", "nodes"), ("system:node:n2", "nodes"):
                self.tokens[user] = secrets.token_hex()
                file.write(f"{self.tokens[user]},{user},{user},system:{group}\n")
        admin = self.kubeconfig("admin")
        client, peer = registries.free_port(), registries.free_port()
        self.start("etcd", f"{BINARIES}/etcd", "--data-dir", self.path("etcd"), "--unsafe-no-fsync",
                   "--listen-client-urls", f"https://127.0.0.1:{client}", "--advertise-client-urls",
                   f"https://127.0.0.1:{client}", "--listen-peer-urls", f"https://127.0.0.1:{peer}",
                   "--initial-advertise-peer-urls", f"https://127.0.0.1:{peer}", "--initial-cluster",
                   f"default=https://127.0.0.1:{peer}",
                   *(f"--{side}{word}" for side in ("", "peer-") for word in (
                       "client-cert-auth", "trusted-ca-file=ca.crt", "cert-file=ca.crt", "key-file=ca.key")))
        self.start("apiserver", f"{BINARIES}/kube-apiserver", f"--etcd-servers=https://127.0.0.1:{client}",
                   "--etcd-cafile=ca.crt", "--etcd-certfile=ca.crt", "--etcd-keyfile=ca.key",
                   "--bind-address=127.0.0.1", f"--secure-port={self.port}", "--tls-cert-file=ca.crt",
                   "--tls-private-key-file=ca.key", "--token-auth-file=tokens.csv", "--authorization-mode=Node,RBAC",
                   "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
                   "--service-cluster-ip-range=10.96.0.0/24", "--service-account-issuer=https://test",
                   "--service-account-key-file=account.key", "--service-account-signing-key-file=account.key",
                   "--endpoint-reconciler-type=none", "--default-not-ready-toleration-seconds=5",
                   "--default-unreachable-toleration-seconds=5")
        self.wait(lambda: self.kubectl("get", "--raw", "/readyz", check=False).returncode == 0, "the API is ready")
        self.start("controllers", f"{BINARIES}/kube-controller-manager", f"--kubeconfig={admin}",
                   "--bind-address=127.0.0.1", f"--secure-port={registries.free_port()}", "--leader-elect=false",
                   "--service-account-private-key-file=account.key", "--root-ca-file=ca.crt",
                   "--node-monitor-period=1s", "--node-monitor-grace-period=40s")
        self.start("scheduler", f"{BINARIES}/kube-scheduler", f"--kubeconfig={admin}", "--bind-address=127.0.0.1",
                   f"--secure-port={registries.free_port()}", "--leader-elect=false")

    def end(self):
        for node in self.nodes:
            node.remove()
        for _, process in reversed(self.children):
            process.kill()
            process.wait()

    def logs(self):
        """Pods, the last events, and the last lines of every program, for a test that failed."""
        text = ""
        for words in ["pods", "--all-namespaces", "-o", "wide"], ["events", "--sort-by=.lastTimestamp"]:
            done = self.kubectl("get", *words, "--request-timeout=20s", check=False)
            text += "".join(done.stdout.splitlines(keepends=True)[-30:])
        for name, _ in self.children:
            with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as file:
                text += f"--- {name}\n" + "".join(file.readlines()[-5:])
        return text

    def add_node(self, name, images, store):
        node = Node(self, name)
        self.nodes.append(node) # from now on it is removed
        node.begin(images, store)
        self.wait(lambda: self.is_ready(name), f"node {name} is ready")
        return node

    def is_ready(self, name):
        done = self.kubectl("get", "node", name, "-o", "json", check=False)
        conditions = json.loads(done.stdout)["status"].get("conditions", []) if done.returncode == 0 else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def kubectl(self, *words, check=True, text=None):
        done = subprocess.run([f"{BINARIES}/kubectl", "--kubeconfig", self.path("admin.kubeconfig"), *words],
                              input=text, stdin=None if text else subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE_S, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done

    def json(self, *words):
        return json.loads(self.kubectl(*words, "-o", "json").stdout)

    def apply(self, things):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": things})
        return self.kubectl("apply", "-f", "-", text=text).stdout

    def pods(self, selector):
        """{name: (node, ready)} of the pods that are not being deleted."""
        found = {}
        for pod in self.json("get", "pods", "-l", selector)["items"]:
            if "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] in ("Pending", "Running"):
                ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
                found[pod["metadata"]["name"]] = (pod["spec"].get("nodeName"), ready)
        return found
