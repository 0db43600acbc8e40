# SPDX-License-Identifier: Apache-2.0
"""Rules of the network, and the life of mvm-net, with real guests.  test_reach.py tries what they reach."""

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess

import guests
import harness
import internet

PEER, PEER_HOST, PEER_FAR = internet.PEER, internet.HOST, internet.FAR


@harness.needs_guests
class Network(guests.TestCase):
    config = guests.CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port = internet.serve(cls, internet.TCPServer, ("127.0.0.1", 0), internet.Answer)
        internet.serve(cls, internet.TCPServer6, ("::1", cls.port), internet.Answer)

    def start(self, *options):
        return self.run_detached("web-worker", "--require-snapshot", *options)["name"]

    def reaches(self, name, address, port):
        """The guest connects to this address; returns the server's answer, or None."""
        done = self.mvm("exec", name, "--", "/bin/busybox", "sh", "-c",
                        f"echo hello | busybox nc -w 3 {address} {port}")
        return done.stdout.strip() or None

    def asks(self, name, address):
        """Does the name server at this address answer?  It refuses every question."""
        done = self.mvm("exec", name, "--", "/bin/busybox", "nslookup", "-type=a", "x.test", address)
        return "REFUSED" in done.stdout + done.stderr

    def test_nothing_of_the_host_is_reached(self):
        name = self.start("-p", "0:8080")
        forwarded = self.inspect(name)["forwards"][0]["host_port"]
        self.assertIn("microVM", guests.get(forwarded))
        other = self.start()
        for address in ("10.0.2.2", "fec0::2", "127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"):
            for port in (self.port, forwarded):
                with self.subTest(address=address, port=port):
                    self.assertIsNone(self.reaches(other, address, port))
        # but the guest reaches its own loopback
        self.assertIsNotNone(self.mvm_ok("exec", other, "--", "/bin/busybox", "sh", "-c",
                                         "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc 127.0.0.1 8080"))
        own = socket.gethostbyname(socket.gethostname())
        with contextlib.suppress(OSError):
            outside = socket.create_server(("0.0.0.0", 0))
            self.addCleanup(outside.close)
            self.assertIsNone(self.reaches(other, own, outside.getsockname()[1]))
        for address in ("169.254.169.254", "192.168.255.1", "fd00::1"):
            with self.subTest(address=address):
                self.assertIsNone(self.reaches(other, address, 80))

    def test_a_port_of_the_host_is_opened_by_name(self):
        name = self.start("--allow", f"host:{self.port}", "--deny", "0.0.0.0/0")
        self.assertEqual(self.reaches(name, "10.0.2.2", self.port), "near")
        # the guest gets its IPv6 address a moment after it has asked
        self.assertTrue(guests.wait_until(lambda: self.reaches(name, "fec0::2", self.port) == "near"))
        self.assertEqual(self.mvm_ok("exec", name, "--", "/bin/busybox", "cat", "/sys/class/net/eth0/mtu"),
                         "14624\n")
        record = self.inspect(name)
        self.assertEqual(record["network_allow"], [f"host:{self.port}"])
        self.assertEqual(record["network_deny"], ["0.0.0.0/0"])
        header, *rows = self.mvm_ok("ps", "--filter", f"name={name}").splitlines()
        self.assertEqual((header.split()[-1], rows[0].split()[-1]), ("ALLOWED", f"host:{self.port}"))
        self.assertEqual(self.mvm_ok("ps", "--format", "{{.Allowed}}"), f"host:{self.port}\n")
        other = internet.serve(type(self), internet.TCPServer, ("127.0.0.1", 0), internet.Answer)
        self.assertIsNone(self.reaches(name, "10.0.2.2", other))

    def test_rules_change_while_it_runs(self):
        name = self.start("--restart", "on-failure", "--dns", "192.0.2.53")
        self.assertIsNone(self.reaches(name, "10.0.2.2", self.port))
        self.mvm_ok("network", "set", name, "--allow", f"host:{self.port}")
        self.assertEqual(self.reaches(name, "10.0.2.2", self.port), "near")
        self.mvm_ok("network", "set", name, "--add", "--deny", "192.0.2.0/24")
        shown = self.mvm_json("network", "show", name)
        self.assertEqual((shown["allow"], shown["deny"]), ([f"host:{self.port}"], ["192.0.2.0/24"]))
        self.assertEqual(shown["dns"], ["192.0.2.53"])
        said = self.mvm_ok("network", "show", name)
        self.assertIn("192.0.2.0/24", said)
        self.assertIn("dns      192.0.2.53\n", said)
        self.mvm_fails(2, "network", "set", name, "--allow", "host", says="no network rule")
        self.mvm_fails(3, "network", "set", "nobody", says="nobody")
        # what was refused is told, soon
        self.assertTrue(guests.wait_until(lambda: self.inspect(name).get("network_refused", 0) > 0))
        refusal = self.inspect(name)["network_refusals"][-1]
        self.assertEqual((refusal["target"], refusal["port"], refusal["protocol"], refusal["reason"]),
                         ("10.0.2.2", self.port, "tcp", "host"))
        events = [(e["event"], e.get("message")) for e in
                  map(json.loads, self.mvm_ok("events", "--json").splitlines())
                  if e["instance"] == name]
        self.assertIn("refused", dict(events))
        self.assertIn(("network", f"allow host:{self.port}; deny nothing more"), events)
        # a restart keeps the rules
        os.kill(self.inspect(name)["vmm_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["restarts"] == 1 and
                                          self.inspect(name)["state"] == "running"))
        self.assertEqual(self.reaches(name, "10.0.2.2", self.port), "near")
        self.assertEqual(self.inspect(name)["network_deny"], ["192.0.2.0/24"])

    def network_of(self, name):
        """The pid of its mvm-net, whose parent is its VMM's."""
        def stat_of(pid):
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                comm, rest = stat.read().split("(", 1)[1].rsplit(")", 1)
            return comm, int(rest.split()[1])

        _, parent = stat_of(self.inspect(name)["vmm_pid"])
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if stat_of(pid) == ("mvm-net", parent):
                    return int(pid)
        return None

    def events_of(self, name):
        return [e["event"] for e in map(json.loads, self.mvm_ok("events", "--json").splitlines())
                if e["instance"] == name]

    def test_a_killed_mvm_net_is_started_again(self):
        name = self.start("-p", "0:8080")
        forwarded = self.inspect(name)["forwards"][0]["host_port"]
        self.mvm_ok("network", "set", name, "--allow", f"host:{self.port}")
        for round in range(1, 3):
            # the guest is in the middle of something
            self.mvm_ok("exec", name, "--", "/bin/busybox", "sh", "-c",
                        f"(while :; do echo x; done | busybox nc 10.0.2.2 {self.port}) >/dev/null 2>&1 &")
            os.kill(self.network_of(name), signal.SIGKILL)
            self.assertTrue(guests.wait_until(
                lambda: self.events_of(name).count("network-up") == round))
            self.assertEqual(self.events_of(name).count("network-down"), round)
            self.assertNotIn("network_problem", self.inspect(name))
            self.assertTrue(guests.wait_until(
                lambda: self.reaches(name, "10.0.2.2", self.port) == "near"))
            self.assertIn("microVM", guests.get(forwarded))
        self.mvm_ok("stop", name)
        self.assertEqual(self.events_of(name).count("network-down"), 2) # an end is no failure

    def test_rules_are_read_before_anything_starts(self):
        for rule in ("host", "nowhere/8", "1.2.3.4:0", ""):
            self.mvm_fails(2, "run", "-T", "web-worker", "-d", "--allow", rule, says="no network rule")
        self.assertEqual(self.instances(), [])


