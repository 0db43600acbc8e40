# SPDX-License-Identifier: Apache-2.0
"""`mvm run IMAGE`: the first time fetches, builds and takes a snapshot; later runs start from that."""

import concurrent.futures
import fcntl
import os
import shutil
import signal
import subprocess

import guests
import harness
import oci_images as oci
from registries import Stub

KERNEL = os.path.join(harness.SOURCE_DIR, "tests/fuzz/corpus/kernel/vmlinux")
FAILED = 125 # of run with a command: mvm itself failed
NO_VMM = {"MVM_QEMU": "/nonexistent", "MVM_FIRECRACKER": "/nonexistent"}


def busybox_image(text):
    with open(shutil.which("busybox"), "rb") as file:
        busybox = file.read()
    return oci.Image(Cmd=["/bin/sh"], Env=["PATH=/bin", "FROM=image"]).layer(oci.tar_of(
        oci.file("bin/busybox", busybox, mode=0o755),
        *(oci.symlink("bin/" + tool, "busybox") for tool in ("sh", "cat", "echo", "uname")),
        *(oci.folder(name) for name in ("proc", "sys", "dev", "tmp", "etc")),
        oci.file("etc/text", text)))


@harness.needs_guests
@harness.needs_program("busybox")
class RunImage(harness.TestCase):
    def setUp(self):
        super().setUp()
        guests.copy_data(guests.Kernel.data(), self.data_dir)
        self.stub = self.enterContext(Stub())
        self.stub.add(busybox_image(b"one\n"), "v1.2")

    def test_one_command_fetches_builds_snapshots_and_runs(self):
        ref = self.stub.ref("v1.2")
        # one that is interrupted while it makes the snapshot leaves that to the next
        with subprocess.Popen([harness.MVM, "run", ref, "--", "true"], env=self.environment(),
                              stderr=subprocess.PIPE, text=True) as first:
            said = ""
            while "booting web-v1-2" not in said:
                said += (more := first.stderr.read(1))
                self.assertTrue(more, said)
            first.send_signal(signal.SIGINT)
            said += first.communicate(timeout=harness.PATIENCE_S)[1]
        self.assertIn(first.returncode, (130, -signal.SIGINT), said)
        self.assertIn("pulling " + self.stub.host, said)
        self.assertFalse(self.mvm_json("template", "list")[0]["has_snapshot"])

        with concurrent.futures.ThreadPoolExecutor(2) as pool: # the slower one waits for the other's
            both = list(pool.map(lambda _: self.mvm("run", ref, "--", "sh", "-c", "cat /etc/text; echo $FROM; "
                                                    "exit 7", status=7), range(2)))
        self.assertEqual([done.stdout for done in both], ["one\nimage\n"] * 2)
        said = "".join(done.stderr for done in both)
        self.assertEqual(said.count("testing: restoring a clone"), 1, said)
        template, = self.mvm_json("template", "list")
        self.assertEqual((template["template_id"], template["has_snapshot"]), ("web-v1-2", True))
        # again, also without the scheme: nobody is asked, and it is a clone
        self.stub.seen.clear()
        self.assertEqual(self.mvm_ok("run", "--require-snapshot", ref.removeprefix("docker://"), "--", "cat",
                                     "/etc/text"), "one\n")
        self.assertEqual(self.stub.seen, [])


