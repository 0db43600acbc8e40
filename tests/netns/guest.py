# SPDX-License-Identifier: Apache-2.0
"""Plays a VMM and its guest.  It starts in a VM's network namespace, opens tap0, and passes frames
between it and the card of a guest, which is another network namespace.

    guest.py NAME

The guest answers each line on TCP port 8080 with one line:

    hello            "NAME saw ADDRESS"
    tcp ADDRESS PORT [SECONDS]  the answer to a connection from the guest
    udp ADDRESS PORT TEXT  the answer to a datagram
    spoof SOURCE ADDRESS PORT  "sent", after a datagram with an address that is not the guest's
    echo             all later bytes, until their end

and a datagram on UDP port 8081 with "NAME saw ADDRESS: DATAGRAM".
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
IP_TRANSPARENT = 19
NAME = sys.argv[1]


def open_tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def pass_on_frames(a, b):
    while True:
        for fd in select.select([a, b], [], [])[0]:
            try:
                os.write(b if fd == a else a, os.read(fd, 65536))
            except OSError:
                pass # the card is not up yet


def ask_tcp(address, port, seconds=60):
    with socket.create_connection((address, int(port)), timeout=float(seconds)) as sock:
        return sock.recv(200).decode()


def ask_udp(address, port, text):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        sock.connect((address, int(port)))
        sock.send(text.encode())
        return sock.recv(2000).decode()


def spoof(source, address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        sock.bind((source, 0))
        sock.sendto(b"spoofed", (address, int(port)))
    return "sent"


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


def read_line(sock):
    """Read a line and no byte more, since the next bytes may be no line."""
    line = b""
    while not line.endswith(b"\n") and (byte := sock.recv(1)):
        line += byte
    return line.decode()


def serve_connection(sock, peer):
    with sock:
        words = read_line(sock).split()
        if words == ["echo"]:
            echo(sock)
            return
        try:
            answer = {"hello": lambda: f"{NAME} saw {peer[0]}",
                      "tcp": lambda: ask_tcp(*words[1:]),
                      "udp": lambda: ask_udp(*words[1:]),
                      "spoof": lambda: spoof(*words[1:])}[words[0]]()
        except OSError as error:
            answer = f"failed: {error}"
        sock.sendall(answer.encode() + b"\n")


def serve_datagrams(sock):
    while True:
        data, peer = sock.recvfrom(2000)
        sock.sendto(f"{NAME} saw {peer[0]}: ".encode() + data, peer)


def main():
    tap = open_tap("tap0")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    card = open_tap("eth0")
    for command in ("link set lo up", "addr add 10.0.2.15/24 dev eth0", "link set eth0 up",
                    "route add default via 10.0.2.2"):
        subprocess.run(["ip", *command.split()], check=True)
    threading.Thread(target=pass_on_frames, args=(tap, card), daemon=True).start()

    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("0.0.0.0", 8081))
    threading.Thread(target=serve_datagrams, args=(datagrams,), daemon=True).start()
    with socket.create_server(("0.0.0.0", 8080)) as server:
        print("guest is up", flush=True)
        while True:
            threading.Thread(target=serve_connection, args=server.accept(), daemon=True).start()


main()
