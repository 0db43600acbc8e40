# SPDX-License-Identifier: Apache-2.0
"""The files in debian/ fit what is installed, and systemd takes the units.  long/test_packages.py builds the packages."""

import fnmatch
import glob
import os
import re
import subprocess
import tempfile

import harness

DEBIAN = os.path.join(harness.SOURCE_DIR, "debian")
BUILD_DIR = os.path.dirname(harness.MVM)
# what debian/rules moves, and what only a build with -Dsocket_group installs
MOVED = {"usr/lib/systemd/system": "lib/systemd/system", "usr/share/zsh/site-functions": "usr/share/zsh/vendor-completions"}
OF_GROUP = {"usr/lib/sysusers.d/mvm.conf", "usr/lib/tmpfiles.d/mvm.conf"}
# of every Debian that builds packages, or tools that the packages do without
NO_BUILD_DEPENDS = {"gcc", "g++", "libc6-dev", "linux-libc-dev"}
OF_DEBHELPER = {"debhelper-compat", "dh-sequence-installsysusers", "po-debconf", "python3"}


def read(*path):
    with open(os.path.join(harness.SOURCE_DIR, *path), encoding="utf-8") as file:
        return file.read()


class Debian(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="mvm-test-"))
        subprocess.run(["meson", "install", "-C", BUILD_DIR, "--no-rebuild", "--quiet", "--destdir", cls.root],
                       check=True, capture_output=True, timeout=300)
        [cls.prefix] = {os.path.dirname(os.path.dirname(path)) for path in glob.glob(cls.root + "/**/bin/mvm", recursive=True)}

    def installed(self):
        """Paths of the installed files in a package."""
        found = set(OF_GROUP)
        for folder, _, names in os.walk(self.prefix):
            for name in names:
                path = "usr/" + os.path.relpath(os.path.join(folder, name), self.prefix)
                for old, new in MOVED.items():
                    path = new + path.removeprefix(old) if path.startswith(old + "/") else path
                found.add(path)
        return found

    def test_each_installed_file_is_in_one_package(self):
        claims = {os.path.basename(path).removesuffix(".install"): read(path).split()
                  for path in glob.glob(DEBIAN + "/*.install")}
        self.assertEqual(set(claims), set(re.findall(r"^Package: (\S+)", read("debian/control"), re.M)))
        unused = {pattern for patterns in claims.values() for pattern in patterns}
        for path in sorted(self.installed()):
            owners = {package: pattern for package, patterns in claims.items() for pattern in patterns
                      if fnmatch.fnmatch(path, pattern) or path.startswith(pattern + "/")}
            self.assertEqual(len(owners), 1, (path, owners))
            unused -= set(owners.values())
        self.assertEqual(unused, set())

    def test_versions_and_nodes_are_those_of_the_build(self):
        version = re.search(r"version : '([\d.]+)'", read("meson.build")).group(1)
        self.assertEqual(re.match(r"mvm \(([\d.]+)\) ", read("debian/changelog")).group(1), version)
        nodes = re.findall(r"^(MVM_[\d.]+) \{", read("lib/mvm.map"), re.M)
        self.assertEqual(re.findall(r"^ \(symver\)(\S+) ", read("debian/libmvm1.symbols"), re.M), nodes)
        soname = re.search(r"soversion : '(\d+)'", read("lib/meson.build")).group(1)
        self.assertIn(f"\nPackage: libmvm{soname}\n", read("debian/control"))

    def test_the_build_needs_what_install_deps_installs(self):
        wanted = set(re.findall(r"^build +(\S+)", read("scripts/install-deps"), re.M)) - NO_BUILD_DEPENDS
        field = re.search(r"^Build-Depends:((?:\n .*)+)", read("debian/control"), re.M).group(1)
        self.assertEqual(set(re.findall(r"^ ([\w.+-]+)", field, re.M)) - OF_DEBHELPER, wanted)

    @harness.needs_program("systemd-analyze")
    def test_systemd_takes_the_units(self):
        group = {"@group_option@": " --group mvm", "@socket_access@": "SocketMode=0660\nSocketGroup=mvm"}
        plain = {"@group_option@": "", "@socket_access@": "SocketMode=0600"}
        for manager, values in ("system", group), ("system", plain), ("user", plain):
            values = {**values, "@bindir@": self.prefix + "/bin",
                      "@target@": "default.target" if manager == "user" else "multi-user.target"}
            units = []
            for template in glob.glob(harness.SOURCE_DIR + "/systemd/mvm*.in"):
                text = read(template)
                for old, new in values.items():
                    text = text.replace(old, new)
                self.assertNotIn("@", text)
                units.append(self.write("units/" + os.path.basename(template).removesuffix(".in"), text))
            self.assertEqual(len(units), 5)
            done = subprocess.run(["systemd-analyze", "--man=no", "--recursive-errors=no", f"--{manager}", "verify", *units],
                                  env={**os.environ, "XDG_RUNTIME_DIR": self.folder}, capture_output=True, text=True,
                                  check=False, timeout=self.timeout)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""), manager)


if __name__ == "__main__":
    harness.main()
