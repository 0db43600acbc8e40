# SPDX-License-Identifier: Apache-2.0
"""A test VM with KVM in it, for hosts without KVM.

QEMU's TCG emulates AMD's SVM, so a kernel in such a VM offers a /dev/kvm that runs guests for real
(nested paging, VM exits), only slowly.  It has one CPU: with two, each in a thread of TCG's, some
guests hung or reset themselves during the boot (doc/nested-kvm.md).  is_dead() was needed with one
CPU and with two.

The VM has a kernel from a Debian package, and an initramfs with programs of this host and their
libraries.  It runs one shell script, whose output comes over the second serial port, apart from the
kernel's messages.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time

import guestkit

# KVM, the devices that a Firecracker VM's network needs, and a disk out of a file
MODULES = ("irqbypass", "kvm", "kvm-amd", "tun", "veth", "libcrc32c", "nf_defrag_ipv4",
           "nf_defrag_ipv6", "nf_conntrack", "nf_nat", "nfnetlink", "nf_tables", "nft_ct",
           "nft_chain_nat", "nft_masq", "nf_reject_ipv4", "nft_reject", "nft_reject_ipv4", "nft_fib",
           "nft_fib_ipv4", "loop")
FOLDERS = ("proc", "sys", "dev", "tmp", "root", "etc", "run", "usr/bin", "sbin")
MEMORY_MIB = 4096
BEAT_S, DEAD_S, BOOT_S = 5, 90, 400
KVM_GROUP = 104

# parts of Python's library that no test imports
LEFT_OUT = re.compile(r"/(test|tests|site-packages|dist-packages|config-[^/]*|idlelib|ensurepip|"
                      r"lib2to3|tkinter|turtledemo|pydoc_data|distutils|venv)$")

# pivot_root(2), which Firecracker's jailer calls, needs a root other than the initramfs itself
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir /root/bind
/bin/mount --bind / /root/bind
exec /bin/chroot /root/bind /bin/sh /start
"""

START = """export PATH=/usr/bin:/bin:/sbin HOME=/root LC_ALL=C.UTF-8
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t cgroup2 none /sys/fs/cgroup
echo "+memory +cpu +pids" >/sys/fs/cgroup/cgroup.subtree_control
mount -t debugfs none /sys/kernel/debug
mount -t tracefs none /sys/kernel/tracing
mount -t tmpfs -o size=3g none /tmp
for m in {modules}; do insmod /m/$m.ko; done
chgrp {kvm_group} /dev/kvm; chmod 660 /dev/kvm # as udev does
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
while sleep {beat}; do echo beat >/dev/ttyS0; done &
exec </dev/null >/dev/ttyS1 2>&1
{script}
poweroff -f
"""


