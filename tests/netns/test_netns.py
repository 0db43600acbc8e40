# SPDX-License-Identifier: Apache-2.0
"""The network that src/vmm/netns makes for a VM, with a process in the VM's place.

The "host" of these tests is a network namespace of theirs, so the real host does not change:

    world 93.184.215.2 --- 93.184.215.1 host --- the VM's namespace --- guest (guest.py)
"""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import textwrap
import time
import unittest

import harness

HOST_PROGRAM = os.environ.get("MVM_TEST_NETNS_HOST", "")
GUEST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guest.py")

WORLD = """
    import socket, threading
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", 53))
    tcp = socket.create_server(("0.0.0.0", 7))
    names = socket.create_server(("0.0.0.0", 53))
    senders = []
    def datagrams():
        while True:
            data, peer = udp.recvfrom(2000)
            senders.append(peer[0])
            if data != b"spoofed": # its sender cannot get an answer
                text = " ".join(senders) if data == b"senders" else f"{peer[0]} asked {data.decode()}"
                udp.sendto(text.encode(), peer)
    def connections(server, text):
        while True:
            sock, peer = server.accept()
            sock.sendall(f"{text} {peer[0]}".encode())
            sock.close()
    threading.Thread(target=datagrams, daemon=True).start()
    threading.Thread(target=connections, args=(names, "names for"), daemon=True).start()
    print("ready", flush=True)
    connections(tcp, "you are")
"""

SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    sock = server.accept()[0]
    sock.sendall(b"here")
    sock.close()
