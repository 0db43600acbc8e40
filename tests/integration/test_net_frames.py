# SPDX-License-Identifier: Apache-2.0
"""What a hostile guest can do to mvm-net and through it: raw frames, without a guest."""

import contextlib
import ctypes
import json
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

import harness
import raw_frames
from raw_frames import (ACK, AGAIN_S, FIN, HOST, RESOLVER, RST, SYN, TIMEOUT_S, Connection, Net, tcp,
                        udp)

CLONE_NEWNET = 0x40000000
PEER, PEER_HOST = "93.184.215.2", "93.184.215.1"
NOWHERE = "93.184.217.7" # the peer takes packets for it and says nothing
SOCKETS_MAX = 1792       # usernet/sockets.h, SOCKETS_MAX
OWN_SOCKETS = 3 + 64     # the link, control, routes; questions
# Answers a line with the line; UDP alike.  "reset" ends with a reset.  Port 8055 ends after a line.
# By UDP, "later" is answered when somebody says "now".
SERVER = """
import socket, struct, threading
def echo():
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("", 8054))
    while True:
        data, who = names.recvfrom(2048)
        if data == b"later":
            waits = who
            continue
        names.sendto(data, who)
        if data == b"now":
            names.sendto(b"late", waits)
def serve(c):
    while data := c.recv(2048):
        if data == b"reset":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            break
        c.sendall(data)
    c.close()
def once():
    server = socket.create_server(("", 8055))
    while True:
        c = server.accept()[0]
        c.recv(2048)
        c.shutdown(socket.SHUT_WR)
        c.recv(2048)
        c.close()
threading.Thread(target=echo).start()
threading.Thread(target=once).start()
server = socket.create_server(("", 8053), backlog=512)
print("r", flush=True)
while True:
    threading.Thread(target=serve, args=server.accept()[:1]).start()
"""

