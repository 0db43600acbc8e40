# SPDX-License-Identifier: Apache-2.0
"""`make deb`: the same bytes twice, packages that keep Debian's rules, and their life in a Debian with a real systemd:
installed over the last release, used by a group's member, removed and purged, with a VM inside that goes on."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import debian
import harness
import last_release
import systemd_box

DEB = os.path.join(harness.SOURCE_DIR, "scripts", "deb")
NAMES = ["libmvm-dev", "libmvm1", "mvm", "mvmd"]
INSIDE = NAMES[1:] # in the guest, which has no -dev packages
KEEP = os.environ.get("MVM_TEST_PACKAGES_KEEP") # a folder to keep packages and the base system in
STEP_S = 3000
# Steps of the packages' life
NEW = ["boot", "install", "template", "vm"]
UPGRADED = ["boot", "last release", "template", "snapshot", "vm", "install", "keeps template", "keeps snapshot", "keeps vm"]
# The last release gives a guest two minutes to boot.  One that is emulated in an emulated guest needs three.
UPGRADED_EMULATED = ["boot", "last release", "template", "install", "keeps template", "vm"]
USED = ["units", "group", "pool", "again", "remove", "purge"]
WHY_NO_GUEST = None if os.environ.get("MVM_TEST_PACKAGES_GUEST") else harness.why_no_kvm() # emulated, it takes half an hour
# What Debian's own packages bring, for guests without a network
SYSTEM = "systemd,systemd-sysv,dbus,curl,adduser,debconf,man-db,qemu-system-x86,busybox-static"
# What else would take a guest's time, above all that of an emulated one
MASKED = ("e2scrub_reap.service", "systemd-logind.service", "getty@.service", "apt-daily.timer", "apt-daily-upgrade.timer",
          "man-db.timer", "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer", "systemd-tmpfiles-clean.timer")

TEMPLATE = """
template_id = "debian"
flake_ref = "tar:{tar}"
command = ["/sbin/init"]
[[variants]]
name = "debian"
role = "worker"
vcpus = 2
mem_mib = 2048
root_disk_mib = 6144
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

CONTROL = """Package: mvm
Version: {version}
Architecture: amd64
Maintainer: nobody <nobody@mvm.example>
Depends: libc6
Description: the last release, which had no packages
"""

INSTALL = """
apt-get install -y --no-install-recommends {packages}
test "$(mvm version)" = 'mvm {version}'
"""

HAS_TEMPLATE = """
cd /root
mkdir -p root/bin
cp /bin/busybox root/bin/
cat >template.toml <<'END'
{inner}
END
mvm kernel add /packages/kernel.deb --name k
mvm template build --config template.toml
"""

HAS_SNAPSHOT = "mvm template snapshot inner"

SUPERVISOR = "busybox ps | grep '/mvm-supervisor vm *$' | awk '{print $1}'"

HAS_VM = f"""
mvm run --template inner -d --name vm
mvm exec vm -- /bin/busybox echo answers
mvm ps | grep vm
{SUPERVISOR} >/root/supervisor
test -s /root/supervisor
"""

KEEPS_VM = f"""
test "$({SUPERVISOR})" = "$(cat /root/supervisor)"
mvm exec vm -- /bin/busybox echo goes on
mvm ps | grep vm
"""

KEEPS_TEMPLATE = "mvm template list | grep inner"

KEEPS_SNAPSHOT = "mvm template list --json | tr -d ' \\n' | grep '\"has_snapshot\":true'"

HAS_UNITS = """
test "$(stat -c '%a %U %G' /run/mvm)" = '755 root root'
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
runuser -u other -- grep . /run/mvm/generation # this guest's own, which mvm's agent has put there
"""

