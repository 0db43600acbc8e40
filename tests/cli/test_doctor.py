# SPDX-License-Identifier: Apache-2.0
"""`mvm doctor` and `mvm backends` on hosts where something is missing."""

import json
import os
import shutil
import subprocess
import sys

import harness


# Run a program for which landlock_create_ruleset(2) does not exist (seccomp(2); call 444, errno 38).
WITHOUT_LANDLOCK = """
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000)]
filter = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(filter)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"""

SUDO = "" if os.geteuid() == 0 else "sudo "


class Doctor(harness.TestCase):
    def checks(self, status=0, **env):
        done = self.mvm("doctor", "--json", status=status, env=env)
        result = json.loads(done.stdout)
        levels = [check["level"] for check in result["checks"]]
        self.assertLessEqual(set(levels), {"ok", "warn", "fail"})
        self.assertEqual(result["result"],
                         next(l for l in ("fail", "warn", "ok") if l in levels))
        self.assertEqual(status, 1 if "fail" in levels else 0)
        names = [check["name"] for check in result["checks"]]
        self.assertEqual(len(names), len(set(names)))
        for check in result["checks"]:
            self.assertTrue(check["message"])
            self.assertNotIn("\n", check["message"] + (check["mend"] or ""))
            if check["level"] == "ok":
                self.assertIsNone(check["mend"], check)
        return {check["name"]: check for check in result["checks"]}

    def program(self, name, *lines):
        """Make a program, on a PATH that has nothing else; returns the PATH."""
        folder = os.path.dirname(self.write(f"bin/{name}", "#!/bin/sh\n" + "\n".join(lines) + "\n",
                                            0o755))
        return folder

    def test_every_part_is_looked_at(self):
        status = self.mvm("doctor").returncode
        checks = self.checks(status)
        self.assertLessEqual({"data", "links", "kernels", "kvm", "qemu", "firecracker", "nix",
                              "mvm-agent", "mvm-net", "mvm-supervisor", "memory", "pressure", "cgroup", "limits",
                              "snapshots"},
                             set(checks))

    def test_text_and_json_say_the_same(self):
        done = self.mvm("doctor")
        for name, check in self.checks(done.returncode).items():
            if name not in ("memory", "pressure", "data"): # amounts change
                self.assertRegex(done.stdout, rf"(?m)^{check['level']} +{name} +")
                self.assertIn(check["message"], done.stdout)

    def test_a_host_without_anything_fails_and_names_the_packages(self):
        checks = self.checks(1, PATH=self.path("empty"), MVM_QEMU="", MVM_FIRECRACKER="")
        self.assertEqual(checks["qemu"]["level"], "fail")
        self.assertEqual(checks["qemu"]["mend"], SUDO + "apt-get install qemu-system-x86")
        # doctor also looks into the folders of Nix's installers
        self.assertIn(checks["nix"]["mend"], (None, SUDO + "apt-get install nix-bin"))

    def test_a_check_prints_the_failures_on_one_line(self):
        done = self.mvm("doctor", "--check", status=0)
        self.assertEqual((done.stdout, done.stderr), ("", ""))
        done = self.mvm("doctor", "--check", status=1, env={"PATH": self.path("empty"), "MVM_QEMU": ""})
        self.assertRegex(done.stdout, r"\Aqemu: there is no qemu-system-x86_64[^\n]*\n\Z")

    def test_a_wrong_cgroup_is_named(self):
        for folder in self.path("none"), self.data_dir:
            check = self.checks(MVM_CGROUP=folder)["cgroup"]
            self.assertEqual((check["level"], check["mend"]),
                             ("warn", "make the folder below /sys/fs/cgroup, or unset MVM_CGROUP"))
            self.assertIn(f"MVM_CGROUP names '{folder}', which is no cgroup v2", check["message"])

    def test_an_old_qemu_is_a_warning(self):
        path = self.program("qemu-system-x86_64", "echo 'QEMU emulator version 6.2.0'")
        qemu = self.checks(PATH=path)["qemu"]
        self.assertEqual(qemu["level"], "warn")
        self.assertIn("6.2.0", qemu["message"])

    def test_a_parent_that_ignores_its_children_is_no_hindrance(self):
        path = self.program("qemu-system-x86_64", "echo 'QEMU emulator version 7.2.0'")
        done = subprocess.run(["env", "--ignore-signal=CHLD", harness.MVM, "backends", "--json"],
                              env=self.environment({"MVM_QEMU": path + "/qemu-system-x86_64"}),
                              capture_output=True, text=True, check=True, timeout=self.timeout)
        qemu = next(b for b in json.loads(done.stdout) if b["name"] == "qemu")
        self.assertEqual(qemu["version"], "7.2.0", qemu)

    def test_a_program_that_is_no_qemu_is_not_taken(self):
        path = self.program("qemu-system-x86_64", "echo hello")
        qemu = self.checks(1, PATH=path)["qemu"]
        self.assertIn("hello", qemu["message"])

    def test_an_old_firecracker_is_named_where_kvm_would_do(self):
        path = self.program("firecracker", "echo 'Firecracker v1.7.0'")
        firecracker = self.checks(1, PATH=path, MVM_ACCEL="kvm")["firecracker"]
        self.assertEqual(firecracker["level"], "warn")
        self.assertIn("1.7.0 is too old", firecracker["message"])
        self.assertIn("MVM_FIRECRACKER", firecracker["mend"])

    def test_a_missing_firecracker_is_a_warning_where_kvm_works(self):
        checks = self.checks(1, PATH=self.path("empty"), MVM_ACCEL="kvm")
        self.assertEqual(checks["firecracker"]["level"], "warn")
        self.assertEqual(self.checks(1, PATH=self.path("empty"), MVM_ACCEL="tcg")
                         ["firecracker"]["level"], "ok")

    def test_a_named_firecracker_is_reported_without_kvm_too(self):
        there = self.program("firecracker", "echo 'Firecracker v1.16.1'") + "/firecracker"
        status = self.mvm("doctor").returncode
        for named, level in ((there, "ok"), ("/no/such/one", "warn")):
            found = self.checks(status, MVM_ACCEL="tcg", MVM_FIRECRACKER=named)["firecracker"]
            self.assertEqual(found["level"], level)
            self.assertIn(named, found["message"])

    def test_the_isolation_of_each_usable_backend_is_told(self):
        path = self.program("firecracker", 'case $1 in --version) echo "Firecracker v1.16.1";; *) echo v10.0.0;; esac')
        self.program("qemu-system-x86_64", "echo 'QEMU emulator version 7.2.0'")
        env = {"PATH": path, "MVM_ACCEL": "kvm"}
        alone = self.checks(self.mvm("doctor", env=env).returncode, **env)
        self.assertIn("qemu-isolation", alone)
        if os.geteuid() == 0: # a program that would run as root is none
            self.assertEqual(alone["firecracker"]["level"], "warn")
            self.assertIn("would run as root: there is no jailer beside it", alone["firecracker"]["message"])
            self.assertIn("jailer", alone["firecracker"]["mend"])
            self.assertNotIn("firecracker-isolation", alone)
        env["MVM_JAILER"] = "none"
        both = self.checks(self.mvm("doctor", env=env).returncode, **env)
        self.assertEqual(both["firecracker"]["level"], "ok")
        found, words = both["firecracker-isolation"], "(namespaces network )?(landlock )?syscalls"
        if os.geteuid() == 0:
            self.assertEqual(found["level"], "warn")
            words = "(landlock )?syscalls, not more: "
        self.assertRegex(found["message"], "^" + words)
        self.assertRegex(self.mvm("doctor", env=env).stdout, "firecracker-isolation " + words)
        self.assertEqual(both["qemu-isolation"], alone["qemu-isolation"])

    def test_a_host_without_landlock_is_told_what_it_lacks(self):
        path = self.program("qemu-system-x86_64", "echo 'QEMU emulator version 7.2.0'")
        env = self.environment({"MVM_ACCEL": "tcg", "PATH": path})
        done = subprocess.run([sys.executable, "-c", WITHOUT_LANDLOCK, harness.MVM, "doctor", "--json"], env=env, check=False,
                              capture_output=True, text=True, timeout=self.timeout)
        found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}["qemu-isolation"]
        if "namespaces" not in found["message"]:
            self.skipTest(found["message"])
        self.assertRegex(found["message"], "^(user )?namespaces network syscalls, not more: this host has no Landlock$")
        self.assertIn("Landlock", found["mend"])

    def test_helpers_that_are_missing_fail(self):
        folder = self.path("libexec")
        os.mkdir(folder)
        mvm = shutil.copy(harness.MVM, folder) # a folder without helpers
        done = subprocess.run([mvm, "doctor", "--json"], text=True, capture_output=True, timeout=300,
                              env=self.environment({"MVM_LIBEXEC_DIR": folder}), check=False)
        checks = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
        if checks["mvm-agent"]["level"] == "ok":
            self.assertNotIn(folder, checks["mvm-agent"]["message"])
            self.skipTest("mvm is installed on this machine")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(checks["mvm-supervisor"]["level"], "fail")
        self.assertIn("MVM_LIBEXEC_DIR", checks["mvm-agent"]["mend"])

    def test_a_data_folder_that_others_may_write_is_a_finding(self):
        os.mkdir(self.data_dir)
        os.chmod(self.data_dir, 0o777)
        data = self.checks(1)["data"]
        self.assertEqual(data["level"], "fail")
        self.assertIn("chmod", data["mend"])

    def test_a_data_folder_in_memory_is_a_warning(self):
        where = "/dev/shm"
        if not os.path.isdir(where) or not os.access(where, os.W_OK):
            self.skipTest("there is no /dev/shm to write to")
        self.data_dir = os.path.join(where, os.path.basename(self.folder))
        self.addCleanup(shutil.rmtree, self.data_dir, ignore_errors=True)
        status = self.mvm("doctor").returncode
        data = self.checks(status)["data"]
        self.assertIn(data["level"], ("warn", "fail"))
        if data["level"] == "warn" and "tmpfs" not in data["message"]:
            self.skipTest("/dev/shm is no tmpfs, or small")

    def test_doctor_leaves_nothing_behind(self):
        self.mvm("doctor")
        found = [name for _, _, names in os.walk(self.data_dir) for name in names]
        self.assertEqual([name for name in found if name.startswith("doctor-")], [])

    def test_a_mend_is_a_command_to_paste_or_a_sentence(self):
        nowhere = {"PATH": self.path("empty"), "MVM_QEMU": "", "MVM_FIRECRACKER": ""}
        os.environ.setdefault("SHELL", "/bin/sh")
        for env in ({}, nowhere, nowhere | {"MVM_ACCEL": "kvm"}, {"MVM_ACCEL": "tcg"}):
            status = self.mvm("doctor", env=env).returncode
            for check in self.checks(status, **env).values():
                mend = check["mend"] or "true"
                first = mend.split()[0]
                if first in ("boot", "enable", "install", "make", "name", "put", "replace", "run", "start"):
                    continue # a remedy by hand
                self.assertNotIn("...", mend)
                self.assertNotRegex(mend, "see |, or |FILE|NAME|[A-Z]{3,}\\.")
                self.assertIn(first, ("apt-get", "sudo", "mvm", "unset", "systemd-run", "chmod",
                                      "true"), check)
                done = subprocess.run(["bash", "-n", "-c", mend], check=False)
                self.assertEqual(done.returncode, 0, mend)

    def as_nobody(self):
        """The findings for another user."""
        if os.geteuid() or not shutil.which("setpriv"):
            self.skipTest("not root, or without setpriv")
        os.chmod(self.folder, 0o777)
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               harness.MVM, "doctor", "--json"], text=True, capture_output=True,
                              env=self.environment(), timeout=300, check=False)
        if done.returncode == 127 or "Permission denied" in done.stderr:
            self.skipTest("another user cannot run mvm where it was built")
        return {c["name"]: c for c in json.loads(done.stdout)["checks"]}

    def test_root_and_others_are_told_the_same_about_kvm(self):
        theirs = self.as_nobody()["kvm"]
        shutil.rmtree(self.data_dir)
        ours = self.checks(self.mvm("doctor").returncode)["kvm"]
        if harness.why_no_kvm():
            self.assertEqual(theirs["message"], ours["message"])
            self.assertEqual(theirs["mend"].removeprefix("sudo "), ours["mend"])

    def test_a_user_outside_of_group_kvm_is_told_so(self):
        if harness.why_no_kvm() or os.stat("/dev/kvm").st_mode & 0o006:
            self.skipTest("KVM is not usable, or everybody may open it")
        kvm = self.as_nobody()["kvm"]
        self.assertEqual(kvm["level"], "warn")
        self.assertIn("usermod -aG kvm", kvm["mend"])


class Backends(harness.TestCase):
    def test_a_firecracker_would_not_help_without_kvm(self):
        nowhere = {"PATH": self.path("empty"), "MVM_ACCEL": "tcg"}
        firecracker = next(b for b in self.mvm_json("backends", env=nowhere)
                           if b["name"] == "firecracker")
        self.assertFalse(firecracker["usable"])
        self.assertIn("Firecracker needs KVM", firecracker["reason"])
        self.assertIn("'mvm doctor' says how", firecracker["mend"])

    def test_missing_things_come_with_a_remedy(self):
        nowhere = {"PATH": self.path("empty"), "MVM_ACCEL": "kvm"}
        mends = {b["name"]: b["mend"] for b in self.mvm_json("backends", env=nowhere)}
        self.assertEqual(mends["qemu"], SUDO + "apt-get install qemu-system-x86")
        self.assertIn("MVM_FIRECRACKER", mends["firecracker"])
        done = self.mvm("backends", env=nowhere, status=0)
        self.assertIn(f"qemu: {SUDO}apt-get install qemu-system-x86", done.stderr)
        self.assertNotIn("apt-get", done.stdout)


if __name__ == "__main__":
    harness.main()
