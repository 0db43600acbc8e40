# SPDX-License-Identifier: Apache-2.0
"""Plays a VMM of one guest, which is the network namespace that it runs in:

    pump.py FD

Makes the guest's card, eth0, and passes its frames to the stream socket FD as QEMU does, each after its
length.  Says "ready" on standard output.
"""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000


def main():
    link = socket.socket(fileno=int(sys.argv[1]))
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
    for command in ("link set lo up", "link set eth0 address 52:54:00:6d:76:6d",
                    "addr add 10.0.2.15/24 dev eth0", "-6 addr add fec0::15/64 dev eth0 nodad",
                    "link set eth0 mtu 14624 up", "route add default via 10.0.2.2",
                    "-6 route add default via fec0::2"):
        subprocess.run(["ip", *command.split()], check=True, timeout=60)
    print("ready", flush=True)
    waiting = b""
    while True:
        ready = select.select([tap, link], [], [])[0]
        if tap in ready:
            frame = os.read(tap, 65536)
            link.sendall(struct.pack(">I", len(frame)) + frame)
        if link in ready:
            data = link.recv(1 << 18)
            if not data:
                return
            waiting += data
            at = 0
            while len(waiting) - at >= 4:
                end = at + 4 + struct.unpack_from(">I", waiting, at)[0]
                if end > len(waiting):
                    break
                os.write(tap, waiting[at + 4:end])
                at = end
            waiting = waiting[at:]


main()
