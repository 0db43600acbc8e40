# SPDX-License-Identifier: Apache-2.0
"""A VMM or a supervisor that its guest has taken over cannot reach anything.

The VMM's program here loads attack.c into QEMU.  When the guest tells it to, attack.c tries over 120
things, and names those that worked.  QEMU runs without its own -sandbox, so only mvm's walls hold.
The supervisor's program loads it into the process that reads the guest's bytes.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import unittest

import guests
import harness

ATTACK = os.environ.get("MVM_TEST_ATTACK")
LONG = bool(os.environ.get("MVM_TEST_LONG"))
OTHER = 65534  # an ordinary user

# QEMU is the first program that has LD_PRELOAD
WRAPPER = """#!/bin/sh
case "$*" in *--version*) exec qemu-system-x86_64 "$@";; esac
. %(prefix)s/lib/targets
n=$#
while [ $n -gt 0 ]; do
  case "$1" in -sandbox) shift 2; n=$((n - 2));; *) set -- "$@" "$1"; shift; n=$((n - 1));; esac
done
LD_PRELOAD=%(prefix)s/lib/attack.so exec qemu-system-x86_64 "$@"
"""

SUPERVISOR = """#!/bin/sh
. %(prefix)s/lib/targets
LD_PRELOAD=%(prefix)s/lib/attack.so exec %(real)s/mvm-supervisor "$@"
"""

# Landlock does not restrict names, a start needs programs, and nobody counts this VM's threads.
WITHOUT_NAMESPACES = {"stat the user's file", "execute a program", "read a program",
                      "start a thousand threads"}

# in a user namespace that cannot have others below it, like a host that refuses them
REFUSED = ["unshare", "--user", "--map-root-user", "sh", "-c",
           'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"']


@harness.needs_guests
@unittest.skipUnless(ATTACK and os.path.exists(ATTACK or ""), "attack.so is not built")
class Attack(guests.TestCase):
    config = guests.CONFIG + "data_disk_mib = 16\n"

    @classmethod
    def build_class(cls):
        cls.prefix = os.path.join(cls.shared, "qemu")
        cls.home = os.path.join(cls.shared, "home")
        for folder in ("bin", "lib"):
            os.makedirs(os.path.join(cls.prefix, folder))
        os.makedirs(cls.home)
        shutil.copy(ATTACK, os.path.join(cls.prefix, "lib", "attack.so"))
        cls.qemu = os.path.join(cls.prefix, "bin", "qemu")
        with open(cls.qemu, "w", encoding="utf-8") as file:
            file.write(WRAPPER % {"prefix": cls.prefix})
        os.chmod(cls.qemu, 0o755)
        cls.libexec = os.path.join(cls.prefix, "libexec")
        os.mkdir(cls.libexec)
        real = os.environ.get("MVM_LIBEXEC_DIR", os.path.dirname(os.path.realpath(harness.MVM)))
        for name in "mvm-net", "mvm-agent":
            os.symlink(os.path.join(real, name), os.path.join(cls.libexec, name))
        supervisor = os.path.join(cls.libexec, "mvm-supervisor")
        with open(supervisor, "w", encoding="utf-8") as file:
            file.write(SUPERVISOR % {"prefix": cls.prefix, "real": real})
        os.chmod(supervisor, 0o755)
        os.chmod(cls.shared, 0o755)
        cls.name_targets()
        os.environ["MVM_QEMU"] = cls.qemu
        cls.addClassCleanup(os.environ.pop, "MVM_QEMU")
        super().build_class()
        with open(cls.toml, "w", encoding="utf-8") as file:
            file.write(cls.config.replace('"web"', '"alone"').replace("command", 'network = "none"\ncommand'))
        super().build_class()

    @classmethod
    def name_targets(cls, **targets):
        with open(os.path.join(cls.prefix, "lib", "targets"), "w", encoding="utf-8") as file:
            for name, value in targets.items():
                file.write(f"export ATTACK_{name.upper()}='{value}'\n")

    def setUp(self):
        super().setUp()
        self.uid, self.before = os.geteuid(), []

    def mvm(self, *args, env=None, status=None, **_):
        done = subprocess.run([*self.before, harness.MVM, *args], env=self.environment(env),
                              cwd=self.shared, capture_output=True, text=True, errors="replace",
                              check=False, timeout=harness.PATIENCE_S * 5)
        if status is not None:
            self.assertEqual(done.returncode, status, done.stderr)
        return done

    def as_other(self):
        """Continue as a user other than root, with a data folder of its own."""
        if self.uid != 0 or not shutil.which("setpriv"):
            self.skipTest("not root, or without setpriv")
        self.own_data()
        os.chmod(self.folder, 0o755)
        subprocess.run(["chown", "-R", f"{OTHER}:{OTHER}", self.data_dir], check=True, timeout=60)
        self.before = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
        if subprocess.run([*self.before, harness.MVM, "version"], check=False,
                          capture_output=True, timeout=60).returncode:
            self.skipTest("another user cannot run mvm where it was built")
        self.uid = OTHER

    def aim(self, template):
        """Make the targets of attacks: the user's files, processes and sockets."""
        shutil.rmtree(self.home)
        os.mkdir(self.home, 0o700)
        secret = os.path.join(self.home, "secret")
        with open(secret, "w", encoding="utf-8") as file:
            file.write("secret")
        for path in self.home, secret:
            os.chown(path, self.uid, -1)
        victim = subprocess.Popen([*self.before, "sleep", "1000"])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        host = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(host.close)
        abstract = socket.socket(socket.AF_UNIX)
        self.addCleanup(abstract.close)
        name = f"mvm-test-{os.getpid()}-{self.id()}"[:90]
        abstract.bind(b"\0" + name.encode())
        abstract.listen()
        self.name_targets()
        other = self.start(template, "other")
        self.name_targets(home=self.home, pid=victim.pid, abstract=name, port=host.getsockname()[1],
                          memory=self.current(template, "snapshot", "mem.bin"),
                          socket=self.data("instances", other["name"], "control.sock"))

    def start(self, template, name, how="--require-snapshot", env=None):
        return json.loads(self.mvm("run", "--template", template, "-d", "--name", name, how, "--json",
                                   status=0, env=env).stdout)

    def attack_supervisor(self, template, how="--require-snapshot", **env):
        env["MVM_LIBEXEC_DIR"] = self.libexec
        return self.attack(template, how, env, "\\005")[0]

    def attack(self, template, how="--require-snapshot", env=None, trigger="\\a"):
        """Returns the attacks that worked, and the VM's record."""
        self.aim(template)
        record = self.start(template, "taken", how, env)
        self.mvm("exec", "taken", "--", "sh", "-c", f"printf '{trigger}' > /dev/ttyS0", status=0)
        path = self.data("instances", "taken", "console.log")

        def console():
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        self.assertTrue(guests.wait_until(lambda: "ATTACKED " in console()), console()[-2000:])
        text = console()
        self.assertGreater(int(re.search(r"ATTACKED (\d+)", text)[1]), 60)
        self.mvm("rm", "--force", "taken", "other")
        return set(re.findall(r"ATTACK (.*?)\r?\n", text)), record

    def test_no_attack_works_without_a_network(self):
        worked, record = self.attack("alone-worker")
        self.assertEqual(worked, set())
        self.assertEqual(record["isolation"].split(),
                         ["user"] * (self.uid == 0) + ["namespaces", "network", "landlock", "syscalls"])

    def test_no_attack_works_for_a_user_without_a_network(self):
        self.as_other()
        worked, record = self.attack("alone-worker")
        self.assertEqual(worked, set())
        self.assertEqual(record["isolation"], "namespaces network landlock syscalls")

    def test_no_attack_works_with_a_network(self):
        worked, record = self.attack("web-worker")
        self.assertEqual(worked, set())
        self.assertIn("network", record["isolation"].split())

    @unittest.skipUnless(LONG, "part of make check-long")
    def test_no_attack_works_for_a_user_with_a_network(self):
        self.as_other()
        self.assertEqual(self.attack("web-worker")[0], set())

    def test_in_the_supervisor_nothing_works(self):
        self.assertEqual(self.attack_supervisor("web-worker"), set())

    def test_in_the_supervisor_nothing_works_as_an_ordinary_user(self):
        self.as_other()
        self.assertEqual(self.attack_supervisor("web-worker"), set())

    @unittest.skipUnless(LONG, "part of make check-long")
    def test_in_the_supervisor_nothing_works_without_namespaces(self):
        self.as_other()
        self.before += REFUSED
        self.assertEqual(self.attack_supervisor("alone-worker"), set())

    def test_most_attacks_work_without_the_walls(self):
        """Otherwise the list would prove nothing."""
        self.as_other()
        worked, record = self.attack("web-worker", env={"MVM_ISOLATION": "off"})
        self.assertGreater(len(worked), 60, worked)
        self.assertEqual(record["isolation"], "none")

    def test_in_a_supervisor_with_its_rights_most_of_it_works(self):
        self.as_other()
        # it has spoilt its record, too, so that no command takes the folder for an instance
        self.addCleanup(shutil.rmtree, self.data("instances", "taken"), ignore_errors=True)
        self.assertGreater(len(self.attack_supervisor("web-worker", MVM_ISOLATION="off")), 60)

    @unittest.skipUnless(LONG, "part of make check-long")
    def test_a_guest_that_has_booted_gets_as_far(self):
        self.assertEqual(self.attack("alone-worker", "--cold")[0], set())

    @unittest.skipUnless(LONG, "part of make check-long")
    def test_without_namespaces_landlock_holds(self):
        self.as_other()
        self.before += REFUSED
        worked, record = self.attack("alone-worker")
        self.assertEqual(worked, WITHOUT_NAMESPACES)
        self.assertEqual(record["isolation"], "landlock syscalls")
        self.assertRegex(self.mvm("doctor").stdout, "qemu-isolation +landlock syscalls, not more")


if __name__ == "__main__":
    guests.main()
