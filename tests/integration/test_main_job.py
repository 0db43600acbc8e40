# SPDX-License-Identifier: Apache-2.0
"""From a template.toml to microVMs restored from a snapshot."""

import hashlib
import json
import os
import re
import stat
import subprocess
import tarfile
import time

import guests
import harness

TWO_VARIANTS = guests.CONFIG + """
[[variants]]
role    = "gateway"
vcpus   = 2
mem_mib = 160
"""


@harness.needs_guests
class Kernels(guests.TestCase):
    def test_a_kernel_is_imported_once_and_replaced_only_by_force(self):
        deb = os.environ["MVM_TEST_KERNEL_DEB"]
        self.own_data(kernel_only=True)
        kernel, = self.mvm_json("kernel", "list")
        self.assertEqual(kernel["name"], "debian")
        self.assertIn(kernel["version"], os.path.basename(deb))
        self.assertGreater(kernel["modules"], 5)
        self.assertTrue(kernel["pvh"])
        vmlinux = self.data("kernels", "debian", "vmlinux")
        self.assertEqual(guests.sha256(vmlinux), kernel["vmlinux_sha256"])
        self.assertEqual(os.stat(vmlinux).st_size, kernel["vmlinux_bytes"])
        self.assertEqual(stat.S_IMODE(os.stat(vmlinux).st_mode), 0o444)

        self.assertIn("was there already", self.mvm_ok("kernel", "add", deb, "--name", "debian"))
        self.assertEqual(self.mvm_json("kernel", "list"), [kernel])

        # without its modules, the same code counts as another kernel
        bare = self.path("vmlinux")
        os.link(vmlinux, bare)
        says = self.mvm_fails(4, "kernel", "add", bare, "--name", "debian")
        self.assertIn("--force", says)
        self.assertEqual(self.mvm_json("kernel", "list"), [kernel])
        self.mvm_ok("kernel", "add", bare, "--name", "debian", "--force")
        replaced, = self.mvm_json("kernel", "list")
        self.assertEqual(replaced["modules"], 0)
        self.mvm_ok("kernel", "rm", "debian")
        self.assertEqual(self.mvm_json("kernel", "list"), [])
        self.mvm_fails(3, "kernel", "rm", "debian")


@harness.needs_guests
class Preset(guests.TestCase):
    def test_a_preset_runs_every_command_of_busybox(self):
        self.own_data(kernel_only=True)
        self.mvm_ok("template", "init", self.path("box"))
        self.mvm_ok("template", "build", "-c", self.path("box", "template.toml"))
        self.assertIn("busybox\n", self.mvm_ok("run", "--template", "box-worker", "--", "ls", "bin"))


