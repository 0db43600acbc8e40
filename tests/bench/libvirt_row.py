# SPDX-License-Identifier: Apache-2.0
"""libvirt's save and restore of the same guest, with a libvirtd of our own.

libvirt cannot drive microvm machines, so its guest is a q35 machine, as in rivals.py.  The daemon is a
session daemon of an unprivileged user in a folder of its own, so the system's daemon is not touched.
Root's benchmark runs it as nobody.  The script calls libvirt.so directly, over one connection that
stays open, so a sample is the time of the call without the start of virsh.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import time

import floor

NOBODY = 65534
START_S = 30

DOMAIN = """<domain type='{kind}'>
  <name>mvm-bench</name>
  <memory unit='MiB'>{mem_mib}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{folder}/vmlinux</kernel>
    <initrd>{folder}/initrd</initrd>
    <cmdline>{boot_args}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='{cpu}'/>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{folder}/rootfs.ext4'/>
      <target dev='vda' bus='virtio'/>
      <readonly/>
    </disk>
    <controller type='usb' model='none'/>
    <interface type='user'><mac address='52:54:00:6d:76:6d'/><model type='virtio'/></interface>
    <serial type='file'><source path='{folder}/console.log'/></serial>
    <channel type='unix'>
      <source mode='connect' path='{folder}/agent.sock'/>
      <target type='virtio' name='dev.mvm.agent'/>
    </channel>
    <rng model='virtio'><backend model='builtin'/></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""


# libvirt calls this for every error; checked() asks for the error's text
QUIET = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lambda _, error: None)


class Unavailable(Exception):
    """The reason why there is no row for libvirt."""


def load_library():
    try:
        library = ctypes.CDLL("libvirt.so.0")
    except OSError as error:
        raise Unavailable(f"libvirt is not installed ({error})") from None
    for name in ("virConnectOpen", "virDomainCreateXML", "virDomainLookupByName"):
        getattr(library, name).restype = ctypes.c_void_p
    library.virGetLastErrorMessage.restype = ctypes.c_char_p
    library.virSetErrorFunc(None, QUIET)
    return library


def version():
    """libvirt's version, or None without libvirt."""
    try:
        number = ctypes.c_ulong()
        if load_library().virGetVersion(ctypes.byref(number), None, None) < 0:
            return None
    except Unavailable:
        return None
    return f"{number.value // 1000000}.{number.value // 1000 % 1000}.{number.value % 1000}"


def daemon():
    for path in (shutil.which("libvirtd"), "/usr/sbin/libvirtd"):
        if path and os.path.exists(path):
            return path
    raise Unavailable("libvirtd is not installed (package libvirt-daemon)")


class Libvirt:
    """A private libvirtd and one domain, booted and saved once."""

    def __init__(self, guest, revision_record, revision, folder, kvm):
        self.library = load_library()
        self.folder = os.path.join(folder, "libvirt")
        self.connection = self.process = self.listener = None
        os.makedirs(self.folder)
        for name in ("vmlinux", "initrd", "rootfs.ext4"):
            shutil.copy(os.path.join(revision, name), self.folder)
        self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 \
            else {}
        if self.user:
            for path in [folder, self.folder]:
                os.chown(path, NOBODY, NOBODY)
        self.saved = os.path.join(self.folder, "saved")
        try:
            self.serve()
            self.listen()
            self.save(guest, DOMAIN.format(
                kind="kvm" if kvm else "qemu", cpu="host-passthrough" if kvm else "maximum",
                mem_mib=revision_record["mem_mib"], vcpus=revision_record["vcpus"],
                folder=self.folder, boot_args=guest.boot_args,
                emulator=shutil.which("qemu-system-x86_64")))
        except BaseException:
            self.end()
            raise

    def serve(self):
        env = {"PATH": os.environ["PATH"], "HOME": self.folder, "XDG_RUNTIME_DIR": self.folder,
               "XDG_CONFIG_HOME": self.folder, "XDG_CACHE_HOME": self.folder}
        with open(os.path.join(self.folder, "libvirtd.log"), "wb") as log:
            self.process = subprocess.Popen([daemon()], env=env, cwd=self.folder, stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, **self.user)
        path = os.path.join(self.folder, "libvirt", "libvirt-sock")
        deadline = time.monotonic() + START_S
        while not os.path.exists(path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("libvirtd did not start: " + self.last_words())
            time.sleep(0.05)
        uri = f"qemu+unix:///session?socket={path}"
        self.connection = self.checked(self.library.virConnectOpen(uri.encode()), "connect")

    def last_words(self):
        with open(os.path.join(self.folder, "libvirtd.log"), encoding="utf-8",
                  errors="replace") as log:
            return (log.read().strip().splitlines() or ["it says nothing"])[-1]

    def checked(self, result, what):
        """Return a result that is no error: a pointer that is not NULL, or a number that is not negative."""
        if result is None or result < 0:
            said = self.library.virGetLastErrorMessage() or b"no reason"
            raise Unavailable(f"libvirt cannot {what}: {said.decode(errors='replace')}")
        return ctypes.c_void_p(result)

    def listen(self):
        """Listen for QEMU, which connects before it loads anything, so that the guest sees no hang-up."""
        path = os.path.join(self.folder, "agent.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o666) # in a folder of 0700
        self.listener.listen()
        self.listener.settimeout(floor.DEADLINE_S)

    def agent(self):
        sock, _ = self.listener.accept()
        sock.settimeout(floor.DEADLINE_S)
        return sock

    def save(self, guest, xml):
        domain = self.checked(
            self.library.virDomainCreateXML(self.connection, xml.encode(), 0), "start the guest")
        try:
            with self.agent() as sock: # save while a client is connected, as for the other rows
                guest.settle(sock)
                self.checked(self.library.virDomainSave(domain, self.saved.encode()), "save")
        except BaseException:
            self.library.virDomainDestroy(domain)
            raise
        finally:
            self.library.virDomainFree(domain)

    def domain(self):
        return self.checked(self.library.virDomainLookupByName(self.connection, b"mvm-bench"),
                            "find the guest")

    def start(self):
        """Restore; returns the agent's channel and the milliseconds to the call's end."""
        began = time.perf_counter()
        self.checked(self.library.virDomainRestore(self.connection, self.saved.encode()),
                     "restore")
        restored = (time.perf_counter() - began) * 1000
        sock = self.agent()
        sock.sendall(floor.PING)
        if not sock.recv(1):
            raise Unavailable("the agent's port was closed after libvirt's restore")
        return sock, restored, (time.perf_counter() - began) * 1000

    def stop(self):
        domain = self.domain()
        self.checked(self.library.virDomainDestroy(domain), "end the guest")
        self.library.virDomainFree(domain)

    def pid(self):
        with open(os.path.join(self.folder, "libvirt", "qemu", "run", "mvm-bench.pid"),
                  encoding="ascii") as file:
            return int(file.read())

    def sample(self):
        """Restore once; returns the milliseconds to the end of libvirt's call and the guest's first answer."""
        sock, restored, answered = self.start()
        sock.close()
        self.stop()
        return restored, answered

    def end(self):
        if self.connection:
            self.library.virConnectClose(self.connection)
        if self.process:
            self.process.terminate()
            self.process.wait(START_S)
        if self.listener:
            self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)