def why_not():
    """None if this host can make such a VM, else the reason."""
    tool = guestkit.missing_tools() or (None if shutil.which("ldd") else "ldd")
    if tool:
        return f"{tool} is not installed"
    cpus = subprocess.run(["qemu-system-x86_64", "-cpu", "help"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=True).stdout
    return None if re.search(r"\bEPYC\b", cpus) else "QEMU here has no CPU model EPYC"


def libraries(program):
    """Paths of the shared objects that the loader maps for a program; none for a static one."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60,
                            check=False)
    return set(re.findall(r"(/\S+) \(0x", listed.stdout))


class Image:
    """Builds an initramfs.  Paths inside it are the host's unless the caller gives another one."""

    def __init__(self):
        self.entries = []
        self.paths = set()

    def add_folder(self, path):
        path = path.strip("/")
        if path and path not in self.paths:
            self.add_folder(os.path.dirname(path))
            self.paths.add(path)
            self.entries.append((path, 0o40755, b""))

    def add_bytes(self, path, data, mode=0o644):
        path = path.strip("/")
        if path not in self.paths:
            self.add_folder(os.path.dirname(path))
            self.paths.add(path)
            self.entries.append((path, 0o100000 | mode, data))

    def add_file(self, source, path=None):
        with open(source, "rb") as file:
            self.add_bytes(path or source, file.read(), os.stat(source).st_mode & 0o777)

    def add_tree(self, source, path=None):
        for folder, names, files in os.walk(source):
            names[:] = [n for n in names if not LEFT_OUT.search(os.path.join(folder, n))]
            where = (path or source) + folder[len(source):]
            self.add_folder(where)
            for name in files:
                full = os.path.join(folder, name)
                if os.path.islink(full):
                    target = os.readlink(full).encode()
                    self.entries.append((os.path.join(where, name).strip("/"), 0o120777, target))
                elif os.path.isfile(full):
                    self.add_file(full, os.path.join(where, name))

    def add_program(self, source, path=None):
        """Add a program and its shared libraries."""
        self.add_file(source, path)
        for library in libraries(source):
            self.add_file(library)

    def add_python(self):
        """Add this Python; returns its path."""
        python = os.path.realpath(sys.executable)
        self.add_program(python)
        self.add_folder("usr/bin")
        self.entries.append(("usr/bin/python3", 0o120777, python.encode()))
        library = sysconfig.get_path("stdlib")
        self.add_tree(library)
        for name in os.listdir(os.path.join(library, "lib-dynload")):
            for needed in libraries(os.path.join(library, "lib-dynload", name)):
                self.add_file(needed)
        return python

    def add_qemu(self):
        """Add QEMU and the firmware of microvm machines."""
        program = shutil.which("qemu-system-x86_64")
        self.add_program(program, "/usr/bin/qemu-system-x86_64")
        found = subprocess.run([program, "-L", "help"], capture_output=True, text=True, check=True,
                               timeout=60, stdin=subprocess.DEVNULL).stdout.split()
        for folder in map(os.path.realpath, found):
            for name in ("bios-microvm.bin", "qboot.rom"):
                if os.path.exists(os.path.join(folder, name)):
                    self.add_file(os.path.join(folder, name), "/usr/share/qemu/" + name)

    def write(self, path):
        for folder in FOLDERS:
            self.add_folder(folder)
        with open(path, "wb") as file:
            file.write(guestkit.cpio(self.entries))


def unpack_kernel(deb, folder):
    """Unpack a Debian kernel package; returns the bzImage's path and {module: path}."""
    tree = os.path.join(folder, "outer-kernel")
    subprocess.run(["dpkg-deb", "-x", deb, tree], check=True, timeout=300)
    image, modules = None, {}
    for where, _, files in os.walk(tree):
        for name in files:
            if name.startswith("vmlinuz-"):
                image = os.path.join(where, name)
            if name.removesuffix(".ko") in MODULES:
                modules[name.removesuffix(".ko")] = os.path.join(where, name)
    missing = [m for m in MODULES if m not in modules]
    if not image or missing:
        raise RuntimeError(f"{deb} lacks a kernel or the modules {missing}")
    return image, modules


class OuterVm:
    """A VM whose parts lie in a folder; start() runs it."""

    def __init__(self, folder, deb):
        self.folder = folder
        self.image = Image()
        self.kernel, modules = unpack_kernel(deb, folder)
        for name in MODULES:
            self.image.add_file(modules[name], f"/m/{name}.ko")
        self.image.add_file(shutil.which("busybox"), "/bin/busybox")
        self.image.add_bytes("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        self.console = os.path.join(folder, "console.log")
        self.said = os.path.join(folder, "said.log")

    def make(self, script):
        """Write the initramfs.  The VM runs the script as root, with start()'s argument as $step."""
        start = START.format(modules=" ".join(MODULES), script=script, beat=BEAT_S,
                             kvm_group=KVM_GROUP)
        self.image.add_bytes("/init", INIT.encode(), 0o755)
        self.image.add_bytes("/start", start.encode())
        self.initrd = os.path.join(self.folder, "outer.cpio")
        self.image.write(self.initrd)

    def start(self, step):
        """Returns the VM's process, which ends with the script; the caller must kill it after the deadline.
        The script's output goes to self.said."""
        for path in (self.said, self.console):
            with open(path, "wb"):
                pass
        # as in every guest under TCG: the clock's frequency is given, not measured
        command = ("console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable lpj=4000000 "
                   f"tsc_early_khz={guestkit.tsc_khz()} step={step}")
        with open(os.path.join(self.folder, "qemu.log"), "wb") as log:
            return subprocess.Popen(
                ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "EPYC,+svm,+npt",
                 "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config",
                 "-display", "none", "-no-reboot", "-kernel", self.kernel, "-initrd", self.initrd,
                 "-append", command, "-serial", f"file:{self.console}", "-serial",
                 f"file:{self.said}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def output(self):
        """Everything that the script has printed so far."""
        with open(self.said, encoding="utf-8", errors="replace") as file:
            return file.read().replace("\r\n", "\n")

    def is_dead(self):
        """Has the VM's own clock stopped?  A program in the VM prints a line every BEAT_S seconds, once the VM
        has booted, which takes minutes on a busy host."""
        with open(self.console, "rb") as file:
            patience_s = DEAD_S if b"beat" in file.read() else BOOT_S
        return time.time() - os.stat(self.console).st_mtime > patience_s

    def last_words(self):
        """The last lines of QEMU's log and of the kernel's, for a diagnosis."""
        parts = []
        for name in ("qemu.log", "console.log", "said.log"):
            path = os.path.join(self.folder, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines = [line for line in file.read().splitlines()
                             if "TCG doesn't support" not in line and line != "beat"]
                parts += [f"{name}: {line}" for line in lines[-15:]]
        return "\n".join(parts)
