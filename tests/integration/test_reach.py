# SPDX-License-Identifier: Apache-2.0
"""What a guest reaches under each mode: every row of the table in doc/network.md, tried inside real guests."""

import concurrent.futures
import contextlib
import fcntl
import os
import re
import socket
import struct
import unittest

import guests
import harness
import internet

FIRECRACKER = os.environ.get("MVM_TEST_FIRECRACKER")
SIOCGIFADDR = 0x8915
PAGE = os.path.join(harness.SOURCE_DIR, "doc", "network.md")
MODES = ("no rules", "opened", "closed", "none")
VERDICT = "(reached|refused)"
ROW = re.compile(r"^\| (.+?) \| " + r" \| ".join([VERDICT] * len(MODES)) + r" \|$", re.M)

CONFIG = f"""
template_id = "reach"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]

[health]
tcp = 8080

[[variants]]
role         = "user"
vcpus        = 1
mem_mib      = 128
network.mode = "user"
network.dns  = ["{internet.DNS}"]

[[variants]]
role    = "none"
vcpus   = 1
mem_mib = 128
network = "none"
"""

# The guest's IPv6 address comes late.
WAIT = """
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	test -e /sys/class/net/eth0 || break
	busybox grep '^fec0' /proc/net/if_inet6 | busybox grep -qv ' 40 ' && break
	busybox sleep 0.5
done
"""

# Reads lines "KIND TARGET PORT" and answers each with a line of its own.  A refusal comes at once; only
# an answer that does not come at all takes the time limits.
TRY = """
while read kind target port; do
	case $kind in
	tcp) answer=$(echo hello | busybox nc -w 10 $target $port) ;;
	udp) answer=$(busybox nslookup -type=a x.test $target 2>&1 </dev/null | busybox grep REFUSED) ;;
	ping) answer=$(busybox ping -c 1 -W 10 $target </dev/null | busybox grep ttl=) ;;
	esac 2>/dev/null
	echo "$answer" | busybox head -n 1 | busybox tr -d '\\r'
done
"""


# how near the numbers of two clones may be, for sources of doc/clones.md
NEAR = 1 << 24


def syns(wire):
    """(source port, sequence number) of each connection that began, in the captured frames."""
    found = {}
    with contextlib.suppress(BlockingIOError):
        while packet := wire.recv(2048, socket.MSG_DONTWAIT):
            head = (packet[0] & 15) * 4
            if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
                continue
            port, to_port, sequence = struct.unpack(">HHI", packet[head:head + 8])
            if to_port == internet.PORT and packet[head + 13] == 2:
                found[port] = sequence
    return found


def host_end():
    """The host's address of the first link to a VM's network namespace."""
    name = next(name for _, name in socket.if_nameindex() if name.startswith("mvm"))
    with socket.socket() as sock:
        return socket.inet_ntoa(fcntl.ioctl(sock, SIOCGIFADDR, struct.pack("256s", name.encode()))[20:24])


def other_end(address):
    return socket.inet_ntoa(struct.pack(">I", struct.unpack(">I", socket.inet_aton(address))[0] + 1))


def pages():
    """The part of the page for QEMU, and the one for Firecracker."""
    with open(PAGE, encoding="utf-8") as file:
        return file.read().split("\n## Firecracker\n")


def tcp(address, says=None):
    return "tcp", address, internet.PORT, says or address


