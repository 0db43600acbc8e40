# SPDX-License-Identifier: Apache-2.0
"""Slurm on this host: munged, slurmctld and two slurmd, with the files of examples/slurm.

    with Cluster(folder, {"PATH": ...}, lines, cgroups=False) as slurm:
        slurm.run("srun", "hostname")
        slurm.node("n1")                -> {"NodeName": "n1", "State": "IDLE", ...}

Every program is started here and ends with the cluster: nothing of the system's Slurm is used.
"""

import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import harness

CGROUPS = "/sys/fs/cgroup"
EXAMPLE = os.path.join(harness.SOURCE_DIR, "examples", "slurm")
NODES = "n1", "n2"


def why_no_slurm():
    """None if Slurm can run here, else the reason."""
    for name, package in ("slurmctld", "slurmctld"), ("slurmd", "slurmd"), ("srun", "slurm-client"), ("munged", "munge"):
        if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin"):
            return f"{package} is not installed"
    return None if os.geteuid() == 0 else "Slurm's daemons need root"


def why_no_cgroups():
    """None if two slurmd of one host can put jobs into cgroups here, else the reason."""
    return None if os.path.exists(CGROUPS + "/memory/cgroup.procs") else "tried only with cgroups of version 1"


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster(harness.Begun):
    """settings: lines of slurm.conf that replace those of the example.  cgroups: a job gets one, with its memory."""

    def __init__(self, folder, env, settings=(), cgroups=False):
        self.folder, self.settings, self.cgroups = folder, dict(line.split("=", 1) for line in settings), cgroups
        self.conf = os.path.join(folder, "slurm.conf")
        self.env = {**env, "SLURM_CONF": self.conf}
        self.processes = {}

    def begin(self):
        for name in "state", "munge", *NODES:
            os.makedirs(os.path.join(self.folder, name), mode=0o755)
        self.ports = free_ports(3)
        self.example()
        with open(self.conf, "w", encoding="utf-8") as out:
            out.write(self.config())
        if self.cgroups:
            with open(os.path.join(self.folder, "cgroup.conf"), "w", encoding="utf-8") as out:
                out.write("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainCores=yes\n")
        self.start_munge()
        self.start("slurmctld", "slurmctld", "-D", "-i")
        for name in NODES:
            self.start_node(name)
        self.wait("all nodes are idle", lambda: all(self.node(n).get("State", "").startswith("IDLE") for n in NODES))

    def end(self):
        for name in [*self.processes][::-1]:
            self.kill(name)
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.cgroups:
            for top in glob.glob(f"{CGROUPS}/*/slurm_n[12]"):
                for folder, _, _ in os.walk(top, topdown=False):
                    try:
                        os.rmdir(folder)
                    except OSError:
                        pass # a process is on its way out

    def example(self):
        """The files of the example, with the folders of this cluster's nodes."""
        shutil.copytree(EXAMPLE, os.path.join(self.folder, "mvm"))
        with open(os.path.join(self.folder, "mvm", "mvm.env"), "a", encoding="utf-8") as out:
            out.write(f"export PATH={self.env['PATH']} SLURM_CONF={self.conf}\n"
                      f"node_folder={self.folder}/${{SLURMD_NODENAME:-none}}\n"
                      "mvm_user=root\nMVM_DATA_DIR=$node_folder/data\n"
                      "lease_file=$node_folder/lease\n"
                      f"templates={self.folder}/mvm/templates\n"
                      + "".join(f"export {key}={value}\n" for key, value in self.env.items() if key.startswith("MVM_") and key != "MVM_DATA_DIR"))

    def config(self):
        with open(os.path.join(EXAMPLE, "mvm.conf"), encoding="utf-8") as file:
            ours = dict(line.strip().split("=", 1) for line in file if re.match(r"\w+=", line))
        ours.update(self.settings)
        lines = [f"{key}={value.replace('/etc/slurm', self.folder)}" for key, value in ours.items()]
        host = socket.gethostname().split(".")[0]
        nodes = [f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=2000"
                 for name, port in zip(NODES, self.ports[1:])]
        return "\n".join(lines + nodes) + f"""
PartitionName=all Nodes=ALL Default=YES State=UP
ClusterName=mvm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self.ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge/socket
CryptoType=crypto/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/%n/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/%n/slurmd.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/%n/slurmd.log
ProctrackType=proctrack/{"cgroup" if self.cgroups else "linuxproc"}
TaskPlugin=task/{"cgroup" if self.cgroups else "none"}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core{"_Memory" if self.cgroups else ""}
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=30
KillWait=5
MessageTimeout=20
MinJobAge=300
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
"""

    def start_munge(self):
        key, socket_path = os.path.join(self.folder, "munge", "key"), os.path.join(self.folder, "munge", "socket")
        with open(key, "wb") as out:
            out.write(os.urandom(128))
        os.chmod(key, 0o400)
        self.start("munged", "munged", "--foreground", "--force", "--num-threads=2", f"--key-file={key}", f"--socket={socket_path}",
                   *(f"--{kind}-file={self.folder}/munge/{kind}" for kind in ("log", "pid", "seed")))
        self.wait("munged listens", lambda: os.path.exists(socket_path))

    def start_node(self, name):
        self.start(name, "slurmd", "-D", "-N", name)

    def start(self, name, *command):
        with open(os.path.join(self.folder, f"{name}.out"), "ab") as out:
            path = shutil.which(command[0], path=self.env["PATH"] + ":/usr/sbin")
            # pylint: disable-next=consider-using-with
            self.processes[name] = subprocess.Popen([path, *command[1:]], env=self.env, cwd=self.folder,
                                                    stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def kill(self, name):
        """Kill a daemon, but nothing that it has started."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def pids(self):
        """The processes of this cluster and of its jobs."""
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                with open(f"/proc/{pid}/environ", "rb") as env:
                    if f"SLURM_CONF={self.conf}\0".encode() in env.read() and pid != os.getpid():
                        yield pid
            except OSError:
                continue

    def stepds(self, job):
        """The slurmstepd of a job."""
        found = []
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/cmdline", encoding="ascii", errors="replace") as file:
                    if file.read().startswith(f"slurmstepd: [{job}."):
                        found.append(pid)
            except OSError:
                continue
        return found

    def run(self, *command, check=True, timeout=harness.PATIENCE_S):
        done = subprocess.run(command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}\n{self.logs()}")
        return done

    def show(self, kind, name):
        done = self.run("scontrol", "-o", "show", kind, name, check=False)
        return dict(re.findall(r"(\w+)=(\S*)", done.stdout))

    def node(self, name):
        return self.show("node", name)

    def job(self, number):
        return self.show("job", str(number))

    def wait(self, what, true, seconds=harness.PATIENCE_S):
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: {what}\n{self.logs()}")
            time.sleep(0.1)

    def logs(self):
        text = ""
        for name in "slurmctld.log", "n1/slurmd.log", "n2/slurmd.log":
            try:
                with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
                    text += f"--- {name}\n" + "".join(file.readlines()[-25:])
            except OSError:
                pass
        return text
