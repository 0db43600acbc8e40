# SPDX-License-Identifier: Apache-2.0
"""A guest that is nothing but Ethernet frames: speaks to mvm-net as a VMM does."""

import contextlib
import fcntl
import json
import os
import resource
import select
import socket
import struct
import subprocess
import time

GATEWAY_MAC = bytes.fromhex("52550a000202")
GUEST_MAC = bytes.fromhex("525400123456")
GUEST, HOST, RESOLVER = "10.0.2.15", "10.0.2.2", "10.0.2.3"
FIN, SYN, RST, ACK = 1, 2, 4, 16
TIMEOUT_S = 60
MEMORY_MIB = 448 # vmm/net_helper.h, NET_HELPER_MEMORY_MIB
AGAIN_S = (1, 2, 4, TIMEOUT_S) # a guest over its rate loses what begins a flow


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4(protocol, to, body, source=GUEST):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(to))
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return GATEWAY_MAC + GUEST_MAC + b"\x08\0" + head + body


def udp(port, to, to_port, payload, source=GUEST):
    return ipv4(17, to, struct.pack(">HHHH", port, to_port, 8 + len(payload), 0) + payload, source)


def tcp(port, to, to_port, flags, sequence=0, ack=0, payload=b""):
    body = struct.pack(">HHIIBBHHH", port, to_port, sequence, ack, 0x50, flags, 65535, 0, 0) + payload
    pseudo = socket.inet_aton(GUEST) + socket.inet_aton(to) + struct.pack(">BBH", 0, 6, len(body))
    body = body[:16] + struct.pack(">H", checksum(pseudo + body)) + body[18:]
    return ipv4(6, to, body)


def ping(to, number, payload=b""):
    body = struct.pack(">BBHHH", 8, 0, 0, 7, number) + payload
    return ipv4(1, to, body[:2] + struct.pack(">H", checksum(body)) + body[4:])


def arp():
    """Who has the gateway's address?  The guest does, and says its own."""
    return (b"\xff" * 6 + GUEST_MAC + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x800, 6, 4, 1) +
            GUEST_MAC + socket.inet_aton(GUEST) + bytes(6) + socket.inet_aton(HOST))


class Frame:
    """What has come: addresses, ports, and the payload of UDP and TCP."""

    def __init__(self, data):
        self.data = data
        self.protocol = self.source = None
        self.port = self.to_port = 0
        if data[12:14] != b"\x08\0":
            return
        self.protocol, self.source = data[23], socket.inet_ntoa(data[26:30])
        body = data[34:14 + struct.unpack(">H", data[16:18])[0]]
        if self.protocol in (6, 17):
            self.port, self.to_port = struct.unpack(">HH", body[:4])
        if self.protocol == 17:
            self.payload = body[8:]
        elif self.protocol == 6:
            self.sequence, self.ack = struct.unpack(">II", body[4:12])
            self.flags, self.payload = body[13], body[(body[12] >> 4) * 4:]
        else:
            self.payload = body