class Case(guests.TestCase):
    """A host in a small internet, with servers on all its addresses."""

    config = CONFIG
    prepare = "" # for the guest's shell, before its tries

    @classmethod
    def setUpClass(cls):
        internet.make(cls)
        super().setUpClass()
        serve = internet.serve
        cls.port = serve(cls, internet.TCPServer, ("127.0.0.1", 0), internet.Answer)
        for kind, address in ((internet.TCPServer6, "::1"), (internet.TCPServer, internet.HOST),
                              (internet.TCPServer6, internet.HOST6)):
            serve(cls, kind, (address, cls.port), internet.Answer)

    def rows(self, forwarded):
        """(row of the page, protocol, target, port, part of the answer), in the order of the tries."""
        near = self.port, "near"
        return (
            ("a public IPv4 address, TCP", *tcp(internet.FAR)),
            ("a public IPv4 address, UDP", "udp", internet.PEER, 53, "REFUSED"),
            ("a public IPv4 address, ping", "ping", internet.FAR, 0, "ttl="),
            ("a public IPv6 address, TCP", *tcp(internet.PEER6)),
            ("the host's 127.0.0.1, as 10.0.2.2", "tcp", "10.0.2.2", *near),
            ("the host's ::1, as fec0::2", "tcp", "fec0::2", *near),
            ("another address of the host, IPv4", "tcp", internet.HOST, *near),
            ("another address of the host, IPv6", "tcp", internet.HOST6, *near),
            ("another VM, by its forwarded port", "tcp", "10.0.2.2", forwarded, "HTTP"),
            ("169.254.169.254, TCP", *tcp(internet.METADATA)),
            ("169.254.169.254, ping", "ping", internet.METADATA, 0, "ttl="),
            ("a private IPv4 address, TCP", *tcp(internet.PRIVATE)),
            ("a private IPv4 address, UDP", "udp", internet.PRIVATE, 53, "REFUSED"),
            ("a private IPv4 address, ping", "ping", internet.PRIVATE, 0, "ttl="),
            ("a private IPv6 address, TCP", *tcp(internet.PRIVATE6)),
        )

    def seen_by(self, name, rows):
        """{row: verdict}, as the guest of this name finds it."""
        asked = "".join(f"{kind} {target} {port}\n" for _, kind, target, port, _ in rows)
        answers = self.exec(name, "/bin/busybox", "sh", "-c", self.prepare + TRY, options=("-i",),
                            stdin=asked).splitlines()
        self.assertEqual(len(answers), len(rows), answers)
        return {row: "reached" if says in answer else answer or "refused"
                for (row, _, _, _, says), answer in zip(rows, answers)}

    def check_page(self, page, make_rows, opened, closed):
        """Start a VM in each mode, and compare what their guests find with a part of the page."""
        for address in internet.SERVED: # the host itself reaches all of it
            with socket.create_connection((address, internet.PORT), harness.PATIENCE_S) as peer:
                self.assertEqual(peer.recv(100).decode(), address)
        names = {}

        def start(mode, role, *options):
            record = self.run_detached("reach-" + role, "--require-snapshot", *options)
            self.assertEqual(record["backend"], self.backend)
            names[mode] = record["name"]

        start("no rules", "user", "-p", "0:8080")
        forwarded = self.inspect(names["no rules"])["forwards"][0]["host_port"]
        opened = (f"host:{self.port}", f"host:{forwarded}", *opened)
        start("opened", "user", *(word for rule in opened for word in ("--allow", rule)))
        start("closed", "user", "--deny", "all", "--allow", closed)
        start("none", "none")
        rows = make_rows(forwarded)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            seen = dict(zip(MODES, pool.map(lambda mode: self.seen_by(names[mode], rows), MODES)))
        said = {row: dict(zip(MODES, verdicts)) for row, *verdicts in ROW.findall(page)}
        found = {row: {mode: seen[mode][row] for mode in MODES} for row, *_ in rows}
        for row in found.items():
            print("#", *row)
        self.assertEqual(said, found)
        return seen


