# SPDX-License-Identifier: Apache-2.0
"""mvm-net without a VM: its guest is a network namespace, with Linux's own TCP in it, and so is the internet.

    world 93.184.215.2 --- 93.184.215.1 host: mvm-net --- pump.py --- guest 10.0.2.15
"""

import json
import os
import socket
import subprocess
import sys
import textwrap
import unittest

import harness
from test_netns import why_not

NET = os.path.join(os.path.dirname(harness.MVM), "mvm-net")
PUMP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pump.py")
WORLD, WORLD6 = "93.184.215.2", "2606:2800:220:1::2"
HOST, HOST6 = "93.184.215.1", "2606:2800:220:1::1"
MIB = int(os.environ.get("MVM_TEST_NETNS_MIB", "16"))

# What the parts of a test are made of; every piece is a program of its own in some namespace.
COMMON = """
    import hashlib, os, select, socket, struct, sys, threading, time
    def sink(sock):
        "Everything until the end: how much, and what."
        n, digest = 0, hashlib.sha256()
        while data := sock.recv(1 << 18):
            n += len(data)
            digest.update(data)
        return f"{n} {digest.hexdigest()}"
    def source(sock, mib):
        "Random bytes; returns what sink() says of them."
        digest, block = hashlib.sha256(), os.urandom(1 << 20)
        for i in range(mib):
            part = struct.pack(">Q", i) + block[8:]
            digest.update(part)
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        return f"{mib << 20} {digest.hexdigest()}"
    def listen(port, family=socket.AF_INET6):
        return socket.create_server(("", port), family=family, backlog=1024,
                                    dualstack_ipv6=family == socket.AF_INET6)
    def connect(address, port, timeout=60):
        sock = socket.create_connection((address, port), timeout)
        return sock
    def serve(port, handler):
        def one(sock):
            try:
                with sock:
                    handler(sock)
            except OSError:
                pass
        server = listen(port)
        def loop():
            while True:
                threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()
        threading.Thread(target=loop, daemon=True).start()
    def echo(sock):
        while data := sock.recv(1 << 16):
            sock.sendall(data)
    def tell(sock):
        "Half-closed by the client: told what it sent."
        sock.sendall(sink(sock).encode())
    def give(sock):
        "Half-closed by the server: what it sent, and then what came after that."
        mib = int(sock.recv(20))
        said = source(sock, mib)
        if sink(sock).split()[0] != str(len(said)): # the client says it again
            os._exit(1)
    SERVERS = {7: echo, 9: tell, 19: give}
    def answer_to(query, udp):
        "N.numbers.example has N addresses, and text.N.example a text of N bytes."
        end = query.index(b"\\0", 12) + 5
        labels = query[12:end - 5].lower()
        n = int(bytes(c for c in labels if c in b"0123456789") or b"0")
        kind, = struct.unpack(">H", query[end - 4:end - 2])
        records = []
        if kind == 1:
            records = [struct.pack(">HHHIH", 0xc00c, 1, 1, 60, 4) + bytes((93, 184, i >> 8, i & 255))
                       for i in range(n)]
        elif kind == 16:
            text = b"".join(bytes([len(p)]) + p for p in (b"x" * min(255, n - i) for i in range(0, n, 255)))
            records = [struct.pack(">HHHIH", 0xc00c, 16, 1, 60, len(text)) + text]
        reply = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0) + query[12:end]
        cut = udp and len(reply) + sum(map(len, records)) > 512
        if cut:
            return reply[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + reply[12:]
        return reply + b"".join(records)
    def names(sock):
        while head := sock.recv(2, socket.MSG_WAITALL):
            query = sock.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
            reply = answer_to(query, False)
            sock.sendall(struct.pack(">H", len(reply)) + reply)
    def serve_names():
        serve(53, names)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", 53))
        def datagrams():
            while True:
                data, who = udp.recvfrom(65536)
                udp.sendto(answer_to(data, True), who)
        threading.Thread(target=datagrams, daemon=True).start()
    def question(name, kind, ident=1):
        return (struct.pack(">HHHHHH", ident, 0x100, 1, 0, 0, 0) +
                b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\\0" +
                struct.pack(">HH", kind, 1))
    def exactly(sock, n):
        data = b""
        while len(data) < n and (part := sock.recv(n - len(data))):
            data += part
        return data
    def ask_by_tcp(sock, *queries):
        "All questions at once; their answers."
        sock.sendall(b"".join(struct.pack(">H", len(q)) + q for q in queries))
        replies = []
        for q in queries:
            replies.append(exactly(sock, struct.unpack(">H", exactly(sock, 2))[0]))
        return replies
    def serve_all():
        for port, handler in SERVERS.items():
            serve(port, handler)
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind(("", 7))
        def datagrams():
            while True:
                data, who = udp.recvfrom(65536)
                udp.sendto(data, who)
        threading.Thread(target=datagrams, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()
"""


