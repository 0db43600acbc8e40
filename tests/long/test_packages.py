# SPDX-License-Identifier: Apache-2.0
"""`make deb`: the same bytes twice, packages that keep Debian's rules, and their life in a Debian with a real systemd:
installed, used by a group's member, upgraded, removed and purged, with a VM inside that goes on."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import harness

DEB = os.path.join(harness.SOURCE_DIR, "scripts", "deb")
NAMES = ["libmvm-dev", "libmvm1", "mvm", "mvmd"]
INSIDE = NAMES[1:] # in the guest, which has no -dev packages
KEEP = os.environ.get("MVM_TEST_PACKAGES_KEEP") # a folder to keep packages and the base system in
# What Debian's own packages bring, for guests without a network
SYSTEM = "systemd,systemd-sysv,dbus,udev,curl,adduser,debconf,man-db,qemu-system-x86,busybox-static"
OLDER = "0.2.9"

TEMPLATE = """
template_id = "debian"
flake_ref = "tar:{tar}"
command = ["/sbin/init"]
root_disk_mib = 6144
[health]
exec = ["/bin/sh", "-c", "systemctl is-system-running | grep -q -e running -e degraded"]
timeout_s = 600
[[variants]]
name = "debian"
role = "worker"
vcpus = 2
mem_mib = 2048
"""

# bash -e lets the failure of "! command" pass
BEGIN = """
export HOME=/root
no() { if "$@"; then echo "unexpected: $*"; return 1; fi; }
"""

INNER = """
template_id = "inner"
flake_ref = "dir:root"
command = ["/bin/busybox", "sleep", "1000000"]
[[variants]]
name = "inner"
role = "worker"
vcpus = 1
mem_mib = 128
"""

HAS_UNITS = """
test "$(stat -c '%a %U %G' /run/mvm)" = '750 root mvm'
test "$(stat -c '%a %U %G' /run/mvm/mvmd.sock)" = '660 root mvm'
systemctl is-active mvmd.socket
systemctl is-enabled mvmd.socket
no systemctl is-enabled mvmd.service mvm-pool.service
no systemctl is-active mvmd.service mvm-pool.service
systemd-analyze verify mvmd.socket mvmd.service mvm-pool.service
"""

HAS_GROUP = """
useradd -m -G mvm member
useradd -m other
ask='curl -sSf --max-time 60 --unix-socket /run/mvm/mvmd.sock http://localhost/v1/instances'
runuser -u member -- $ask
no runuser -u other -- $ask
systemctl is-active mvmd.service
"""

HAS_VM = """
cd /root
mkdir -p root/bin
cp /bin/busybox root/bin/
cat >template.toml <<'END'
{inner}
END
mvm kernel add /packages/kernel.deb --name k
mvm template build --config template.toml --snapshot
mvm run inner -d --name vm
mvm exec vm -- /bin/busybox echo answers
mvm inspect vm | grep -q mvm.slice
"""

HAS_POOL = """
mvm pool set inner --size 1
systemctl is-active mvmd.service # it keeps the pool
i=0
until mvm pool list --json | tr -d ' \\n' | grep -q '"ready":1'; do test $((i += 1)) -lt 300; sleep 1; done
systemctl stop mvmd.socket mvmd.service
systemctl start mvm-pool.service
i=0
until mvm pool list --json | tr -d ' \\n' | grep -q '"ready":1'; do test $((i += 1)) -lt 300; sleep 1; done
mvm run inner -- /bin/busybox echo from the pool
systemctl stop mvm-pool.service
mvm pool set inner --size 0
systemctl start mvmd.socket
curl -sSf --unix-socket /run/mvm/mvmd.sock http://localhost/v1/templates | grep inner
"""

ALL_GOES_ON = """
test "$(mvm inspect vm --json | tr -d ' \\n' | grep -o '"supervisor_pid":[0-9]*')" = "$(cat /root/supervisor)"
mvm exec vm -- /bin/busybox echo goes on
mvm template list | grep inner
systemctl is-active mvmd.socket mvmd.service
test "$(readlink /proc/$(systemctl show -P MainPID mvmd.service)/exe)" = /usr/bin/mvmd
"""

PURGES = """
test -f /root/.mvm/mvm-data.json
test ! -e /usr/bin/mvm
test ! -e /run/mvm/mvmd.sock
pgrep -f mvm-supervisor # the VM goes on
export DEBIAN_FRONTEND=noninteractive
apt-get purge -y mvm mvmd
test -f /root/.mvm/mvm-data.json # nobody has answered
apt-get install -y --no-install-recommends /packages/new/*.deb
mvm exec vm -- /bin/busybox echo still here
echo 'mvm mvm/purge-data boolean true' | debconf-set-selections
apt-get purge -y mvm mvmd
test -f /root/.mvm/mvm-data.json # the VM runs
apt-get install -y --no-install-recommends /packages/new/*.deb
mvm stop vm
echo 'mvm mvm/purge-data boolean true' | debconf-set-selections
apt-get purge -y mvm mvmd
test ! -e /root/.mvm
"""


def run(*command, timeout=3600, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, **more)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout[-20000:]}{done.stderr[-20000:]}")
    return done.stdout


def why_not():
    missing = [tool for tool in ("dpkg-buildpackage", "dh", "lintian", "po2debconf") if not shutil.which(tool)]
    return f"{', '.join(missing)}: missing (scripts/install-deps deb)" if missing else None


@unittest.skipIf(why_not(), why_not())
class Packages(harness.TestCase):
    timeout = 3600

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.scratch = KEEP or cls.enterClassContext(tempfile.TemporaryDirectory(prefix="mvm-test-"))
        cls.new = cls.build("new")

    @classmethod
    def build(cls, name, **more):
        out = os.path.join(cls.scratch, name)
        if not (KEEP and os.path.exists(out)):
            run(DEB, out, **more) # lintian's findings are an error
        return out

    def package(self, name):
        [path] = [entry.path for entry in os.scandir(self.new) if re.match(name + r"_.*\.deb$", entry.name)]
        return path

    def test_the_same_sources_give_the_same_bytes(self):
        again = self.build("again", umask=0o027, env={**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": self.folder})
        for name in os.listdir(self.new):
            if name.endswith((".deb", ".dsc", ".tar.xz")):
                first, second = (hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest()
                                 for folder in (self.new, again))
                self.assertEqual(first, second, name)

    def test_programs_are_hardened_and_have_their_pages(self):
        root = self.path("root")
        for name in NAMES:
            run("dpkg-deb", "-x", self.package(name), root)
        for path in "usr/bin/mvm", "usr/bin/mvmd", "usr/libexec/mvm/mvm-supervisor", "usr/libexec/mvm/mvm-net":
            elf = run("readelf", "-hldW", os.path.join(root, path))
            for what in r"DYN \(Position-Independent", "GNU_RELRO", "BIND_NOW", r"GNU_STACK .* RW ":
                self.assertRegex(elf, what, path)
            self.assertNotRegex(elf, "RPATH|RUNPATH", path)
            self.assertIn("__memcpy_chk", run("nm", "-D", os.path.join(root, path)), path)
        commands = [c["name"].replace(" ", "-") for c in self.mvm_json("help")["commands"]]
        for page in ["mvm", "mvmd", *(f"mvm-{command}" for command in commands)]:
            self.assertTrue(os.path.exists(f"{root}/usr/share/man/man1/{page}.1.gz"), page)
        for path in ("bash-completion/completions/mvm", "zsh/vendor-completions/_mvm", "fish/vendor_completions.d/mvm.fish",
                     "doc/mvm/README.md", "doc/mvm/doc/production.md", "doc/mvm/CHANGELOG.md"):
            self.assertTrue(os.path.isfile(f"{root}/usr/share/{path}"), path)

    def system(self):
        """A Debian with systemd, and all that the packages depend on, as a tar."""
        tar = os.path.join(self.scratch, "system.tar")
        if os.path.exists(tar):
            return tar
        depends = set()
        for name in INSIDE:
            field = run("dpkg-deb", "-f", self.package(name), "Depends", "Pre-Depends")
            depends |= {word for word in re.findall(r"(?:[,:|] *|^ *)([a-z0-9][a-z0-9.+-]+)", field)} - set(NAMES)
        depends -= {"systemd-standalone-sysusers", "systemd-sysusers", "default-logind", "cdebconf", "debconf-2.0"}
        try:
            run("mmdebstrap", "--variant=minbase", f"--include={SYSTEM},{','.join(sorted(depends))}", "bookworm", tar)
        except AssertionError as error:
            if "unable to" in str(error).lower() or "resolve" in str(error).lower():
                raise unittest.SkipTest(f"no Debian mirror can be reached: {error}") from error
            raise
        return tar

    def older(self, folder):
        """The packages again, as of an older version."""
        os.makedirs(folder)
        for name in INSIDE:
            tree = self.path("older")
            run("dpkg-deb", "-R", self.package(name), tree)
            with open(tree + "/DEBIAN/control", encoding="utf-8") as file:
                control = file.read()
            version = re.search(r"^Version: (\S+)", control, re.M).group(1)
            self.write("older/DEBIAN/control", control.replace(version, OLDER))
            run("dpkg-deb", "--root-owner-group", "-b", tree, f"{folder}/{name}_{OLDER}_amd64.deb")
            shutil.rmtree(tree)

    @harness.needs_guests
    @harness.needs_program("mmdebstrap")
    def test_their_life_under_a_real_systemd(self):
        packages = self.path("packages")
        self.older(packages + "/old")
        os.makedirs(packages + "/new")
        for name in INSIDE:
            shutil.copy(self.package(name), packages + "/new")
        shutil.copy(os.environ["MVM_TEST_KERNEL_DEB"], packages + "/kernel.deb")
        self.mvm_ok("kernel", "add", os.environ["MVM_TEST_KERNEL_DEB"], "--name", "debian")
        self.mvm_ok("template", "build", "--config", self.write("template.toml", TEMPLATE.format(tar=self.system())))
        self.mvm_ok("run", "debian", "-d", "--name", "outer")
        self.addCleanup(self.mvm, "rm", "--force", "outer")
        self.mvm_ok("cp", packages, "outer:/")
        steps = (
            ("install", "apt-get install -y --no-install-recommends /packages/old/*.deb\nmvm version"),
            ("units", HAS_UNITS),
            ("group", HAS_GROUP),
            ("vm", HAS_VM.format(inner=INNER)),
            ("pool", HAS_POOL),
            ("upgrade", "mvm inspect vm --json | tr -d ' \\n' | grep -o '\"supervisor_pid\":[0-9]*' >/root/supervisor\n"
                        "apt-get install -y --no-install-recommends /packages/new/*.deb"),
            ("goes on", ALL_GOES_ON),
            ("remove", "apt-get remove -y libmvm1 mvm mvmd"),
            ("purge", PURGES),
        )
        for name, script in steps:
            done = self.mvm("exec", "outer", "--", "/bin/bash", "-exc", BEGIN + script, timeout=3000)
            print(f"# {name}: status {done.returncode}", flush=True)
            self.assertEqual(done.returncode, 0, f"{name}: {done.stdout[-6000:]}{done.stderr[-9000:]}")


if __name__ == "__main__":
    harness.main()
