# SPDX-License-Identifier: Apache-2.0
"""Values that two clones of one snapshot share, for each point of its capture, as in doc/clones.md."""

import os
import re
import subprocess

import guests
import harness

VARIANT = """
[[variants]]
role    = "{role}"
vcpus   = 1
mem_mib = 128
{more}
"""

CONFIG = """
template_id = "t"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["probe", "serve"]
env         = { KEPT = "1", GIVEN = "template" }

[health]
tcp = 8080
""" + "".join(VARIANT.format(role=role, more=more) for role, more in (
    ("boot", 'snapshot.point = "boot"'),
    ("healthy", ""),
    ("restart", 'on_restore = "restart"'),
    ("signal", 'on_restore = "signal:USR1"')))

PAGE = os.path.join(harness.SOURCE_DIR, "doc", "clones.md")
ROW = re.compile(r"^\| (.+?) \| (differs|same|counts) \| (differs|same|counts) \|$", re.M)
# These numbers (modulo 2^32) count as the same if they differ by no more than this: beside a secret,
# they contain a clock, or how many have been handed out.
NEAR = {"TCP sequence numbers": 1 << 24, "TCP timestamp offsets": 5000, "TCP source ports": 256}


def is_same(name, one, other):
    if name not in NEAR:
        return one == other
    return all(min((int(a) - int(b)) % (1 << 32), (int(b) - int(a)) % (1 << 32)) < NEAR[name]
               for a, b in zip(one.split(), other.split()))


@harness.needs_guests
class Clones(guests.TestCase):
    config = CONFIG

    @classmethod
    def make_source(cls):
        subprocess.run(["cc", "-static-pie", "-fstack-protector-strong", "-O1", "-o",
                        os.path.join(cls.root, "bin", "probe"),
                        os.path.join(os.path.dirname(__file__), "clone_probe.c")],
                       check=True, timeout=120)

    def clone(self, role, name, *options):
        return self.run_detached("t-" + role, "--name", name, "--require-snapshot", *options)

    def report(self, name):
        lines = self.exec(name, "probe", "report").splitlines()
        pairs = (line.partition("=") for line in lines)
        return {source.rstrip("~"): value for source, _, value in pairs}

    def reports(self, role):
        """The reports of two clones that were treated alike."""
        names = [f"{role}-{i}" for i in (1, 2)]
        for name in names:
            self.clone(role, name)
        return [self.report(name) for name in names]

    def compare(self, one, other):
        self.assertEqual(one.keys(), other.keys())
        return {name: "same" if is_same(name, one[name], other[name]) else "differs"
                for name in one}

    def test_the_page_lists_the_shared_values(self):
        """Compares at least 30 sources for each point.  `counts` marks a counter, which may be the same,
        and is never a secret."""
        seen = {role: self.compare(*self.reports(role)) for role in ("boot", "healthy")}
        with open(PAGE, encoding="utf-8") as file:
            said = {name: dict(zip(("boot", "healthy"), words))
                    for name, *words in ROW.findall(file.read())}
        self.assertGreaterEqual(len(said), 30)
        self.assertEqual(said.keys(), seen["boot"].keys())
        wrong = [f"| {name} | {seen['boot'][name]} | {seen['healthy'][name]} |" for name in said
                 if any(said[name][role] not in ("counts", seen[role][name]) for role in seen)]
        self.assertEqual(wrong, [], "as it was seen")

    def check_variables(self, name, record):
        self.assertEqual(record["start"], "restore")
        self.assertEqual(record["health"], "healthy")
        self.assertIn("healthy", record["stages_ns"])
        found = self.exec(name, "sh", "-c", "tr '\\0' '\\n' </proc/$(pidof probe)/environ")
        self.assertEqual([line for line in found.splitlines() if line.split("=")[0] in
                          ("KEPT", "GIVEN", "HOSTNAME")],
                         ["HOSTNAME=" + name, "KEPT=1", "GIVEN=start"])

    def test_a_workload_that_starts_in_the_clone_takes_variables(self):
        self.check_variables("vars", self.clone("boot", "vars", "-e", "GIVEN=start"))

    def test_a_workload_starts_when_its_vm_is_taken_from_a_pool(self):
        self.mvm_ok("pool", "set", "t-boot", "--size", "1")
        server = self.start_mvm("pool", "serve")
        self.addCleanup(server.wait, harness.PATIENCE_S)
        self.addCleanup(server.terminate)
        self.addCleanup(self.mvm_ok, "pool", "set", "t-boot", "--size", "0")
        self.assertTrue(guests.wait_until(
            lambda: self.mvm_json("pool", "list")["pools"][0]["ready"] == 1))
        record = self.clone("boot", "pooled", "-e", "GIVEN=start")
        self.assertTrue(record["from_pool"])
        self.check_variables("pooled", record)

    def test_a_restarted_workload_shares_nothing_with_its_twin(self):
        one, other = self.reports("restart")
        seen = self.compare(one, other)
        for secret in ("session key", "hash seed", "AT_RANDOM", "stack canary", "mmap address",
                       "generator seeded at its start"):
            self.assertEqual(seen["workload: " + secret], "differs", secret)
        # only one workload runs, and the VM ends with it
        self.assertEqual(len(self.exec("restart-1", "busybox", "pidof", "probe").split()), 1)
        self.mvm_ok("kill", "--signal", "TERM", "restart-1")
        self.assertTrue(guests.wait_until(
            lambda: self.inspect("restart-1")["state"] == "exited"))

    def test_a_signalled_workload_can_renew_its_secrets(self):
        one, other = self.reports("signal")
        seen = self.compare(one, other)
        self.assertEqual(seen["workload: session key"], "differs")
        self.assertEqual(seen["workload: generator seeded at its start"], "differs")
        self.assertEqual(seen["workload: AT_RANDOM"], "same")
        self.assertIn("renewed by signal 10", self.mvm_ok("logs", "signal-1"))

    def test_a_workload_that_does_not_start_fails_the_build_by_its_name(self):
        text = CONFIG.split("[[variants]]", maxsplit=1)[0].replace("dir:root", "dir:" + self.root)
        for role, more, says in (
                ("missing", 'command = ["/bin/missing"]', "cannot execute '/bin/missing'"),
                ("sick", "health = { tcp = 9, timeout_s = 2 }", "did not become healthy")):
            toml = self.write(role + ".toml", text + VARIANT.format(
                role=role, more=more + '\nsnapshot.point = "boot"'))
            self.mvm_fails(1, "template", "build", "--snapshot", "--config", toml, says=says)


if __name__ == "__main__":
    guests.main()
