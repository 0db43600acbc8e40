# SPDX-License-Identifier: Apache-2.0
"""A VMM, a supervisor, an mvm-net or an mvm-registry that was taken over cannot reach anything.

The VMM's program here loads attack.c into QEMU.  When the guest tells it to, attack.c tries over 150
things, and names those that worked.  QEMU runs without its own -sandbox, so only mvm's walls hold.
The supervisor's program loads it into the process that reads the guest's bytes, mvm-net's and
mvm-registry's into those that read from the network.
"""

import fcntl
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import unittest

import guests
import harness

ATTACK = os.environ.get("MVM_TEST_ATTACK")
LONG = bool(os.environ.get("MVM_TEST_LONG"))
KERNEL = os.path.join(harness.SOURCE_DIR, "tests/fuzz/corpus/kernel/vmlinux")
OTHER = 65534  # an ordinary user
F_OFD_SETLK = 37

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

HELPER = """#!/bin/sh
. %(prefix)s/lib/targets
LD_PRELOAD=%(prefix)s/lib/attack.so exec %(real)s/%(name)s "$@"
"""

# mvm-net is the VM's network, so it has the host's.  A filter cannot tell which kind of socket it
# binds, so it can also give an abstract name to the sockets that it has.
NETWORK = {"connect to the host", "listen on the host", "send a datagram", "name a socket"}

# mvm-registry connects to registries, with a thread for each name that it asks for.  It is in no
# namespace, so it sees which files there are, in folders that its user may enter.
REGISTRY = {"connect to the host", "send a datagram", "make a pair of sockets",
            "start a thousand threads"}

# Landlock does not restrict names, a start needs programs, and nobody counts this VM's threads.
WITHOUT_NAMESPACES = {"stat the user's file", "execute a program", "read a program",
                      "start a thousand threads"}

# in a user namespace that cannot have others below it, like a host that refuses them
REFUSED = ["unshare", "--user", "--map-root-user", "sh", "-c",
           'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"']


class Targets:
    """What attacks aim at: the user's files, processes and sockets.  The test sets prefix, home, the
    user's uid, and before, the words that make a command the user's."""

    @classmethod
    def name_targets(cls, **targets):
        with open(os.path.join(cls.prefix, "lib", "targets"), "w", encoding="utf-8") as file:
            for name, value in targets.items():
                file.write(f"export ATTACK_{name.upper()}='{value}'\n")

    def targets(self):
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
        self.answer = socket.create_server(("127.0.0.1", 0))
        self.answer.settimeout(harness.PATIENCE_S)
        self.addCleanup(self.answer.close)
        return {"home": self.home, "pid": victim.pid, "abstract": name, "port": host.getsockname()[1],
                "answer": self.answer.getsockname()[1]}

    def answered(self):
        """The attacks that worked, as the attacked process tells over the network."""
        connection, _ = self.answer.accept()
        with connection, connection.makefile("r", encoding="utf-8") as file:
            text = file.read()
        self.assertIn("ATTACKED ", text)
        return set(re.findall(r"ATTACK (.*?)\r?\n", text))


