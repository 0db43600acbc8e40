# SPDX-License-Identifier: Apache-2.0
"""`commit --snapshot` of a VM that was restored: the revision's clones go on where it was."""

import os

import guests
import harness

COUNT = ("echo here >/tmp/file; echo on disk >/www/new; "
         "(n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.05; done) >/dev/null 2>&1 & ")
COUNTS = "rm -f /tmp/n && until test -s /tmp/n; do sleep 0.1; done"
IDS = "cat /etc/machine-id /run/mvm/generation /proc/sys/kernel/random/boot_id; hostname; head -c 16 /dev/urandom | md5sum"


@harness.needs_guests
class CommitMemory(guests.TestCase):
    config = guests.CONFIG + "data_disk_mib = 16\nroot_disk_mib = 64\n"

    def sh(self, name, command):
        return self.exec(name, "sh", "-c", command)

    def commit(self, name, template):
        done = self.mvm("commit", name, template, "--snapshot")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("new boot", done.stderr)

    def clone(self, template, *options):
        return self.run_detached(template, "--require-snapshot", *options)["name"]

    def assert_goes_on(self, name):
        self.assertEqual(self.sh(name, "cat /tmp/file /www/new /data/file"), "here\non disk\ndata\n")
        self.sh(name, COUNTS)

    def damage(self, template):
        image = self.current(template, "snapshot", "rootfs.ext4")
        with open(image, "rb") as file:
            good = file.read()
        os.unlink(image) # the base has the same file
        with open(image, "wb") as file:
            file.write(good[:-1] + bytes([good[-1] ^ 1]))
        self.assertIn("damaged", self.mvm_fails(5, "run", "--template", template, "-d", "--require-snapshot"))

    def test_clones_go_on_where_the_vm_was(self):
        name = self.clone("web-worker")
        self.sh(name, "echo data >/data/file; " + COUNT)
        self.mvm_ok("suspend", name)
        self.commit(name, "kept") # it goes on for this
        self.assertEqual(self.inspect(name)["state"], "suspended")
        self.mvm_ok("resume", name)
        self.assert_goes_on(name)
        self.mvm_ok("template", "verify", "kept")
        clones = [self.clone("kept") for _ in range(2)]
        for clone in clones:
            self.assert_goes_on(clone)
        seen = [set(self.sh(vm, IDS).split()) - {"-"} for vm in (name, *clones)]
        self.assertEqual(len(set.union(*seen)), 5 * 3) # nobody shares one
        self.mvm_ok("fork", clones[0], "--name", "forked") # its pages differ from the new memory
        self.assert_goes_on("forked")
        # its root disk is over the image that the snapshot has, in a boot as well
        self.sh(clones[1], "rm /www/new; sync")
        self.mvm_ok("restart", clones[1])
        self.assertEqual(self.sh(clones[1], "ls /www/new; cat /data/file"), "data\n")
        # but a boot of the revision has the image with the files
        cold = self.run_detached("kept", "--cold")["name"]
        self.assertEqual(self.sh(cold, "cat /www/new"), "on disk\n")
        self.mvm_ok("rm", "--force", name, *clones, cold)

        # a fork of a clone, which has the snapshot's image; and elsewhere
        self.commit("forked", "kept")
        self.assertEqual(len(self.mvm_json("template", "history", "kept")), 2)
        self.mvm_ok("rm", "--force", "forked")
        self.mvm_ok("key", "trust", self.mvm_json("key", "generate", "mine")["path"])
        self.mvm_ok("template", "export", "kept", self.path("kept.tar"), "--sign", "mine")
        self.mvm_ok("template", "delete", "kept", "--force")
        self.mvm_ok("template", "import", self.path("kept.tar"))
        clone = self.clone("kept")
        self.assert_goes_on(clone)
        self.mvm_ok("rm", "--force", clone)
        self.damage("kept")

    def test_where_its_memory_cannot_be_kept_the_revision_is_booted(self):
        name = self.run_detached("web-worker", "--cold")["name"]
        self.sh(name, "echo more >/www/more")
        done = self.mvm("commit", name, "booted", "--snapshot")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the snapshot is of a new boot, not of its memory: it has booted", done.stderr)
        clone = self.clone("booted")
        self.assertEqual(self.sh(clone, "cat /www/more"), "more\n")
        self.mvm_ok("rm", "--force", name, clone)


if __name__ == "__main__":
    guests.main()