class Choosing(harness.TestCase):
    """Without a guest: what a word means."""

    def test_a_mistyped_template_fetches_nothing(self):
        self.mvm_fails(3, "run", "htpp-worker", says="no template has the name 'htpp-worker'\n"
                       "hint: for an image of Docker Hub write docker://htpp-worker")
        self.mvm_fails(FAILED, "run", "web", "--", "ls", says="no template has the name 'web'")

    def test_a_snapshot_that_fails_is_not_tried_at_each_run(self):
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        log = self.path("tries")
        vmm = self.write("qemu", '#!/bin/sh\n[ "$1" != --version ] || exec echo "QEMU emulator version 7.2.0"\n'
                         f"echo >>{log}; exit 1\n")
        os.chmod(vmm, 0o755)
        os.chmod(self.folder, 0o755) # root's mvm runs it as another user
        env = {"MVM_QEMU": vmm, "MVM_FIRECRACKER": "/nonexistent", "MVM_ISOLATION": "off"}

        def run(*options):
            with open(log, "w", encoding="ascii") as file:
                os.chmod(file.fileno(), 0o666)
            said = self.mvm("run", *options, ref, "--", "true", env=env, status=FAILED).stderr
            return said, os.path.getsize(log) # the last try is the VM's own boot
        with Stub() as stub:
            stub.add(busybox_image(b"one\n"), "v1.2")
            ref = stub.ref("v1.2")
            said, tries = run()
            self.assertRegex(said, r"web-v1-2: no snapshot, so it boots: .*\(later runs do not try again\)")
            self.assertEqual(tries, 2)
            said, tries = run()
            self.assertRegex(said, "web-v1-2: its snapshot failed in an earlier run, so it boots: .*QEMU ended")
            self.assertEqual(tries, 1)
            self.assertEqual(run("--pull")[1], 2)
            self.mvm("template", "snapshot", "web-v1-2", env={**env, **NO_VMM}, status=6) # lifts it
            self.assertEqual(run()[1], 2)
            self.assertEqual(run()[1], 1)
            self.mvm_ok("template", "delete", "web-v1-2", "--force")
            self.assertEqual([n for n in os.listdir(f"{self.data_dir}/cache") if "snapshot" in n], [])

    def test_an_image_and_a_template_exclude_each_other(self):
        self.mvm_fails(2, "run", "--template", "a", "docker://b", says="goes with neither IMAGE nor --pull")
        self.mvm_fails(2, "run", says="name an image as in docker://debian:12")
        self.mvm_fails(2, "run", "a", "b", says="COMMAND is written behind '--'")

    def test_only_pull_asks_whether_the_tag_has_moved(self):
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        with Stub() as stub:
            def run(*options):
                """Run it where no VMM is: only the build succeeds.  Returns the number of revisions."""
                stub.seen.clear()
                self.mvm("run", *options, stub.ref("v1"), "--", "true", status=FAILED, env=NO_VMM)
                return len(self.mvm_json("template", "history", "web-v1"))

            stub.add(busybox_image(b"one"), "v1")
            self.assertEqual(run(), 1)
            stub.add(busybox_image(b"two"), "v1")
            self.assertEqual(run(), 1)
            self.assertEqual(stub.seen, [])
            self.assertEqual(run("--pull"), 2)
            self.assertEqual(stub.requests()[0][0], "HEAD")

    def test_a_taken_name_gets_digits(self):
        with Stub() as stub:
            stub.add(busybox_image(b""), "v1")
            self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
            self.mvm_ok("template", "create", "web-v1", "--flake", "dir:/x")
            for _ in range(2):
                self.mvm("run", stub.ref("v1"), "--", "true", status=FAILED, env=NO_VMM)
                names = [each["template_id"] for each in self.mvm_json("template", "list")]
                self.assertEqual(len(names), 2)
                self.assertRegex(names[1], r"^web-v1-[0-9a-f]{8}$")

    def test_an_image_that_is_not_built_leaves_no_template(self):
        with Stub() as stub:
            stub.add(busybox_image(b""), "v1")
            self.mvm_fails(3, "run", stub.ref("v1"), says="kernel")
            self.assertEqual(self.mvm_json("template", "list"), [])
            self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
            self.mvm_fails(3, "run", stub.ref("v11"), says="v11")
            self.assertEqual(self.mvm_json("template", "list"), [])
            # one that somebody has made stays
            self.mvm_ok("template", "create", "web-v11", "--flake", stub.ref("v11"))
            self.mvm_fails(3, "run", stub.ref("v11"), says="v11")
            self.assertEqual(len(self.mvm_json("template", "list")), 1)

    def test_a_name_that_is_taken_meanwhile_is_not_run(self):
        """Another image's template appears between the look for the name and its creation."""
        other, aside = os.path.join(self.data_dir, "templates", "web-v1"), self.path("aside")
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.mvm_ok("template", "create", "web-v1", "--flake", "docker://localhost:1/evil/web:v1")
        os.rename(other, aside)
        with Stub() as stub, open(os.path.join(self.data_dir, "locks", "template.web-v1"), "w", encoding="ascii") as lock:
            stub.add(busybox_image(b""), "v1")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with subprocess.Popen([harness.MVM, "run", stub.ref("v1"), "--", "true"], env=self.environment(),
                                  stderr=subprocess.PIPE, text=True) as process:
                self.assertIn("waiting for process", process.stderr.readline())
                os.rename(aside, other)
                fcntl.flock(lock, fcntl.LOCK_UN)
                self.assertIn("template 'web-v1' has another source", process.communicate()[1])
        self.assertEqual(process.returncode, FAILED)


if __name__ == "__main__":
    harness.main()