@harness.needs_guests
@unittest.skipUnless(ATTACK and os.path.exists(ATTACK or ""), "attack.so is not built")
class Attack(Targets, guests.TestCase):
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
            file.write(HELPER % {"prefix": cls.prefix, "real": real, "name": "mvm-supervisor"})
        os.chmod(supervisor, 0o755)
        cls.netexec = os.path.join(cls.prefix, "netexec")
        os.mkdir(cls.netexec)
        for name in "mvm-supervisor", "mvm-agent":
            os.symlink(os.path.join(real, name), os.path.join(cls.netexec, name))
        shutil.copy(os.path.join(real, "mvm-net"), os.path.join(cls.prefix, "lib", "mvm-net"))
        net = os.path.join(cls.netexec, "mvm-net")
        with open(net, "w", encoding="utf-8") as file:
            file.write(HELPER % {"prefix": cls.prefix, "real": os.path.join(cls.prefix, "lib"),
                                "name": "mvm-net"})
        os.chmod(net, 0o755)
        os.chmod(cls.shared, 0o755)
        cls.name_targets()
        os.environ["MVM_QEMU"] = cls.qemu
        cls.addClassCleanup(os.environ.pop, "MVM_QEMU")
        super().build_class()
        with open(cls.toml, "w", encoding="utf-8") as file:
            file.write(cls.config.replace('"web"', '"alone"').replace("command", 'network = "none"\ncommand'))
        super().build_class()

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
        targets = self.targets()
        self.name_targets()
        other = self.start(template, "other")
        self.name_targets(**targets, memory=self.current(template, "snapshot", "mem.bin"),
                          socket=self.data("instances", other["name"], "control.sock"))

    def start(self, template, name, how="--require-snapshot", env=None):
        return json.loads(self.mvm("run", "--template", template, "-d", "--name", name, how, "--json",
                                   status=0, env=env).stdout)

    def attack_supervisor(self, template, how="--require-snapshot", **env):
        env["MVM_LIBEXEC_DIR"] = self.libexec
        return self.attack(template, how, env, "\\005")[0]

    def attack_network(self, **env):
        """In mvm-net, which hears of a name that the guest asks for."""
        env["MVM_LIBEXEC_DIR"] = self.netexec
        self.aim("web-worker")
        self.start("web-worker", "taken", env=env)
        self.mvm("exec", "taken", "--", "/bin/busybox", "nslookup", "attack-from-inside", "10.0.2.3")
        worked = self.answered()
        self.mvm("rm", "--force", "taken", "other")
        return worked

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

    def test_a_lock_on_the_shared_image_stops_no_other_vm(self):
        """QEMU would heed such a lock, which a VMM that only reads the image could take."""
        with open(self.current("alone-worker", "rootfs.ext4"), "rb") as file:
            fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 100, 1000, 0))
            self.start("alone-worker", "other")
        self.mvm("rm", "--force", "other")

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

    def test_in_the_network_only_sockets_work(self):
        self.assertEqual(self.attack_network(), NETWORK)

    def test_in_the_network_only_sockets_work_as_an_ordinary_user(self):
        self.as_other()
        self.assertEqual(self.attack_network(), NETWORK)

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


class Registry(Targets, harness.TestCase):
    """mvm-registry, in which an answer that it got runs."""

    def setUp(self):
        super().setUp()
        if not ATTACK or not os.path.exists(ATTACK):
            self.skipTest("attack.so is not built")
        self.uid, self.before, self.home = os.geteuid(), [], self.path("home")
        type(self).prefix = self.path("registry")
        os.mkdir(self.home)
        shutil.copy(ATTACK, self.write("registry/lib/attack.so", "", 0o755))
        real = os.environ.get("MVM_LIBEXEC_DIR", os.path.dirname(os.path.realpath(harness.MVM)))
        self.libexec = os.path.dirname(self.write("registry/libexec/mvm-registry", HELPER % {
            "prefix": self.prefix, "real": real, "name": "mvm-registry"}, 0o755))
        os.symlink(os.path.join(real, "mvm-agent"), os.path.join(self.libexec, "mvm-agent"))
        os.chmod(self.folder, 0o755)

    def attack(self):
        """Run a build whose registry answers with the trigger."""
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.bind(self.path("control.sock"))
        other.listen()
        self.name_targets(**self.targets(), socket=self.path("control.sock"))
        registry = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(registry.close)
        subprocess.run([*self.before, harness.MVM, "kernel", "add", KERNEL, "--name", "k"], check=True,
                       env=self.environment(), capture_output=True, timeout=harness.PATIENCE_S)
        env = self.environment({"MVM_LIBEXEC_DIR": self.libexec})
        build = subprocess.Popen(
            [*self.before, harness.MVM, "run", "-d",
             f"docker://127.0.0.1:{registry.getsockname()[1]}/attack:v1"], env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(build.stdout.close)
        self.addCleanup(build.wait)
        self.addCleanup(build.kill)
        registry.settimeout(harness.PATIENCE_S)
        try:
            connection, _ = registry.accept()
        except TimeoutError:
            build.kill()
            self.fail(build.communicate()[0])
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 404 attack-from-inside\r\nContent-Length: 0\r\n\r\n")
            return self.answered()

    def test_in_the_registry_only_connections_work(self):
        self.assertEqual(self.attack(), REGISTRY)

    def test_in_the_registry_only_connections_work_as_an_ordinary_user(self):
        if self.uid != 0 or not shutil.which("setpriv"):
            self.skipTest("not root, or without setpriv")
        self.uid = OTHER
        self.before = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
        os.mkdir(self.data_dir)
        os.chown(self.data_dir, OTHER, OTHER)
        os.chmod(self.data_dir, 0o700)
        # the user may enter its own folder
        self.assertEqual(self.attack(), REGISTRY | {"stat the user's file"})


if __name__ == "__main__":
    guests.main()