@harness.needs_guests
@internet.needs_root
class Reach(Case):
    backend = "qemu"
    prepare = WAIT

    def rows(self, forwarded):
        near = self.port, "near"
        return super().rows(forwarded) + (
            ("the address of an allowed name, before the guest has asked for the name",
             *tcp(internet.NAMED)),
            ("an allowed name", *tcp("named.example.org", internet.NAMED)),
            ("the address of an allowed name, afterwards", *tcp(internet.NAMED)),
            ("a name that no rule allows", *tcp("example.org", internet.PEER)),
            ("a name that leads to a private address", *tcp("evil.example.org", internet.PRIVATE)),
            ("a name that leads to an address of the host", "tcp", "host.example.org", *near),
        )

    def test_the_page_says_what_guests_reach(self):
        seen = self.check_page(pages()[0], self.rows,
                               (internet.HOST, internet.HOST6, internet.METADATA, "192.168.0.0/16",
                                "fd00::/8"), "*.example.org")
        # each check can tell: there is a server, and the rules alone keep the guest from it
        self.assertEqual(set(seen["opened"].values()), {"reached"})
        self.assertEqual(set(seen["none"].values()), {"refused"})

    def test_clones_differ_on_the_wire(self):
        """The source ports and sequence numbers of their connections, and the ids of their questions."""
        seen = []
        for _ in range(2):
            name = self.run_detached("reach-user", "--require-snapshot")["name"]
            syns(self.wire)
            internet.NameServer.asked.clear()
            self.exec(name, "/bin/busybox", "sh", "-c",
                      f"for i in 1 2 3; do echo | busybox nc api.example.org {internet.PORT}; done")
            seen.append((syns(self.wire), set(internet.NameServer.asked)))
        (one, asked), (other, also_asked) = seen
        self.assertEqual((len(one), len(other)), (3, 3))
        self.assertFalse(set(one) & set(other), "source ports")
        near = [min((a - b) % (1 << 32), (b - a) % (1 << 32)) < NEAR
                for a, b in zip(one.values(), other.values())]
        self.assertFalse(all(near), f"sequence numbers: {seen}")
        self.assertGreaterEqual(min(len(asked), len(also_asked)), 3)
        self.assertFalse(asked & also_asked, "ports and ids of questions")


@harness.needs_guests
@harness.needs_kvm
@internet.needs_root
@unittest.skipUnless(FIRECRACKER, "MVM_TEST_FIRECRACKER names no firecracker")
class OnFirecracker(Case):
    backend = "firecracker"

    @classmethod
    def setUpClass(cls):
        os.environ["MVM_FIRECRACKER"] = FIRECRACKER
        cls.addClassCleanup(os.environ.pop, "MVM_FIRECRACKER")
        super().setUpClass()

    def rows(self, forwarded):
        near = self.port, "near"
        link = host_end()
        internet.serve(type(self), internet.TCPServer, (link, self.port), internet.Answer)
        return super().rows(forwarded) + (
            ("the host's end of a VM's link", "tcp", link, *near),
            ("another VM, by the end of its link", "tcp", other_end(link), 8080,
             "HTTP"),
            ("an allowed address", *tcp(internet.NAMED)),
            ("a name", *tcp("example.org", internet.PEER)),
            ("a name that leads to a private address", *tcp("evil.example.org", internet.PRIVATE)),
            ("a name that leads to an address of the host", "tcp", "host.example.org", *near),
        )

    def test_the_page_says_what_guests_reach(self):
        seen = self.check_page(pages()[1], self.rows,
                               (internet.HOST, internet.HOST6, internet.METADATA, "192.168.0.0/16",
                                "fd00::/8", internet.NAMED), internet.NAMED)
        self.assertEqual(set(seen["none"].values()), {"refused"})

    def test_new_rules_hold_at_once(self):
        name = self.run_detached("reach-user", "--require-snapshot")["name"]
        row = (("far", *tcp(internet.FAR)),)
        for rule, verdict in (("--deny", "refused"), ("--allow", "reached")):
            self.mvm_ok("network", "set", name, rule, "all")
            self.assertEqual(self.seen_by(name, row), {"far": verdict})

    def test_a_rule_for_a_domain_is_refused(self):
        says = self.mvm("run", "--template", "reach-user", "-d", "--backend", "firecracker", "--allow",
                        "api.example.org").stderr
        self.assertIn("cannot hold a guest to domains", says)


if __name__ == "__main__":
    guests.main()