# libslirp, but for one word of the guest's
HANG = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
void slirp_input(void *slirp, const unsigned char *frame, int len)
{
	while (memmem(frame, (unsigned)len, "hang", 4))
		;
	((void (*)(void *, const unsigned char *, int))dlsym(RTLD_NEXT, "slirp_input"))(slirp, frame, len);
}
"""


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("ip"), "not root, or no ip")
class Frames(unittest.TestCase):
    program = os.path.join(os.path.dirname(harness.MVM), "mvm-net")

    @classmethod
    def setUpClass(cls):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise unittest.SkipTest("network namespaces cannot be made here")
        far = subprocess.Popen(["unshare", "-n", "python3", "-c", SERVER], stdout=subprocess.PIPE)
        cls.addClassCleanup(far.stdout.close)
        cls.addClassCleanup(far.wait)
        cls.addClassCleanup(far.kill)
        far.stdout.read(1) # it is in its namespace
        inside = f"nsenter -t {far.pid} -n ip"
        for command in (f"ip link add far type veth peer name eth0 netns {far.pid}",
                        "ip link set lo up", f"ip addr add {PEER_HOST}/30 dev far",
                        "ip link set far up", f"{inside} addr add {PEER}/30 dev eth0",
                        f"{inside} link set lo up", f"{inside} link set eth0 up",
                        f"{inside} route add default via {PEER_HOST}",
                        f"ip route add default via {PEER}"):
            subprocess.run(command.split(), check=True, timeout=60)

    def start(self, **config):
        net = Net(self.program, **config)
        self.addCleanup(net.close)
        self.assertTrue(net.ready.get("ready"), net.ready)
        return net

    def test_a_held_network_passes_nothing_until_it_gets_rules(self):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(TIMEOUT_S)
        port = server.getsockname()[1]
        allow = [f"host:{port}"]
        # a VMM that is gone leaves frames behind
        gone = self.start(held=True, allow=allow)
        gone.send(udp(50000, HOST, port, b"1"))
        gone.link.close()
        self.assertEqual(gone.process.wait(TIMEOUT_S), 0)
        net = self.start(held=True, allow=allow)
        net.send(udp(50000, HOST, port, b"2"))
        self.assertTrue(net.ask()["ready"]) # no rules
        self.assertEqual(select.select([server, net.link], [], [], 0.3)[0], [])
        net.ask(allow=allow)
        self.assertEqual(server.recv(16), b"2")

    def check_reach(self, net, port=50000):
        """TCP and UDP still work, at once."""
        connection = Connection(net, port, PEER, 8053)
        self.assertTrue(connection.open)
        connection.send(b"hello")
        self.assertEqual(connection.receive(), b"hello")
        self.assertEqual(self.ask_udp(net, port, b"there"), b"there")

    def ask_udp(self, net, port, payload):
        for patience_s in AGAIN_S:
            got = net.send(udp(port, PEER, 8054, payload))
            reply = net.wait_for(lambda f: f.protocol == 17 and f.to_port == port, got, patience_s)
            if reply:
                return reply.payload
        return None

    def check_bounds(self, net):
        self.assertLess(net.sockets(), SOCKETS_MAX + OWN_SOCKETS)
        self.assertLess(net.memory_kib(), 64 << 10)
        self.assertIsNone(net.process.poll())

    def test_a_flood_of_udp_ends_its_own_oldest(self):
        net = self.start()
        keeps = Connection(net, 40000, PEER, 8053)
        ports = random.sample(range(1024, 39000), 20000)
        most = 0
        for i in range(0, len(ports), 500):
            net.send(*(udp(port, NOWHERE, 9, b"x") for port in ports[i:i + 500]))
            net.drain()
            most = max(most, net.sockets())
            if i % 5000 == 0: # meanwhile, others go on
                self.check_reach(net, 41000 + i // 500)
        self.check_bounds(net)
        self.assertLess(most, 384 + 64)
        keeps.send(b"still")
        self.assertEqual(keeps.receive(), b"still")
        for _ in range(1000): # the host has ports left
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                own.bind(("", 0))

    def test_a_flood_of_connects_leaves_connections_alone(self):
        net = self.start()
        keeps = Connection(net, 40000, PEER, 8053)
        ports = random.sample(range(1024, 39000), 20000)
        most = 0
        for i in range(0, len(ports), 500):
            net.send(*(tcp(port, NOWHERE, 80, SYN, i) for port in ports[i:i + 500]))
            net.drain()
            most = max(most, net.sockets())
        self.check_bounds(net)
        self.assertGreater(most, 600)
        self.assertLess(most, 640 + 64)
        keeps.send(b"still")
        self.assertEqual(keeps.receive(), b"still")
        self.assertEqual(self.ask_udp(net, 50001, b"there"), b"there")

    def test_a_flood_of_pings_is_bounded(self):
        net = self.start()
        net.send(*(raw_frames.ping(NOWHERE, n % 65536) for n in range(3000)))
        net.drain()
        self.assertLess(net.sockets(), 64 + 16)
        self.check_reach(net)

    def test_five_hundred_connections_are_open_at_once(self):
        net = self.start()
        connections = [Connection(net, 20000 + i, PEER, 8053) for i in range(500)]
        self.assertTrue(all(c.open for c in connections))
        for c in connections:
            c.send(b"%d" % c.key[0])
            self.assertEqual(c.receive(), b"%d" % c.key[0])
        for c in connections:
            net.send(tcp(*c.key, RST | ACK, c.sent, c.seen))
        net.drain()
        self.assertLess(net.sockets(), 16)

    def test_segments_out_of_order_take_little_memory(self):
        """libslirp would keep them all."""
        net, most = self.start(packets_per_s=1 << 20), 0
        for port in range(20000, 20100):
            connection = Connection(net, port, PEER, 8053)
            net.send(*(tcp(*connection.key, ACK, connection.sent + n, connection.seen, b"x")
                       for n in range(1, 4000, 2)))
            most = max(most, net.memory_kib())
        self.assertLess(most, 64 << 10)
        for n in range(3999): # a sender repeats what is lost, and the gaps close
            connection.send(b"y")
            if n % 200 == 0:
                net.drain()
        net.drain()
        self.check_reach(net)

    def test_a_peer_that_resets_is_survived(self):
        net = self.start()
        for i in range(20):
            connection = Connection(net, 20000 + i, PEER, 8053)
            connection.send(b"reset")
            for _ in range(5):
                connection.send(b"x" * 1000)
            net.drain()
        self.check_reach(net)

    def test_ports_that_are_used_again_make_a_connection(self):
        """The peer closes first, and the guest's end waits: libslirp ends it within the next SYN."""
        net, key = self.start(), (40000, PEER, 8055)
        for start in (1000, 500000):
            got = net.send(tcp(*key, SYN, start))
            reply = net.wait_for(lambda f: f.protocol == 6 and f.flags & SYN, got)
            seen = reply.sequence + 1
            got = net.send(tcp(*key, ACK | 8, start + 1, seen, b"bye"))
            reply = net.wait_for(lambda f: f.protocol == 6 and f.flags & (FIN | RST), got)
            self.assertTrue(reply.flags & FIN)
            net.send(tcp(*key, FIN | ACK, start + 4, seen + 1))
            net.drain()
        self.check_reach(net)

    def test_mutated_frames_reach_nothing(self):
        near = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(near.close)
        own = socket.create_server((PEER_HOST, 0))
        self.addCleanup(own.close)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(datagrams.close)
        datagrams.bind(("", near.getsockname()[1]))
        port, own_port = near.getsockname()[1], own.getsockname()[1]
        net = self.start()
        seed = random.getrandbits(32)
        dice = random.Random(seed)
        pattern = []
        for to in (HOST, "127.0.0.1", PEER_HOST, "169.254.169.254", "10.0.2.255", RESOLVER, PEER,
                   "0.0.0.0", "255.255.255.255", "192.168.255.1"):
            for to_port in (port, own_port):
                pattern += [udp(4000, to, to_port, b"x"), tcp(4000, to, to_port, SYN, 1),
                            tcp(4000, to, to_port, ACK, 1, 1), raw_frames.ping(to, 1),
                            udp(68, to, 67, b"x" * 300), udp(4000, to, 53, b"x" * 40)]
        for _ in range(120):
            frames = []
            for _ in range(500):
                frame = bytearray(dice.choice(pattern))
                for _ in range(dice.randrange(4)):
                    frame[dice.randrange(len(frame))] = dice.randrange(256)
                if dice.random() < 0.05:
                    frame = frame[:dice.randrange(1, len(frame))]
                if dice.random() < 0.05:
                    frame += os.urandom(dice.randrange(1, 1600))
                frames.append(bytes(frame))
            net.send(*frames)
        net.drain()
        self.check_bounds(net)
        for server in (near, own, datagrams):
            server.setblocking(False)
            with self.assertRaises(BlockingIOError, msg=f"seed {seed}"):
                server.recvfrom(100) if server is datagrams else server.accept()
        self.check_reach(net)

    def test_two_hostile_guests_leave_the_host_its_ports(self):
        nets = [self.start(), self.start()]

        def flood(net):
            dice = random.Random()
            for _ in range(40):
                ports = [dice.randrange(1024, 40000) for _ in range(500)]
                net.send(*(udp(port, NOWHERE, 9, b"x") for port in ports),
                         *(tcp(port, NOWHERE, 80, SYN, port) for port in ports))
            net.drain()

        threads = [threading.Thread(target=flood, args=(net,)) for net in nets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for net in nets:
            self.check_bounds(net)
            self.check_reach(net)
        taken = []
        for _ in range(20000): # of the some 28,000 that the kernel gives out
            own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            taken.append(own)
            own.bind(("", 0))
            if len(taken) > 900:
                taken.pop(0).close()

    def test_other_rules_end_open_connections(self):
        net = self.start()
        refused = Connection(net, 40000, PEER, 8053)
        refused.send(b"one")
        self.assertEqual(refused.receive(), b"one")
        before = net.sockets()
        reply = net.ask(allow=[], deny=["0.0.0.0/0"])
        self.assertTrue(reply.get("ready"), reply)
        self.assertEqual(refused.receive(), b"") # at once, though nobody sends
        net.drain()
        self.assertEqual(net.sockets(), before - 1)
        self.assertFalse(Connection(net, 40001, PEER, 8053).open)
        net.ask(allow=[f"{PEER}:8053"], deny=["0.0.0.0/0"])
        kept = Connection(net, 40002, PEER, 8053)
        net.ask(allow=[f"{PEER}:8000-8100", "10.0.0.0/8"], deny=["0.0.0.0/0"])
        kept.send(b"two")
        self.assertEqual(kept.receive(), b"two")

    def test_an_address_that_becomes_the_hosts_is_closed(self):
        net = self.start()
        connection = Connection(net, 40000, PEER, 8053)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
            net.send(udp(5000, NOWHERE, 8054, b"before"))
            net.drain()
            subprocess.run(["ip", "addr", "add", NOWHERE, "dev", "lo"], check=True, timeout=60)
            self.addCleanup(subprocess.run, ["ip", "addr", "del", f"{NOWHERE}/32", "dev", "lo"],
                            check=True, timeout=60)
            service.bind((NOWHERE, 8054))
            net.drain()
            net.send(udp(5000, NOWHERE, 8054, b"after"))
            net.drain()
            with self.assertRaises(BlockingIOError):
                service.recv(100, socket.MSG_DONTWAIT)
        connection.send(b"still") # others go on
        self.assertEqual(connection.receive(), b"still")

    def test_other_rules_leave_forwarded_ports_alone(self):
        port = harness.free_port()
        net = self.start(forwards=[{"udp": False, "address": "127.0.0.1", "port": port,
                                    "guest_port": 80}])
        with socket.create_connection(("127.0.0.1", port)) as client:
            syn = net.wait_for(lambda f: f.protocol == 6 and f.to_port == 80)
            net.send(tcp(80, HOST, syn.port, SYN | ACK, 500, syn.sequence + 1))
            net.ask(allow=[], deny=["0.0.0.0/0"])
            net.send(tcp(80, HOST, syn.port, ACK | 8, 501, syn.sequence + 1, b"served"))
            client.settimeout(raw_frames.TIMEOUT_S)
            self.assertEqual(client.recv(100), b"served")

    def free_udp_port(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    def start_udp(self, *guest_ports):
        """Forwards of the loopback to the guest's ports.  Returns mvm-net and the host's ports."""
        ports = [self.free_udp_port() for _ in guest_ports]
        return self.start(forwards=[{"udp": True, "address": "127.0.0.1", "port": port,
                                     "guest_port": guest_port}
                                    for port, guest_port in zip(ports, guest_ports)]), ports

    def client(self, port):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(raw_frames.TIMEOUT_S)
        client.connect(("127.0.0.1", port))
        return client

    def test_two_forwards_of_one_guest_port_are_answered_apart(self):
        net, ports = self.start_udp(5300, 5300)
        clients = [self.client(port) for port in ports]
        for client in clients + clients:
            client.send(b"question")
            asked = net.wait_for(lambda f: f.to_port == 5300)
            self.assertEqual((asked.source, asked.payload), (HOST, b"question"))
            net.send(udp(5300, asked.source, asked.port, b"answer"))
            self.assertEqual(client.recv(100), b"answer")

    def test_a_forwarded_port_of_udp_may_speak_with_the_world(self):
        net, _ = self.start_udp(5300)
        self.assertEqual(self.ask_udp(net, 5300, b"hello"), b"hello")

    def test_a_flood_of_a_forwarded_port_leaves_the_guests_own_udp_alone(self):
        net, ports = self.start_udp(5300)
        net.send(udp(6001, PEER, 8054, b"later"))
        for port in range(20000, 21500):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.1", port))
                stranger.sendto(b"x", ("127.0.0.1", ports[0]))
        net.drain()
        got = net.send(udp(6002, PEER, 8054, b"now"))
        late = net.wait_for(lambda f: f.to_port == 6001, got)
        self.assertEqual(late and late.payload, b"late")
        self.check_bounds(net)

    def test_a_large_datagram_arrives_in_fragments(self):
        net, ports = self.start_udp(5300)
        data = os.urandom(9000)
        self.client(ports[0]).send(data)
        body, more = b"", True
        while more:
            for frame in (f.data for f in net.take() if f.protocol == 17):
                self.assertLessEqual(len(frame), 1514)
                flags, = struct.unpack(">H", frame[20:22])
                self.assertEqual((flags & 0x1fff) * 8, len(body))
                self.assertEqual(raw_frames.checksum(frame[14:34]), 0)
                body, more = body + frame[34:], flags & 0x2000
        self.assertEqual(body[8:], data)
        pseudo = (socket.inet_aton(HOST) + socket.inet_aton(raw_frames.GUEST) +
                  struct.pack(">BBH", 0, 17, len(body)))
        self.assertEqual(raw_frames.checksum(pseudo + body), 0)

    def test_connections_from_outside_wait_for_their_turn(self):
        port = harness.free_port()
        net = self.start(forwards=[{"udp": False, "address": "127.0.0.1", "port": port,
                                    "guest_port": 80}])
        for _ in range(700): # the kernel accepts some more than mvm-net
            client = socket.create_connection(("127.0.0.1", port), timeout=raw_frames.TIMEOUT_S)
            self.addCleanup(client.close)
        net.drain()
        self.assertLess(net.sockets(), 640 + 16)
        self.check_reach(net)

    def test_refusals_are_told_now_and_then(self):
        net = self.start(deny=["0.0.0.0/0"])
        net.send(tcp(4000, PEER, 80, SYN, 1))
        first = json.loads(net.control.recv(65536))
        self.assertEqual(first, {"refused": 1, "refusals": [
            {"target": PEER, "port": 80, "protocol": "tcp", "reason": "denied", "count": 1}]})
        name = b"\x04evil\x07example\0"
        net.send(*(udp(5000, PEER, port, b"x") for port in range(1, 1001)),
                 udp(5000, RESOLVER, 53, b"\0\1\1\0\0\1" + bytes(6) + name + b"\0\1\0\1"))
        net.drain()
        second = json.loads(net.control.recv(65536))
        self.assertEqual(second["refused"], 1003) # the drain's, too
        self.assertEqual(len(second["refusals"]), 8)

    def serve_names(self, address, reply):
        """A name server of the host: reply(question) has what follows the id, or None."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind((address, 53))

        def run():
            with contextlib.suppress(OSError):
                while True:
                    question, who = server.recvfrom(2048)
                    if said := reply(question):
                        server.sendto(question[:2] + said, who)

        threading.Thread(target=run, daemon=True).start()

    def ask_name(self, net, labels, ident=1, head=b"\1\0\0\1" + bytes(6)):
        name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        question = struct.pack(">H", ident) + head + name + b"\0\1\0\1"
        got = net.send(udp(5000, RESOLVER, 53, question))
        reply = net.wait_for(lambda f: f.port == 53 and f.payload[:2] == question[:2], got)
        return reply and reply.payload

    def test_questions_go_to_the_server_that_answers(self):
        self.serve_names("127.0.0.52", lambda question: None)
        self.serve_names("127.0.0.53", lambda question: b"\x81\x83" + question[4:])
        for dead in ("2001:db8::1", "127.0.0.51", "127.0.0.52"): # no way, a closed port, silence
            net = self.start(dns=[dead, "127.0.0.53"])
            for ident in (1, 2, 3):
                reply = self.ask_name(net, [b"www", b"example"], ident)
                self.assertEqual(reply[3] & 15, 3, (dead, reply))

    def test_other_name_servers_are_asked_from_then_on(self):
        self.serve_names("127.0.0.56", lambda question: b"\x81\x83" + question[4:])
        net = self.start(dns=["127.0.0.57"])
        self.assertEqual(self.ask_name(net, [b"www"], 1)[3] & 15, 2)
        self.assertTrue(net.ask(allow=[], deny=[], dns=["127.0.0.56"]).get("ready"))
        self.assertEqual(self.ask_name(net, [b"www"], 2)[3] & 15, 3)
        self.assertTrue(net.ask(allow=[], deny=[]).get("ready")) # these stay
        self.assertEqual(self.ask_name(net, [b"www"], 3)[3] & 15, 3)

    def test_every_question_is_answered(self):
        self.serve_names("127.0.0.54", lambda question: b"\x81\x83" + question[4:])
        net = self.start(dns=["127.0.0.54"])
        for label in (b"a+b", b"*", b"0/25", b"My Printer", "b\u00fccher".encode(), b"a.b"):
            self.assertEqual(self.ask_name(net, [label, b"example"])[3] & 15, 3, label)
        self.assertEqual(self.ask_name(net, [b"a"], head=b"\x20\0\0\1" + bytes(6))[3] & 15, 4)
        self.assertEqual(self.ask_name(net, [b"a"], head=b"\1\0\0\0" + bytes(6))[3] & 15, 1)

    def test_a_reply_that_is_cut_within_a_record_says_so(self):
        self.serve_names("127.0.0.55", lambda question: b"\x83\x80" + question[4:6] + b"\0\2" +
                         question[8:] + b"\xc0\x0c\0\1")
        reply = self.ask_name(self.start(dns=["127.0.0.55"]), [b"www", b"example"])
        self.assertTrue(reply[2] & 2)
        self.assertEqual(reply[3] & 15, 0)

    def test_a_hang_ends_it(self):
        with tempfile.TemporaryDirectory() as folder:
            preload = os.path.join(folder, "hang.so")
            subprocess.run(["cc", "-shared", "-fPIC", "-o", preload, "-x", "c", "-"], input=HANG, text=True,
                           check=True, timeout=60)
            net = self.start(preload=preload)
            self.check_reach(net)
            net.send(udp(4000, PEER, 9, b"hang"))
            self.assertEqual(net.process.wait(60), 1)

    def test_a_rate_holds_the_guest_back(self):
        net = self.start(packets_per_s=50, bytes_per_s=1 << 20)
        net.link.setblocking(False)
        frame = struct.pack(">I", 62) + udp(4000, NOWHERE, 9, b"x" * 20)
        sent = 0
        with self.assertRaises(BlockingIOError): # nobody reads any more
            while sent < 100 << 20:
                sent += net.link.send(frame * 1000)
        self.assertTrue(net.ask(allow=[], deny=[]).get("ready")) # but requests are answered

    def test_a_guest_that_never_reads_waits_and_takes_no_memory(self):
        net = self.start()
        net.link.setblocking(False)
        refused = udp(4000, "192.168.255.1", 9, b"x")
        frames, sent = (struct.pack(">I", len(refused)) + refused) * 1000, 0
        while sent < 50 << 20 and select.select([], [net.link], [], 5)[1]:
            sent += net.link.send(frames)
        self.assertLess(sent, 10 << 20) # what mvm-net has to say waits, and so does the guest
        self.assertEqual(net.ask()["lost"], 0)
        self.check_bounds(net)
        net.link.setblocking(True)
        replies = 0
        while select.select([net.link], [], [], 5)[0] and replies < sent // len(frames) * 1000:
            replies += len(net.take())
        self.assertGreaterEqual(replies, sent // len(frames) * 1000)
        self.assertEqual(net.ask()["lost"], 0)


if __name__ == "__main__":
    harness.main()
