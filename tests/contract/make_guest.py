#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the guest of the contract tests: vmlinux and initrd from a Debian kernel package.

    make_guest.py KERNEL.deb OUTPUT-FOLDER VSOCK-GUEST

The guest is busybox with a shell script as /init.  It loads the virtio modules and answers lines on
the port dev.mvm.agent: "nonce" with a random text that exists only in its memory, "count" with a
number that grows by one, "off" by powering off.  Without that device it runs VSOCK-GUEST, a static
program that does the same over vsock.  Needs the lz4 program and a static busybox.
"""
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile

MODULES = ["virtio_ring", "virtio", "virtio_mmio", "virtio_console", "virtio_blk",
           "virtio-rng", "failover", "net_failover", "virtio_net", "vsock",
           "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"]

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
for m in %s; do /bin/busybox insmod /m/$m.ko; done
# 3: a virtio console, see virtio 1.2, 5
if ! /bin/busybox grep -q 0x0003 /sys/bus/virtio/devices/*/device; then
	echo "guest is up"
	/bin/vsock_guest
	/bin/busybox reboot -f
fi
port=
while [ -z "$port" ]; do
	for p in /sys/class/virtio-ports/*; do
		[ "$(/bin/busybox cat $p/name 2>&1)" = dev.mvm.agent ] && port=/dev/${p##*/}
	done
done
exec 3<>$port
nonce=$(/bin/busybox cat /proc/sys/kernel/random/uuid)
count=0
echo "guest is up"
echo "hello" >&3
while read -r line <&3; do
	case "$line" in
	nonce) echo "nonce $nonce" >&3 ;;
	count) count=$((count + 1)); echo "count $count" >&3 ;;
	disk) echo "disk $(/bin/busybox head -c 8 /dev/vda)" >&3 ;;
	off) /bin/busybox poweroff -f ;;
	esac
done
/bin/busybox poweroff -f
"""


def ar_members(path):
    data = open(path, "rb").read()
    if data[:8] != b"!<arch>\n":
        sys.exit(f"make_guest: '{path}' is no Debian package")
    at = 8
    while at + 60 <= len(data):
        name = data[at:at + 16].decode().strip().rstrip("/")
        size = int(data[at + 48:at + 58])
        yield name, data[at + 60:at + 60 + size]
        at += 60 + size + size % 2


def package_files(path):
    for name, data in ar_members(path):
        if name.startswith("data.tar"):
            return tarfile.open(fileobj=io.BytesIO(data))
    sys.exit(f"make_guest: '{path}' has no data.tar")


def vmlinux(image):
    """The ELF inside a bzImage whose payload is LZ4 (Linux Documentation/x86/boot.rst)."""
    setup_sects = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sects + 1) * 512 + offset
    payload = image[start:start + length - 4]  # the last four bytes are the unpacked size
    done = subprocess.run(["lz4", "-dc"], input=payload, stdout=subprocess.PIPE, check=True)
    if done.stdout[:4] != b"\x7fELF":
        sys.exit("make_guest: no ELF in the kernel image")
    return done.stdout


def cpio_entry(name, mode, data=b"", rdev=(0, 0)):
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def initrd(modules, vsock_guest):
    busybox = shutil.which("busybox")
    if not busybox:
        sys.exit("make_guest: no busybox")
    out = [cpio_entry("bin", 0o40755), cpio_entry("m", 0o40755), cpio_entry("dev", 0o40755),
           cpio_entry("dev/console", 0o20600, rdev=(5, 1)),
           cpio_entry("bin/busybox", 0o100755, open(busybox, "rb").read()),
           cpio_entry("bin/vsock_guest", 0o100755, open(vsock_guest, "rb").read()),
           cpio_entry("init", 0o100755, (INIT % " ".join(MODULES)).encode())]
    out += [cpio_entry(f"m/{name}.ko", 0o100644, modules[name]) for name in MODULES]
    return b"".join(out) + cpio_entry("TRAILER!!!", 0)


def write(folder, name, data):
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def main():
    deb, folder, vsock_guest = sys.argv[1:4]
    image, modules = None, {}
    with package_files(deb) as tar:
        for member in tar:
            if re.match(r"\./boot/vmlinuz-", member.name):
                image = tar.extractfile(member).read()
            module = re.match(r".*/([^/]+)\.ko$", member.name)
            if module and module[1] in MODULES:
                modules[module[1]] = tar.extractfile(member).read()
    missing = [m for m in MODULES if m not in modules]
    if not image or missing:
        sys.exit(f"make_guest: '{deb}' lacks a kernel or the modules {missing}")
    os.makedirs(folder, exist_ok=True)
    write(folder, "vmlinux", vmlinux(image))
    write(folder, "initrd", initrd(modules, vsock_guest))
    write(folder, "rootfs.ext4", b"MVMDISK\n" + b"\0" * (1 << 20))


main()
