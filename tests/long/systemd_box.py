# SPDX-License-Identifier: Apache-2.0
"""A Debian whose first process is systemd, in namespaces of this host (systemd-nspawn), for hosts without KVM: what it
runs is as fast as on the host.

    with Box(folder, "debian.tar") as box:
        box.run("systemctl is-active x.socket")   -> subprocess.CompletedProcess

Root only.  The folder is made; box.root is the Debian's root.  What box.run() runs has all capabilities; what its
systemd starts has those that systemd-nspawn leaves.
"""

import os
import shutil
import signal
import subprocess
import time

import harness

PATIENCE_S = 300

# systemd gets a cgroup of its own, of version 2, whatever the host has.
START = """
{mount}
echo 0 > /sys/fs/cgroup/{cgroup}/cgroup.procs
exec systemd-nspawn --directory={root} --boot --register=no --keep-unit --private-network --console=pipe --quiet
"""
MOUNT = """set -e
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/{cgroup}"""


def why_none():
    """None if a box can be had here, else the reason."""
    if os.geteuid() != 0:
        return "systemd-nspawn needs root"
    return None if shutil.which("systemd-nspawn") else "systemd-nspawn is not installed"


class Box(harness.Begun):
    def __init__(self, folder, tar):
        self.root, self.log = os.path.join(folder, "root"), os.path.join(folder, "log")
        self.cgroup, self.process, self.init = f"mvm-test-{os.getpid()}", None, None
        os.makedirs(self.root)
        subprocess.run(["tar", "--numeric-owner", "-C", self.root, "-xpf", tar], check=True)

    def script(self, text):
        """The command for a script that sees cgroups of version 2."""
        words = {"cgroup": self.cgroup, "root": self.root}
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                text.format(mount=MOUNT.format(**words), **words)]

    def begin(self):
        with open(self.log, "wb") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(self.script(START), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while not self.init:
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8", errors="replace") as file:
                    raise AssertionError(f"no systemd has begun: {file.read()[-3000:]}")
            time.sleep(0.1)
            self.init = self.first_process()

    def first_process(self):
        """The first process of the namespaces; None: it does not exist yet, or is not yet systemd."""
        pid = self.process.pid
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/status", encoding="ascii") as file:
                    status = dict(line.split(":", 1) for line in file)
                if status["NSpid"].split()[1:] == ["1"] and status["Name"].strip() == "systemd":
                    return int(child)
        except FileNotFoundError:
            pass # a process that helped to start it has ended
        return None

    def run(self, script, timeout=PATIENCE_S):
        return subprocess.run(
            ["nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
             "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "/bin/bash", "-exc", script],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout)

    def end(self):
        if self.init:
            os.kill(self.init, signal.SIGKILL) # and with it all that it contains
        elif self.process:
            self.process.kill()
        if self.process:
            self.process.wait()
        subprocess.run(self.script("{mount}\nfind /sys/fs/cgroup/{cgroup} -depth -type d -exec rmdir {{}} +"), check=False)
