# SPDX-License-Identifier: Apache-2.0
"""Volumes are in place before the workload, belong to its user, and are no larger than the guest."""

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import tarfile

import guests
import harness
import oci_images as oci

MIB = 1 << 20

# each line has the generation, which changes with a restore, so older lines do not count
LOOP = ("cat /v/file; echo new > /v/new && id -u; while :; do read -r g < /run/mvm/generation;"
        "if [ -e /v/file ]; then echo $g seen; else echo $g missing; fi; sleep 0.2; done")


@harness.needs_guests
class Volumes(guests.TestCase):
    config = f"""
template_id = "vol"
flake_ref   = "oci:image"
kernel      = "debian"
command     = ["/bin/busybox", "sh", "-c", "{LOOP}"]
""" + guests.VARIANT

    @classmethod
    def make_source(cls):
        with open(shutil.which("busybox"), "rb") as file:
            busybox = file.read()
        image = oci.Image(User="app")
        image.layer(oci.tar_of(
            oci.file("bin/busybox", busybox, mode=0o755),
            *(oci.symlink("bin/" + tool, "busybox")
              for tool in ("sh", "id", "sleep", "cat", "ls", "stat", "mkdir", "mv", "rm", "truncate", "mkfifo",
                           "reboot")),
            *(oci.folder(name) for name in ("proc", "sys", "dev", "srv")),
            oci.folder("tmp", mode=0o1777),
            oci.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n")))
        image.save(os.path.join(cls.shared, "image"))

    def forget_failed(self):
        """Remove the instance that a failed start has kept for its logs."""
        name, = self.instances()
        self.assertEqual(self.inspect(name)["state"], "failed")
        self.mvm_ok("rm", name)

    def log(self, name):
        return self.mvm_ok("logs", "--workload", name)

    def test_a_guest_cannot_lead_a_volume_elsewhere(self):
        state, victim = self.write("state", "mine"), self.write("victim", "secret")
        done = self.mvm("run", "-T", "vol-worker", "--rm", "-u", "0", "-v", f"{state}:/srv/state:rw",
                        "--", "sh", "-c", f"rm /srv/state; ln -s {victim} /srv/state")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no longer a regular file", done.stderr)
        self.assertFalse(os.path.islink(state))
        with open(state, encoding="ascii") as file:
            self.assertEqual(file.read(), "mine")

        os.makedirs(self.path("host"))
        os.makedirs(self.path("victims"))
        name = self.run_detached("vol-worker", "-v", self.path("host") + ":/v:rw")["name"]
        self.exec(name, "sh", "-c", "echo evil >/v/evil")
        os.rename(self.path("host"), self.path("moved"))
        os.symlink("victims", self.path("host"))
        self.assertIn("symbolic link", self.mvm_fails(1, "stop", name))
        self.assertEqual(os.listdir(self.path("victims")), [])
        self.mvm_ok("rm", "--force", name)

    def test_a_log_that_nobody_can_write_costs_no_volume(self):
        os.makedirs(self.path("host"))
        self.write("host/file", "x", mode=0o666)
        os.chmod(self.path("host"), 0o777)
        with open(self.path("output"), "wb") as output:
            run = self.start_mvm("run", "-T", "vol-worker", "--cold", "-v", self.path("host") + ":/v:rw",
                                 stdout=output, stderr=subprocess.PIPE,
                                 preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
        def is_written():
            with open(self.path("output"), encoding="utf-8", errors="replace") as shown:
                return "x1000\n" in shown.read()
        self.assertTrue(guests.wait_until(is_written)) # /v/new was written before that
        size = os.path.getsize(self.path("output"))
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (size, size)) # acts like a full disk
        self.assertIn("File too large", run.communicate(timeout=self.timeout)[1])
        self.assertEqual(run.returncode, 1)
        self.assertTrue(os.path.exists(self.path("host/new")))

    def build_with_health(self):
        """Build a template whose start is over once its workload has written to its volume."""
        config = self.write("health.toml", self.config.replace(
            "oci:image", "oci:" + os.path.join(self.shared, "image")).replace('"vol"', '"sure"') + """
[health]
exec = ["/bin/busybox", "test", "-e", "/v/new"]
""")
        self.mvm_ok("template", "build", "--config", config)

    def test_a_closed_output_costs_no_volume(self):
        self.build_with_health()
        command = ["--", "sh", "-c", "echo x >/v/new; while :; do echo y; done"]
        for last in [], command:
            with self.subTest(last):
                host = self.path("for" + str(len(last)))
                os.makedirs(host)
                run = self.start_mvm("run", "-T", "sure-worker", "-v", host + ":/v:rw", *last)
                self.assertTrue(run.stdout.readline())
                run.stdout.close()
                self.assertEqual(run.wait(harness.PATIENCE_S), -signal.SIGPIPE, run.stderr.read())
                self.assertEqual(os.listdir(host), ["new"])
                # the supervisor removes the instance after its starter's end
                self.assertTrue(guests.wait_until(lambda: not self.instances()))
        host = self.path("full")
        os.makedirs(host)
        with open("/dev/full", "wb") as full:
            run = self.start_mvm("run", "-T", "sure-worker", "-v", host + ":/v:rw", *command,
                                 stdout=full)
            _, err = run.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(run.returncode, 125, err)
        self.assertIn("cannot write the command's output: No space left on device", err)
        self.assertEqual(os.listdir(host), ["new"])

    def test_a_guest_without_its_volume_is_no_missing_instance(self):
        os.makedirs(self.path("host"))
        name = self.run_detached("vol-worker", "-v", self.path("host") + ":/srv/v/deep:rw")["name"]
        self.exec(name, "rm", "-rf", "/srv/v", options=("-u", "0", "-w", "/"))
        error = json.loads(self.mvm("--json", "stop", name, status=1).stderr)["error"]
        self.assertIn("runs on", error["message"])
        self.assertEqual((error["reason"], error["subject"]), ("volumes-not-back", name))
        self.assertEqual(self.inspect(name)["state"], "running")
        self.mvm_ok("rm", "--force", name)

    def test_volumes_have_places_of_their_own(self):
        for place, other in (("/v", "/v"), ("/v", "/v/sub"), ("/v/sub", "/v")):
            self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "-v", f"{self.folder}:{place}", "-v",
                           f"{self.folder}:{other}", says="overlap")
        self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "-v", "n:/a", "-v", "n:/b",
                       says="is named twice")
        os.makedirs(self.path("one/two"))
        for one, other in (("one", "one"), ("one", "one/two"), ("one/../one/two", "one")):
            self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "-v", f"{self.path(one)}:/a:rw", "-v",
                           f"{self.path(other)}:/b:rw", says="would both be copied back")
        for volume in (self.path("one") + ":/a:rw", "n:/a"):
            self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "--count", "2", "-v", volume,
                           says="is for one VM at a time")
        for place in ("/", "/proc", "/dev/x", "/sys", "/run/mvm", "/run", "/dev/shm/x"):
            self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "-v", f"{self.folder}:{place}",
                           says="the guest's own")
        self.assertEqual(self.instances(), [])

    def test_a_place_is_told_however_it_is_written(self):
        for place in ("//proc", "/./dev", "/run//mvm/", "/.", "/srv/../proc", "/srv/.."):
            with self.subTest(place=place):
                self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "-v", f"{self.folder}:{place}")
        self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "-v", f"{self.folder}:/v", "-v",
                       f"{self.folder}:/./v//sub/", says="overlap")
        self.assertEqual(self.instances(), [])

    def test_a_paused_vm_gives_its_volume_back_when_its_time_is_over(self):
        os.mkdir(self.path("host"))
        self.mvm_ok("run", "-T", "vol-worker", "--name", "still", "-d", "--ttl", "1h", "-v",
                    f"{self.path('host')}:/v:rw")
        self.exec("still", "sh", "-c", "echo kept > /v/mine")
        self.mvm_ok("pause", "still")
        self.mvm_ok("update", "--ttl", "100ms", "still")
        self.assertTrue(guests.wait_until(lambda: self.inspect("still")["state"] == "exited"))
        self.assertIsNone(self.inspect("still")["error"])
        with open(self.path("host/mine"), encoding="ascii") as file:
            self.assertEqual(file.read(), "kept\n")
        self.mvm_ok("rm", "still")

    def run_slow(self, *options):
        """Start a VM whose volume takes minutes to copy back."""
        shutil.rmtree(self.path("host"), ignore_errors=True)
        os.mkdir(self.path("host"))
        name = self.run_detached("vol-worker", "-v", self.path("host") + ":/v:rw", *options)["name"]
        self.exec(name, "sh", "-c", "echo kept >/v/first; " + guests.endless("/v/huge"))
        return name

    def end_workload(self, name):
        self.mvm_ok("kill", "-s", "TERM", name)
        self.assertTrue(guests.wait_until(lambda: self.inspect(name).get("stopping")))

    def assert_lost(self, name, why):
        record = self.inspect(name)
        self.assertEqual(record["state"], "exited")
        self.assertEqual(record["error"],
                         f"'/v' did not come back to '{os.path.realpath(self.path('host'))}': {why}")

    def test_a_copy_that_does_not_end_is_ended(self):
        name = self.run_slow("--volume-timeout", "10s")
        self.mvm_ok("kill", "-s", "TERM", name)
        self.assertEqual(self.mvm("wait", name, "--timeout", "5m").stdout,
                         "exited (143, volumes lost)\n")
        self.assert_lost(name, "the copy did not end in time")
        with open(self.path("host/first"), encoding="ascii") as file:
            self.assertEqual(file.read(), "kept\n")
        for folder, _, files in os.walk(self.path("host/huge")): # no half file, and no temporary name
            self.assertLessEqual(set(files), {"f"})
            for file in files:
                self.assertEqual(os.stat(os.path.join(folder, file)).st_size, 8 * MIB)
        self.mvm_ok("rm", name)

    def test_a_stop_cuts_the_supervisors_copy_short(self):
        name = self.run_slow()
        self.end_workload(name)
        self.mvm_fails(4, "cp", f"{name}:/v/first", self.path("taken"), says="volumes are being copied")
        self.assertIn("did not come back", self.mvm_fails(1, "stop", "--timeout", "2s", name))
        self.assert_lost(name, "the VM has ended")
        self.mvm_ok("rm", name)

        name = self.run_slow()
        self.end_workload(name)
        self.mvm_ok("stop", "--timeout", "0", name)
        self.assert_lost(name, "the VM has ended")
        self.mvm_ok("rm", name)

    def test_a_stop_leaves_the_copy_to_the_supervisor(self):
        name = self.run_slow()
        self.exec(name, "sh", "-c", "rm -r /v/huge; dd if=/dev/zero of=/v/huge bs=1M count=40 2>/dev/null")
        self.end_workload(name)
        self.mvm_ok("stop", "--timeout", "5m", name)
        self.assertIsNone(self.inspect(name)["error"])
        self.assertEqual(os.stat(self.path("host/huge")).st_size, 40 * MIB)
        self.mvm_ok("rm", name)

        # if the workload ends while a stop copies, the stop hands the copy over
        name = self.run_slow()
        stop = self.start_mvm("stop", "--timeout", "5m", name, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertTrue(guests.wait_until(lambda: os.path.exists(self.path("host/first"))))
        self.mvm_ok("kill", "-s", "TERM", name)
        self.assertTrue(guests.wait_until(lambda: self.inspect(name).get("stopping")))
        self.mvm_ok("stop", "--timeout", "0", name)
        out = stop.communicate(timeout=harness.PATIENCE_S)[0]
        self.assertEqual(stop.returncode, 1, out)
        self.assertIn("did not come back", out)
        self.mvm_ok("rm", name)

    def test_a_guest_that_ends_itself_loses_its_volume_aloud(self):
        host = self.path("host")
        os.mkdir(host)
        why = "the guest ended by itself, before they were copied"
        name = self.run_detached("vol-worker", "-v", f"{host}:/v:rw")["name"]
        self.mvm("exec", "-u", "0", name, "--", "reboot", "-f")
        self.mvm_ok("wait", name, "--timeout", "5m")
        self.assert_lost(name, why)
        event = [e for e in self.events() if e["instance"] == name][-1]
        self.assertEqual(event["event"], "exited")
        self.assertIn(why, event["message"])
        self.mvm_ok("rm", name)

        run = self.start_mvm("run", "-T", "vol-worker", "--name", "front", "-v", f"{host}:/v:rw",
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.assertTrue(guests.wait_until(
            lambda: ("front", "running") in [(vm["name"], vm["state"]) for vm in self.mvm_json("ps")]))
        self.mvm("exec", "-u", "0", "front", "--", "reboot", "-f")
        words = run.communicate(timeout=harness.PATIENCE_S)[1]
        self.assertEqual(run.returncode, 1, words)
        self.assertIn(why, words)

        done = self.mvm("run", "-T", "vol-worker", "-u", "0", "-v", f"{host}:/v:rw", "--", "reboot", "-f")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(why, done.stderr)

    def test_one_bad_file_does_not_cost_the_rest(self):
        host = self.path("host")
        os.makedirs(f"{host}/bad")
        os.mkfifo(f"{host}/pipe")
        started = self.mvm("run", "-T", "vol-worker", "--name", "rest", "-d", "-v", f"{host}:/v:rw")
        self.assertEqual(started.returncode, 0, started.stderr)
        self.assertIn("left out 1 devices, pipes or sockets: './pipe'", started.stderr)
        self.exec("rest", "sh", "-c", "rm -r /v/bad; echo x >/v/bad; echo kept >/v/z; mkfifo /v/own")
        words = self.mvm_fails(1, "stop", "rest")
        self.assertIn("1 file is missing: cannot make 'bad': Is a directory", words)
        with open(f"{host}/z", encoding="ascii") as file:
            self.assertEqual(file.read(), "kept\n")
        self.exec("rest", "rm", "/v/bad") # the VM still runs
        self.mvm_ok("stop", "rest")
        self.assertEqual([e["message"] for e in self.events()
                          if (e["instance"], e["event"]) == ("rest", "volumes")],
                         ["'/v': left out 1 devices, pipes or sockets: './pipe'",
                          "'/v': left out 1 devices, pipes or sockets: './own'"])
        self.mvm_ok("rm", "rest")

    def test_holes_cost_nothing_either_way(self):
        size = 900 << 30
        os.mkdir(self.path("host"))
        paths = [self.path(name) for name in ("host/in", "host/out", "copy")]
        with open(paths[0], "wb") as file:
            file.write(b"head\n")
            file.truncate(size)
        name = self.run_detached("vol-worker", "-v", f"{self.path('host')}:/v:rw")["name"]
        self.exec(name, "sh", "-c", f"echo head >/v/out; truncate -s {size} /v/out", options=["-u", "0"])
        self.assertEqual(self.exec(name, "stat", "-c", "%s", "/v/in"), f"{size}\n")

        self.mvm_ok("cp", f"{name}:/v/out", paths[2])
        self.mvm_ok("cp", paths[2], f"{name}:/srv/again")
        self.assertEqual(self.exec(name, "stat", "-c", "%s", "/srv/again"), f"{size}\n")
        with open(self.path("tar"), "wb") as tar:
            subprocess.run([harness.MVM, "cp", f"{name}:/srv/.", "-"], env=self.environment(), check=True,
                                  stdout=tar, timeout=harness.PATIENCE_S)
        self.assertLess(os.path.getsize(self.path("tar")), MIB)
        done = subprocess.run(["tar", "tvf", self.path("tar")], check=True, stdout=subprocess.PIPE, text=True,
                              timeout=harness.PATIENCE_S)
        self.assertIn(f" {size} ", done.stdout)

        self.mvm_ok("stop", name)
        for path in paths:
            with open(path, "rb") as file:
                self.assertEqual(file.read(6), b"head\n\0")
            info = os.stat(path)
            self.assertEqual(info.st_size, size)
            self.assertLess(info.st_blocks * 512, MIB)

    def events(self):
        return [json.loads(line) for line in self.mvm_ok("events", "--json").splitlines()]

    def test_a_volume_is_in_place_before_the_workload(self):
        host = self.path("host")
        os.mkdir(host)
        self.write("host/file", "hello\n")
        os.chmod(f"{host}/file", 0o600)

        name = self.run_detached("vol-worker", "--cold", "-v", f"{host}:/v:rw")["name"]
        self.assertTrue(guests.wait_until(lambda: " seen" in self.log(name)))
        self.assertEqual(self.log(name).split("\n")[:2], ["hello", "1000"])
        self.assertNotIn("missing", self.log(name))
        self.assertEqual(self.exec(name, "stat", "-c", "%u:%g %a", "/v", "/v/file", options=["-u", "0"]),
                         "1000:1001 755\n1000:1001 600\n")
        self.mvm_ok("stop", name)
        with open(f"{host}/new", encoding="ascii") as file:
            self.assertEqual(file.read(), "new\n")

        name = self.run_detached("vol-worker", "--require-snapshot", "-v", f"{host}:/v:rw")["name"]
        generation = self.exec(name, "cat", "/run/mvm/generation").strip()
        self.assertTrue(guests.wait_until(lambda: f"{generation} seen" in self.log(name)))
        self.assertNotIn(f"{generation} missing", self.log(name))
        self.mvm_ok("rm", "--force", name)

    def test_a_pooled_vm_gets_its_volumes_before_it_continues(self):
        self.mvm_ok("pool", "set", "vol-worker", "--size", "1")
        server = self.start_mvm("pool", "serve", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertTrue(guests.wait_until(
            lambda: self.mvm_json("pool", "list")["pools"][0]["ready"] == 1))
        os.mkdir(self.path("host"))
        self.write("host/file", "hello\n")
        name = self.run_detached("vol-worker", "-v", f"{self.path('host')}:/v:rw")["name"]
        self.assertTrue(json.loads(self.mvm_ok("inspect", name))["from_pool"])
        generation = self.exec(name, "cat", "/run/mvm/generation").strip()
        self.assertTrue(guests.wait_until(lambda: f"{generation} seen" in self.log(name)))
        self.assertNotIn(f"{generation} missing", self.log(name))
        self.mvm_ok("rm", "--force", name)
        server.terminate()
        server.wait(harness.PATIENCE_S)
        self.mvm_ok("pool", "set", "vol-worker", "--size", "0")

    def test_a_single_file_can_be_a_volume(self):
        self.write("conf", "one\n")
        volume = f"{self.path('conf')}:/etc/app/app.conf:rw"
        out = self.mvm_ok("run", "-T", "vol-worker", "-v", volume, "--", "sh", "-c",
                          "cat /etc/app/app.conf; echo two > /etc/app/app.conf")
        self.assertEqual(out, "one\n")
        with open(self.path("conf"), encoding="ascii") as file:
            self.assertEqual(file.read(), "two\n")
        self.mvm_ok("run", "-T", "vol-worker", "-v", volume, "--", "rm", "/etc/app/app.conf")
        with open(self.path("conf"), encoding="ascii") as file:
            self.assertEqual(file.read(), "two\n")
        last = [json.loads(line) for line in self.mvm_ok("events", "--json").splitlines()]
        self.assertIn("'/etc/app/app.conf': the guest has removed it; the file here stays",
                      [event["message"] for event in last if event["event"] == "volumes"])
        said = self.mvm_fails(125, "run", "-T", "vol-worker", "-v", volume, "--", "sh", "-c",
                              "rm /etc/app/app.conf; mkdir /etc/app/app.conf")
        self.assertIn("did not come back", said)
        self.assertNotIn("--volume-timeout", said)
        # one that vanishes here meanwhile comes back; a folder in its place stays
        for here in ("conf", "other"):
            name = self.mvm_json("run", "-T", "vol-worker", "-d", "-v", volume)["name"]
            os.unlink(self.path("conf"))
            if here == "other":
                os.mkdir(self.path("conf"))
            self.exec(name, "sh", "-c", "echo three > /etc/app/app.conf")
            if here == "other":
                self.mvm_fails(4, "stop", name, says="/conf' is no longer a file")
                self.assertEqual(os.listdir(self.path("conf")), [])
                self.mvm_ok("rm", "-f", name)
                os.rmdir(self.path("conf"))
                self.write("conf", "two\n")
                continue
            self.mvm_ok("stop", name)
            self.mvm_ok("rm", name)
            with open(self.path("conf"), encoding="ascii") as file:
                self.assertEqual(file.read(), "three\n")
        done = self.mvm("run", "-T", "vol-worker", "-d", "-v", f"{self.path('conf')}:/etc")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Is a directory", done.stderr)
        self.forget_failed()

    def test_a_named_volume_outlives_its_vms(self):
        run = ["run", "-T", "vol-worker", "-v", "data-1:/data/base"]
        self.assertEqual(self.mvm_json("volume", "list"), [])
        name = self.run_detached("vol-worker", "-v", "data-1:/data/base")["name"]
        self.exec(name, "sh", "-c", "echo kept > /data/base/file")
        self.mvm_fails(4, *run, "-d", says="volume 'data-1' is in use")
        self.mvm_fails(4, "volume", "rm", "data-1", says="in use")
        self.assertTrue(self.mvm_json("volume", "inspect", "data-1")["in_use"])
        # a copy of the volume's last state, which is empty so far
        out = self.mvm_ok("run", "-T", "vol-worker", "-v", "data-1:/data/base:ro", "--", "ls", "-A",
                          "/data/base")
        self.assertEqual(out, "")
        self.mvm_ok("stop", name)
        self.assertEqual(self.mvm_ok(*run, "--", "cat", "/data/base/file"), "kept\n")

        volume, = self.mvm_json("volume", "list")
        self.assertEqual((volume["name"], volume["in_use"], volume["bytes"]), ("data-1", False, 4096))
        self.assertEqual(os.listdir(volume["path"]), ["file"])
        self.mvm_ok("volume", "rm", "data-1")
        self.mvm_fails(3, "volume", "rm", "data-1", says="no volume")
        self.assertFalse(os.path.exists(volume["path"]))

    def test_a_volume_comes_back_when_the_time_is_over(self):
        self.mvm_ok("run", "-T", "vol-worker", "--name", "short", "-d", "--ttl", "1h", "-v",
                    "ttl:/data/base")
        self.exec("short", "sh", "-c", "umask 0; echo kept > /data/base/file")
        self.mvm_ok("update", "--ttl", "100ms", "short")
        self.assertTrue(guests.wait_until(lambda: self.inspect("short")["state"] == "exited"))
        self.assertIsNone(self.inspect("short")["error"])
        path = self.mvm_json("volume", "inspect", "ttl")["path"]
        with open(f"{path}/file", encoding="ascii") as file:
            self.assertEqual(file.read(), "kept\n")
        self.assertEqual(os.stat(f"{path}/file").st_mode & 0o777, 0o666 & ~self.umask())
        self.mvm_ok("rm", "short")
        self.mvm_ok("volume", "rm", "ttl")

    @staticmethod
    def umask():
        value = os.umask(0)
        os.umask(value)
        return value

    def test_paths_and_names_are_told_apart(self):
        os.mkdir(self.path("sub"))
        for status, volume, says in [
                (2, "sub/x:/v", "begins with / or ./"), (2, "-x:/v", "begins with / or ./"),
                (2, "a b:/v", "begins with / or ./"), (2, "sub:v", "no volume"),
                (2, "sub:/v:rx", "no volume"), (2, ":/v", "no volume"),
                (3, "./none:/v", "cannot use"), (1, "/dev/null:/v", "neither folder nor file")]:
            with self.subTest(volume=volume):
                self.mvm_fails(status, "run", "-T", "vol-worker", "-d", "-v", volume, says=says)
        self.mvm_fails(2, "run", "-T", "vol-worker", "-d", "--count", "2", "-v", "one:/v",
                       says="one VM at a time")
        self.assertEqual(self.mvm_json("volume", "list"), [])

    def test_a_copy_that_does_not_fit_is_refused_with_sizes(self):
        host = self.path("host")
        os.mkdir(host)
        with open(f"{host}/big", "wb") as file:
            for _ in range(150):
                file.write(os.urandom(MIB))
        done = self.mvm("--json", "run", "-T", "vol-worker", "-d", "-v", f"{host}:/v", status=1)
        error = json.loads(done.stderr.splitlines()[-1])["error"]
        self.assertRegex(error["message"],
                         "'/v' would take 150 MiB, and there is room for .* in its memory.*; "
                         "it is kept for its logs$")
        # the cause's reason, with a remedy
        self.assertEqual((error["reason"], error["subject"]),
                         ("guest-memory-full", self.instances()[0]))
        self.assertIn("--mem", error["hint"])
        self.forget_failed()

        name = self.run_detached("vol-worker")["name"]
        self.mvm_fails(1, "cp", f"{host}/big", f"{name}:/srv/big", says="would take 150 MiB")
        stream = io.BytesIO() # a stream without a known size
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(f"{host}/big", "big")
        done = self.mvm_bytes("cp", "-", f"{name}:/srv", stdin=stream.getvalue())
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--mem", done.stderr)
        self.assertEqual(self.exec(name, "ls", "-A", "/srv"), "")
        self.assertIn(" missing", self.log(name)) # the workload goes on


if __name__ == "__main__":
    guests.main()
