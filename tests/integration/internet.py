# SPDX-License-Identifier: Apache-2.0
"""A small internet for tests: a network namespace that plays this host, and one behind it with servers.

    @internet.needs_root
    class Reach(guests.TestCase):
        @classmethod
        def setUpClass(cls):
            internet.make(cls)
            super().setUpClass()

The network of the machine that runs the test does not change.  The namespace stays this program's, and
so its classes that come later are in it, too.
"""

import ctypes
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

import guests
import harness

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"

# the host's addresses on its link, and the peer's
HOST, PEER = "93.184.215.1", "93.184.215.2"
HOST6, PEER6 = "2606:2800:220:1::1", "2606:2800:220:1::2"
# further addresses of the peer, which the host reaches by its default route
FAR, NAMED = "93.184.216.34", "93.184.216.35"
METADATA, PRIVATE, PRIVATE6 = "169.254.169.254", "192.168.255.1", "fd00::1"
SERVED = (PEER, PEER6, FAR, NAMED, METADATA, PRIVATE, PRIVATE6)
PORT = 8053 # of the peer's servers, which say the address that they have been called by
DNS = "127.0.0.77"
NAMES = {"api.example.org": [FAR], "named.example.org": [NAMED], "example.org": [PEER],
         "evil.example.org": [PRIVATE], "host.example.org": [HOST]}

SERVER = """
import os, socket, sys, threading

def end_with_the_test():
    sys.stdin.read()
    os._exit(0)

def refuse(names):
    while True:
        data, who = names.recvfrom(512)
        names.sendto(data[:2] + bytes([0x81, 0x85]) + data[4:], who)

def answer(server, address):
    while True:
        connection, _ = server.accept()
        connection.sendall(address.encode())
        connection.close()

def start(target, *args):
    threading.Thread(target=target, args=args).start()

sys.stdout.write("r")
sys.stdout.flush()
sys.stdin.read(1) # the addresses are there
start(end_with_the_test)
for address in sys.argv[2:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    names = socket.socket(family, socket.SOCK_DGRAM)
    names.bind((address, 53))
    start(refuse, names)
    start(answer, socket.create_server((address, int(sys.argv[1])), family=family), address)
sys.stdout.write("r")
sys.stdout.flush()
"""

# Run by the ordinary user: does all that the test needs open for it?
LOOK = """
import subprocess, tempfile, unittest, urllib.request
import guests, harness
with tempfile.TemporaryDirectory() as folder:
    subprocess.run([harness.MVM, "version"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
"""

needs_root = unittest.skipUnless(os.geteuid() == 0 and shutil.which("ip"), "not root, or no ip")
TCPServer = socketserver.ThreadingTCPServer


class TCPServer6(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6


class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"near\n")


class NameServer(socketserver.BaseRequestHandler):
    """Answers questions about NAMES; it answers only for type A."""
    asked = [] # (source port, id)

    def handle(self):
        data, sock = self.request
        self.asked.append((self.client_address[1], data[:2]))
        end = data.index(b"\0", 12)
        labels, at = [], 12
        while at < end:
            labels.append(data[at + 1:at + 1 + data[at]].decode().lower())
            at += data[at] + 1
        kind, = struct.unpack(">H", data[end + 1:end + 3])
        addresses = NAMES.get(".".join(labels), []) if kind == 1 else []
        head = data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0)
        body = data[12:end + 5]
        for address in addresses:
            body += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
        sock.sendto(head + body, self.client_address)


