# SPDX-License-Identifier: Apache-2.0
"""A guest for tests, made without mvm: the kernel of a Debian package, initramfs, busybox root, QEMU
microvm.  So a test can tell the agent's behaviour from mvm's."""

import ctypes
import mmap
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

MODULES = (
    "virtio_ring virtio virtio_mmio virtio_blk failover net_failover virtio_net virtio_console "
    "rng-core virtio-rng vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport "
    "overlay"
).split()


def missing_tools():
    """The first missing tool, or None."""
    for tool in ("qemu-system-x86_64", "dpkg-deb", "lz4", "mke2fs", "busybox"):
        if not shutil.which(tool):
            return tool
    return None


def extract_kernel(deb, folder):
    """Unpack a Debian kernel package.  Returns (vmlinux, {module: path})."""
    tree = os.path.join(folder, "deb")
    subprocess.run(["dpkg-deb", "-x", deb, tree], check=True, timeout=120)
    boot = os.path.join(tree, "boot")
    name = next(n for n in os.listdir(boot) if n.startswith("vmlinuz"))
    with open(os.path.join(boot, name), "rb") as f:
        image = f.read()
    # Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length
    start = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    length = struct.unpack_from("<I", image, 0x24C)[0]
    payload = image[start : start + length - 4]  # without the size at its end
    elf = subprocess.run(["lz4", "-d", "-c"], input=payload, stdout=subprocess.PIPE, check=True,
                         timeout=120).stdout
    vmlinux = os.path.join(folder, "vmlinux")
    with open(vmlinux, "wb") as f:
        f.write(elf)
    found = {}
    for where, _, files in os.walk(os.path.join(tree, "lib/modules")):
        for file in files:
            if file.endswith(".ko"):
                found[file[:-3].replace("-", "_")] = os.path.join(where, file)
    wanted = [m for m in MODULES if m.replace("-", "_") in found]  # the others are built in
    return vmlinux, {m: found[m.replace("-", "_")] for m in wanted}


def cpio(entries):
    """Make an initramfs (newc) of entries (path, mode, bytes)."""
    out = bytearray()
    for number, (path, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        out += b"070701" + b"".join(b"%08x" % f for f in fields) + name
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def make_initramfs(path, agent, modules, order=None):
    def read(name):
        with open(name, "rb") as f:
            return f.read()

    names = [os.path.basename(p) for p in modules.values()]
    folders = ["lib", "lib/modules", "lib/modules/mvm"]
    entries = [(f, 0o40755, b"") for f in folders]
    entries += [("init", 0o100755, read(agent))]
    entries += [("lib/modules/mvm/" + os.path.basename(p), 0o100644, read(p))
                for p in modules.values()]
    listing = "".join(n + "\n" for n in (names if order is None else order))
    entries += [("lib/modules/mvm/order", 0o100644, listing.encode())]
    with open(path, "wb") as f:
        f.write(cpio(entries))


APPLETS = ("sh cat echo sleep true false ls id pwd httpd hostname uname mount umount kill printf env "
           "head wc seq stty tty touch sync init date od ip").split()


def make_root(path, folder, files=(), init=False):
    """Make a bare busybox root as ext4, without /proc, /dev and whatever else the agent must not need."""
    tree = os.path.join(folder, os.path.basename(path) + ".tree")
    for name in ("bin", "etc", "www"):
        os.makedirs(os.path.join(tree, name))
    shutil.copy(shutil.which("busybox"), os.path.join(tree, "bin/busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(tree, "bin", applet))
    if init:
        os.makedirs(os.path.join(tree, "sbin"))
        os.symlink("../bin/busybox", os.path.join(tree, "sbin/init"))
    for name, text, mode in files:
        with open(os.path.join(tree, name), "w") as f:
            f.write(text)
        os.chmod(os.path.join(tree, name), mode)
    with open(path, "wb") as f:
        f.truncate(16 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, path], check=True, timeout=60)


def tsc_khz():
    """Measure the TSC's frequency.  Under TCG guests see the host's TSC."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("0f3148c1e2204809d0c3"))  # rdtsc; shl rdx,32; or rax,rdx; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
    pairs = []
    for pause in (0.1, 0):
        # the closest pair of readings, so that being scheduled away does not count
        best = None
        for _ in range(20):
            before, tsc = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW), read()
            after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
            if best is None or after - before < best[0]:
                best = (after - before, (before + after) // 2, tsc)
        pairs.append(best)
        time.sleep(pause)
    (_, t0, c0), (_, t1, c1) = pairs
    return (c1 - c0) * 10**6 // (t1 - t0)


def accelerator():
    wanted = os.environ.get("MVM_ACCEL")
    if wanted:
        return wanted
    with open("/proc/cpuinfo") as f:
        flags = f.read()
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK) and (" vmx" in flags or " svm" in flags)
    return "kvm" if usable else "tcg"


class Guest:
    """A running QEMU; sock is the host's end of the agent's port, console is its output."""

    def __init__(self, vmlinux, initramfs, root, arguments="", memory=256):
        self.sock, theirs = socket.socketpair()
        console, console_theirs = socket.socketpair()
        accel = accelerator()
        machine = "microvm,pit=on,pic=on,rtc=on,acpi=on,x-option-roms=off"
        command = f"console=ttyS0 quiet panic=-1 {arguments}"
        options = ["-accel", "kvm", "-cpu", "host"]
        if accel == "tcg":
            options = ["-accel", "tcg,tb-size=64", "-cpu", "max,-erms,-fsrm"]
            command += f" no_timer_check tsc_early_khz={tsc_khz()} tsc=reliable lpj=4000000"
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-M", machine, *options, "-m", str(memory), "-smp", "1",
             "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", vmlinux, "-initrd", initramfs, "-append", command,
             "-chardev", f"socket,id=con,fd={console_theirs.fileno()}", "-serial", "chardev:con",
             "-blockdev", f"driver=file,node-name=root,filename={root},read-only=on",
             "-device", "virtio-blk-device,drive=root",
             "-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net",
             "-device", "virtio-rng-device", "-device", "virtio-serial-device",
             "-chardev", f"socket,id=agent,fd={theirs.fileno()}",
             "-device", "virtserialport,chardev=agent,name=dev.mvm.agent"],
            pass_fds=[theirs.fileno(), console_theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        console_theirs.close()
        self.console_sock = console
        self.console = b""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read_console, daemon=True)
        self.reader.start()

    def _read_console(self):
        while True:
            try:
                chunk = self.console_sock.recv(4096)
            except OSError:
                chunk = b""
            with self.changed:
                self.console += chunk
                self.changed.notify_all()
            if not chunk:
                return

    def wait_console(self, text, timeout=100.0):
        """Wait until the console has shown text.  Returns whether it has."""
        with self.changed:
            return self.changed.wait_for(lambda: text in self.console, timeout)

    def wait(self, timeout=100.0):
        """Wait for QEMU's end.  Returns its exit status, or None if it still runs."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def close(self):
        self.process.kill()
        self.process.wait(10)
        self.sock.close()
        self.reader.join(5)
        self.console_sock.close()