class Hold(socketserver.BaseRequestHandler):
    """Keeps the connection, and sends nothing."""
    def handle(self):
        self.request.recv(1)


@harness.needs_guests
class Held(guests.TestCase):
    """Connections that were open at the snapshot."""

    @classmethod
    def make_source(cls):
        cls.port = port = internet.serve(cls, internet.TCPServer, ("127.0.0.1", 0), Hold)
        internet.serve(cls, internet.TCPServer6, ("::1", port), Hold)
        subprocess.run(["cc", "-static-pie", "-O1", "-o", os.path.join(cls.root, "bin", "held"),
                        os.path.join(os.path.dirname(__file__), "held.c")], check=True, timeout=120)
        cls.config = f"""
template_id = "held"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["held", "{port}"]

[network]
allow = ["host:{port}"]

[health]
tcp = 8080
""" + guests.VARIANT

    def said(self, name):
        """The program's reports about its connections until now."""
        lines = self.mvm_ok("logs", "--workload", name).splitlines() # the kernel writes to the console as well
        return dict(line.split(": ", 1) for line in lines if ": " in line)

    def test_run_closes_what_the_template_opens(self):
        names = [self.run_detached("held-worker", "--require-snapshot", "-p", "0:8080", *options)["name"]
                 for options in ((), ("--network", "none"))]
        for name, status in zip(names, (0, 1)):
            done = self.mvm("exec", name, "--", "/bin/busybox", "sh", "-c",
                            f"busybox nc -w 10 10.0.2.2 {self.port} </dev/null")
            self.assertEqual(done.returncode, status, done.stderr)
            host_port = self.inspect(name)["forwards"][0]["host_port"]
            socket.create_connection(("127.0.0.1", host_port), harness.PATIENCE_S).close()
        shown = self.mvm_json("network", "show", names[1])
        self.assertEqual((shown["allow"], shown["deny"]), ([], ["all"]))

    def test_they_are_reset_in_a_clone(self):
        reset = "Connection reset by peer"
        names = [self.run_detached("held-worker", "--require-snapshot")["name"] for _ in range(2)]
        for name in names: # the programs have sent nothing yet
            self.assertTrue(guests.wait_until(lambda: len(self.said(name)) == 2), self.said(name))
            self.assertEqual(self.said(name), {"reads": reset, "reads6": reset})
        for name in names:
            self.exec(name, "/bin/busybox", "killall", "-USR1", "held")
            self.assertTrue(guests.wait_until(lambda: len(self.said(name)) == 4), self.said(name))
            self.assertEqual(self.said(name)["writes"], reset)
            self.assertEqual(self.said(name)["within"], "echo") # this connection has both ends in the clone


