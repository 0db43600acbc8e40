# SPDX-License-Identifier: Apache-2.0
"""Commands about instances that scripts use: ps, port, top, kill, and stop, rm, wait for many."""

import json
import urllib.request

import guests
import harness

# a workload that prints the signals it gets, and continues
CONFIG = guests.CONFIG.replace('["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]', """
["/bin/busybox", "sh", "-c", '''
trap 'echo got HUP' HUP
trap 'echo got USR1' USR1
trap 'echo got 37' 37
trap 'echo got 61' 61
/bin/busybox httpd -p 8080 -h /www
while true; do sleep 1; done''']""".strip())


@harness.needs_guests
class Manage(guests.TestCase):
    config = CONFIG

    def names(self, *options):
        return self.mvm_ok("ps", "-q", *options).split()

    def test_ps_selects_and_formats(self):
        self.run_detached("web-worker", "--name", "one", "-p", "0:8080", "-l", "tier=web")
        self.run_detached("web-worker", "--name", "two", "-p", "0:8080", "-l", "tier=db", "-l", "odd")
        self.assertEqual(self.mvm_ok("stop", *self.names("-f", "label=tier=db")), "two\n")
        self.assertEqual(self.names("-f", "label=tier"), ["one", "two"])
        self.assertEqual(self.names("-f", "label=tier", "-f", "label=odd"), ["two"])
        self.assertEqual(self.names("-f", "exited=143", "-f", "status=exited"), ["two"])
        self.assertEqual(self.mvm_ok("ps", "--format", '{{.Labels}} {{.Label "tier"}}'),
                         "tier=web web\ntier=db,odd= db\n")
        ports = [f["host_port"] for f in self.inspect("one")["forwards"]]
        self.assertEqual(self.names(), ["one", "two"])
        self.assertEqual(self.names("-a"), ["one", "two"])
        self.assertEqual(self.names("--filter", "state=running"), ["one"])
        self.assertEqual(self.names("--filter", "state=running", "-f", "state=exited"),
                         ["one", "two"])
        self.assertEqual(self.names("--filter", "state=running", "-f", "name=tw"), [])
        self.assertEqual(self.names("--filter", "template=web-worker", "-f", "name=tw"), ["two"])
        self.assertEqual(self.names("--filter", "template=web"), [])
        self.assertEqual([i["name"] for i in self.mvm_json("ps", "-f", "name=one")], ["one"])
        self.assertEqual(self.mvm_ok("ps", "--format", r"{{.Name}}\t{{.state}}={{.Ports}}"),
                         f"one\trunning=127.0.0.1:{ports[0]}->8080\ntwo\texited=\n")
        self.assertEqual(self.mvm_ok("ps", "--format", "{{.Status}}", "-f", "name=two"),
                         "exited (143)\n")
        self.assertNotIn("->", self.mvm_ok("ps", "-f", "name=two")) # an ended VM forwards no ports
        self.mvm_fails(2, "ps", "--filter", "colour=red", says="'colour=red' is not name, state")
        self.mvm_fails(2, "ps", "--format", "{{.Nmae}}", says="'{{.Nmae}}' is none of {{.Name}}, ")
        self.assertEqual(self.mvm_json("rm", "--all"), [{"name": "two", "result": "removed"}])
        self.assertEqual(self.mvm_json("stop", "--all"), [{"name": "one", "result": "stopped"}])
        self.assertEqual(self.mvm_json("stop", "--all"), [])
        self.run_detached("web-worker", "--name", "three")
        self.assertEqual(self.mvm_ok("rm", "--all", "--force"), "one\nthree\n")
        self.mvm_fails(2, "stop", says="or --all")
        self.mvm_fails(2, "rm", "--all", "one", says="not both")

    def test_a_guests_processes_are_listed_and_get_signals(self):
        name = self.run_detached("web-worker", "-p", "0:8080", "-p", "0:53/udp")["name"]
        tcp, udp = [f["host_port"] for f in self.inspect(name)["forwards"]]
        self.assertEqual(self.mvm_ok("port", name),
                         f"8080/tcp -> 127.0.0.1:{tcp}\n53/udp -> 127.0.0.1:{udp}\n")
        self.assertEqual(self.mvm_ok("port", name, "8080"), f"127.0.0.1:{tcp}\n")
        self.assertEqual(self.mvm_json("port", name, "53/udp")[0]["host_port"], udp)
        self.mvm_fails(3, "port", name, "53", says=f"port 53 of '{name}' is not forwarded")
        self.mvm_fails(2, "port", name, "80/sctp", says="is no port")

        self.exec(name, "sh", "-c", "busybox sh -c 'sleep 4711; true' >/dev/null 2>&1 &")
        processes = {p["command"]: p for p in self.mvm_json("top", name)}
        sleeping = processes["sleep 4711"]
        parent = {p["pid"]: p for p in processes.values()}[sleeping["parent_pid"]]
        self.assertEqual(parent["command"], "busybox sh -c sleep 4711; true")
        self.assertEqual((sleeping["uid"], sleeping["state"]), (0, "S"))
        self.assertGreater(sleeping["memory_bytes"], 0)
        self.assertNotIn("kthreadd", processes)
        header, *rows = self.mvm_ok("top", name).splitlines()
        self.assertEqual(header.split(), ["PID", "PPID", "UID", "STATE", "CPU", "MEMORY", "COMMAND"])
        for command in "sleep 4711", parent["command"]: # others come and go between two looks
            self.assertEqual(len([row for row in rows if row.endswith("B  " + command)]), 1, rows)

        self.assertEqual(self.mvm_json("kill", "-s", "hup", name),
                         [{"name": name, "result": "signalled"}])
        self.mvm_ok("kill", "-s", "SIGUSR1", name)
        self.assertTrue(guests.wait_until(lambda: "got USR1" in self.mvm_ok("logs", name)))
        self.assertIn("got HUP", self.mvm_ok("logs", name))
        for signal, number in ("rtmin+3", 37), ("SIGRTMAX-3", 61):
            self.mvm_ok("kill", "-s", signal, name)
            self.assertTrue(guests.wait_until(
                lambda n=number: f"got {n}" in self.mvm_ok("logs", name)))
        self.mvm_fails(2, "kill", "-s", "HUMP", name, says="'HUMP' is no signal")
        self.mvm_fails(2, "kill", "-s", "0", name, says="signal 0 is never sent")
        self.exec(name, "busybox", "umount", "-l", "/proc")
        self.mvm_fails(1, "top", name, says="the guest's /proc shows no process")
        self.mvm_ok("kill", name)
        waited = self.mvm("wait", name, "--json", status=137)
        self.assertEqual(json.loads(waited.stdout),
                         {"name": name, "state": "exited", "exit_status": 137})
        self.mvm_fails(4, "top", name, says="does not run")
        self.mvm_fails(4, "kill", name, says="does not run")
        self.mvm_fails(4, "port", name, says="does not run")

    def test_a_port_of_an_ipv6_address_leads_into_the_guest(self):
        record = self.run_detached("web-worker", "-p", "[0:0::1]:0:8080", "-p", "0:8080")
        v6, v4 = (f["host_port"] for f in record["forwards"])
        self.assertEqual(self.mvm_ok("port", record["name"]),
                         f"8080/tcp -> [::1]:{v6}\n8080/tcp -> 127.0.0.1:{v4}\n")
        for address in (f"[::1]:{v6}", f"127.0.0.1:{v4}"):
            with urllib.request.urlopen(f"http://{address}/", timeout=harness.PATIENCE_S) as answer:
                self.assertIn("microVM", answer.read().decode())
        self.mvm_fails(4, "run", "-T", "web-worker", "-d", "-p", f"[::1]:{v6}:8080",
                       says=f"cannot forward port {v6} of ::1: Address already in use")

    def test_a_workload_gets_variables_and_a_clone_its_host_name(self):
        path = self.write("vars", "# for the test\n\nFROM_FILE=1 2\nWORD=file\n")
        name = self.run_detached("web-worker", "--hostname", "hal-9000")["name"]
        self.assertEqual(self.inspect(name)["start"], "restore")
        self.assertEqual(self.exec(name, "busybox", "hostname"), "hal-9000\n")
        self.assertEqual(self.inspect(name)["hostname"], "hal-9000")
        self.mvm_ok("rm", "-f", name)

        done = self.mvm("run", "-T", "web-worker", "-d", "--name", "told", "-e", "WORD=option",
                        "--env-file", path, status=0)
        self.assertIn("booting instead of restoring: the snapshot's workload runs already, so it "
                      "cannot take new variables", done.stderr)
        workload = next(p for p in self.mvm_json("top", "told") if "trap" in p["command"])
        env = self.exec("told", "cat", f"/proc/{workload['pid']}/environ").split("\0")
        self.assertIn("WORD=option", env)
        self.assertIn("FROM_FILE=1 2", env)
        self.assertEqual(self.exec("told", "sh", "-c", "echo $WORD"), "option\n")
        self.assertEqual(self.inspect("told")["env"], ["FROM_FILE=1 2", "WORD=file", "WORD=option"])
        self.assertEqual(self.exec("told", "sh", "-c", "echo $WORD", options=["--env-file", path]),
                         "file\n")
        for status, options, says in (
                (6, ["--require-snapshot", "-e", "A=b"], "cannot take new variables"),
                (2, ["-e", "A"], "'A' is not NAME=VALUE"),
                (2, ["--env-file", self.write("bad", "A=1\noops\n")], "bad:2: 'oops' is not"),
                (3, ["--env-file", self.path("none")], "cannot open"),
                (2, ["--hostname", "x", "--count", "2"], "do not go together")):
            with self.subTest(options):
                self.mvm_fails(status, "run", "-T", "web-worker", "-d", *options, says=says)

    def test_waiting_for_the_workload_tells_its_status_as_json(self):
        name = self.run_detached()["name"]
        self.mvm_fails(4, "wait", "--workload", "--timeout", "10ms", name, says="still runs")
        self.mvm_fails(4, "wait", "--timeout", "10ms", name, says="still runs")
        self.mvm_ok("kill", "-s", "15", name)
        done = self.mvm("wait", "--workload", "--json", name, status=128 + 15)
        self.assertEqual(json.loads(done.stdout),
                         {"name": name, "state": None, "exit_status": 128 + 15})


if __name__ == "__main__":
    guests.main()
