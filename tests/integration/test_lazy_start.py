# SPDX-License-Identifier: Apache-2.0
"""A VM starts from a registry before all of its revision is here."""

import json
import os
import signal
import stat
import subprocess
import tarfile
import threading
import time
import unittest

import guests
import harness
import registries

USER = 12345 # nobody's uid
INCOMPLETE = "its revision, which was still being pulled, stays incomplete"


def blobs_of(stub, name):
    """The digests of a file's blobs."""
    layers = json.loads(stub.manifests["v1"][0])["layers"]
    return {layer["digest"] for layer in layers if layer.get("annotations", {}).get("dev.mvm.file") == name}


class Gate:
    """Answers for registries.Stub: the blobs of one file, but for their beginning, wait until the gate opens, or
    are gone then."""

    def __init__(self, stub, name):
        self.held = blobs_of(stub, name)
        self.opened, self.gone = threading.Event(), False
        self.asked = threading.Event()

    def __call__(self, request):
        if request.path.rpartition("/")[2] not in self.held or request.headers.get("Range", "").startswith("bytes=0-"):
            return False
        self.asked.set()
        self.opened.wait(harness.PATIENCE_S)
        if self.gone:
            request.reply(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"gone"}]}')
        return self.gone

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.opened.set()


@harness.needs_guests
@harness.needs_program("busybox")
@unittest.skipUnless(os.access("/dev/fuse", os.R_OK | os.W_OK), "/dev/fuse cannot be opened")
class LazyStart(guests.TestCase):
    config = guests.CONFIG

    @classmethod
    def build_class(cls):
        super().build_class()
        for command in (("key", "generate", "mine"),
                        ("template", "export", "web-worker", os.path.join(cls.shared, "web.tar"), "--sign", "mine")):
            subprocess.run([harness.MVM, "--data-dir", cls.shared_data, *command], check=True, capture_output=True,
                           timeout=300)
        with tarfile.open(os.path.join(cls.shared, "web.tar")) as tar:
            tar.extractall(os.path.join(cls.shared, "layout"), filter="data")

    def setUp(self):
        super().setUp()
        self.made, self.data_dir = self.data_dir, self.path("there")
        guests.copy_data(guests.Kernel.data(), self.data_dir)

    def registry(self):
        stub = registries.Stub()
        layout = os.path.join(self.shared, "layout")
        stub.add_layout(layout, "v1")
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
            artifact, signature = json.load(file)["manifests"]
        listed = {"schemaVersion": 2, "mediaType": registries.INDEX, "manifests": [signature]}
        stub.manifests[artifact["digest"].replace(":", "-")] = json.dumps(listed).encode(), registries.INDEX
        self.enterContext(stub)
        self.ref = stub.ref("v1")
        return stub

    def trust(self):
        self.mvm_ok("key", "trust", os.path.join(self.made, "keys", "mine.pub"))

    def gate(self, stub, name="rootfs.ext4"):
        stub.answer = self.enterContext(Gate(stub, name))
        return stub.answer

    def helper(self, name):
        """The pid of mvm-pull or mvm-lazy."""
        for pid in harness.processes_of(self.data_dir):
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                if file.read().strip() == name:
                    return pid
        return self.fail(f"there is no {name}")

    def wait_for_failure(self, name):
        self.assertTrue(guests.wait_until(lambda: self.inspect(name)["state"] == "failed"), self.inspect(name))
        return self.inspect(name)["error"]

    def assert_nothing_published(self):
        self.assertEqual(self.mvm_json("template", "list"), [])
        self.assertFalse(os.path.exists(self.data("templates", "web")))

    def test_a_vm_runs_while_the_rest_comes(self):
        stub = self.registry()
        self.trust()
        gate = self.gate(stub)
        name = self.run_detached(self.ref)["name"]
        self.assertEqual(self.inspect(name)["start"], "restore")
        self.assertEqual(self.exec(name, "busybox", "echo", "hello"), "hello\n")
        self.assertTrue(gate.asked.wait(harness.PATIENCE_S))
        with open(f"/proc/{self.helper('mvm-lazy')}/limits", encoding="ascii") as file:
            self.assertRegex(file.read(), r"Max address space +1073741824 ")
        # another start joins the same pull
        self.assertEqual(self.mvm_ok("run", "--template", self.ref, "--require-snapshot", "--", "busybox", "echo", "two"),
                         "two\n")
        self.assert_nothing_published()
        # a read of what is missing waits for it
        reader = self.start_mvm("exec", name, "--", "busybox", "sh", "-c",
                                "busybox dd if=/dev/vda bs=1M 2>/dev/null | busybox sha256sum")
        self.assertRaises(subprocess.TimeoutExpired, reader.wait, 0.5)
        gate.opened.set()
        digest, said = reader.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(reader.returncode, 0, (said, self.inspect(name)["error"]))
        rootfs = os.path.join(self.made, "templates", "web-worker", "current", "rootfs.ext4")
        self.assertEqual(digest.split()[0], guests.sha256(rootfs))
        # then it is an ordinary revision; the VM goes on
        self.assertTrue(guests.wait_until(
            lambda: os.path.exists(self.current("web", "snapshot", "mem.bin"))))
        self.mvm_ok("template", "verify")
        for file in "mem.bin", "vmstate.bin":
            there = os.path.join(self.made, "templates", "web-worker", "current", "snapshot", file)
            self.assertEqual(guests.sha256(self.current("web", "snapshot", file)), guests.sha256(there))
        self.assertEqual(self.exec(name, "busybox", "echo", "again"), "again\n")
        # the next start asks for the tag alone
        before = len(stub.requests())
        self.mvm_ok("run", "--template", self.ref, "--require-snapshot", "--", "true")
        self.assertEqual([path for _, path in stub.requests()[before:] if "/blobs/" in path], [])
        self.mvm_fails(4, "template", "delete", "web", "--force") # the VM holds a lease
        self.mvm_ok("rm", "--force", name)
        self.assert_nothing_left()

    def test_a_vm_that_waits_for_what_is_missing_can_be_ended(self):
        stub = self.registry()
        self.trust()
        gate = self.gate(stub)
        name = self.run_detached(self.ref)["name"]
        vmm = self.inspect(name)["vmm_pid"]
        began = time.monotonic()
        reader = self.start_mvm("exec", name, "--", "busybox", "dd", "if=/dev/vda", "of=/dev/null", "bs=1M")
        self.assertRaises(subprocess.TimeoutExpired, reader.wait, 1)
        fd = next(fd for fd in os.listdir(f"/proc/{vmm}/fd") if os.readlink(f"/proc/{vmm}/fd/{fd}").endswith("/rootfs.ext4"))
        self.assertRaises(OSError, os.open, f"/proc/{vmm}/fd/{fd}", os.O_RDONLY | os.O_DIRECT) # nobody could end that
        self.mvm_ok("rm", "--force", name)
        self.assertFalse(os.path.exists(f"/proc/{vmm}"))
        reader.communicate(timeout=harness.PATIENCE_S)
        self.assertLess(time.monotonic() - began, 60) # a read waits for a minute
        gate.opened.set()

    def test_a_registry_that_forgets_ends_the_vm(self):
        stub = self.registry()
        self.trust()
        gate = self.gate(stub)
        name = self.run_detached(self.ref)["name"]
        gate.gone = True
        gate.opened.set()
        self.assertIn(INCOMPLETE, self.wait_for_failure(name))
        self.mvm_ok("rm", name)
        self.assert_nothing_published()
        self.assert_nothing_left()
        # what has come is used by the next pull
        gate.gone = False
        before = len(stub.requests())
        self.assertEqual(self.mvm_ok("run", "--template", self.ref, "--", "busybox", "echo", "hello"), "hello\n")
        self.assertTrue(guests.wait_until(
            lambda: os.path.exists(self.current("web", "snapshot", "mem.bin"))))
        ranges = [path for method, path in stub.requests()[before:] if "/blobs/" in path and method == "GET"]
        self.assertLess(len(ranges), 8)

    def test_a_killed_helper_ends_the_vm(self):
        for helper in "mvm-pull", "mvm-lazy":
            with self.subTest(helper):
                stub = self.registry()
                if helper == "mvm-pull":
                    self.trust()
                self.gate(stub)
                name = self.run_detached(self.ref)["name"]
                pull = self.helper("mvm-pull")
                os.kill(self.helper(helper), signal.SIGKILL)
                self.assertIn(INCOMPLETE, self.wait_for_failure(name))
                self.mvm_ok("rm", name)
                if helper == "mvm-lazy": # the pull goes on for later starts
                    os.kill(pull, signal.SIGKILL)
                self.assert_nothing_published()
                self.assertTrue(guests.wait_until(lambda: not harness.processes_of(self.data_dir)))
                self.mvm_ok("ps")
                self.assert_nothing_left()

    def test_damage_reaches_no_vm(self):
        stub = self.registry()
        self.trust()
        for digest in blobs_of(stub, "rootfs.ext4"):
            whole = stub.blobs[digest]
            stub.blobs[digest] = whole[:len(whole) // 3] + bytes(len(whole) - len(whole) // 3)
        gate = self.gate(stub)
        name = self.run_detached(self.ref)["name"]
        gate.opened.set()
        self.assertRegex(self.wait_for_failure(name), INCOMPLETE + ": .* is damaged")
        self.mvm_ok("rm", name)
        self.assert_nothing_published()

    def test_without_fuse_all_of_it_comes_first(self):
        self.registry()
        self.trust()
        enter = guests.in_own_mounts(("/dev/null", "/dev/fuse", "", guests.MS_BIND, ""))
        done = subprocess.run([harness.MVM, "run", "--template", self.ref, "--require-snapshot", "--", "true"],
                              preexec_fn=enter, env=self.environment(), capture_output=True, text=True,
                              timeout=self.timeout, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("VMs start when all of it is here: FUSE cannot be mounted", done.stderr)
        self.assertTrue(os.path.exists(self.current("web", "snapshot/mem.bin")))

    def test_a_user_who_is_not_root_may_start_so(self):
        self.registry()
        self.trust()
        subprocess.run(["chown", "-R", f"{USER}:{USER}", self.data_dir], check=True)
        os.chmod(self.folder, 0o755)
        node = self.path("fuse") # as udev has it
        os.mknod(node, stat.S_IFCHR, os.makedev(10, 229))
        os.chmod(node, 0o666)
        enter = guests.in_own_mounts((node, "/dev/fuse", "", guests.MS_BIND, ""))

        def become():
            enter()
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
        done = subprocess.run([harness.MVM, "run", "--template", self.ref, "--require-snapshot", "--", "busybox", "echo",
                               "hello"], preexec_fn=become, env=self.environment({"HOME": "/"}), capture_output=True,
                              text=True, timeout=self.timeout, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)
        self.assertNotIn("when all of it is here", done.stderr)
        self.assertTrue(guests.wait_until(lambda: os.path.exists(self.current("web", "snapshot", "mem.bin"))))

    def test_what_cannot_be_lazy_is_pulled_whole(self):
        stub = self.registry()
        # no trusted key: the snapshot does not run
        done = self.mvm("run", "--template", self.ref, "--", "busybox", "echo", "hello", status=0)
        self.assertEqual(done.stdout, "hello\n")
        self.assertIn("there is no snapshot that may run here", done.stderr)
        self.assertIn("no key that you trust has signed it", done.stderr)
        # no ranges
        self.own_data(kernel_only=True)
        self.trust()

        def whole(request):
            del request.headers["Range"]
            return False
        stub.answer = whole
        done = self.mvm("run", "--template", self.ref, "--require-snapshot", "--", "true", status=0)
        self.assertIn("VMs start when all of it is here: ", done.stderr)
        self.assertIn("pulling whole files", done.stderr)

    def test_a_template_of_ones_own_stays(self):
        self.registry()
        self.mvm_ok("template", "create", "web", "--flake", "dir:/nowhere")
        self.mvm_fails(125, "run", "--template", self.ref, "--", "true", says="has another source")


if __name__ == "__main__":
    guests.main()