@harness.needs_guests
class Building(guests.TestCase):
    config = TWO_VARIANTS

    def test_every_variant_is_listed_with_its_snapshot(self):
        rows = {row["template_id"]: row for row in self.mvm_json("template", "list")}
        self.assertEqual(sorted(rows), ["web-gateway", "web-worker"])
        for template, cpus, mem in (("web-worker", 1, 128), ("web-gateway", 2, 160)):
            row = rows[template]
            self.assertEqual((row["vcpus"], row["mem_mib"]), (cpus, mem))
            self.assertTrue(row["has_snapshot"])
            self.assertEqual(row["snapshot_mem_bytes"], mem << 20)
            self.assertEqual(row["revision_hash"], os.path.basename(self.current(template)))
            self.assertEqual(row["rootfs_bytes"],
                             os.stat(self.current(template, "rootfs.ext4")).st_size)
        table = self.mvm_ok("template", "list")
        self.assertRegex(table, r"web-worker +worker +minimal +1 +128 MiB +\w{12} .*yes")

    def test_building_again_changes_nothing(self):
        before = {t: (os.stat(self.current(t, "snapshot", "mem.bin")), self.current(t))
                  for t in ("web-worker", "web-gateway")}
        for result in self.mvm_json("template", "build", "--config", self.toml, "--snapshot"):
            self.assertTrue(result["cached"])
            self.assertFalse(result["new_revision"])
            self.assertTrue(result["has_snapshot"])
            self.assertFalse(result["new_snapshot"])
            stats, folder = before[result["template_id"]]
            self.assertEqual(self.current(result["template_id"]), folder)
            self.assertEqual(
                os.stat(os.path.join(folder, "snapshot", "mem.bin")).st_ino, stats.st_ino)
        said = self.mvm_ok("template", "build", "--config", self.toml, "--snapshot")
        self.assertEqual(len(re.findall(r"unchanged, .*kept snapshot", said)), 2, said)

    def test_info_has_spec_revision_kind_and_cache_key(self):
        info = self.mvm_json("template", "info", "web-worker")
        revision = info["revision"]
        key = ":".join((revision["flake_lock_hash"], "minimal", "worker"))
        self.assertEqual(info["cache_key"], hashlib.sha256(key.encode()).hexdigest())
        self.assertEqual(list(info["kind"]), ["Snapshot"])
        self.assertEqual(info["kind"]["Snapshot"], revision["snapshot"])
        self.assertEqual(info["run"]["start"], "restore", info["run"])
        self.assertIsNone(info["run"]["reason"])
        with open(self.current("web-worker", "revision.json"), encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(json.loads(text), revision)
        self.assertTrue(text.endswith("}\n"))
        with open(self.data("templates", "web-worker", "template.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), info["spec"])
        self.assertEqual(revision["artifact_paths"]["rootfs"], "rootfs.ext4")
        self.assertEqual(revision["snapshot"]["mem_size_bytes"], 128 << 20)
        self.assertEqual(revision["snapshot"]["vmstate_size_bytes"],
                         os.stat(self.current("web-worker", "snapshot", "vmstate.bin")).st_size)
        self.assertRegex(revision["built_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue(os.path.isfile(
            self.data("cache", "builds", info["cache_key"] + ".json")))
        named = self.mvm_json("template", "info", "web-worker@" + revision["revision_hash"])
        self.assertEqual(named, info)

    def test_files_of_a_revision_are_as_documented(self):
        link = self.data("templates", "web-worker", "current")
        revision = os.path.basename(self.current("web-worker"))
        self.assertEqual(os.readlink(link), "artifacts/" + revision)
        self.assertEqual(stat.S_IMODE(os.stat(self.data_dir).st_mode), 0o700)
        blobs = {os.stat(self.data("blobs", "sha256", name)).st_ino: name
                 for name in os.listdir(self.data("blobs", "sha256"))}
        with open(self.current("web-worker", "checksums.json"), encoding="utf-8") as file:
            sums = json.load(file)
        self.assertEqual(sums["template_id"], "web-worker")
        self.assertEqual(sums["revision_hash"], revision)
        self.assertEqual(list(sums["files"]), ["fc-base.json", "initrd", "rootfs.ext4",
                                               "snapshot/mem.bin", "snapshot/vmstate.bin",
                                               "snapshot/working-set.bin", "vmlinux"])
        found = [os.path.relpath(os.path.join(folder, name), self.current("web-worker"))
                 for folder, _, names in os.walk(self.current("web-worker")) for name in names]
        self.assertEqual(sorted(found),
                         sorted([*sums["files"], "checksums.json", "revision.json"]))
        for name, digest in sums["files"].items():
            path = self.current("web-worker", name)
            with self.subTest(name):
                self.assertEqual(guests.sha256(path), digest)
                mode = 0o600 if name.startswith("snapshot/") else 0o444
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode)
                if name in ("initrd", "rootfs.ext4", "vmlinux"):
                    self.assertEqual(blobs.get(os.stat(path).st_ino), digest)
                    self.assertGreater(os.stat(path).st_nlink, 1)

    def test_memory_is_stored_with_holes(self):
        st = os.stat(self.current("web-worker", "snapshot", "mem.bin"))
        self.assertEqual(st.st_size, 128 << 20)
        self.assertLess(st.st_blocks * 512, st.st_size * 3 // 4)

    def test_the_firecracker_config_names_the_files_beside_it(self):
        with open(self.current("web-gateway", "fc-base.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.assertEqual(config["machine-config"]["vcpu_count"], 2)
        self.assertEqual(config["machine-config"]["mem_size_mib"], 160)
        drive, = config["drives"]
        self.assertTrue(drive["is_read_only"])
        for name in (config["boot-source"]["kernel_image_path"],
                     config["boot-source"]["initrd_path"], drive["path_on_host"]):
            self.assertTrue(os.path.isfile(self.current("web-gateway", name)), name)

    @harness.needs_program("e2fsck")
    def test_the_root_image_is_a_clean_file_system(self):
        done = subprocess.run(["e2fsck", "-fn", self.current("web-worker", "rootfs.ext4")],
                              capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_two_data_folders_get_the_same_revision_and_the_same_bytes(self):
        here = {t: self.current(t) for t in ("web-worker", "web-gateway")}
        self.own_data(kernel_only=True)
        # the path, the times and the write bits differ, the content is the same
        root = guests.make_root(self.folder)
        os.chmod(os.path.join(root, "etc", "passwd"), 0o664)
        os.utime(os.path.join(root, "etc", "passwd"), (1, 1))
        config = self.write("template.toml", TWO_VARIANTS)
        for result in self.mvm_json("template", "build", "--config", config):
            template = result["template_id"]
            self.assertFalse(result["cached"] and template == "web-worker")
            self.assertEqual(self.current(template).rpartition("/")[2],
                             here[template].rpartition("/")[2])
            for name in ("rootfs.ext4", "initrd", "vmlinux", "fc-base.json"):
                with open(self.current(template, name), "rb") as one, \
                        open(os.path.join(here[template], name), "rb") as two:
                    self.assertTrue(one.read() == two.read(), name)

    def test_a_change_of_the_source_makes_another_revision(self):
        self.own_data()
        old = self.current("web-worker")
        root = guests.make_root(self.folder)
        with open(os.path.join(root, "www", "index.html"), "a", encoding="utf-8") as file:
            file.write("changed")
        config = self.write("template.toml", guests.CONFIG)
        result, = self.mvm_json("template", "build", "--config", config)
        self.assertTrue(result["new_revision"])
        self.assertFalse(result["has_snapshot"])
        self.assertNotEqual(self.current("web-worker"), old)
        self.assertTrue(os.path.isdir(old))
        self.assertEqual(self.mvm_json("template", "info", "web-worker")["kind"], "Image")
        kind = self.mvm_json("template", "info", "web-worker@" + os.path.basename(old))["kind"]
        self.assertEqual(list(kind), ["Snapshot"])


@harness.needs_guests
class Clones(guests.TestCase):
    config = guests.CONFIG

    def mapping(self, pid, path):
        """The lines of smaps about a file's mappings: [(permissions, inode, {field: KiB})]."""
        found = []
        with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
            for line in file:
                head = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ (\d+)\s*(.*)", line)
                if head:
                    fields = {}
                    if head[3] == path:
                        found.append((head[1], int(head[2]), fields))
                elif size := re.match(r"(\w+): +(\d+) kB", line):
                    fields[size[1]] = int(size[2])
        return found

    def test_three_clones_differ_in_identity_and_share_memory(self):
        memory = self.current("web-worker", "snapshot", "mem.bin")
        image = self.current("web-worker", "rootfs.ext4")
        before = guests.sha256(memory), guests.sha256(image)
        clones = [self.run_detached("web-worker", "-p", "0:8080", "--name", f"clone-{i}")
                  for i in range(3)]
        pages = []
        for clone in clones:
            self.assertEqual(clone["start"], "restore")
            self.assertIsNone(clone["reason"])
            self.assertEqual(clone["state"], "running")
            port = clone["forwards"][0]["host_port"]
            self.assertIn("<", guests.get(port))
            page = dict(line.split(None, 1) for line in
                        guests.get(port, "/cgi-bin/whoami").splitlines())
            self.assertEqual(page["hostname"], clone["name"])
            self.assertEqual(page["machine-id"], clone["machine_id"])
            pages.append(page)
        for what in ("hostname", "machine-id", "random", "boot-id"):
            self.assertEqual(len({page[what] for page in pages}), 3, (what, pages))

        # their writes, in memory and to /, are private
        for clone in clones:
            self.exec(clone["name"], "/bin/busybox", "dd", "if=/dev/urandom", "of=/mine", "bs=1M",
                      "count=4")
        sums = {self.exec(clone["name"], "/bin/busybox", "sha256sum", "/mine") for clone in clones}
        self.assertEqual(len(sums), 3)

        inode = os.stat(memory).st_ino
        for clone in clones:
            found = self.mapping(clone["vmm_pid"], memory)
            self.assertTrue(found, "the snapshot's memory is not mapped")
            for permissions, mapped, _ in found:
                self.assertEqual(permissions[3], "p")
                self.assertEqual(mapped, inode)
            private = sum(sizes["Private_Dirty"] for _, _, sizes in found)
            self.assertGreater(private, 4 << 10)
            self.assertLess(private, 64 << 10)
        copies = [path for path, st in guests.tree(self.data_dir).items()
                  if st.st_size == 128 << 20]
        self.assertEqual([os.path.realpath(path) for path in copies], [memory])
        for clone in clones:
            used = sum(st.st_blocks for st in
                       guests.tree(self.data("instances", clone["name"])).values())
            self.assertLess(used * 512, 1 << 20)

        self.mvm_ok("stop", *(clone["name"] for clone in clones))
        self.assertEqual((guests.sha256(memory), guests.sha256(image)), before)
        self.assertEqual({row["state"] for row in self.mvm_json("ps")}, {"exited"})

    def test_the_clock_of_a_clone_is_right(self):
        before = time.time()
        said = self.mvm_ok("run", "--template", "web-worker", "--", "date", "+%s")
        # the 5 seconds are for the start and the command
        self.assertGreater(int(said), before - 5)
        self.assertLess(int(said), time.time() + 5)

    def test_run_passes_streams_and_status_and_ends_the_vm(self):
        script = "cat; echo to-stderr >&2; echo $WORD; exit 7"
        done = self.mvm("run", "--template", "web-worker", "-ie", "WORD=spoken", "--", "sh", "-c",
                        script, stdin="line one\nno newline", status=7)
        self.assertEqual(done.stdout, "line one\nno newlinespoken\n")
        # without -i there is no input, as with exec
        self.assertEqual(self.mvm_ok("run", "--template", "web-worker", "--", "cat",
                                     stdin="ignored"), "")
        self.assertIn("to-stderr\n", done.stderr)
        self.assertNotIn("to-stderr", done.stdout)
        self.assert_nothing_left()
        self.assertEqual(self.mvm_json("ps"), [])

    def test_run_reports_a_command_that_cannot_be_run_as_shells_do(self):
        for command, status in (("/no/such/program", 127), ("/etc/passwd", 126)):
            says = self.mvm_fails(status, "run", "--template", "web-worker", "--", command)
            self.assertIn(command, says)
        self.mvm_fails(125, "run", "--template", "no-such", "--", "true", says="no-such")
        for option in (["-t"], ["-i"], ["-u", "root"], ["-w", "/"],
                       ["--timeout", "1s"]):
            self.mvm_fails(2, "run", "--template", "web-worker", *option,
                           says="is for a command, and there is none")
        self.mvm_fails(2, "run", "--template", "web-worker", "-t", "--", "sh",
                       says="--tty needs a terminal")
        self.assert_nothing_left()

    def test_a_command_has_user_folder_and_time_as_with_exec(self):
        said = self.mvm_ok("run", "--template", "web-worker", "-u", "12:34", "-w", "/bin", "--",
                           "sh", "-c", "id -u; id -g; pwd")
        self.assertEqual(said, "12\n34\n/bin\n")
        self.mvm_fails(125, "run", "--template", "web-worker", "--timeout", "500ms", "--", "sleep",
                       "4712", says="did not end in time")
        self.assert_nothing_left()

    def test_a_fresh_vm_runs_each_command(self):
        self.mvm_ok("run", "--template", "web-worker", "--", "sh", "-c", "echo stays >/left")
        self.mvm("run", "--template", "web-worker", "--", "ls", "/left", status=1)

    def test_another_machine_size_means_a_cold_boot_with_the_reason(self):
        for option, value, has, wants in (("--cpus", "2", "1", "2"), ("--mem", "160M", "128",
                                                                        "160")):
            with self.subTest(option):
                says = self.mvm_fails(6, "run", "--template", "web-worker", "-d", option, value,
                                      "--require-snapshot")
                self.assertIn(f"'{has}'", says)
                self.assertIn(f"'{wants}'", says)
                self.mvm_fails(125, "run", "--template", "web-worker", option, value,
                               "--require-snapshot", "--", "true")
        self.assert_nothing_left()
        done = self.mvm("run", "--template", "web-worker", "-d", "--name", "big", "--cpus", "2",
                        "--mem", "160M", status=0)
        self.assertIn("booting instead of restoring", done.stderr)
        record = self.inspect("big")
        self.assertEqual((record["start"], record["vcpus"], record["mem_mib"]), ("boot", 2, 160))
        self.assertIn("vCPUs differs: '1' in the snapshot, '2' here", record["reason"])
        cpuinfo = self.exec("big", "cat", "/proc/cpuinfo")
        self.assertEqual(len(re.findall(r"^processor", cpuinfo, re.M)), 2)
        self.assertGreater(int(re.search(r"MemTotal: +(\d+)",
                                         self.exec("big", "cat", "/proc/meminfo"))[1]), 120 << 10)


@harness.needs_guests
class OneInstance(guests.TestCase):
    """Tests that can share one instance."""

    config = guests.CONFIG

    def setUp(self):
        super().setUp()
        self.record = self.run_detached("web-worker", "--name", "one", "-p", "0:8080")

    def error(self, *args):
        return json.loads(self.mvm("--json", *args).stderr.splitlines()[-1])["error"]

    def test_exec_gives_status_and_streams(self):
        run = lambda *command, **kwargs: self.mvm("exec", "-i", "one", "--", *command, **kwargs)
        self.assertEqual(run("true").returncode, 0)
        self.assertEqual(run("sh", "-c", "exit 42").returncode, 42)
        self.assertEqual(run("sh", "-c", "kill -TERM $$").returncode, 128 + 15)
        self.assertEqual(run("sh", "-c", "kill -KILL $$").returncode, 128 + 9)
        self.assertIn("nope", run("nope", status=127).stderr)
        self.assertIn("/etc/passwd", run("/etc/passwd", status=126).stderr)
        self.assertEqual(run("cat", stdin="").stdout, "") # the end of input arrives
        done = run("sh", "-c", "echo out; echo err >&2")
        self.assertEqual((done.stdout, done.stderr), ("out\n", "err\n"))
        done = self.mvm("exec", "-e", "A=1 2", "-e", "B=", "-w", "/tmp", "one", "--", "sh", "-c",
                        'echo "$A|$B|$PWD"')
        self.assertEqual(done.stdout, "1 2||/tmp\n")
        # the first word after the name begins the command, and all options after it are the command's
        self.assertEqual(self.mvm_ok("exec", "one", "echo", "-n", "--json", "-i", "--", "x"),
                         "--json -i -- x")
        # without -i there is no input to wait for
        self.assertEqual(self.exec("one", "cat", stdin="ignored"), "")

    def test_a_mebibyte_goes_through_unchanged(self):
        data = os.urandom(1 << 20)
        done = self.mvm_bytes("exec", "-i", "one", "--", "cat", stdin=data)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout == data, len(done.stdout))

    def test_exec_is_ended_by_its_timeout_and_its_process_too(self):
        self.mvm_fails(125, "exec", "--timeout", "1s", "one", "--", "sleep", "777", says="time")
        self.assertTrue(guests.wait_until(
            lambda: "sleep 777" not in self.exec("one", "ps")))

    def test_a_vm_can_be_paused_and_resumed(self):
        self.mvm_ok("pause", "one")
        self.assertEqual(self.inspect("one")["state"], "paused")
        self.assertIn("paused", self.mvm_ok("ps"))
        for command in ("exec", "one", "--", "true"), ("top", "one"), ("pause", "one"):
            error = self.error(*command)
            self.assertEqual((error["reason"], error["subject"]), ("vm-paused", "one"))
            self.assertEqual(error["hint"], "resume it with 'mvm resume one'")
            self.assertLess(error["message"].count("one"), 2)
        self.mvm_ok("resume", "one")
        self.assertEqual(self.error("resume", "one")["message"], "VM 'one': it is not paused")
        self.assertEqual(self.inspect("one")["state"], "running")
        self.assertEqual(self.exec("one", "echo", "awake"), "awake\n")
        self.mvm_ok("pause", "one")
        self.mvm_ok("stop", "one") # a paused VM can be stopped
        self.assertEqual(self.inspect("one")["state"], "exited")

    def test_a_stopped_vm_stays_listed_with_its_log_until_removed(self):
        self.mvm_fails(4, "rm", "one", says="mvm stop")
        self.assertEqual(self.exec("one", "echo", "still there"), "still there\n")
        self.exec("one", "sh", "-c", "echo to-the-console >/dev/console")
        self.assertEqual(self.mvm_ok("stop", "one"), "one\n")
        record = self.inspect("one")
        self.assertEqual(record["state"], "exited")
        self.assertIsNone(record["error"])
        self.assertGreaterEqual(record["ended_at"], record["started_at"])
        for pid in (self.record["vmm_pid"], self.record["supervisor_pid"]):
            self.assertTrue(guests.wait_until(lambda p=pid: not guests.is_alive(p)))
        self.assertIn("to-the-console", self.mvm_ok("logs", "one"))
        self.assertIn("has ended", self.mvm_fails(4, "stop", "one"))
        self.mvm_fails(125, "exec", "one", "--", "true", says="does not run")
        for command in "stop one", "exec one -- true", "pause one", "top one", "port one", "cp one:/x .":
            error = self.error(*command.split())
            self.assertEqual((error["reason"], error["subject"]), ("instance-ended", "one"))
        self.mvm_ok("rm", "one")
        self.assert_nothing_left()
        self.mvm_fails(3, "inspect", "one", says="no instance 'one'")
        self.mvm_fails(3, "logs", "one", says="no instance 'one'")

    def test_a_running_one_is_removed_by_force(self):
        self.mvm_ok("rm", "--force", "one")
        self.assertFalse(guests.is_alive(self.record["vmm_pid"]))
        self.assert_nothing_left()

    def test_the_record_describes_the_instance(self):
        record = self.inspect("one")
        for other in (self.mvm_json("inspect", "one"), *self.mvm_json("ps")):
            for key, value in self.record.items():
                # except values that each look measures, or that appear after the start's answer
                if key not in ("usage", "health", "health_message", "cgroup", "cgroup_limits"):
                    self.assertEqual((record[key], other[key]), (value, value), key)
        self.assertEqual(record["template_id"], "web-worker")
        self.assertEqual(record["revision_hash"],
                         os.path.basename(self.current("web-worker")))
        self.assertEqual((record["backend"], record["vcpus"], record["mem_mib"]),
                         ("qemu", 1, 128))
        self.assertEqual(list(record["stages_ns"]), ["spawn", "load", "resume", "agent"])
        times = list(record["stages_ns"].values())
        self.assertEqual(times, sorted(times))
        for pid, program in ((record["vmm_pid"], "qemu"),
                             (record["supervisor_pid"], "mvm-supervisor")):
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                self.assertIn(program, file.read().split("\0")[0])
        self.assertEqual(self.exec("one", "hostname"), "one\n")

    def test_a_name_is_used_once(self):
        says = self.mvm_fails(4, "run", "--template", "web-worker", "-d", "--name", "one")
        self.assertIn("an instance 'one' already", says)
        self.assertIn("'mvm rm --force one'", says) # which works for running instances
        self.assertEqual(self.exec("one", "echo", "unharmed"), "unharmed\n")

    def test_a_port_in_use_is_refused(self):
        port = self.record["forwards"][0]["host_port"]
        says = self.mvm_fails(4, "run", "--template", "web-worker", "-d", "--name", "two", "-p",
                              f"{port}:8080")
        self.assertIn(str(port), says)
        self.assertIn("choose another port", says)
        for address in "0.0.0.0", "127.0.0.1":
            self.mvm_fails(4, "run", "--template", "web-worker", "-d", "--name", "two", "-p",
                           f"{address}:{port}:8080", says=f"cannot forward port {port}")
        self.assertEqual(self.instances(), ["one"])


TOKEN = "head -c 16 /dev/urandom | hexdump -e '16/1 \"%02x\"' >/tmp/token"
COUNT = "i=0; while :; do i=$((i+1)); echo $i >/tmp/new; /bin/busybox mv /tmp/new /tmp/count; " \
    "sleep 0.05; done"


@harness.needs_guests
class Continuing(guests.TestCase):
    config = f"""
template_id = "count"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/sh", "-c", '''{TOKEN}; {COUNT}''']
env         = {{ WORD = "of the template" }}
network     = "none"

[health]
exec        = ["/bin/sh", "-c", "[ $(cat /tmp/count) -ge 20 ]"]
interval_ms = 50
""" + guests.VARIANT

    def look(self, name):
        token = self.exec(name, "cat", "/tmp/token")
        count = int(self.exec(name, "cat", "/tmp/count"))
        # the first match: its children have the same arguments until they execute a program
        process = next(line.split()[0] for line in self.exec(name, "ps").splitlines()
                       if "i=0; while" in line)
        return token, count, process

    def test_a_clone_continues_from_its_snapshot(self):
        one, two = self.run_detached("count-worker"), self.run_detached("count-worker")
        cold = self.run_detached("count-worker", "--cold")
        self.assertEqual([r["start"] for r in (one, two, cold)], ["restore", "restore", "boot"])
        first, second, booted = (self.look(r["name"]) for r in (one, two, cold))
        self.assertEqual(first[0], second[0]) # the token is only in memory, so both come from one boot
        self.assertEqual(first[2], second[2])
        self.assertNotEqual(first[0], booted[0])
        self.assertGreaterEqual(first[1], 20) # the health check of the snapshot
        # the clone goes on counting
        self.assertTrue(guests.wait_until(lambda: self.look(one["name"])[1] > first[1]))

    def test_the_snapshot_was_taken_when_the_health_check_held(self):
        record = self.run_detached("count-worker", "--cold")
        self.assertGreaterEqual(int(self.exec(record["name"], "cat", "/tmp/count")), 20)
        self.assertIn("healthy", record["stages_ns"])

    def test_network_none_leaves_only_loopback(self):
        says = self.mvm_fails(1, "run", "--template", "count-worker", "-d", "-p", "0:80")
        self.assertIn("no network", says)
        done = self.mvm("run", "--template", "count-worker", "--", "ls", "/sys/class/net",
                        status=0)
        self.assertEqual(done.stdout.split(), ["lo"])

    def test_the_workload_has_the_templates_environment(self):
        record = self.run_detached("count-worker")
        pid = self.look(record["name"])[2]
        self.assertIn("WORD=of the template",
                      self.exec(record["name"], "cat", f"/proc/{pid}/environ").split("\0"))


@harness.needs_guests
class FromTar(guests.TestCase):
    config = """
template_id = "tar"
flake_ref   = "tar:root.tar.gz"
kernel      = "debian"
command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]

[health]
tcp = 8080
""" + guests.VARIANT

    @classmethod
    def make_source(cls):
        with tarfile.open(os.path.join(cls.shared, "root.tar.gz"), "w:gz") as tar:
            tar.add(cls.root, arcname=".")

    def test_a_root_from_a_tar_file_is_built_restored_and_serves(self):
        info = self.mvm_json("template", "info", "tar-worker")
        self.assertEqual(info["revision"]["build"]["builder"], "tar")
        self.assertEqual(info["revision"]["flake_lock_hash"],
                         guests.sha256(os.path.join(self.shared, "root.tar.gz")))
        record = self.run_detached("tar-worker", "-p", "0:8080")
        self.assertEqual(record["start"], "restore")
        page = guests.get(record["forwards"][0]["host_port"], "/cgi-bin/whoami")
        self.assertIn(record["machine_id"], page)


if __name__ == "__main__":
    guests.main()
