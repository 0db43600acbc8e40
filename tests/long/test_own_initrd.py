# SPDX-License-Identifier: Apache-2.0
"""Templates can boot the initrd of their flake.  mvm keeps it with the image, and a setting chooses it.
It has no agent of mvm's, and each command that needs the agent says so."""

import os
import select
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import flakes
import guestkit
import harness
from flakes import FAILED, NOT_FOUND, UNSUPPORTED, read, rootfs_with

MVM_FAILED = 125
NO_AGENT = "boots the image's own initrd, so it has no agent"

# Waits for its power button, as a system with a login manager does, or ends as its command line says.
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox insmod /button.ko
/bin/busybox insmod /evdev.ko
case "$(/bin/busybox cat /proc/cmdline)" in
*their.panic*) exit 1 ;;
*their.end*) echo "theirs: that was all"; /bin/busybox poweroff -f ;;
esac
exec 3</dev/input/event0
echo "theirs: $(/bin/busybox cat /proc/cmdline)"
/bin/busybox dd of=/dev/null bs=24 count=1 <&3 2>/dev/null
echo "theirs: the button was pressed"
/bin/busybox poweroff -f
"""


def modules(deb, names):
    """The bytes of these modules of a Debian kernel package, by file name."""
    found = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                name = os.path.basename(member.name)
                if name in names:
                    found[name] = tar.extractfile(member).read()
        process.stdout.read()
    return found


class TestCase(flakes.TestCase):
    def initrd(self, data):
        """Make a flake whose package contains this initrd."""
        with open(self.path("flake", "own.cpio"), "wb") as file:
            file.write(data)
        self.flake({"default": rootfs_with("x") + "; $bb cp ${./own.cpio} $out/initrd"})

    def with_setting(self, initrd, extra="", **kwargs):
        """Make a config file with the setting."""
        path = self.config(**kwargs)
        text = read(path).decode()
        return self.write(os.path.basename(path), text.replace(
            "[[variants]]", f'initrd = "{initrd}"\n{extra}\n[[variants]]', 1))


class Builds(TestCase):
    def test_the_setting_chooses_one_of_two_kept_initrds(self):
        self.initrd(b"theirs")
        first = self.build(config=self.with_setting("mvm"))
        plain = self.build(config=self.config())
        self.assertEqual(plain["revision_hash"], first["revision_hash"]) # the default is mvm's initrd
        ours = read(self.current("initrd"))
        builds = self.nix_builds()

        theirs = self.build(config=self.with_setting("image"))
        self.assertTrue(theirs["cached"])
        self.assertNotEqual(theirs["revision_hash"], first["revision_hash"])
        self.assertEqual(read(self.current("initrd")), b"theirs")
        self.assertEqual(self.revision()["run"], {"initrd": "image"})
        self.assertEqual(self.revision()["artifact_paths"]["sizes"]["initrd_bytes"], 6)
        self.mvm_ok("template", "verify", "t")

        back = self.build(config=self.config())
        self.assertTrue(back["cached"])
        self.assertEqual(back["revision_hash"], first["revision_hash"])
        self.assertEqual(read(self.current("initrd")), ours)
        self.assertEqual(self.nix_builds(), builds)

    def test_prune_removes_only_builds_that_no_revision_uses(self):
        self.initrd(b"theirs")
        self.build(config=self.config())
        self.mvm_ok("template", "prune")
        self.assertTrue(self.build(config=self.config())["cached"])
        again = self.build(config=self.with_setting("image"))
        self.assertFalse(again["cached"])
        self.assertEqual(read(self.current("initrd")), b"theirs")

    def test_an_image_without_an_initrd_is_reported(self):
        self.flake({"default": rootfs_with("x")})
        config = self.with_setting("image")
        for _ in range(2): # first built, then from the cache
            says = self.build_fails(NOT_FOUND, config=config, says="this image has none")
            self.assertIn("flake's package, as 'initrd'", says)
        self.assertTrue(self.build(config=self.config())["cached"])

    def test_a_file_that_is_no_initrd_is_refused(self):
        for script in ("$bb mkdir $out/initrd", ": >$out/initrd"):
            with self.subTest(script=script):
                self.flake({"default": rootfs_with("x") + "; " + script})
                self.build_fails(FAILED, says="initrd' is empty or no regular file")
        self.write("secret", "secret\n")
        self.flake({"default": rootfs_with("x") + f"; $bb ln -s {self.path('secret')} "
                               "$out/initrd"})
        self.build_fails(FAILED, says="outside of")

    def test_a_snapshot_without_an_agent_is_refused_before_the_build(self):
        self.initrd(b"theirs")
        config = self.with_setting("image")
        self.build_fails(UNSUPPORTED, "--snapshot", config=config, says=NO_AGENT)
        self.build_fails(UNSUPPORTED, "--snapshot", "--dry-run", config=config, says=NO_AGENT)
        self.assertFalse(os.path.exists(self.current()))
        self.build(config=config)
        self.mvm_fails(UNSUPPORTED, "template", "snapshot", "t", says=NO_AGENT)


@harness.needs_guests
class Guests(TestCase):
    def setUp(self):
        super().setUp()
        deb = os.environ["MVM_TEST_KERNEL_DEB"]
        self.mvm_ok("kernel", "add", deb, "--name", "debian")
        entries = [(name, 0o40755, b"") for name in ("bin", "dev", "proc")]
        entries += [("bin/busybox", 0o100755, read(self.path("flake", "bin", "busybox"))),
                    ("init", 0o100755, INIT.encode())]
        entries += [(name, 0o100644, data)
                    for name, data in modules(deb, ("button.ko", "evdev.ko")).items()]
        self.initrd(guestkit.cpio(entries))
        self.boot_with("their.own")

    def boot_with(self, args):
        result = self.build(config=self.with_setting(
            "image", f'kernel = "debian"\nboot_args = "{args}"'))
        return result["cached"]

    def wait_for_log(self, name, text):
        """Follow the console until it has this text."""
        seen = b""
        deadline = time.monotonic() + self.timeout
        with subprocess.Popen([harness.MVM, "logs", "-f", "--console", name],
                              env=self.environment(), stdout=subprocess.PIPE) as process:
            while text not in seen.decode(errors="replace"):
                ready, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
                chunk = os.read(process.stdout.fileno(), 4096) if ready else b""
                if not chunk:
                    process.kill()
                    self.fail(f"the console has no {text!r}: {seen.decode(errors='replace')}")
                seen += chunk
            process.kill()

    def test_a_guest_with_an_initrd_of_its_own_lives_without_the_agent(self):
        started = self.mvm("run", "-T", "t", "-d", "--name", "own", "-p", "0:80", status=0)
        self.assertIn("own: started in ", started.stderr)
        self.assertIn("; it has no agent, so nothing tells when it is ready", started.stderr)
        self.wait_for_log("own", "\ntheirs: console=ttyS0")

        info = self.mvm_json("inspect", "own")
        self.assertEqual((info["state"], info["agent"], info["health"], info["hostname"],
                          info["machine_id"]), ("running", False, "none", None, None))
        self.assertEqual(list(info["stages_ns"]), ["spawn", "boot"])
        self.assertRegex(self.mvm_ok("ps"), r"own +t@?.* running +- ")

        self.mvm_fails(MVM_FAILED, "exec", "own", "--", "true", says=NO_AGENT)
        self.mvm_fails(UNSUPPORTED, "cp", self.path("t.toml"), "own:/", says=NO_AGENT)
        self.mvm_fails(UNSUPPORTED, "cp", "own:/init", self.path("init"), says=NO_AGENT)
        self.mvm_fails(UNSUPPORTED, "logs", "--workload", "own", says=NO_AGENT)
        self.mvm_fails(MVM_FAILED, "wait", "--workload", "own", says=NO_AGENT)
        self.mvm_ok("pause", "own")
        self.mvm_ok("resume", "own")

        self.mvm_ok("stop", "own", "--timeout", "90s")
        log = self.mvm_ok("logs", "own")
        self.assertRegex(log, "(?m)^theirs: .* their.own$")
        self.assertIn("theirs: the button was pressed", log)
        self.assertEqual(self.mvm_json("inspect", "own")["state"], "exited")

    def test_every_kind_of_end_is_noticed(self):
        self.assertTrue(self.boot_with("their.end"))
        self.assertIn("theirs: that was all\n", self.mvm_ok("run", "-T", "t"))
        self.boot_with("their.panic")
        done = self.mvm("run", "-T", "t", status=FAILED)
        self.assertIn("Attempted to kill init", done.stdout)
        self.assertRegex(done.stderr, "instance '.*' failed: .*Attempted to kill init")
        self.assertEqual(self.mvm_json("ps"), [])
        self.mvm_ok("run", "-T", "t", "-d", "--name", "own")
        self.mvm("wait", "own", status=FAILED)
        self.assertIn("Attempted to kill init", self.mvm_json("inspect", "own")["error"])

    def test_options_that_need_the_agent_are_refused_before_the_start(self):
        os.makedirs(self.path("folder"))
        self.mvm_fails(MVM_FAILED, "run", "-T", "t", "--", "true", says=NO_AGENT)
        self.mvm_fails(UNSUPPORTED, "run", "-T", "t", "-d", "-v", self.path("folder") + ":/x",
                       says=NO_AGENT)
        self.mvm_fails(UNSUPPORTED, "run", "-T", "t", "-d", "--require-snapshot",
                       says="the image's own initrd has no agent")
        self.mvm_fails(UNSUPPORTED, "pool", "set", "t", "-s", "1", says=NO_AGENT)
        self.assertEqual(self.mvm_json("ps"), [])

    def test_a_guest_that_ignores_stop_is_killed_after_the_timeout(self):
        self.mvm_ok("run", "-T", "t", "-d", "--name", "own")
        self.mvm_ok("stop", "own", "--timeout", "0s")
        self.assertEqual(self.mvm_json("inspect", "own")["state"], "exited")


if __name__ == "__main__":
    harness.main()