"""


def why_not():
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    for name in ("ip", "unshare", "nsenter", "nft"):
        if not shutil.which(name):
            return f"{name} is not installed"
    done = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else "namespaces cannot be made here"


@unittest.skipIf(why_not(), why_not())
class Network(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.host = self.namespace("--net", "--mount")
        self.world = self.namespace("--net")
        self.in_host("ip", "link", "add", "w0", "type", "veth", "peer", "name", "w1", "netns",
                     str(self.world))
        for device, address in (("lo", None), ("w0", "93.184.215.1/24")):
            self.set_up(self.in_host, device, address)
        for device, address in (("lo", None), ("w1", "93.184.215.2/24")):
            self.set_up(self.in_world, device, address)
        self.in_world("ip", "route", "add", "198.18.0.0/15", "via", "93.184.215.1")
        self.forward_packets("1")
        resolv = self.write("resolv.conf", "nameserver 93.184.215.2\n")
        self.in_host("mount", "--bind", resolv, os.path.realpath("/etc/resolv.conf"))
        self.start(self.world, sys.executable, "-c", textwrap.dedent(WORLD))

    def namespace(self, *kinds):
        """Start a process that keeps new namespaces; returns its pid."""
        process = subprocess.Popen(["unshare", *kinds, "sh", "-c", "echo ready; exec sleep 1000"],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process.pid

    def end(self, process):
        process.kill()
        process.wait()
        for file in (process.stdin, process.stdout, process.stderr):
            if file:
                file.close()

    @staticmethod
    def inside(pid):
        return ["nsenter", "-t", str(pid), "--net", "--mount"]

    def start(self, pid, *command, **kwargs):
        """Start a program, and wait until it reports that it is ready."""
        process = subprocess.Popen([*self.inside(pid), *command], stdout=subprocess.PIPE,
                                   stdin=subprocess.PIPE, text=True, **kwargs)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def in_host(self, *command):
        done = subprocess.run([*self.inside(self.host), *command], check=False, text=True,
                              capture_output=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def in_world(self, *command):
        subprocess.run([*self.inside(self.world), *command], check=True, timeout=120)

    @staticmethod
    def set_up(run, device, address):
        if address:
            run("ip", "addr", "add", address, "dev", device)
        run("ip", "link", "set", device, "up")

    def forward_packets(self, value):
        self.in_host("sh", "-c", f"echo {value} > /proc/sys/net/ipv4/ip_forward")

    def vm(self, name, *forwards):
        """Make a VM with its network; returns the process that keeps it."""
        process = self.start(self.host, HOST_PROGRAM, *forwards, "--", sys.executable, GUEST, name,
                             stderr=subprocess.PIPE)
        said = b""
        while b"guest is up\n" not in said: # read without a buffer, which would hide data from select
            self.assertTrue(select.select([process.stderr], [], [], 60)[0], said)
            part = os.read(process.stderr.fileno(), 4096)
            self.assertTrue(part, said)
            said += part
        return process

    def fails_to_start(self, *command):
        done = subprocess.run([*self.inside(self.host), *command, HOST_PROGRAM, "18080:8080", "--",
                               "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=120)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def client(self, program):
        """Run a Python program on the host; returns what it prints."""
        return self.in_host(sys.executable, "-c", "import socket, sys\n" +
                            textwrap.dedent(program)).strip()

    def ask(self, port, line):
        return self.client(f"""
            with socket.create_connection(("127.0.0.1", {port}), timeout=120) as sock:
                sock.sendall({line.encode() + b'''
'''!r})
                print(sock.makefile().readline())
            """)

    def devices(self):
        return [line.split()[1].split("@")[0] for line in
                self.in_host("ip", "-o", "link").splitlines() if ": mvm" in line]

    def assert_nothing_stays(self):
        deadline = time.monotonic() + 60 # the kernel removes namespaces some time later
        while (self.devices() or self.in_host("nft", "list", "ruleset")) and \
                time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.devices(), [])
        self.assertEqual(self.in_host("nft", "list", "ruleset"), "")

    def test_a_forwarded_port_reaches_the_guest(self):
        self.vm("one", "18080:8080")
        self.assertEqual(self.ask(18080, "hello"), "one saw 10.0.2.2")

    def test_datagrams_are_forwarded_with_their_answers(self):
        self.vm("one", "18081:8081/udp")
        for _ in range(2): # two senders
            self.assertEqual(self.client("""
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.settimeout(60)
                    sock.connect(("127.0.0.1", 18081))
                    for text in (b"a", b"b" * 1400):
                        sock.send(text)
                        print(sock.recv(2000).decode()[:19])
                """).splitlines(), ["one saw 10.0.2.2: a", "one saw 10.0.2.2: b"])

    def test_packets_of_the_guest_get_the_hosts_address(self):
        self.vm("one", "18080:8080")
        self.assertEqual(self.ask(18080, "tcp 93.184.215.2 7"), "you are 93.184.215.1")
        self.assertEqual(self.ask(18080, "udp 93.184.215.2 53 x"), "93.184.215.1 asked x")

    def test_packets_with_a_forged_address_are_dropped(self):
        self.vm("one", "18080:8080")
        for source in ("203.0.113.9", "10.0.2.77", self.pool_addresses()[0], "93.184.215.1"):
            self.assertEqual(self.ask(18080, f"spoof {source} 93.184.215.2 53"), "sent")
        self.assertEqual(self.ask(18080, "udp 93.184.215.2 53 senders"), "93.184.215.1")

    def test_the_hosts_name_server_answers(self):
        self.vm("one", "18080:8080")
        self.assertEqual(self.ask(18080, "udp 10.0.2.3 53 who"), "93.184.215.1 asked who")
        self.assertEqual(self.ask(18080, "tcp 10.0.2.3 53"), "names for 93.184.215.1")

    def test_two_have_the_same_addresses_and_never_meet(self):
        self.vm("one", "18080:8080")
        self.vm("two", "18090:8080")
        self.assertEqual(self.ask(18080, "hello"), "one saw 10.0.2.2")
        self.assertEqual(self.ask(18090, "hello"), "two saw 10.0.2.2")
        self.assertEqual(self.ask(18090, "tcp 93.184.215.2 7"), "you are 93.184.215.1")
        self.assertEqual(len(self.devices()), 2)
        answers = [self.ask(18080, f"tcp {address} 8080 10") for address in self.pool_addresses()]
        self.assertEqual(sorted(answer.rpartition(" ")[2] for answer in answers),
                         ["host", "refused"]) # the other VM: no route to host; its own address

    def pool_addresses(self):
        """The VMs' addresses on their links to the host, which an outsider would have to know."""
        lines = self.in_host("ip", "-o", "-4", "addr").splitlines()
        ours = [line.split()[3].split("/")[0] for line in lines if ": mvm" in line]
        self.assertTrue(all(address.startswith("198.18.") or address.startswith("198.19.")
                            for address in ours), ours)
        return [address.rpartition(".")[0] + "." + str(int(address.rpartition(".")[2]) + 1)
                for address in ours]

    def closed(self, port, line):
        """A guest that is refused is told at once."""
        self.assertIn(self.ask(port, line),
                      ("failed: [Errno 113] No route to host", "failed: [Errno 111] Connection refused"), line)

    def test_nothing_of_the_host_and_no_private_network_is_reached(self):
        self.vm("one", "18080:8080")
        self.vm("two", "18090:8080")
        self.start(self.host, sys.executable, "-c", SERVER, "0.0.0.0", "7007")
        self.in_host("ip", "addr", "add", "198.51.100.7/32", "dev", "lo")
        self.in_host("ip", "addr", "add", "8.8.8.8/32", "dev", "lo")
        host_ends = [address.rpartition(".")[0] + "." + str(int(address.rpartition(".")[2]) - 1)
                     for address in self.pool_addresses()]
        for address in ("93.184.215.1", "8.8.8.8", "198.51.100.7", "10.0.2.2", *host_ends):
            self.closed(18080, f"tcp {address} 7007 30")
        for address in self.pool_addresses() + ["169.254.169.254", "192.168.1.1", "10.9.9.9",
                                                "172.16.0.1", "100.64.0.1"]:
            self.closed(18080, f"tcp {address} 8080 30")
        self.closed(18080, "udp 10.9.9.9 53 x")
        # a port that the host passes on to somewhere else is the host's too, as Docker's published ones
        self.in_host("nft", "add table ip docker; add chain ip docker pre { type nat hook prerouting priority -100; }; "
                     "add rule ip docker pre ip daddr 8.8.8.8 tcp dport 8007 dnat to 93.184.215.2:7")
        self.closed(18080, "tcp 8.8.8.8 8007 30")
        # nor by way of the ports that the other VM has on the host
        self.closed(18080, "tcp 10.0.2.2 18090 30")

    def test_rules_open_and_close(self):
        process = self.vm("one", "18080:8080", "+93.184.215.1:7007", "+host:7008", "+10.1.0.0/16", "-93.184.215.2:7")
        self.start(self.host, sys.executable, "-c", SERVER, "0.0.0.0", "7007")
        self.start(self.host, sys.executable, "-c", SERVER, "127.0.0.1", "7008")
        self.start(self.host, sys.executable, "-c", SERVER, "127.0.0.1", "7009")
        self.in_world("ip", "addr", "add", "10.1.2.3/32", "dev", "lo")
        self.in_host("ip", "route", "add", "10.0.0.0/8", "via", "93.184.215.2")
        self.assertEqual(self.ask(18080, "tcp 93.184.215.1 7007"), "here")
        self.assertEqual(self.ask(18080, "tcp 10.0.2.2 7008"), "here")
        self.assertEqual(self.ask(18080, "tcp 10.1.2.3 7"), "you are 93.184.215.1")
        self.assertEqual(self.ask(18080, "udp 93.184.215.2 53 x"), "93.184.215.1 asked x")
        self.closed(18080, "tcp 93.184.215.2 7 30")
        self.closed(18080, "tcp 93.184.215.1 7006 30")
        self.closed(18080, "tcp 10.0.2.2 7009 30")
        self.closed(18080, "tcp 10.2.2.3 7 30")
        # other rules, while it runs
        self.set_rules(process, "-0.0.0.0/0 +93.184.215.2:7")
        self.assertEqual(self.ask(18080, "tcp 93.184.215.2 7"), "you are 93.184.215.1")
        self.closed(18080, "tcp 93.184.215.1 7007 30")
        self.closed(18080, "tcp 10.0.2.2 7008 30")
        self.closed(18080, "tcp 10.1.2.3 7 30")
        self.closed(18080, "udp 93.184.215.2 53 x")
        self.closed(18080, "udp 10.0.2.3 53 x") # a name could carry words out
        self.assertEqual(self.ask(18080, "hello"), "one saw 10.0.2.2")
        self.set_rules(process, "-93.184.215.2:7")
        self.closed(18080, "tcp 93.184.215.2 7 30")
        self.assertEqual(self.ask(18080, "udp 10.0.2.3 53 x"), "93.184.215.1 asked x")

    def test_nothing_passes_while_it_is_held(self):
        process = self.vm("one", "18080:8080", "held")
        self.assertEqual(self.ask_held(18080), "")
        self.set_rules(process, "")
        self.assertEqual(self.ask(18080, "hello"), "one saw 10.0.2.2")
        self.assertEqual(self.ask(18080, "tcp 93.184.215.2 7"), "you are 93.184.215.1")

    def test_nothing_passes_while_it_is_quiet(self):
        process = self.vm("one", "18080:8080")
        self.assertEqual(self.ask(18080, "hello"), "one saw 10.0.2.2")
        self.tell(process, "quiet")
        self.assertEqual(self.ask_held(18080), "")
        self.set_rules(process, "") # other rules do not let anything pass
        self.assertEqual(self.ask_held(18080), "")
        self.tell(process, "loud")
        self.assertEqual(self.ask(18080, "hello"), "one saw 10.0.2.2")
        self.assertEqual(self.ask(18080, "tcp 93.184.215.2 7"), "you are 93.184.215.1")

    def test_no_other_machine_gets_the_guests_packets_while_it_is_quiet(self):
        """Without the device the kernel has no way to the guest but its default route, to the host."""
        self.in_world("ip", "addr", "add", "10.0.2.15/32", "dev", "lo")
        self.in_host("ip", "route", "add", "10.0.0.0/8", "via", "93.184.215.2")
        self.start(self.world, sys.executable, "-c", SERVER, "10.0.2.15", "8080")
        self.in_host("nft", "add table ip test; add chain ip test strays { type filter hook prerouting priority -300; }; "
                     "add rule ip test strays ip daddr 10.0.2.15 counter drop")
        process = self.vm("one", "18080:8080")
        open_one = self.start(self.host, sys.executable, "-u", "-c", textwrap.dedent("""
            import socket
            with socket.create_connection(("127.0.0.1", 18080), timeout=120) as sock:
                sock.sendall(b"echo\\n1")
                assert sock.recv(1) == b"1"
                print("ready")
                input()
                sock.sendall(b"2")
                print("sent")
                print(sock.recv(1))
            """))
        self.tell(process, "quiet")
        self.tell(open_one, "", "sent")
        self.assertEqual(self.ask_held(18080), "")
        self.assertIn("counter packets 0 ", self.in_host("nft", "list", "table", "ip", "test"))
        self.in_host("nft", "delete", "table", "ip", "test")
        self.assertEqual(self.ask_held(18080), "")
        self.tell(process, "loud")
        self.assertEqual(open_one.stdout.readline(), "b'2'\n")
        self.assertEqual(self.ask(18080, "hello"), "one saw 10.0.2.2")

    def ask_held(self, port):
        return self.client(f"""
            try:
                with socket.create_connection(("127.0.0.1", {port}), timeout=3) as sock:
                    sock.sendall(b"hello\\n")
                    print(sock.recv(100).decode(), end="")
            except OSError:
                pass
            """)

    def test_many_rules(self):
        rules = [f"+9.9.{i}.0/24:{i + 1}-65535" for i in range(128)] + \
                [f"-93.184.{i + 100}.0/24" for i in range(127)] + ["-93.184.215.2:7"]
        process = self.vm("one", "18080:8080")
        self.set_rules(process, " ".join(rules))
        self.closed(18080, "tcp 93.184.215.2 7 30")
        self.closed(18080, "udp 93.184.215.2 53 x")
        self.set_rules(process, "")
        self.assertEqual(self.ask(18080, "tcp 93.184.215.2 7"), "you are 93.184.215.1")

    def set_rules(self, process, text):
        self.tell(process, text, "rules")

    def tell(self, process, text, answer=None):
        process.stdin.write(text + "\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), (answer or text) + "\n")

    def test_rules_that_cannot_be_held_are_refused(self):
        done = subprocess.run([*self.inside(self.host), HOST_PROGRAM, "+*.example.org", "--", "true"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
        self.assertIn("cannot hold a guest to domains, such as '*.example.org'", done.stderr)
        self.assertEqual(done.returncode, 1)

    def test_outsiders_connect_by_forwarded_ports_only(self):
        self.vm("one", "18080:8080")
        done = subprocess.run([*self.inside(self.world), sys.executable, "-c", textwrap.dedent(f"""
            import socket
            try:
                socket.create_connection(("{self.pool_addresses()[0]}", 8080), timeout=3)
            except OSError as error:
                print(error)
            """)], capture_output=True, text=True, check=True, timeout=120)
        self.assertEqual(done.stdout, "timed out\n")

    def test_every_byte_and_the_end_arrive(self):
        self.vm("one", "18080:8080")
        self.assertEqual(self.client("""
            import hashlib, os, threading
            sent, got = hashlib.sha256(), hashlib.sha256()
            sock = socket.create_connection(("127.0.0.1", 18080), timeout=60)
            sock.sendall(b"echo\\n")
            def send():
                for _ in range(100):
                    data = os.urandom(50000)
                    sent.update(data)
                    sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            thread = threading.Thread(target=send)
            thread.start()
            while data := sock.recv(65536):
                got.update(data)
            thread.join()
            print(sent.digest() == got.digest())
            """), "True")

    def test_a_forward_to_a_closed_guest_port_hangs_up(self):
        self.vm("one", "18080:8085")
        self.assertEqual(self.ask(18080, "hello"), "")

    def test_many_connections_at_once(self):
        self.vm("one", "18080:8080")
        self.assertEqual(self.client("""
            socks = [socket.create_connection(("127.0.0.1", 18080), timeout=60) for _ in range(100)]
            for sock in socks:
                sock.sendall(b"hello\\n")
            print({sock.makefile().readline() for sock in socks})
            """), "{'one saw 10.0.2.2\\n'}")

    def test_an_ended_network_leaves_nothing(self):
        process = self.vm("one", "18080:8080")
        self.assertEqual(len(self.devices()), 1)
        self.assertIn("masquerade", self.in_host("nft", "list", "ruleset"))
        process.stdin.close()
        self.assertEqual(process.wait(60), 0)
        self.assert_nothing_stays()

    def test_a_killed_network_leaves_nothing(self):
        process = self.vm("one", "18080:8080")
        process.kill()
        process.wait()
        self.assert_nothing_stays()
        self.vm("one", "18080:8080") # the port is free again

    def test_a_port_that_is_taken_is_named(self):
        with contextlib.ExitStack():
            self.vm("one", "18080:8080")
            self.assertIn("cannot forward TCP port 18080 of 127.0.0.1: Address already in use",
                          self.fails_to_start())
        self.assertEqual(len(self.devices()), 1)

    def test_a_host_that_does_not_forward_packets_gets_a_hint(self):
        self.forward_packets("0")
        self.assertIn("sysctl -w net.ipv4.ip_forward=1", self.fails_to_start())

    @harness.needs_program("setpriv")
    def test_the_network_test_needs_root(self):
        self.assertIn("needs root", self.fails_to_start("setpriv", "--bounding-set=-net_admin"))


if __name__ == "__main__":
    harness.main()