class Net:
    """One mvm-net."""

    def __init__(self, program, preload=None, **config):
        ours, theirs = socket.socketpair()
        self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        routes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in (theirs, control, routes)]

        def place():
            # as vmm/net_helper.h has it
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MIB << 20, MEMORY_MIB << 20))
            for number, fd in enumerate(high, 3):
                os.dup2(fd, number)

        theirs.setblocking(False)
        # with it, memory that mvm-net never touches counts as used
        env = {name: value for name, value in os.environ.items() if name != "MALLOC_PERTURB_"}
        env |= {"LD_PRELOAD": preload} if preload else {}
        self.process = subprocess.Popen([program, json.dumps(config)], pass_fds=(3, 4, 5),
                                        preexec_fn=place, env=env)
        for fd in high:
            os.close(fd)
        for s in (theirs, control, routes):
            s.close()
        self.link, self.buffer = ours, b""
        self.control.settimeout(TIMEOUT_S)
        said = self.control.recv(65536)
        self.ready = json.loads(said) if said else {}
        self.link.send(struct.pack(">I", 42) + arp())

    def close(self):
        self.process.kill()
        self.process.wait()
        self.link.close()
        self.control.close()

    def ask(self, **request):
        self.control.send(json.dumps(request).encode())
        while True:
            said = json.loads(self.control.recv(65536))
            if "refusals" not in said: # which comes unasked
                return said

    def send(self, *frames):
        """All of them, and take what comes meanwhile."""
        data = b"".join(struct.pack(">I", len(f)) + f for f in frames)
        got = []
        while data:
            readable, writable, _ = select.select([self.link], [self.link], [], TIMEOUT_S)
            if not readable and not writable:
                raise TimeoutError("mvm-net takes no frames")
            if readable:
                got += self.take()
            if writable:
                data = data[self.link.send(data[:65536], socket.MSG_DONTWAIT):]
        return got

    def take(self):
        more = self.link.recv(1 << 18)
        if not more:
            raise EOFError("mvm-net has hung up")
        self.buffer += more
        got = []
        while len(self.buffer) >= 4:
            length, = struct.unpack(">I", self.buffer[:4])
            if len(self.buffer) < 4 + length:
                break
            got.append(Frame(self.buffer[4:4 + length]))
            self.buffer = self.buffer[4 + length:]
        return got

    def wait_for(self, wanted, got=(), patience_s=TIMEOUT_S):
        """The first frame that wanted() says yes to."""
        for frame in got:
            if wanted(frame):
                return frame
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if select.select([self.link], [], [], 1)[0]:
                for frame in self.take():
                    if wanted(frame):
                        return frame
        return None

    def drain(self):
        """Wait until all that was sent has been worked on: a refusal of the last one comes back."""
        mark = os.urandom(2)
        number, = struct.unpack(">H", mark)
        got = self.send(udp(9999, "192.168.255.1", number or 1, b""))
        found = self.wait_for(lambda f: f.protocol == 1 and f.payload[:2] == b"\x03\x0d" and
                              f.payload[30:32] == mark, got)
        assert found, "mvm-net does not answer"

    def sockets(self):
        folder, n = f"/proc/{self.process.pid}/fd", 0
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError): # it was closed meanwhile
                n += os.readlink(f"{folder}/{fd}").startswith("socket:")
        return n

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Connection:
    """TCP, as far as a test needs it: only a SYN is sent again."""

    def __init__(self, net, port, to, to_port):
        self.net, self.key = net, (port, to, to_port)
        for patience_s in AGAIN_S:
            got = net.send(tcp(*self.key, SYN, 1000))
            reply = net.wait_for(lambda f: self.is_mine(f) or self.is_refusal(f), got,
                                 patience_s)
            if reply:
                break
        self.open = (reply is not None and reply.protocol == 6 and
                     reply.flags & (SYN | ACK) == SYN | ACK)
        if self.open:
            self.sent, self.seen = 1001, reply.sequence + 1
            net.send(tcp(*self.key, ACK, self.sent, self.seen))

    def is_mine(self, frame):
        return frame.protocol == 6 and (frame.to_port, frame.source, frame.port) == self.key

    def is_refusal(self, frame):
        quoted = struct.pack(">HH", self.key[0], self.key[2])
        return frame.protocol == 1 and frame.payload[:1] == b"\3" and frame.payload[28:32] == quoted

    def receive(self):
        """The next bytes; b"": it has ended."""
        frame = self.net.wait_for(lambda f: self.is_mine(f) and
                                  (f.payload or f.flags & (FIN | RST)))
        if not frame or frame.flags & RST or not frame.payload:
            return b""
        self.seen += len(frame.payload)
        self.net.send(tcp(*self.key, ACK, self.sent, self.seen))
        return frame.payload

    def send(self, data):
        self.net.send(tcp(*self.key, ACK | 8, self.sent, self.seen, data))
        self.sent += len(data)