HAS_POOL = """
mvm template snapshot inner
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

# An upgrade restarts mvmd, and nothing else.
AGAIN = """
before=$(systemctl show -P MainPID mvmd.service)
apt-get install -y --reinstall --no-install-recommends {packages}
systemctl is-active mvmd.socket mvmd.service
after=$(systemctl show -P MainPID mvmd.service)
test "$after" != "$before"
test "$(readlink /proc/$after/exe)" = /usr/bin/mvmd
mvm exec vm -- /bin/busybox echo goes on
"""

PURGES = """
test -f /root/.mvm/mvm-data.json
test ! -e /usr/bin/mvm
test ! -e /run/mvm/mvmd.sock
busybox ps | grep '/mvm-supervisor vm *$' # the VM goes on
export DEBIAN_FRONTEND=noninteractive
apt-get purge -y mvm mvmd
test -f /root/.mvm/mvm-data.json # nobody has answered
apt-get install -y --no-install-recommends {packages}
mvm exec vm -- /bin/busybox echo still here
echo 'mvm mvm/purge-data boolean true' | debconf-set-selections
apt-get purge -y mvm mvmd
test -f /root/.mvm/mvm-data.json # the VM runs
apt-get install -y --no-install-recommends {packages}
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
            self.assertRegex(run("nm", "-D", os.path.join(root, path)), r"__\w+_chk@", path) # of _FORTIFY_SOURCE
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
            fields = run("dpkg-deb", "--show", "--showformat=${Depends},${Pre-Depends}", self.package(name))
            depends |= set(re.findall(r"(?:^|,) *([a-z0-9][a-z0-9.+-]+)", fields)) - set(NAMES) # first alternatives
        debian.make(tar, f"--include={SYSTEM},{','.join(sorted(depends))}", "--customize-hook=cd $1/etc/systemd/system && "
                    f"for unit in {' '.join(MASKED)}; do ln -sf /dev/null $unit; done")
        return tar

    def package_of_last_release(self):
        """A package of the last release, which made none itself."""
        tree = self.path("old")
        os.makedirs(tree)
        build = last_release.build(tree)
        root = self.path("old-root")
        for name, folder in ("mvm", "bin"), ("mvm-supervisor", "libexec/mvm"), ("mvm-agent", "libexec/mvm"):
            os.makedirs(f"{root}/usr/{folder}", exist_ok=True)
            run("install", "-s", f"{build}/{name}", f"{root}/usr/{folder}/{name}")
        self.write("old-root/DEBIAN/control", CONTROL.format(version=last_release.VERSION))
        run("dpkg-deb", "--root-owner-group", "-b", root, self.path("packages/old.deb"))

    def prepare(self):
        """Fill a folder with the packages; returns what the steps of their life call them."""
        os.makedirs(self.path("packages"))
        self.package_of_last_release()
        names = [shutil.copy(self.package(name), self.path("packages")) for name in INSIDE]
        shutil.copy(os.environ["MVM_TEST_KERNEL_DEB"], self.path("packages/kernel.deb"))
        return {"packages": " ".join("/packages/" + os.path.basename(name) for name in names)}

    def live(self, names, values, execute):
        """These steps of the packages' life, in a Debian in which execute() runs scripts."""
        version = self.mvm_ok("version").split()[1]
        steps = {
            "boot": "until systemctl is-system-running --wait | grep -e running -e degraded; do sleep 2; done",
            "last release": INSTALL.format(version=last_release.VERSION, packages="/packages/old.deb"),
            "install": INSTALL.format(version=version, **values),
            "template": HAS_TEMPLATE.format(inner=INNER),
            "snapshot": HAS_SNAPSHOT,
            "vm": HAS_VM,
            "keeps vm": KEEPS_VM,
            "keeps template": KEEPS_TEMPLATE,
            "keeps snapshot": KEEPS_SNAPSHOT,
            "units": HAS_UNITS,
            "group": HAS_GROUP,
            "pool": HAS_POOL,
            "again": AGAIN.format(**values),
            "remove": "apt-get remove -y libmvm1 mvm mvmd",
            "purge": PURGES.format(**values),
        }
        for name in names:
            began = time.monotonic()
            done = execute(BEGIN + steps[name])
            print(f"# {name}: status {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)
            self.assertEqual(done.returncode, 0, f"{name}: {done.stdout[-6000:]}{done.stderr[-9000:]}")

    @harness.needs_guests
    @harness.needs_program("mmdebstrap")
    @unittest.skipIf(systemd_box.why_none(), systemd_box.why_none())
    @unittest.skipIf(last_release.why_not(), last_release.why_not())
    def test_their_life_under_a_real_systemd(self):
        values = self.prepare()
        with systemd_box.Box(self.path("box"), self.system()) as box:
            shutil.copytree(self.path("packages"), box.root + "/packages", dirs_exist_ok=True)
            box.run("mkdir -p /run/mvm; echo 1 > /run/mvm/generation") # as mvm's agent in a guest
            self.live(UPGRADED + USED, values, lambda script: box.run(script, timeout=STEP_S))

    @harness.needs_guests
    @harness.needs_program("mmdebstrap")
    @unittest.skipIf(WHY_NO_GUEST, WHY_NO_GUEST)
    @unittest.skipIf(last_release.why_not(), last_release.why_not())
    def test_their_life_in_a_guest(self):
        values = self.prepare()
        self.mvm_ok("kernel", "add", os.environ["MVM_TEST_KERNEL_DEB"], "--name", "debian")
        self.mvm_ok("template", "build", "--config", self.write("template.toml", TEMPLATE.format(tar=self.system())))
        self.mvm_ok("run", "debian", "-d", "--name", "outer")
        self.addCleanup(self.mvm, "rm", "--force", "outer")
        self.mvm_ok("cp", self.path("packages"), "outer:/")

        def execute(script):
            return self.mvm("exec", "outer", "--", "/bin/bash", "-exc", script, timeout=STEP_S)

        self.live(NEW + USED, values, execute)
        self.live(UPGRADED_EMULATED if harness.why_no_kvm() else UPGRADED, values, execute)


if __name__ == "__main__":
    harness.main()