def serve(cls, kind, address, handler):
    """Serve until the class ends; returns the port."""
    kind.allow_reuse_address = True
    server = kind(address, handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cls.addClassCleanup(server.server_close)
    cls.addClassCleanup(server.shutdown)
    return server.server_address[1]


def is_open(folder):
    """May every user enter it?"""
    while os.stat(folder).st_mode & 1 and folder != "/":
        folder = os.path.dirname(folder)
    return folder == "/"


def run_elsewhere():
    """Run this program again, with the system's Python and from copies that every user can read.  Returns only
    where that is not possible."""
    place = next(filter(is_open, (tempfile.gettempdir(), "/var/tmp", "/dev/shm")), None)
    if "MVM_TEST_ELSEWHERE" in os.environ or not place or not os.access(SYSTEM_PYTHON, os.X_OK):
        return
    with tempfile.TemporaryDirectory(prefix="mvm-test-", dir=place) as folder:
        for name in ("doc", "examples", "tests"):
            shutil.copytree(os.path.join(harness.SOURCE_DIR, name), os.path.join(folder, name),
                            symlinks=True)
        build = os.path.dirname(harness.MVM)
        for name in os.listdir(build):
            if name.startswith("mvm") and os.path.isfile(os.path.join(build, name)):
                shutil.copy(os.path.join(build, name), folder)
        os.mkdir(os.path.join(folder, "tmp"))
        subprocess.run(["chmod", "-R", "go+rX", folder], check=True)
        os.chmod(os.path.join(folder, "tmp"), 0o1777)
        script = os.path.relpath(os.path.abspath(sys.argv[0]), harness.SOURCE_DIR)
        env = {"MVM": os.path.join(folder, "mvm"), "PYTHONPATH": os.path.join(folder, "tests"),
               "TMPDIR": os.path.join(folder, "tmp"), "MVM_TEST_ELSEWHERE": folder}
        sys.stdout.flush()
        done = subprocess.run([SYSTEM_PYTHON, os.path.join(folder, script), *sys.argv[1:]], check=False,
                              env=os.environ | env)
    os._exit(done.returncode) # it has said all


def check_user():
    """Skip where the ordinary user cannot run the test, and neither can copies of it."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    env.pop("MVM_TEST_KERNEL_DEB", None) # root reads it
    try:
        done = subprocess.run([sys.executable, "-c", LOOK], user=NOBODY, group=NOBODY,
                              extra_groups=[], cwd="/", capture_output=True, text=True, timeout=60,
                              check=False, env=env)
        problem = done.stderr.strip().splitlines()[-1] if done.returncode else None
    except PermissionError as error:
        problem = str(error)
    if problem:
        run_elsewhere()
        raise unittest.SkipTest(f"uid {NOBODY} cannot use {sys.executable}, {tempfile.gettempdir()}, "
                                f"{harness.MVM} or {harness.SOURCE_DIR}: {problem}")


def become_user():
    """Become an ordinary user, for the rest of the program."""
    guests.Kernel.data() # of a package that only root may be able to read
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", guests.Kernel.folder], check=True)
    "x".encode("idna") # loads what that user may not be able to read
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def make(cls):
    """Make the internet, for the life of this program.  With MVM_TEST_AS_USER, the program becomes an
    ordinary user's."""
    as_user = os.environ.get("MVM_TEST_AS_USER")
    if as_user:
        check_user()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise unittest.SkipTest("network namespaces cannot be made here")
    far = subprocess.Popen(["unshare", "-n", sys.executable, "-c", SERVER, str(PORT), *SERVED],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    cls.addClassCleanup(far.stdout.close)
    cls.addClassCleanup(far.wait)
    cls.addClassCleanup(far.stdin.close)
    far.stdout.read(1) # it is in its namespace
    inside = f"nsenter -t {far.pid} -n ip"
    own = [f"{inside} addr add {address} dev lo" for address in SERVED if address not in (PEER, PEER6)]
    for command in [f"ip link add far type veth peer name eth0 netns {far.pid}",
                    "ip link set lo up", f"ip addr add {HOST}/30 dev far",
                    f"ip addr add {HOST6}/64 dev far nodad", "ip link set far up",
                    f"{inside} addr add {PEER}/30 dev eth0",
                    f"{inside} addr add {PEER6}/64 dev eth0 nodad", f"{inside} link set lo up", *own,
                    f"{inside} link set eth0 up", f"{inside} route add default via {HOST}",
                    f"{inside} -6 route add default via {HOST6}",
                    f"ip route add default via {PEER}", f"ip -6 route add default via {PEER6}"]:
        subprocess.run(command.split(), check=True, timeout=60)
    with open("/proc/sys/net/ipv4/ping_group_range", "w", encoding="ascii") as file:
        file.write("0 2147483647")
    far.stdin.write(b"a")
    far.stdin.flush()
    if far.stdout.read(1) != b"r":
        raise AssertionError("the peer's servers do not start")
    cls.wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    cls.addClassCleanup(cls.wire.close)
    cls.wire.bind(("far", ETH_P_ALL)) # what leaves the host, and what comes back
    serve(cls, socketserver.ThreadingUDPServer, (DNS, 53), NameServer)
    if as_user:
        become_user()
