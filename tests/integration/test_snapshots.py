# SPDX-License-Identifier: Apache-2.0
"""Snapshots of existing revisions are made, replaced, removed, and used only where they fit."""

import hashlib
import json
import os
import signal
import subprocess
import unittest

import guests
import harness

STEPS = ["boot", "prepare", "state", "memory", "digests", "test", "publish"]

needs_root = unittest.skipUnless(os.getuid() == 0, "needs root, to mount")


def write_at(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path, offset):
    with open(path, "rb") as file:
        file.seek(offset)
        byte = file.read(1)[0]
    write_at(path, offset, bytes([byte ^ 4]))


@harness.needs_guests
class Snapshots(guests.TestCase):
    """One class, so that one snapshot is made for all."""

    config = guests.CONFIG

    def setUp(self):
        super().setUp()
        self.own_data()

    def snapshot_of(self, template="web-worker"):
        return self.mvm_json("template", "info", template)["revision"]["snapshot"]

    def nonce(self):
        return self.snapshot_of()["compat"]["nonce_sha256"]

    def restores(self, *options):
        record = self.run_detached("web-worker", "--require-snapshot", *options)
        self.assertEqual((record["start"], record["reason"]), ("restore", None))
        return record

    def test_a_snapshot_is_made_again_without_a_build(self):
        before = self.mvm_json("template", "info", "web-worker")["revision"]
        removed = self.mvm_json("template", "snapshot", "web-worker", "--rm")
        self.assertEqual((removed["result"], removed["has_snapshot"], removed["snapshot_steps"]),
                         ("removed", False, []))
        info = self.mvm_json("template", "info", "web-worker")
        self.assertEqual((info["kind"], info["revision"]["snapshot"]), ("Image", None))
        self.assertEqual(info["run"]["reason"], "the revision has no snapshot")
        self.assertFalse(os.path.exists(self.current("web-worker", "snapshot")))
        self.mvm_ok("template", "verify", "web-worker")
        again = self.mvm_json("template", "snapshot", "web-worker", "--rm")
        self.assertEqual(again["result"], "unchanged")
        self.mvm_fails(6, "run", "--template", "web-worker", "-d", "--require-snapshot",
                       says="the revision has no snapshot")

        revision = before["revision_hash"]
        made = self.mvm_json("template", "snapshot", f"web-worker@{revision[:8]}")
        self.assertEqual((made["template_id"], made["revision_hash"], made["result"]),
                         ("web-worker", revision, "made"))
        self.assertEqual([step["step"] for step in made["snapshot_steps"]], STEPS)
        steps = {step["step"]: step for step in made["snapshot_steps"]}
        for step in steps.values():
            self.assertGreater(step["ns"], 0)
        self.assertLessEqual(sum(step["ns"] for step in steps.values()), made["snapshot_ns"])
        memory = os.stat(self.current("web-worker", "snapshot", "mem.bin"))
        self.assertEqual(steps["memory"]["bytes"], memory.st_blocks * 512)
        self.assertEqual(steps["state"]["bytes"], self.snapshot_of()["vmstate_size_bytes"])
        self.assertGreater(steps["test"]["bytes"], 1 << 20)
        self.assertLess(steps["test"]["bytes"], steps["memory"]["bytes"])
        after = self.mvm_json("template", "info", "web-worker")["revision"]
        self.assertNotEqual(after.pop("snapshot"), before.pop("snapshot"))
        self.assertEqual(after, before) # only the snapshot has changed
        self.mvm_ok("template", "verify", "web-worker")
        self.restores()

    def test_a_clone_survives_the_end_of_its_snapshot(self):
        old = self.restores("--name", "old")
        first = self.nonce()
        done = self.mvm("template", "snapshot", "web-worker", status=0)
        for said in ("prepared in", "device state", " of 128 MiB", "it answers", "on disk"):
            self.assertIn(said, done.stderr + done.stdout)
        self.assertNotEqual(self.nonce(), first)
        self.assertTrue(guests.is_alive(old["vmm_pid"]))
        # the clone reads untouched pages from the replaced file
        self.exec("old", "sh", "-c", "find / -xdev -type f -exec cat {} + >/dev/null; dmesg | wc -l")
        self.restores("--name", "new")
        self.mvm_ok("template", "snapshot", "web-worker", "--rm")
        for name in ("old", "new"):
            self.exec(name, "sh", "-c", "uname -a; ls -lR /etc >/dev/null")
        self.mvm_ok("rm", "--force", "old", "new")
        self.mvm_ok("template", "list") # sweeps the files that they held
        self.assert_nothing_left()

    def test_a_failed_command_changes_nothing(self):
        first = self.nonce()
        self.mvm_fails(3, "template", "snapshot", "none", says="'none'")
        self.mvm_fails(3, "template", "snapshot", "web-worker@ffffffff", says="ffffffff")
        self.mvm_fails(2, "template", "snapshot", "web-worker", "--rm", "--backend", "qemu",
                       says="--backend")
        self.mvm_fails(6, "template", "snapshot", "web-worker",
                       env={"MVM_QEMU": "/none", "MVM_FIRECRACKER": "/none"}, says="/none")
        self.assertEqual(os.listdir(self.data("tmp")), [])
        self.assertEqual(self.nonce(), first)

    @staticmethod
    def list_again(path):
        """Make checksums.json agree with an edited revision.json."""
        sums_path = os.path.join(os.path.dirname(path), "checksums.json")
        with open(sums_path, encoding="utf-8") as file:
            sums = json.load(file)
        with open(path, "rb") as file:
            sums["revision_sha256"] = hashlib.sha256(file.read()).hexdigest()
        with open(sums_path, "w", encoding="utf-8") as file:
            json.dump(sums, file)

    def test_a_snapshot_of_another_host_is_replaced(self):
        path = self.current("web-worker", "revision.json")
        with open(path, encoding="utf-8") as file:
            revision = json.load(file)
        revision["snapshot"]["compat"]["host"] = "0" * 32
        with open(path, "w", encoding="utf-8") as file:
            json.dump(revision, file)
        self.mvm_fails(5, "run", "--template", "web-worker", "-d",
                       says="'revision.json' is damaged")
        self.list_again(path)
        self.mvm_fails(6, "run", "--template", "web-worker", "-d", "--require-snapshot",
                       says="the host it was made on differs")
        self.mvm_ok("template", "build", "web-worker", "--snapshot")
        self.restores()

    # these tests change the host's facts, not the snapshot

    def differs(self, what, *values, env=None, enter=None):
        """Check that mvm refuses the restore (6, or 125 with a command), and names both values."""
        for status, options in ((6, ("-d",)), (125, ("--", "true"))):
            done = subprocess.run([harness.MVM, "run", "--template", "web-worker",
                                   "--require-snapshot", *options], env=self.environment(env),
                                  preexec_fn=enter, capture_output=True, text=True, check=False,
                                  timeout=harness.PATIENCE_S)
            self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
            self.assertIn(f"{what} differs: '", done.stderr)
            for value in values:
                self.assertIn(f"'{value}'", done.stderr)
        self.assert_nothing_left()

    def wrapper(self, name, script):
        os.chmod(self.folder, 0o711)  # run by root, mvm starts it as another user
        return {"MVM_QEMU": self.write(name, "#!/bin/sh\n" + script, 0o755)}

    def test_another_version_means_a_boot_with_both_in_the_reason(self):
        version = self.snapshot_of()["compat"]["version"]
        other = self.wrapper("other", 'case "$*" in --version) echo "QEMU emulator version 99.1";;\n'
                             '*) exec qemu-system-x86_64 "$@";; esac\n')
        self.differs("the VMM's version", version, "99.1", env=other)
        done = self.mvm("run", "--template", "web-worker", "-d", "--name", "cold", env=other,
                        status=0)
        self.assertIn(f"'{version}' in the snapshot, '99.1' here", done.stderr)
        record = self.inspect("cold")
        self.assertEqual(record["start"], "boot")
        self.assertIn("'99.1' here", record["reason"])

    def test_a_restart_does_not_restore_on_another_vmm_version(self):
        version = "QEMU emulator version " + self.snapshot_of()["compat"]["version"]
        script = '#!/bin/sh\ncase "$*" in --version) echo "%s";;\n*) exec qemu-system-x86_64 "$@";; esac\n'
        os.chmod(self.folder, 0o711)  # as for wrapper()
        env = {"MVM_QEMU": self.write("qemu", script % version, 0o755)}
        self.mvm_ok("template", "snapshot", "web-worker", env=env)
        self.mvm_ok("run", "--template", "web-worker", "-d", "--name", "again",
                    "--require-snapshot", "--restart", "on-failure", env=env)
        self.write("qemu", script % "QEMU emulator version 99.1", 0o755)
        os.kill(self.inspect("again")["vmm_pid"], 9)
        self.assertTrue(guests.wait_until(
            lambda: "its version is '99.1'" in (self.inspect("again").get("error") or "")))

    def test_another_program_of_the_same_version_is_another(self):
        self.differs("the VMM's program", self.snapshot_of()["compat"]["binary_sha256"],
                     env=self.wrapper("same", 'exec qemu-system-x86_64 "$@"\n'))

    def test_another_accelerator_is_a_difference(self):
        other = {"tcg": "kvm", "kvm": "tcg"}[self.snapshot_of()["compat"]["accelerator"]]
        self.differs("accelerator", "tcg", "kvm", env={"MVM_ACCEL": other})

    def test_doctor_names_the_remedy(self):
        def finding(**env):
            found = json.loads(self.mvm("doctor", "--json", env=env).stdout)["checks"]
            return next(check for check in found if check["name"] == "snapshots")
        other = finding(**self.wrapper("other", 'echo "QEMU emulator version 99.1"\n'))
        self.assertIn("so those templates boot", other["message"])
        self.assertEqual(other["mend"], "mvm template snapshot web-worker")
        none = finding(PATH=self.path("nothing"), MVM_QEMU="", MVM_FIRECRACKER="")
        self.assertNotIn("boot", none["message"])
        self.assertIsNone(none["mend"]) # another finding has the remedy

    @needs_root
    def test_another_host_is_a_difference(self):
        other = self.write("machine-id", "0123456789abcdef0123456789abcdef\n")
        if not os.path.exists("/etc/machine-id"):
            self.skipTest("this host has no /etc/machine-id")
        enter = guests.in_own_mounts((other, "/etc/machine-id", "", guests.MS_BIND, ""))
        try:
            self.differs("the host it was made on", self.snapshot_of()["compat"]["host"],
                         enter=enter)
        except subprocess.SubprocessError as error:
            self.skipTest(f"cannot mount here: {error}")

    def test_ports_and_names_and_lifetimes_are_no_difference(self):
        record = self.restores("-p", "0:8080", "--name", "other", "--ttl", "1h")
        self.assertIn("mvm", guests.get(record["forwards"][0]["host_port"]))
        self.assertEqual(self.mvm_ok("run", "--template", "web-worker", "--require-snapshot", "-e",
                                     "A=b", "--", "sh", "-c", "echo $A"), "b\n")

    # clones share the page cache, or have private memory

    def memory_of(self, record):
        """Device and inode of the file whose private mapping is a clone's memory."""
        with open(f"/proc/{record['vmm_pid']}/maps", encoding="utf-8") as file:
            mapped = [line.split() for line in file if "mem.bin" in line]
        self.assertEqual({words[1][3] for words in mapped}, {"p"})
        (device, inode), = {(words[3], int(words[4])) for words in mapped}
        return device, inode

    def test_clones_with_private_memory_share_no_page_cache(self):
        shared = self.restores()
        self.assertEqual(shared["memory"], "shared")
        inode = os.stat(self.file("mem.bin")).st_ino
        self.assertEqual(self.memory_of(shared)[1], inode)
        private = [self.restores("--private-memory", "--restart", "on-failure")]
        private += self.mvm_json("run", "--template", "web-worker", "-d", "--count", "2",
                                 "--require-snapshot", "--private-memory")
        for record in private:
            self.assertIn(record["memory"], ("sparse", "reflink"))
            self.assertEqual(list(record["stages_ns"])[0], "copy")
            self.assertNotIn("mem.bin", os.listdir(self.data("instances", record["name"])))
            self.exec(record["name"], "sh", "-c", "find / -xdev -type f -exec cat {} + >/dev/null")
        self.assertEqual(len({self.memory_of(r) for r in [shared, *private]}), 4)
        os.kill(private[0]["vmm_pid"], signal.SIGKILL)
        name = private[0]["name"]
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["restarts"] == 1 and
                                          self.inspect(name)["state"] == "running"))
        again = self.inspect(name)
        self.assertEqual((again["start"], again["memory"]), ("restore", private[0]["memory"]))
        self.assertNotEqual(self.memory_of(again)[1], inode)
        self.assertNotIn("mem.bin", os.listdir(self.data("instances", name)))
        self.assertEqual(self.mvm_ok("run", "--template", "web-worker", "--private-memory", "--",
                                     "echo", "it runs"), "it runs\n")

    def test_a_boot_always_has_private_memory(self):
        record = self.run_detached("web-worker", "--private-memory", "--cold")
        self.assertEqual((record["start"], record["memory"]), ("boot", "own"))

    @needs_root
    def test_memory_that_cannot_be_copied_fails_the_start(self):
        instances = self.data("instances")
        enter = guests.in_own_mounts(("tmpfs", instances, "tmpfs", 0, "size=8m,mode=0700"))
        script = ('"$0" run --template web-worker -d --require-snapshot --private-memory; '
                  'echo $?; ls -A "$1"')
        try:
            done = subprocess.run(["sh", "-c", script, harness.MVM, instances],
                                  env=self.environment(), preexec_fn=enter, capture_output=True,
                                  text=True, check=False, timeout=harness.PATIENCE_S)
        except subprocess.SubprocessError as error:
            self.skipTest(f"cannot mount here: {error}")
        self.assertIn("cannot copy the snapshot's memory: No space left on device", done.stderr)
        self.assertRegex(done.stdout, r"^1\nweb-worker-[0-9a-f]{6}\n$") # the instance stays for its logs

    # mvm finds damage before the guest runs: 5, or 125 with a command

    def refused(self, says):
        for status, options in ((5, ("-d",)), (5, ("-d", "--require-snapshot")),
                                (125, ("--", "true"))):
            error = self.mvm_fails(status, "run", "--template", "web-worker", *options)
            self.assertIn(says, error)
            self.assertIn("hint:", error)
        self.assert_nothing_left()

    def file(self, name, template="web-worker"):
        return self.current(template, "snapshot", name)

    def each(self, name, harms):
        whole = self.path("whole")
        for harm in harms:
            with self.subTest(file=name, harm=harm.__name__):
                subprocess.run(["cp", "-a", "--sparse=always", self.file(name), whole], check=True)
                harm(self.file(name))
                self.refused(name)
                os.rename(whole, self.file(name))

    def test_device_state_that_is_cut_longer_changed_or_empty(self):
        def cut(path):
            os.truncate(path, os.stat(path).st_size - 1)

        def longer(path):
            os.truncate(path, os.stat(path).st_size + 512)

        def changed(path):
            flip(path, os.stat(path).st_size // 2)

        def zeros(path):
            write_at(path, 0, bytes(os.stat(path).st_size))

        self.each("vmstate.bin", (cut, longer, changed, zeros))

    def test_memory_that_is_cut_longer_changed_or_has_another_hole(self):
        def cut(path):
            os.truncate(path, os.stat(path).st_size - 4096)

        def longer(path):
            os.truncate(path, os.stat(path).st_size + 4096)

        def changed(path):
            flip(path, 20 << 20)

        def hole(path):
            subprocess.run(["fallocate", "-p", "-o", str(20 << 20), "-l", "4096", path],
                           check=True)

        def empty(path):
            os.truncate(path, 0)
            os.truncate(path, 128 << 20)

        self.each("mem.bin", (cut, longer, changed, hole, empty))

    def test_files_of_another_snapshot_of_the_same_revision(self):
        mine = self.path("mine")
        subprocess.run(["cp", "-a", "--sparse=always", self.current("web-worker", "snapshot"),
                        mine], check=True)
        self.mvm_ok("template", "snapshot", "web-worker")
        for name in ("vmstate.bin", "mem.bin"):
            keep = self.path("keep")
            with self.subTest(name):
                subprocess.run(["mv", self.file(name), keep], check=True)
                os.link(os.path.join(mine, name), self.file(name))
                self.refused(name)
                os.unlink(self.file(name))
                subprocess.run(["mv", keep, self.file(name)], check=True)
        self.restores()

    def test_a_working_set_is_only_a_hint(self):
        path = self.file("working-set.bin")
        flip(path, 3)
        done = self.mvm("template", "verify", "web-worker", status=5)
        self.assertIn("working-set.bin", done.stderr)
        self.restores()
        os.unlink(path)
        self.restores()


@harness.needs_guests
class Memory(guests.TestCase):
    """A guest that has used and freed much memory before it became healthy."""

    config = guests.CONFIG.replace(
        '"/bin/busybox", "httpd", "-f"',
        '"/bin/busybox", "sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=24; rm /big; '
        'exec busybox httpd -f -p 8080 -h /www", "ignored"')

    def test_memory_that_the_guest_freed_takes_no_room(self):
        memory = os.stat(self.current("web-worker", "snapshot", "mem.bin"))
        self.assertLess(memory.st_blocks * 512, 60 << 20) # the kernel and its slabs: 50 MiB


if __name__ == "__main__":
    guests.main()