@internet.needs_root
class Internet(Network):
    """Uses a small internet of the test's own (internet.py).  With MVM_TEST_AS_USER, mvm and the tests run
    as an ordinary user once the network is made."""

    @classmethod
    def setUpClass(cls):
        internet.make(cls)
        cls.config = cls.config.replace("[health]", f'[network]\ndns = ["{internet.DNS}"]\n\n[health]')
        super().setUpClass()

    def test_the_internet_is_reached(self):
        name = self.start()
        self.assertEqual(self.reaches(name, PEER_FAR, 8053), PEER_FAR)
        self.assertEqual(self.reaches(name, "api.example.org", 8053), PEER_FAR)
        self.assertTrue(self.asks(name, PEER))
        # the host's address on that link is an address of the host
        server = socket.create_server((PEER_HOST, 0))
        self.addCleanup(server.close)
        self.assertIsNone(self.reaches(name, PEER_HOST, server.getsockname()[1]))
        self.assertIsNone(self.reaches(name, "host.example.org", server.getsockname()[1]))

    def test_a_closed_network_reaches_allowed_addresses(self):
        name = self.start("--deny", "0.0.0.0/0", "--allow", "api.example.org:8053")
        self.assertIsNone(self.reaches(name, PEER_FAR, 8053)) # the guest has not asked for its name yet
        self.assertEqual(self.reaches(name, "api.example.org", 8053), PEER_FAR)
        self.assertEqual(self.reaches(name, PEER_FAR, 8053), PEER_FAR)
        self.assertIsNone(self.reaches(name, PEER, 8053))
        self.assertFalse(self.asks(name, PEER))
        self.assertIsNone(self.reaches(name, "example.org", 8053)) # mvm does not even look the name up
        out = self.mvm("exec", name, "--", "/bin/busybox", "nslookup", "example.org").stdout
        self.assertNotIn(PEER, out)

    def test_a_name_does_not_lead_into_a_private_network(self):
        name = self.start("--allow", "*.example.org")
        out = self.mvm("exec", name, "--", "/bin/busybox", "nslookup", "evil.example.org").stdout
        self.assertNotIn("192.168.255.1", out)
        self.assertIsNone(self.reaches(name, "192.168.255.1", 8053))


if __name__ == "__main__":
    guests.main()
