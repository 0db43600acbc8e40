# SPDX-License-Identifier: Apache-2.0
"""Changes of a build in the folder of a flake: --update-hash, pre-build.sh and --dry-run."""

import os
import signal
import stat
import subprocess

import harness
from flakes import FAILED, NOT_FOUND, SYSTEM, TestCase, read, rootfs_with


class Hashes(TestCase):
    """--update-hash."""

    WRONG = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    OTHER = "sha256-BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="

    def fixed(self, wrong, script=rootfs_with("fixed")):
        return self.flake({"default": script},
                          inputs=f"# {self.OTHER} is somebody else's\n",
                          extra='outputHashMode = "recursive"; outputHashAlgo = "sha256"; '
                                f'outputHash = "{wrong}";')

    def test_a_wrong_hash_is_an_error_that_names_the_option(self):
        path = self.fixed(self.WRONG)
        before = read(path)
        self.assertIn("--update-hash", self.build_fails(FAILED))
        self.assertEqual(read(path), before)

    def test_only_the_wrong_hash_changes_in_whichever_form_it_is(self):
        zeros = {self.WRONG: self.WRONG, "0" * 64: "0" * 64, "0" * 52: "0" * 52,
                 "sha256:" + "0" * 64: "sha256:" + "0" * 64}
        for wrong in zeros:
            with self.subTest(wrong=wrong):
                path = self.fixed(wrong)
                os.chmod(path, 0o640)
                before = read(path).decode()
                says = self.mvm("template", "build", "--config", self.config(), "--update-hash",
                                status=0).stderr
                after = read(path).decode()
                got = after[after.index('outputHash = "') + len('outputHash = "'):].split('"')[0]
                self.assertEqual(after, before.replace(wrong, got))
                self.assertRegex(got, r"^sha256-.{43}=$")
                self.assertIn(got, says)
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
                self.assertEqual(self.guest_file("/etc/name"), b"fixed\n")
        # the file is right now, so there is nothing to do
        self.build("--update-hash")
        self.assertEqual(read(path).decode(), after)

    def test_flake_nix_is_put_back_after_a_failed_build(self):
        path = self.flake({"default": rootfs_with("x") + "; $bb cat ${(derivation { "
                           f'name = "f"; system = "{SYSTEM}"; builder = bb; inherit bb; '
                           'args = [ "sh" "-c" "echo f >$out" ]; outputHashAlgo = "sha256"; '
                           f'outputHash = "{self.WRONG}"; }})}}; exit 9'})
        before = read(path)
        says = self.build_fails(FAILED, "--update-hash")
        self.assertIn("exit code 9", says)
        self.assertEqual(read(path), before)
        self.assertEqual(sorted(os.listdir(self.path("flake"))), ["bin", "flake.nix"])

    def test_flake_nix_is_put_back_when_the_build_is_interrupted(self):
        reached = self.path("reached")
        fixed = (f'(derivation {{ name = "f"; system = "{SYSTEM}"; builder = bb; '
                 'args = [ "sh" "-c" "echo f >$out" ]; outputHashAlgo = "sha256"; '
                 f'outputHash = "{self.WRONG}"; }})')
        path = self.flake({"default": f"read fixed <${{{fixed}}}; echo $fixed >{reached}; "
                                      "exec $bb tail -f /dev/null"})
        before = read(path)
        for end in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(end=end):
                os.mkfifo(reached)
                with subprocess.Popen([harness.MVM, "template", "build", "--config", self.config(),
                                       "--update-hash"], env=self.environment(),
                                      stderr=subprocess.DEVNULL) as build:
                    self.assertEqual(read(reached), b"f\n") # so the hash was right
                    self.assertNotEqual(read(path), before)
                    build.send_signal(end)
                    self.assertEqual(build.wait(harness.PATIENCE_S), -end)
                os.unlink(reached)
                self.assertEqual(read(path), before)
                self.assertEqual(sorted(os.listdir(self.path("flake"))), ["bin", "flake.nix"])

    def test_a_hash_that_cannot_be_told_apart_is_left_to_the_user(self):
        path = self.fixed(self.WRONG)
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"# {self.WRONG}\n")
        before = read(path)
        self.assertIn("2 times", self.build_fails(FAILED, "--update-hash"))
        self.assertEqual(read(path), before)
        self.fixed(self.WRONG)
        self.write("flake/hash.nix", f'"{self.WRONG}"')
        self.write("flake/flake.nix", read(path).decode().replace(f'"{self.WRONG}"',
                                                                  "import ./hash.nix"))
        self.assertIn("is not in flake.nix", self.build_fails(NOT_FOUND, "--update-hash"))


class PreBuild(TestCase):
    def setUp(self):
        super().setUp()
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${./made} $out/rootfs/made"})
        self.write("flake/made", "by hand\n")
        self.script("#!/bin/sh\necho running\necho run >>runs\necho by script >made\n")

    def script(self, text, mode=0o755):
        self.write("flake/pre-build.sh", text, mode)

    def test_pre_build_runs_only_when_allowed(self):
        done = self.mvm("template", "build", "--config", self.config(), status=0)
        self.assertIn("was not run: allow_pre_build is not set", done.stderr)
        self.assertEqual(self.guest_file("/made"), b"by hand\n")
        self.assertFalse(os.path.exists(self.path("flake", "runs")))

        self.assertFalse(self.build("--allow-pre-build")["cached"])
        self.assertEqual(self.guest_file("/made"), b"by script\n")
        self.assertIn(b"running\n", read(os.path.join(self.data_dir, "logs", "nix-t.log")))

    def test_a_build_with_pre_build_bypasses_the_cache(self):
        self.script("#!/bin/sh\ntrue\n")
        self.assertFalse(self.build("--allow-pre-build")["cached"])
        self.assertFalse(self.build("--allow-pre-build")["cached"])
        self.assertFalse(self.build()["cached"])
        self.assertTrue(self.build()["cached"])
        self.assertFalse(self.build("--allow-pre-build")["cached"])

    def test_a_script_that_fails_stops_the_build(self):
        self.script("#!/bin/sh\necho went wrong >&2\nexit 7\n")
        self.assertIn("went wrong", self.build_fails(FAILED, "--allow-pre-build"))
        self.assertFalse(os.path.lexists(self.current()))

    def test_a_file_that_is_not_executable_is_no_script(self):
        self.script("#!/bin/sh\nexit 7\n", 0o644)
        self.build("--allow-pre-build")


class DryRun(TestCase):
    def test_a_dry_run_tells_the_plan_and_changes_nothing(self):
        self.flake({"default": rootfs_with("x")})
        self.write("flake/pre-build.sh", "#!/bin/sh\ntouch ran\n", 0o755)
        before = read(self.path("flake", "flake.nix"))
        for options in ([], ["--update-hash", "--allow-pre-build"]):
            self.mvm_ok("template", "build", "--config", self.config(), "--dry-run", *options)
        self.assertEqual(self.nix_builds(), 0)
        self.assertEqual(read(self.path("flake", "flake.nix")), before)
        self.assertEqual(sorted(os.listdir(self.path("flake"))),
                         ["bin", "flake.nix", "pre-build.sh"])
        self.assertFalse(os.path.lexists(self.current()))


if __name__ == "__main__":
    harness.main()
