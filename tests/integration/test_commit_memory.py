# SPDX-License-Identifier: Apache-2.0
"""`commit --snapshot` of a VM that was restored: the revision's clones go on where it was."""

import os
import resource
import signal
import subprocess

import guests
import harness

COUNT = ("echo here >/tmp/file; echo on disk >/www/new; "
         "(n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.05; done) >/dev/null 2>&1 & ")
COUNTS = "rm -f /tmp/n && until test -s /tmp/n; do sleep 0.1; done"
RESTORED = 'on_restore = ["/bin/busybox", "sh", "-c", "echo once >>/tmp/restored"]\n'
IDS = "cat /etc/machine-id /run/mvm/generation /proc/sys/kernel/random/boot_id; hostname; head -c 16 /dev/urandom | md5sum"


def small_files():
    """Of all that a commit writes only the memory is larger."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 << 20, 100 << 20))


@harness.needs_guests
class CommitMemory(guests.TestCase):
    config = guests.CONFIG.replace("\n[health]", RESTORED + "\n[health]") + \
        "data_disk_mib = 16\nroot_disk_mib = 64\n"

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

    def test_a_revision_whose_snapshot_fails_is_there_and_said_to_be(self):
        name = self.clone("web-worker")
        done = subprocess.run([harness.MVM, "commit", name, "half", "--snapshot"], env=self.environment(),
                              capture_output=True, text=True, timeout=300, check=False, preexec_fn=small_files)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, "revision [0-9a-f]{12} is published, but not its snapshot: .*File too large")
        self.assertEqual([r["has_snapshot"] for r in self.mvm_json("template", "history", "half")], [False])
        self.exec(name, "true")
        self.mvm_ok("rm", "--force", name)

    def test_its_revisions_roll_back_and_are_pruned(self):
        name = self.clone("web-worker")
        for word in ("one", "two"):
            self.sh(name, f"echo {word} >/tmp/file; rm -f /tmp/restored")
            self.commit(name, "rolled")
            self.assertEqual(self.sh(name, "ls /tmp"), "file\n") # on_restore is for clones
        current, old = (r["revision_hash"] for r in self.mvm_json("template", "history", "rolled"))
        two = self.clone("rolled")
        self.assertEqual(self.sh(two, "cat /tmp/file /tmp/restored"), "two\nonce\n")
        self.mvm_ok("template", "rollback", "rolled")
        one = self.clone("rolled")
        self.assertEqual(self.sh(one, "cat /tmp/file /tmp/restored"), "one\nonce\n")
        self.assertEqual((self.inspect(two)["revision_hash"], self.inspect(one)["revision_hash"]), (current, old))

        # a revision that a suspended VM needs stays, and so does the image that its snapshot has
        self.mvm_ok("suspend", one)
        self.mvm_ok("rm", "--force", name, two)
        self.mvm_ok("template", "rollback", "rolled", current)
        self.mvm_ok("template", "prune", "--keep", "1", "rolled")
        self.assertEqual(len(self.mvm_json("template", "history", "rolled")), 2)
        self.mvm_ok("resume", one)
        self.assertEqual(self.sh(one, "cat /tmp/file /tmp/restored"), "one\nonce\n")
        self.mvm_ok("rm", "--force", one)
        self.mvm_ok("template", "prune", "--keep", "1", "rolled")
        self.assertEqual([r["revision_hash"] for r in self.mvm_json("template", "history", "rolled")], [current])
        self.mvm_ok("template", "verify", "rolled")
        two = self.clone("rolled")
        self.assertEqual(self.sh(two, "cat /tmp/file; ls /www/index.html"), "two\n/www/index.html\n")

        # a commit of a suspended VM's files, and one that ends early, leave it suspended
        self.sh(two, "echo on disk >/www/new")
        self.mvm_ok("suspend", two)
        self.mvm_ok("commit", two, "files")
        self.assertEqual(self.inspect(two)["state"], "suspended")
        self.mvm_fails(1, "commit", two, "files", "--max-size", "1M", says="more than")
        self.assertEqual(self.inspect(two)["state"], "suspended")
        self.mvm_ok("resume", two)
        self.assertEqual(self.sh(two, "cat /tmp/file /tmp/restored"), "two\nonce\n")
        cold = self.run_detached("files", "--cold")["name"]
        self.assertEqual(self.sh(cold, "cat /www/new /tmp/file"), "on disk\ntwo\n")
        self.mvm_ok("rm", "--force", two, cold)

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