@unittest.skipIf(why_not(), why_not())
class Usernet(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.host, self.world, self.guest = (self.namespace() for _ in range(3))
        self.ip(self.host, f"link add w0 type veth peer name w1 netns {self.world}")
        for where, device, v4, v6 in ((self.host, "w0", HOST, HOST6), (self.world, "w1", WORLD, WORLD6)):
            self.ip(where, "link set lo up")
            self.ip(where, f"addr add {v4}/30 dev {device}")
            self.ip(where, f"-6 addr add {v6}/64 dev {device} nodad")
            self.ip(where, f"link set {device} up")
        self.ip(self.host, f"route add default via {WORLD}")
        self.ip(self.host, f"-6 route add default via {WORLD6}")
        self.serve(self.world, "serve_names(); serve_all()")
        self.serve(self.guest, "serve_all()")
        self.start_net()

    def namespace(self):
        process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 1000"],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process.pid

    def end(self, process):
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def ip(self, where, command):
        subprocess.run(["nsenter", "-t", str(where), "-n", "ip", *command.split()], check=True,
                       timeout=60)

    def popen(self, where, *command, **kwargs):
        process = subprocess.Popen(["nsenter", "-t", str(where), "-n", *command],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **kwargs)
        self.addCleanup(self.end, process)
        return process

    def program(self, where, text):
        return self.popen(where, sys.executable, "-c", textwrap.dedent(COMMON) + textwrap.dedent(text))

    def said(self, process):
        out = process.communicate(timeout=800)[0]
        self.assertEqual(process.returncode, 0, out)
        return out.strip()

    def run_in(self, where, text):
        """What a program prints in a namespace."""
        return self.said(self.program(where, text))

    def serve(self, where, text):
        self.assertEqual(self.program(where, text).stdout.readline(), "ready\n")

    def start_net(self, **config):
        link, net_link = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        control, net_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config.setdefault("forwards", [{"udp": udp, "address": HOST, "port": 2000 + port,
                                        "guest_port": port} for port, udp in
                                       ((7, False), (9, False), (19, False), (7, True))])
        config.setdefault("dns", [WORLD])
        begin = ("import fcntl, os, socket, sys\n"
                 "routes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)\n"
                 "fds = [int(fd) for fd in sys.argv[1:3]] + [routes.fileno()]\n"
                 "fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in fds]\n"
                 "for i, fd in enumerate(fds): os.dup2(fd, 3 + i)\n"
                 "os.closerange(6, 64)\n"
                 "os.execv(sys.argv[3], ['mvm-net', sys.argv[4]])\n")
        self.net = self.popen(self.host, sys.executable, "-c", begin, str(net_link.fileno()),
                         str(net_control.fileno()), NET, json.dumps(config),
                         pass_fds=(net_link.fileno(), net_control.fileno()))
        self.pump = self.popen(self.guest, sys.executable, PUMP, str(link.fileno()),
                          pass_fds=(link.fileno(),))
        for sock in (link, net_link, net_control):
            sock.close()
        self.addCleanup(control.close)
        self.control = control
        self.assertEqual(json.loads(control.recv(65536)).get("ready"), True)
        self.assertEqual(self.pump.stdout.readline(), "ready\n")

    def request(self, **what):
        self.control.send(json.dumps(what).encode())
        while True:
            said = json.loads(self.control.recv(65536))
            if "refusals" not in said: # which comes unasked
                return said

    def ways(self):
        """(where the client is, the server's address, what is added to its ports)"""
        return (self.guest, WORLD, 0), (self.guest, WORLD6, 0), (self.world, HOST, 2000)

    def test_bytes_arrive_and_each_direction_closes_alone(self):
        for where, address, plus in self.ways():
            with self.subTest(address=address):
                self.assertEqual(self.run_in(where, f"""
                    with connect({address!r}, {plus + 9}) as up:
                        said = source(up, {MIB}) # and closes its own end
                        print(up.recv(200).decode() == said, up.recv(1) == b"")
                    with connect({address!r}, {plus + 19}) as down:
                        down.sendall(b"{MIB}")
                        said = sink(down) # the other end is closed now
                        down.sendall(said.encode())
                        down.shutdown(socket.SHUT_WR)
                        print(said.split()[0], sink(down).split()[0])
                    """).split(), ["True", "True", str(MIB << 20), "0"])

    def test_a_link_with_a_small_mtu_carries_the_same(self):
        self.ip(self.host, "link set w0 mtu 1280")
        self.ip(self.world, "link set w1 mtu 1280")
        for where, address, plus in self.ways():
            with self.subTest(address=address):
                self.assertEqual(self.run_in(where, f"""
                    with connect({address!r}, {plus + 9}) as up:
                        said = source(up, 1)
                        print(up.recv(200).decode() == said)
                    """), "True")

    def test_datagrams_are_longer_than_the_real_network_has_them(self):
        for where, address, plus in self.ways():
            longest = 14624 - (48 if ":" in address else 28)
            with self.subTest(address=address):
                self.assertEqual(self.run_in(where, f"""
                    sock = socket.socket(socket.AF_INET6 if ":" in {address!r} else socket.AF_INET, socket.SOCK_DGRAM)
                    sock.settimeout(60)
                    sock.connect(({address!r}, {plus + 7}))
                    data = os.urandom({longest})
                    sock.send(data)
                    print(sock.recv(65536) == data)
                    """), "True")

    def test_500_connections_at_once(self):
        for where, address, plus in self.ways():
            with self.subTest(address=address):
                self.assertEqual(self.run_in(where, f"""
                    family = socket.AF_INET6 if ":" in {address!r} else socket.AF_INET
                    socks = [socket.socket(family) for i in range(500)]
                    for sock in socks:
                        sock.setblocking(False)
                        sock.connect_ex(({address!r}, {plus + 7}))
                    for i, sock in enumerate(socks):
                        sock.settimeout(60)
                        select.select([], [sock], [], 60)
                        sock.sendall(b"%05d" % i)
                    print(sum(sock.recv(5) == b"%05d" % i for i, sock in enumerate(socks)))
                    """), "500")

    def test_a_hundred_downloads_at_once_lose_no_frame(self):
        for where, address, plus in self.ways():
            with self.subTest(address=address):
                self.assertEqual(self.run_in(where, f"""
                    def fetch(i):
                        with connect({address!r}, {plus + 19}) as sock:
                            sock.sendall(b"1")
                            ends[i] = sink(sock)
                            sock.sendall(ends[i].encode())
                    ends = [None] * 100
                    threads = [threading.Thread(target=fetch, args=(i,)) for i in range(100)]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()
                    print({{end.split()[0] for end in ends}})
                    """), "{'1048576'}")
        self.assertEqual(self.request()["lost"], 0)

    def test_datagrams_cross_a_link_that_loses_some(self):
        for hook, way in (("input", "iifname"), ("output", "oifname")):
            rules = (f"add table inet lossy; add chain inet lossy {hook} {{ type filter hook {hook} priority 0; }}; "
                     f'add rule inet lossy {hook} {way} "w0" meta l4proto udp numgen random mod 5 == 0 drop')
            subprocess.run(["nsenter", "-t", str(self.host), "-n", "nft", rules], check=True, timeout=60)
        for where, address, plus in self.ways():
            with self.subTest(address=address):
                self.assertEqual(self.run_in(where, f"""
                    family = socket.AF_INET6 if ":" in {address!r} else socket.AF_INET
                    sock = socket.socket(family, socket.SOCK_DGRAM)
                    sock.settimeout(0.2)
                    sock.connect(({address!r}, {plus + 7}))
                    missing = {{b"%04d" % i * 300 for i in range(100)}}
                    deadline = time.time() + 60
                    while missing and time.time() < deadline:
                        for text in missing:
                            sock.send(text)
                        try:
                            while True:
                                got = sock.recv(2000)
                                assert len(got) == 1200 and got == got[:4] * 300, got
                                missing.discard(got)
                        except TimeoutError:
                            pass
                    print(len(missing))
                    """), "0")

    def test_a_connection_that_is_not_known_is_reset(self):
        client = self.program(self.guest, f"""
            socks = [connect({WORLD!r}, 7), connect({WORLD6!r}, 7)]
            server = listen(8)
            print("holds", flush=True)
            socks.append(server.accept()[0])
            print("holds", flush=True)
            sys.stdin.readline()
            for sock in socks:
                try:
                    sock.sendall(b"hello")
                    sock.settimeout(60)
                    print(sock.recv(10), flush=True)
                except OSError as e:
                    print(e.strerror, flush=True)
            """)
        self.assertEqual(client.stdout.readline(), "holds\n")
        self.assertTrue(self.request(forward={"udp": False, "address": HOST, "port": 2008,
                                              "guest_port": 8})["ready"])
        self.program(self.world, f"sock = connect({HOST!r}, 2008); sys.stdin.read()")
        self.assertEqual(client.stdout.readline(), "holds\n")
        for process in (self.net, self.pump):
            self.end(process)
        # as in a clone: the other network knows nothing of the first one's connections, and may have other rules
        self.start_net(deny=["2606::/16"])
        client.stdin.write("\n")
        client.stdin.flush()
        self.assertEqual([client.stdout.readline().strip() for _ in range(3)],
                         ["Connection reset by peer"] * 3)

    def lose_segments(self, where, port):
        for hook in ("input", "output"):
            rules = (f"add table inet lossy; add chain inet lossy {hook} {{ type filter hook {hook} priority 0; }}; "
                     f"add rule inet lossy {hook} th sport {port} numgen random mod 5 == 0 drop; "
                     f"add rule inet lossy {hook} th dport {port} numgen random mod 5 == 0 drop")
            subprocess.run(["nsenter", "-t", str(where), "-n", "nft", rules], check=True, timeout=60)

    def test_names_are_asked_for_by_tcp(self):
        script = """
            for server in ("10.0.2.3", "fec0::3"):
                with connect(server, 53) as sock:
                    short, long = ask_by_tcp(sock, question("1.numbers.example", 1, 7),
                                             question("text.60000.example", 16, 8))
                    assert short[:2] == b"\\0\\7" and short[-4:] == bytes((93, 184, 0, 0)), short
                    assert long[:2] == b"\\0\\10" and long.count(b"x") == 60002, len(long) # two are in the name
                    sock.shutdown(socket.SHUT_WR)
                    assert sock.recv(1) == b""
                with connect(server, 53) as sock: # many on one connection, the end with them
                    sock.sendall(b"".join(struct.pack(">H", len(q)) + q for q in
                                 (question(f"{i}.numbers.example", 1, i) for i in range(20))))
                    sock.shutdown(socket.SHUT_WR)
                    said = b""
                    while data := sock.recv(65536):
                        said += data
                    for i in range(20):
                        size, ident = struct.unpack(">HH", said[:4])
                        assert ident == i and said[8:10] == struct.pack(">H", i), (i, said[:20])
                        said = said[2 + size:]
                    assert not said
                with connect(server, 53) as sock: # no question
                    sock.sendall(b"\\0\\1x")
                    try:
                        assert sock.recv(1) == b""
                    except ConnectionResetError:
                        pass
                socks = [connect(server, 53) for _ in range(40)] # the oldest are ended
                assert ask_by_tcp(socks[-1], question("2.numbers.example", 1))[0][-1] == 1
            print("fine")
            """
        self.assertEqual(self.run_in(self.guest, script), "fine")
        self.lose_segments(self.guest, 53)
        self.assertEqual(self.run_in(self.guest, """
            with connect("10.0.2.3", 53) as sock:
                for n in (1, 1000, 60000):
                    assert ask_by_tcp(sock, question(f"text.{n}.example", 16))[0].count(b"x") == n + 2, n
            print("fine")
            """), "fine")

    def test_a_cut_answer_is_got_whole_by_the_c_library(self):
        self.write("resolv.conf", "nameserver 10.0.2.3\n")
        done = subprocess.run(
            ["nsenter", "-t", str(self.guest), "-n", "unshare", "--mount", "sh", "-c",
             'mount --bind "$1" "$(realpath /etc/resolv.conf)" && exec "$2" -c "$3"', "sh",
             self.path("resolv.conf"), sys.executable,
             "import socket; print(len({a[4] for a in socket.getaddrinfo('100.numbers.example', 80)}))"],
            capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.stdout, "100\n", done.stderr)

    def test_names_are_under_the_rules_by_tcp_too(self):
        self.request(allow=["*.numbers.example"], deny=["0.0.0.0/0"])
        self.assertEqual(self.run_in(self.guest, """
            with connect("10.0.2.3", 53) as sock:
                one, other = ask_by_tcp(sock, question("1.numbers.example", 1), question("text.5.example", 16))
                print(one[3] & 15, other[3] & 15)
            """), "0 5")

    def test_ipv6_is_under_the_same_rules(self):
        def told(address, port=7):
            return self.run_in(self.guest, f"""
                try:
                    with connect({address!r}, {port}) as sock:
                        sock.sendall(b"hello")
                        print(sock.recv(10).decode())
                except OSError as e:
                    print(e.strerror)
                """)
        self.assertEqual(told(WORLD6), "hello")
        for address in (HOST6, "fec0::2", "fd00::1", "2001:db8::1"):
            with self.subTest(address=address):
                self.assertEqual(told(address), "Permission denied")
        self.assertTrue(self.request(allow=["[2606:2800:220:1::2]:9"], deny=["0.0.0.0/0"])["ready"])
        self.assertEqual(told(WORLD6), "Permission denied")
        self.assertTrue(self.request(allow=[f"[{WORLD6}]:7"], deny=["::/0"])["ready"])
        self.assertEqual(told(WORLD6), "hello")


if __name__ == "__main__":
    harness.main()
