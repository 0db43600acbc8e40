# SPDX-License-Identifier: Apache-2.0
"""Revisions made of the files of running VMs."""

import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time

import guests
import harness

CONFIG = """
template_id = "web"
flake_ref   = "tar:root.tar"
kernel      = "debian"
command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]

[health]
http        = "http://127.0.0.1:8080/"
interval_ms = 200
retries     = 1
""" + guests.VARIANT

CAPABILITY = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0" # cap_net_bind_service+ep, one byte a character
BIG_BYTES = 48 << 20

CHANGES = r"""set -e
alias b=/bin/busybox
b rm /gone /old/gone
b rm -r /replaced; b mkdir /replaced; echo new >/replaced/new
echo installed >/bin/installed; b chown 1234:3000000 /bin/installed; b chmod 4711 /bin/installed
b ln /bin/installed /bin/twin
b touch /copied-up
b mknod /device c 1 3; b mkfifo /pipe
echo kept >/.wh.kept
b truncate -s 1G /sparse; echo end >>/sparse
echo 127.0.0.1 mine >>/etc/hosts
b ln -sf installed /bin/link
echo hidden >/tmp/left; echo hidden >/dev/shm/hidden; echo hidden >/run/mvm/hidden
b sync
"""


@harness.needs_guests
@harness.needs_program("e2fsck")
@harness.needs_program("debugfs")
class Commit(guests.TestCase):
    config = CONFIG

    @classmethod
    def make_source(cls):
        def add(name, kind=tarfile.REGTYPE, text=b"", link="", xattr=None):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode, info.linkname = kind, len(text), 0o755, link
            if xattr:
                info.pax_headers = {"SCHILY.xattr.security.capability": xattr}
            tar.addfile(info, io.BytesIO(text))
        with tarfile.open(os.path.join(cls.shared, "root.tar"), "w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(cls.root, arcname=".")
            add("etc/hostname", text=b"image\n")
            add("etc/machine-id", text=b"uninitialized\n")
            add("gone", text=b"gone\n")
            add("old/gone", text=b"gone\n")
            add("old/stays", text=b"stays\n")
            add("replaced/old", text=b"old\n")
            add("vol/image", text=b"from the image\n")
            add("untouched", text=b"capable\n", xattr=CAPABILITY)
            add("copied-up", text=b"capable\n", xattr=CAPABILITY)
            add("first", text=b"two names\n")
            add("second", tarfile.LNKTYPE, link="first")
            add("big", text=os.urandom(BIG_BYTES))

    def debugfs(self, template, command):
        return subprocess.run(["debugfs", "-R", command, self.current(template, "rootfs.ext4")],
                              capture_output=True, text=True, check=True, timeout=60).stdout

    def cat(self, template, path):
        return self.debugfs(template, f"cat {path}")

    def stat(self, template, path):
        return self.debugfs(template, f"stat {path}")

    def names(self, template, folder):
        return set(re.findall(r"^ *\d+ +\d+ +\(\d+\) +\d+ +\d+ +\d+ +\S+ +\S+ +(.+)$",
                              self.debugfs(template, f"ls -l {folder}"), re.M)) - {".", ".."}

    def inode(self, template, path):
        return re.search(r"Inode: (\d+)", self.stat(template, path))[1]

    def commit(self, *args):
        return self.mvm_json("commit", *args)

    def revisions(self, template="web-worker"):
        return [r["revision_hash"] for r in self.mvm_json("template", "history", template)]

    def assert_runs(self, name):
        self.assertEqual(self.exec(name, "/bin/busybox", "echo", "yes"), "yes\n")
        self.assertNotEqual(self.inspect(name)["health"], "unhealthy")

    def assert_no_staging(self):
        self.mvm_ok("template", "list")
        self.assertEqual([n for n in os.listdir(self.data("tmp")) if n.startswith("stage.")], [])

    def begin(self, name, template):
        """Start a commit and stop its process in the middle, with the guest frozen."""
        process = self.start_mvm("commit", name, template)
        while True:
            time.sleep(0.02)
            self.assertIsNone(process.poll())
            process.send_signal(signal.SIGSTOP)
            done = self.mvm("exec", name, "/bin/busybox", "true")
            if done.returncode:
                self.assertIn("the guest is frozen while it is being committed", done.stderr)
                return process
            process.send_signal(signal.SIGCONT)

    def check_image(self, template):
        checked = subprocess.run(["e2fsck", "-fn", self.current(template, "rootfs.ext4")],
                                 capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        top = self.names(template, "/")
        self.assertLessEqual({"device", "pipe", ".wh.kept", "untouched", "first"}, top)
        self.assertEqual(top & {"gone", "mvm-lower", "mvm-writable", ".wh.gone"}, set())
        self.assertEqual(self.names(template, "/old"), {"stays"})
        self.assertEqual(self.names(template, "/replaced"), {"new"})
        self.assertEqual(self.names(template, "/vol"), {"image"})
        self.assertEqual(self.cat(template, "/vol/image"), "from the image\n")
        for folder in "/proc", "/sys", "/dev", "/run":
            self.assertEqual(self.names(template, folder), set(), folder)
        self.assertIn("left", self.names(template, "/tmp"))

        installed = self.stat(template, "/bin/installed")
        self.assertRegex(installed, r"Mode: +04711")
        self.assertRegex(installed, r"User: +1234 +Group: +3000000")
        self.assertRegex(installed, r"Links: 2\b")
        self.assertEqual(self.inode(template, "/bin/installed"), self.inode(template, "/bin/twin"))
        self.assertEqual(self.inode(template, "/first"), self.inode(template, "/second"))
        self.assertIn('Fast link dest: "installed"', self.stat(template, "/bin/link"))
        self.assertIn("Type: character special", self.stat(template, "/device"))
        self.assertIn("Device major/minor number: 01:03", self.stat(template, "/device"))
        self.assertIn("Type: FIFO", self.stat(template, "/pipe"))
        for name in "untouched", "copied-up":
            self.assertIn("security.capability (20) = 01 00 00 02 00 04 00 00",
                          self.stat(template, "/" + name))
        sparse = self.stat(template, "/sparse")
        self.assertIn(f"Size: {(1 << 30) + 4}", sparse)
        self.assertLess(int(re.search(r"Blockcount: (\d+)", sparse)[1]), 1024)
        self.assertEqual(self.cat(template, "/.wh.kept"), "kept\n")

        self.assertEqual(self.names(template, "/etc") & {"hosts", "resolv.conf", "mtab"}, set())
        self.assertEqual(self.cat(template, "/etc/hostname"), "image\n")
        self.assertEqual(self.cat(template, "/etc/machine-id"), "uninitialized\n")

    def test_the_files_of_a_vm_become_a_revision(self):
        os.makedirs(self.path("vol"))
        self.write("vol/of-the-host", "not part of the image\n")
        old = self.revisions()
        for kind in [], ["--cold"]: # with bind mounts over files in /etc, and without
            name = self.run_detached("web-worker@" + old[-1], "-v", self.path("vol") + ":/vol",
                                     *kind)["name"]
            self.exec(name, "/bin/busybox", "sh", "-c", CHANGES)
            first = self.commit(name, "web-worker")
            self.assertTrue(first["new_revision"])
            self.check_image("web-worker")
            self.assert_runs(name)
            self.assertEqual(self.exec(name, "/bin/busybox", "cat", "/vol/of-the-host"),
                             "not part of the image\n")

        again = self.commit(name, "web-worker")
        self.assertFalse(again["new_revision"])
        self.assertEqual(again["revision_hash"], first["revision_hash"])
        self.assertNotIn("unhealthy", [e["event"] for e in map(
            json.loads, self.mvm_ok("events", "--json").splitlines())])

        self.assertEqual(len(self.revisions()), len(old) + 2)
        self.mvm_ok("template", "verify", "web-worker")
        info = self.mvm_ok("template", "info", "web-worker")
        self.assertRegex(info, rf"of +VM {name}, which ran web-worker@{old[-1]}")
        diff = self.mvm_ok("template", "diff", "web-worker@" + old[-1], "web-worker")
        self.assertIn("rootfs.ext4", diff)

        new = self.run_detached()["name"]
        self.assertEqual(self.exec(new, "/bin/busybox", "cat", "/bin/installed"), "installed\n")
        self.assertEqual(self.exec(new, "/bin/busybox", "hostname").strip(), new)
        self.mvm_ok("rm", "--force", name, new)
        self.mvm_ok("template", "build", "web-worker") # goes back to the source
        self.assertEqual(os.path.basename(self.current("web-worker")), old[-1])
        self.mvm_ok("template", "prune", "--keep", "1")
        self.assertEqual(len(self.revisions()), 2)

    def test_a_new_template_has_the_settings_of_the_vms(self):
        name = self.run_detached()["name"]
        self.exec(name, "/bin/busybox", "sh", "-c", "echo more >/www/more")
        made = self.commit(name, "mine", "--snapshot")
        self.assertTrue(made["new_revision"] and made["new_snapshot"])
        info = self.mvm_json("template", "info", "mine")
        base = info["revision"]["build"]["base"]
        self.assertEqual(info["spec"]["flake_ref"], "commit:" + base)
        self.assertEqual(info["revision"]["build"]["instance"], name)
        self.assertEqual(info["spec"]["mem_mib"], 128)
        self.assertEqual(info["spec"]["run"]["command"][1], "httpd")
        mine = self.run_detached("mine", "-p", "0:8080", "--require-snapshot")
        port = mine["forwards"][0]["host_port"]
        self.assertEqual(guests.get(port, "/more"), "more\n")

        # its source is its own image: a build only changes the settings
        self.assertIn("unchanged", self.mvm_ok("template", "build", "mine"))
        self.mvm_ok("template", "edit", "mine", "--mem", "160M")
        self.assertIn("new", self.mvm_ok("template", "build", "mine"))
        self.assertEqual(self.cat("mine", "/www/more"), "more\n")
        self.mvm_ok("rm", "--force", mine["name"])
        self.mvm_ok("template", "delete", "mine", "--force")

    def test_a_commit_that_ends_early_leaves_nothing(self):
        name = self.run_detached()["name"]
        before = self.revisions()
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["health"] == "healthy"))
        process = self.begin(name, "new")
        self.assertIn("being committed already", self.mvm_fails(4, "commit", name, "web-worker"))
        self.mvm_fails(4, "commit", name, "new", "--no-wait")
        time.sleep(1.5) # some health checks
        self.assertEqual(self.inspect(name)["health"], "healthy")
        process.kill()
        self.assertTrue(guests.wait_until(
            lambda: self.mvm("exec", name, "/bin/busybox", "true").returncode == 0))
        self.assert_runs(name)

        process = self.begin(name, "new") # ^C
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        self.assertNotEqual(process.wait(harness.PATIENCE_S), 0)
        self.assertTrue(guests.wait_until(
            lambda: self.mvm("exec", name, "/bin/busybox", "true").returncode == 0))
        self.assertIn("has more than", self.mvm_fails(1, "commit", name, "new", "--max-size", "1M"))
        self.assert_runs(name)

        process = self.begin(name, "new") # the VM is stopped, in good order
        self.mvm_ok("stop", name)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(harness.PATIENCE_S), 1)
        self.assertIn("stopped", [e["event"] for e in map(
            json.loads, self.mvm_ok("events", "--json").splitlines())
            if e["instance"] == name])

        name = self.run_detached()["name"]
        process = self.begin(name, "new")
        os.kill(self.inspect(name)["vmm_pid"], signal.SIGKILL)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(harness.PATIENCE_S), 1)
        self.mvm_fails(4, "commit", name, "new")
        self.assertEqual(self.revisions(), before)
        self.assertEqual([t["template_id"] for t in self.mvm_json("template", "list")],
                         ["web-worker"])
        self.assert_no_staging()


if __name__ == "__main__":
    guests.main()
