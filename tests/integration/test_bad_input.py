# SPDX-License-Identifier: Apache-2.0
"""mvm refuses bad input with a message that says how to mend it, and leaves nothing behind."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import unittest

import guests
import harness

UNHEALTHY = """
template_id = "sick"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/sh", "-c", "echo last-words >/dev/console; {then}"]

[health]
tcp       = 8080
timeout_s = {timeout}
""" + guests.VARIANT

needs_root = unittest.skipUnless(os.getuid() == 0, "needs root, to mount")


class Inputs(guests.TestCase):
    """Refusals before any guest starts, so these tests need no guests."""

    @classmethod
    def setUpClass(cls):
        harness.TestCase.setUpClass()

    def setUp(self):
        harness.TestCase.setUp(self)
        guests.make_root(self.folder)

    def build_fails(self, status, config, *options):
        path = self.write("template.toml", config)
        says = self.mvm_fails(status, "template", "build", "--config", path, *options)
        self.assert_nothing_left()
        self.assertFalse(os.path.lexists(self.data("templates", "web-worker", "current")))
        return says

    def test_a_wrong_type_is_named_with_file_line_and_key(self):
        config = guests.CONFIG.replace("vcpus   = 1", 'vcpus   = "two"')
        line = config[:config.index('"two"')].count("\n") + 1
        says = self.build_fails(1, config, "--snapshot")
        self.assertIn(f"template.toml:{line}: variants[0].vcpus: ", says)
        self.assertIn("whole number, not a string", says)
        self.assertEqual(self.mvm_json("template", "list"), [])

    def test_each_wrong_value_is_named_with_its_key(self):
        cases = (
            ("vcpus   = 1", "vcpus = 300", "variants[0].vcpus"),
            ("vcpus   = 1", "vcpu = 1", "variants[0].vcpu"),
            ("mem_mib = 128", "mem_mib = -1", "variants[0].mem_mib"),
            ('role    = "worker"', 'role = "../up"', "role"),
            ('http = "', "htp = 1 #", "htp"),
            ('"/www"]', '"/www", 1]', "command"),
            ('"dir:root"', "[]", "flake_ref"),
        )
        for old, new, key in cases:
            with self.subTest(new):
                config = guests.CONFIG.replace(old, new, 1)
                self.assertNotEqual(config, guests.CONFIG)
                says = self.build_fails(1, config, "--strict")
                self.assertIn(key, says)
                self.assertIn("template.toml", says)

    def test_text_that_is_no_toml_is_named_with_its_line(self):
        self.assertIn("template.toml:2", self.build_fails(1, "a = 1\nb = = 2\n"))

    def test_a_machine_too_small_or_too_large_is_refused(self):
        for old, new in (("mem_mib = 128", "mem_mib = 16"), ("mem_mib = 128", "mem_mib = 0"),
                         ("vcpus   = 1", "vcpus = 200"), ("vcpus   = 1", "vcpus = 0"),
                         ("mem_mib = 128", "mem_mib = 128\ndata_disk_mib = 1")):
            with self.subTest(new):
                second = guests.VARIANT.replace("worker", "second").replace(old, new)
                says = self.build_fails(1, guests.CONFIG + second)
                self.assertIn(new.rpartition("= ")[2], says)
                self.assertEqual(says.count("variants[1]."), 1)
                self.mvm_fails(1, "template", "apply", self.path("template.toml"))
                self.assertEqual(self.mvm_json("template", "list"), []) # not even the good variant

    def test_a_missing_kernel_comes_with_the_command_to_add_one(self):
        for config in (guests.CONFIG, guests.CONFIG.replace('kernel      = "debian"', "")):
            says = self.build_fails(3, config)
            self.assertIn("kernel", says)
            self.assertIn("mvm kernel fetch", says)

    def test_a_file_that_is_no_kernel_is_refused(self):
        self.write("text", "hello\n")
        self.write("empty", "")
        with open(self.path("half.deb"), "wb") as file:
            file.write(b"!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n")
        with open(self.path("elf"), "wb") as file:
            file.write(b"\x7fELF\x02\x01\x01" + bytes(4096))
        for name in ("text", "empty", "half.deb", "elf", "root"):
            with self.subTest(name):
                says = self.mvm_fails(1, "kernel", "add", self.path(name), "--name", "k")
                self.assertIn(name, says)
                self.assertEqual(self.mvm_json("kernel", "list"), [])
                self.assert_nothing_left()
        # busybox is an ELF file, but no kernel
        self.mvm_fails(1, "kernel", "add", shutil.which("busybox"), "--name", "k", says="busybox")
        self.assertEqual(self.mvm_json("kernel", "list"), [])
        self.mvm_fails(3, "kernel", "add", self.path("none"), says="none")

    def test_a_missing_thing_has_status_3(self):
        for args in (("template", "build", "no-such"), ("template", "info", "no-such"),
                     ("run", "--template", "no-such", "-d"), ("inspect", "no-such"),
                     ("stop", "no-such"), ("rm", "no-such"), ("logs", "no-such"),
                     ("pause", "no-such")):
            with self.subTest(args):
                self.mvm_fails(3, *args, says="'no-such'")
        self.assert_nothing_left()

    def test_an_impossible_data_folder_is_refused(self):
        self.write("file", "")
        says = self.mvm_fails(1, "--data-dir", self.path("file", "data"), "template", "list")
        self.assertIn("Not a directory", says)
        self.assertIn("--data-dir", says)
        self.mvm_fails(1, "--data-dir", self.path("file"), "template", "list", says="file")

    def test_a_data_folder_that_others_may_write_is_refused(self):
        for mode in (0o777, 0o775, 0o702):
            folder = self.path(f"mode-{mode:o}")
            os.mkdir(folder)
            os.chmod(folder, mode)
            says = self.mvm_fails(1, "--data-dir", folder, "template", "list")
            self.assertIn("may be written by others", says)
            self.assertIn("chmod go-w", says)
            self.assertEqual(os.listdir(folder), [])

    @needs_root
    def test_a_data_folder_that_is_read_only_is_refused(self):
        os.makedirs(self.data_dir, 0o700)
        enter = guests.in_own_mounts(
            (self.data_dir, self.data_dir, "", guests.MS_BIND, ""),
            ("none", self.data_dir, "", guests.MS_BIND | guests.MS_REMOUNT | guests.MS_RDONLY, ""))
        config = self.write("template.toml", guests.CONFIG)
        try:
            done = subprocess.run([harness.MVM, "template", "build", "--config", config],
                                  env=self.environment(), preexec_fn=enter, text=True,
                                  capture_output=True, check=False, timeout=harness.PATIENCE_S)
        except subprocess.SubprocessError as error:
            self.skipTest(f"cannot mount here: {error}")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not writable", done.stderr)
        self.assertIn("--data-dir", done.stderr)
        self.assertEqual(os.listdir(self.data_dir), [])


@harness.needs_guests
class Sources(guests.TestCase):
    """The kernel is fine, the source is wrong."""

    config = None

    def build_fails(self, status, flake_ref):
        self.own_data(kernel_only=True)
        config = self.write("template.toml", guests.CONFIG.replace("dir:root", flake_ref))
        says = self.mvm_fails(status, "template", "build", "--config", config, "--snapshot")
        self.assertIn("'web-worker'", says)
        self.assert_nothing_left()
        self.assertIsNone(self.mvm_json("template", "list")[0]["revision_hash"])
        self.assertFalse(os.path.lexists(self.data("templates", "web-worker", "current")))
        return says

    def test_a_missing_config_is_named(self):
        self.mvm_fails(3, "template", "build", "--config", "none.toml", says="none.toml")

    def test_a_missing_folder_is_named_by_its_whole_path(self):
        says = self.build_fails(3, "dir:not-here")
        self.assertIn(self.path("not-here"), says)
        self.assertIn("hint: check flake_ref", says)

    def test_a_missing_archive_is_named(self):
        self.assertIn(self.path("none.tar"), self.build_fails(3, "tar:none.tar"))

    def test_a_file_that_is_no_archive_is_damaged(self):
        self.write("notes.tar", "not an archive at all\n" * 100)
        self.assertIn(self.path("notes.tar"), self.build_fails(5, "tar:notes.tar"))

    def test_a_file_is_no_folder(self):
        self.write("file", "")
        self.assertIn(self.path("file"), self.build_fails(1, "dir:file"))


@harness.needs_guests
class Sick(guests.TestCase):
    """Guests that never become healthy."""

    config = guests.CONFIG
    snapshot = False

    def build_sick(self, **what):
        self.own_data(kernel_only=True)
        guests.make_root(self.folder)
        config = self.write("template.toml", UNHEALTHY.format(**what))
        says = self.mvm_fails(1, "template", "build", "--config", config, "--snapshot")
        self.assert_nothing_left()
        info = self.mvm_json("template", "info", "sick-worker")
        self.assertEqual(info["kind"], "Image")
        self.assertTrue(os.path.isfile(self.current("sick-worker", "rootfs.ext4")))
        self.assertFalse(os.path.exists(self.current("sick-worker", "snapshot")))
        return says

    def test_an_unhealthy_start_fails_with_deadline_last_answer_and_console(self):
        says = self.build_sick(then="sleep 1000", timeout=20)
        self.assertIn("'sick-worker'", says)
        self.assertIn("did not become healthy (deadline 20 s)", says)
        self.assertIn("Connection refused", says)
        self.assertRegex(says, r"(?m)^  last-words$")

    def test_a_start_does_not_wait_for_a_workload_that_has_ended(self):
        says = self.build_sick(then="echo and-its-log; exit 3", timeout=600)
        self.assertIn("workload has ended with exit status 3", says)
        self.assertIn("last-words", says) # among the other lines of the console
        self.assertIn("and-its-log", says)

    def test_run_has_the_status_of_a_workload_that_ends_before_it_is_healthy(self):
        self.own_data(kernel_only=True)
        guests.make_root(self.folder)
        for status in (3, 0):
            config = self.write("template.toml", UNHEALTHY.format(
                then=f"echo and-its-log; exit {status}", timeout=600))
            self.mvm_ok("template", "build", "--config", config)
            done = self.mvm("run", "-T", "sick-worker", status=status)
            self.assertIn("and-its-log", done.stdout)
            self.mvm("run", "-T", "sick-worker", "-d", "--name", "one", "--restart", "on-failure:1",
                     status=0)
            self.mvm("wait", "one", status=status)
            record = self.mvm_json("inspect", "one")
            self.assertEqual((record["state"], record["restarts"]), ("exited", int(status > 0)))
            # CMD would have no workload beside it
            self.mvm_fails(125, "run", "-T", "sick-worker", "--", "true",
                           says=f"the workload has ended with exit status {status}")
            self.mvm_ok("rm", "one")

    def test_run_of_one_fails_the_same_way(self):
        self.own_data(kernel_only=True)
        guests.make_root(self.folder)
        config = self.write("template.toml", UNHEALTHY.format(then="sleep 1000", timeout=1))
        self.mvm_ok("template", "build", "--config", config)
        self.mvm_fails(125, "run", "--template", "sick-worker", "--", "true",
                       says="did not become healthy")
        self.assert_nothing_left()

    def test_without_qemu_the_image_is_built_and_the_package_named(self):
        self.own_data(kernel_only=True)
        guests.make_root(self.folder)
        config = self.write("template.toml", guests.CONFIG)
        nowhere = {"PATH": self.path("empty")}
        says = self.mvm_fails(6, "template", "build", "--config", config, "--snapshot",
                              env=nowhere)
        self.assertIn("qemu-system-x86", says)
        self.assert_nothing_left()
        self.assertEqual(self.mvm_json("template", "info", "web-worker", env=nowhere)["kind"],
                         "Image")
        self.mvm_ok("template", "build", "--config", config, env=nowhere) # needs no VMM
        says = self.mvm_fails(6, "run", "--template", "web-worker", "-d", env=nowhere)
        self.assertIn("qemu-system-x86", says)
        self.mvm_fails(125, "run", "--template", "web-worker", "--", "true", env=nowhere)
        says = self.mvm_fails(6, "run", "--template", "web-worker", "-d",
                              env={"MVM_QEMU": "/no/such/qemu"})
        self.assertIn("/no/such/qemu", says)
        says = self.mvm_fails(6, "run", "--template", "web-worker", "-d", "--backend", "firecracker",
                              env={"MVM_FIRECRACKER": "/no/such/firecracker"})
        self.assertIn("/no/such/firecracker", says)
        self.assertIn("put firecracker", says) # and not the package of QEMU
        self.assertNotIn("qemu-system-x86", says)
        self.assert_nothing_left()
        self.assertEqual([backend for backend in self.mvm_json("backends", env=nowhere)
                          if backend["usable"]], [])


@harness.needs_guests
class Damaged(guests.TestCase):
    config = guests.CONFIG

    def setUp(self):
        super().setUp()
        self.own_data()

    def run_refused(self):
        """Each way to start the template fails with status 5, and none of its files run."""
        says = self.mvm_fails(5, "run", "--template", "web-worker", "-d")
        self.mvm_fails(5, "run", "--template", "web-worker", "-d", "--require-snapshot")
        self.mvm_fails(125, "run", "--template", "web-worker", "--", "true")
        self.assert_nothing_left()
        return says

    def mends(self):
        """The message's remedy works."""
        self.mvm_ok("template", "build", "web-worker", "--snapshot", "--force")
        self.assertEqual(self.mvm_ok("run", "--template", "web-worker", "--require-snapshot", "--",
                                     "echo", "well"), "well\n")

    def test_a_revision_json_that_is_damaged_is_reported_and_not_run(self):
        path = self.current("web-worker", "revision.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for damage in (text[:len(text) // 2], "", "[]", text.replace('"vcpus": 1,', '"vcpus": "1",'),
                       text.replace('"rootfs.ext4"', '"../../../../rootfs.ext4"')):
            with self.subTest(damage[-20:]):
                self.assertNotEqual(damage, text)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(damage)
                self.mvm_fails(5, "template", "info", "web-worker", says="revision.json")
                self.assertIn("revision.json", self.run_refused())
                self.mvm_fails(5, "run", "--template", "web-worker", "-d", "--cold")
        self.assertEqual(len(self.mvm_json("template", "list")), 1) # and the list still works
        self.mvm_ok("template", "build", "web-worker")
        self.mvm_ok("template", "info", "web-worker")

    def test_device_state_with_a_flipped_bit_is_never_loaded(self):
        path = self.current("web-worker", "snapshot", "vmstate.bin")
        with open(path, "r+b") as file:
            file.seek(1000)
            byte = file.read(1)[0]
            file.seek(1000)
            file.write(bytes([byte ^ 1]))
        self.assertIn("vmstate.bin", self.run_refused())
        self.mends()

    def test_memory_that_was_cut_is_never_loaded(self):
        path = self.current("web-worker", "snapshot", "mem.bin")
        os.truncate(path, 100 << 20)
        self.assertIn("mem.bin", self.run_refused())
        self.mends()

    def test_memory_with_a_flipped_bit_is_never_loaded(self):
        path = self.current("web-worker", "snapshot", "mem.bin")
        with open(path, "r+b") as file:
            file.seek(64 << 20)
            byte = file.read(1)[0]
            file.seek(64 << 20)
            file.write(bytes([byte ^ 1]))
        says = self.run_refused()
        self.assertIn("mem.bin", says)
        self.assertIn("--snapshot --force", says)
        # the image is whole, and boots
        self.assertEqual(self.mvm_ok("run", "--template", "web-worker", "--cold", "--", "echo",
                                     "cold"), "cold\n")

    def flip(self, name, offset=4096):
        """Change a byte in a file of the current revision, and restore the file's time, as some editors do."""
        path = self.current("web-worker", name)
        times = os.stat(path)
        os.chmod(path, 0o644)
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.chmod(path, 0o444)

    def test_an_edited_kernel_initrd_or_image_is_never_run(self):
        self.mvm_ok("run", "--template", "web-worker", "--", "true")
        for name in ("vmlinux", "initrd", "rootfs.ext4"):
            with self.subTest(name):
                self.flip(name)
                self.assertIn(f"'{name}' is damaged", self.run_refused())
                self.mvm_fails(5, "run", "--template", "web-worker", "-d", "--cold", says=name)
                self.mvm_fails(5, "template", "snapshot", "web-worker", says=name)
                self.flip(name) # back to the old bytes, with other times
                self.mvm_ok("run", "--template", "web-worker", "--require-snapshot", "--", "true")
        self.flip("rootfs.ext4")
        self.run_refused()
        self.mends()

    def test_a_vm_of_a_pool_is_not_run_from_an_edited_image(self):
        self.mvm_ok("pool", "set", "web-worker", "--size", "1")
        server = self.start_mvm("pool", "serve")
        ready = lambda: self.mvm_json("pool", "list")["pools"][0]
        self.assertTrue(guests.wait_until(lambda: ready()["ready"] == 1))
        self.flip("rootfs.ext4")
        self.mvm_fails(5, "run", "--template", "web-worker", "-d", says="rootfs.ext4")
        name, = self.instances()
        self.mvm_ok("rm", "--force", name) # to let the pool start another VM, from the edited image
        self.assertTrue(guests.wait_until(lambda: "rootfs.ext4" in (ready()["note"] or "")))
        self.assertEqual(ready()["ready"], 0)
        server.terminate()
        server.wait(harness.PATIENCE_S)

    def test_verify_reads_all_of_it(self):
        self.assertIn("web", self.mvm_ok("run", "--template", "web-worker", "--verify", "--",
                                         "hostname"))
        path = self.current("web-worker", "snapshot", "working-set.bin") # only --verify reads it
        with open(path, "ab") as file:
            file.write(b"x")
        self.mvm_ok("run", "--template", "web-worker", "--", "true")
        self.mvm_fails(5, "run", "--template", "web-worker", "-d", "--verify", says="working-set.bin")

    def test_missing_snapshot_files_are_reported(self):
        os.unlink(self.current("web-worker", "snapshot", "vmstate.bin"))
        self.assertIn("missing", self.run_refused())
        shutil.rmtree(self.current("web-worker", "snapshot"))
        self.assertIn("missing", self.run_refused())

    def test_a_copied_data_folder_still_restores(self):
        # the inodes and ctimes are new, so mvm hashes the memory again, and finds no damage; a file
        # that has changed this very moment is not remembered
        folder = self.current("web-worker", "")
        changed = max(os.stat(os.path.join(folder, name)).st_ctime for name in os.listdir(folder))
        self.assertTrue(guests.wait_until(lambda: time.time() > changed + 0.05))
        done = self.mvm("run", "--template", "web-worker", "--require-snapshot", "--", "true",
                        status=0)
        self.assertIn("restored", done.stderr)
        verified = self.current("web-worker", "verified")
        with open(verified, encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertEqual(sorted(line.split(" ")[2] for line in lines),
                         ["fc-base.json", "initrd", "rootfs.ext4", "snapshot/mem.bin", "vmlinux"])
        before = os.stat(verified).st_ino
        self.mvm_ok("run", "--template", "web-worker", "--require-snapshot", "--", "true")
        self.assertEqual(os.stat(verified).st_ino, before) # nothing was read again


@harness.needs_guests
class Starts(guests.TestCase):
    """Starts of a good template that mvm refuses before a guest runs."""

    config = guests.CONFIG

    def refused(self, status, *options, says):
        text = self.mvm_fails(status, "run", "--template", "web-worker", "-d", *options, says=says)
        self.assert_nothing_left()
        return text

    def test_invalid_names_are_refused(self):
        for name in ("Upper", "../up", "a/b", "", "-x", "x" * 64, "dot.ted"):
            with self.subTest(name):
                self.refused(2, f"--name={name}", says="no valid instance name")
        self.refused(2, "--name=.", says="no valid instance name")

    def test_a_port_in_use_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            text = self.refused(4, "-p", f"{port}:8080", says="Address already in use")
            self.assertIn(str(port), text)

    def test_a_port_that_is_forwarded_twice_is_named(self):
        same, twice = "take the same port", "is forwarded twice"
        for status, why, ports in ((2, same, ("18080:80", "18080:81")),
                                   (4, twice, ("[::1]:18080:80", "[::]:18080:80")),
                                   (4, twice, ("127.0.0.2:18080:80", "0.0.0.0:18080:80"))):
            says = self.refused(status, "-p", ports[0], "-p", ports[1], says=why)
            self.assertNotIn("booting", says)

    def test_invalid_ports_are_usage_errors(self):
        for port in ("80", "x:y", "1:70000", "1:0", "256.0.0.1:1:2", "1:2/sctp", "::1:1:2",
                     "[::1:1:2", "[::g]:1:2", "[127.0.0.1]:1:2"):
            with self.subTest(port):
                self.refused(2, "-p", port, says="no port forward")

    def test_unknown_backends_and_sizes_over_limits_are_refused(self):
        self.assertRegex(self.refused(2, "--backend", "xen", says="xen"), "qemu")
        self.refused(2, "--cpus", "0", says="--cpus")
        self.refused(2, "--mem", "1M", says="--mem")

    def test_more_memory_than_the_host_has_is_refused(self):
        self.assertRegex(self.refused(1, "--mem", "900T", says="900 TiB of memory: "), r"has \S+ [GM]iB")

    def test_memory_that_may_run_out_is_noted_with_numbers(self):
        with open("/proc/meminfo", encoding="ascii") as file:
            total_mib = int(file.readline().split()[1]) // 1024
        process = self.start_mvm("run", "--template", "web-worker", "--cold", "--mem",
                                 f"{total_mib - 64}M", "--", "true")
        note = process.stderr.readline() # the VM starts after this note; the test does not wait for it
        process.terminate()
        process.communicate(timeout=harness.PATIENCE_S)
        self.assertRegex(note, r"memory may run out: this VM may take \S+ GiB and the running VMs at least "
                         r"\S+ B more, but only \S+ GiB are available")
        self.leave_no_instance() # the start ended before it had a supervisor, or the supervisor removed the instance
        self.assertNotIn("memory may run out", self.mvm("run", "--template", "web-worker", "--",
                                                        "true", status=0).stderr)

    def test_a_missing_revision_is_named(self):
        self.mvm_fails(3, "run", "--template", "web-worker@0123abc", "-d", says="0123abc")
        says = self.mvm_fails(2, "run", "--template", "web-worker@../..", "-d")
        self.assertIn("../..", says)
        self.assert_nothing_left()

    def test_an_error_is_json_when_json_is_asked_for(self):
        done = self.mvm("run", "--json", "--template", "no-such", "-d", status=3)
        error = json.loads(done.stderr)["error"]
        self.assertEqual((error["code"], error["exit_status"]), ("ENOENT", 3))
        self.assertTrue(re.search("no-such", error["message"]))


if __name__ == "__main__":
    guests.main()
