# SPDX-License-Identifier: Apache-2.0
"""Templates from Nix flakes: which package is built, and when, and the message if that fails."""

import os
import shutil
import subprocess

import harness
from flakes import (BUSY, FAILED, NOT_FOUND, SYSTEM, UNSUPPORTED, TestCase, read, rootfs_with,
                    sha256)

NO_LOCKS = b'{"nodes":{"root":{}},"root":"root","version":7}'


class Attributes(TestCase):
    def test_the_first_package_that_fits_role_and_profile_is_built(self):
        names = ["tenant-gw-full", "gw-full", "tenant-full", "tenant-gw", "full", "gw"]
        config = self.config(variants=(("gw", "full"),))
        while names:
            # other names do not count, nor does `default` for this profile
            self.flake({name: rootfs_with(name) for name in names + ["default", "full-gw"]})
            self.build(config=config)
            self.assertEqual(self.revision()["build"]["attribute"], names[0])
            self.assertEqual(self.guest_file("/etc/name").decode().strip(), names[0])
            del names[0]
        self.flake({name: rootfs_with(name) for name in ("default", "full-gw")})
        says = self.build_fails(NOT_FOUND, config=config)
        self.assertIn("tenant-gw-full, gw-full, tenant-full, tenant-gw, full, gw in packages."
                      f"{SYSTEM}, which has default, full-gw", says)
        self.assertIn("hint:", says)

    def test_default_is_for_the_profiles_minimal_and_default(self):
        self.flake({"default": rootfs_with("default")})
        for profile in ("minimal", "default"):
            self.build(config=self.config(variants=(("worker", profile),)))
            self.assertEqual(self.revision()["build"]["attribute"], "default")

    def test_names_with_dots_are_one_name(self):
        self.flake({"a.b-1.0": rootfs_with("dots")})
        self.build(config=self.config(variants=(("a.b", "1.0"),)))
        self.assertEqual(self.guest_file("/etc/name"), b"dots\n")

    def test_an_attribute_in_the_reference_is_taken_as_it_is(self):
        self.flake({"default": rootfs_with("default"), "other": rootfs_with("other")})
        self.build(config=self.config("path:./flake#other"))
        self.assertEqual(self.revision()["build"]["attribute"], "other")
        self.assertEqual(self.guest_file("/etc/name"), b"other\n")
        before = self.nix_builds()
        says = self.build_fails(NOT_FOUND, config=self.config("path:./flake#missing"))
        self.assertIn(f"has no 'missing'; packages.{SYSTEM} has default, other", says)
        self.assertEqual(self.nix_builds(), before + 1) # mvm does not build it a second time

    def test_a_flake_without_packages_says_so(self):
        self.write("flake/flake.nix", "{ outputs = inputs: { }; }\n")
        self.assertIn("which has nothing", self.build_fails(NOT_FOUND))

    def test_a_reference_is_never_an_option_of_nix(self):
        self.build_fails(FAILED, config=self.config("--help"), says="is no flake reference")


class Failures(TestCase):
    def test_a_build_that_fails_ends_with_its_log_and_keeps_it(self):
        self.flake({"default": "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do "
                               "echo step $i; done; exit 3"})
        says = self.build_fails(FAILED)
        error = says[says.index("mvm: "):]
        self.assertIn("guest> step 16\n", error)
        self.assertIn("exit code 3", error)
        self.assertNotIn("guest> step 2\n", error)
        self.assertIn("guest> step 2\n", says) # mvm showed the log while the build ran
        log = os.path.join(self.data_dir, "logs", "nix-t.log")
        self.assertIn(f"log: {log}", error)
        self.assertIn(b"guest> step 1\n", read(log))
        self.assertFalse(os.path.lexists(self.current()))
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])
        self.flake({"default": rootfs_with("default")})
        self.build()

    def test_the_usual_causes_come_with_a_hint(self):
        cases = {
            "{ outputs = inputs: { packages = ; }; }": "correct flake.nix",
            None: "check flake_ref",
        }
        for text, hint in cases.items():
            if text is None:
                os.unlink(self.path("flake", "flake.nix"))
            else:
                self.write("flake/flake.nix", text)
            with self.subTest(hint=hint):
                says = self.mvm("template", "build", "--config", self.config()).stderr
                self.assertIn("hint: " + hint, says)

    def test_a_missing_nix_is_reported_before_anything_is_done(self):
        self.flake({"default": rootfs_with("default")})
        os.makedirs(self.path("empty"))
        if any(os.path.exists(p) for p in ("/nix/var/nix/profiles/default/bin/nix",
                                           "/run/current-system/sw/bin/nix")):
            self.skipTest("nix is installed where mvm looks for it besides PATH")
        self.build_fails(UNSUPPORTED, env={"PATH": self.path("empty")}, says="no nix command")

    def test_a_source_that_changes_during_the_build_is_noticed(self):
        self.flake({"default": f"echo x >>{self.path('flake', 'more')}; " + rootfs_with("x")})
        self.build_fails(BUSY, says="changed while it was read")
        self.assertFalse(os.path.lexists(self.current()))

    def test_terminal_sequences_of_builders_are_not_shown(self):
        self.flake({"default": r"$bb printf 'a\tb\033[31mred\033[0m\n'; exit 1"})
        says = self.build_fails(FAILED)
        self.assertRegex(says, r"guest> a +bred\n")
        self.assertNotIn("?", says)


class Locks(TestCase):
    def lock_hash(self):
        return self.revision()["flake_lock_hash"]

    def flake_with_input(self):
        self.write("base/motd", "hello from the input\n")
        return self.flake({"default": "$bb mkdir -p $out/rootfs/etc; "
                                      "$bb cp ${inputs.base}/motd $out/rootfs/etc/motd"},
                          inputs=f'inputs.base = {{ url = "path:{self.path("base")}"; '
                                 'flake = false; };')

    def test_the_lock_is_the_bytes_of_flake_lock(self):
        self.flake_with_input()
        self.nix("flake", "lock", "path:" + self.path("flake"))
        lock = self.path("flake", "flake.lock")
        with open(lock, "ab") as file:
            file.write(b"\n") # Nix would not write this newline
        self.build()
        self.assertEqual(self.lock_hash(), sha256(read(lock)))
        self.assertEqual(self.guest_file("/etc/motd"), b"hello from the input\n")

    def test_without_inputs_the_lock_comes_from_nix(self):
        self.flake({"default": rootfs_with("default")})
        self.build()
        self.assertEqual(self.lock_hash(), sha256(NO_LOCKS))
        self.assertEqual(sorted(os.listdir(self.path("flake"))), ["bin", "flake.nix"])

    def test_a_missing_lock_is_noted_and_never_written(self):
        self.flake_with_input()
        says = self.mvm("template", "build", "--config", self.config(), status=0).stderr
        self.assertIn("has inputs but no flake.lock", says)
        self.assertFalse(os.path.exists(self.path("flake", "flake.lock")))

    def test_a_lock_that_does_not_fit_the_flake_is_an_error(self):
        flake = self.flake_with_input()
        self.nix("flake", "lock", "path:" + self.path("flake"))
        text = read(flake).decode()
        self.write("more/file", "")
        self.write("flake/flake.nix", text.replace(
            "outputs =", f'inputs.more = {{ url = "path:{self.path("more")}"; flake = false; }};\n'
                         "  outputs =", 1))
        before = read(self.path("flake", "flake.lock"))
        self.assertIn("run 'nix flake lock'", self.build_fails(FAILED))
        self.assertEqual(read(self.path("flake", "flake.lock")), before)

    def git(self, *args):
        subprocess.run(["git", "-C", self.path("flake"), "-c", "user.name=n", "-c",
                        "user.email=e@x", *args], check=True, env=self.environment(),
                       timeout=harness.PATIENCE_S)

    @harness.needs_program("git")
    def test_a_flake_in_a_subfolder_has_its_lock_there(self):
        self.write("base/motd", "sub\n")
        self.flake({"default": "$bb mkdir -p $out/rootfs/etc; "
                               "$bb cp ${inputs.base}/motd $out/rootfs/etc/motd"},
                   folder="flake/vm",
                   inputs=f'inputs.base = {{ url = "path:{self.path("base")}"; flake = false; }};')
        shutil.copytree(self.path("flake", "bin"), self.path("flake", "vm", "bin"))
        self.git("init", "-q")
        self.git("add", ".")
        ref = f"git+file://{self.path('flake')}?dir=vm"
        self.nix("flake", "lock", ref)
        self.build(config=self.config(ref))
        self.assertEqual(self.lock_hash(), sha256(read(self.path("flake", "vm", "flake.lock"))))

    @harness.needs_program("git")
    def test_a_git_repository_counts_with_its_uncommitted_changes(self):
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${./motd} $out/rootfs/motd"})
        self.write("flake/motd", "one\n")
        for args in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
            self.git(*args)
        config = self.config("./flake")
        self.build(config=config)
        self.assertTrue(self.build(config=config)["cached"])
        self.write("flake/motd", "two\n")
        self.assertFalse(self.build(config=config)["cached"])
        self.assertEqual(self.guest_file("/motd"), b"two\n")


class Places(TestCase):
    """Relative references, in a folder with characters that are special in URLs, for Nix or for git."""

    NAME = "a b \u00fc?x#y%41&z=[1]:+,'\"\\~"

    def setUp(self):
        super().setUp()
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${./motd} $out/rootfs/motd"})
        os.rename(self.path("flake"), self.path(self.NAME))

    def git(self, *args):
        subprocess.run(["git", "-C", self.path(self.NAME), "-c", "user.name=e", "-c",
                        "user.email=e@x", *args], check=True, env=self.environment(),
                       timeout=harness.PATIENCE_S)

    def builds(self, ref, folder="", commit=False):
        """Change the flake, and build it from a config in its folder."""
        self.n = getattr(self, "n", 0) + 1
        self.write(f"{self.NAME}/{folder}motd", f"{self.n}\n")
        config = self.write(f"{self.NAME}/{folder}t.toml", f"""template_id = "t"
flake_ref = "{ref}"
[[variants]]
name = "t"
role = "worker"
vcpus = 1
mem_mib = 128
""")
        if commit:
            self.git("commit", "-qam", str(self.n))
        result = self.build(config=config)
        self.assertFalse(result["cached"])
        self.assertEqual(self.guest_file("/motd"), f"{self.n}\n".encode())
        self.assertTrue(self.build(config=config)["cached"])

    def test_a_plain_folder(self):
        for ref in (".", "./", "path:.", "path:./", f".#packages.{SYSTEM}.default"):
            with self.subTest(ref=ref):
                self.builds(ref)
        self.write(f"{self.NAME}/pre-build.sh", "#!/bin/sh\necho 99 >motd\n", 0o755)
        self.mvm_ok("template", "build", "t", "--allow-pre-build")
        self.assertEqual(self.guest_file("/motd"), b"99\n")

    @harness.needs_program("git")
    def test_a_git_repository(self):
        self.write(f"{self.NAME}/motd", "0\n")
        for args in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
            self.git(*args)
        self.write(f"{self.NAME}/unknown", "git does not know it, so it is not in the source\n")
        for ref in (".", "git+file:.", "git+file:.?submodules=1", "git+file:./?submodules=1#default"):
            with self.subTest(ref=ref):
                self.builds(ref, commit=True)
        self.builds("path:.")
        self.builds(".", commit=True)
        self.write(f"{self.NAME}/motd", "uncommitted\n") # mvm builds this, or says that Nix does not see it
        done = self.mvm("template", "build", "t")
        if done.returncode == 0:
            self.assertEqual(self.guest_file("/motd"), b"uncommitted\n")
        else:
            self.assertIn("has uncommitted changes", done.stderr)
        shutil.copytree(self.path(self.NAME, "bin"), self.path(self.NAME, "v m", "bin"))
        shutil.copy(self.path(self.NAME, "flake.nix"), self.path(self.NAME, "v m"))
        self.write(f"{self.NAME}/v m/motd", "0\n")
        self.git("add", "v m")
        self.git("commit", "-qm", "two")
        for ref in (".", "git+file:..?dir=v%20m"):
            with self.subTest(ref=ref):
                self.builds(ref, "v m/", commit=True)

    def test_an_image_in_another_programs_storage_says_how_to_get_it(self):
        self.mvm_ok("template", "create", "t", "--flake", "docker-daemon:web:v1")
        self.mvm_fails(UNSUPPORTED, "template", "build", "t",
                       says="'skopeo copy docker-daemon:web:v1 oci:web:v1'")


class PlaceWithAt(Places):
    """A folder like /home/me@example.org, whose only special character is '@'."""

    NAME = "me@example.org"


class Cache(TestCase):
    def setUp(self):
        super().setUp()
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${./motd} $out/rootfs/motd"})
        self.write("flake/motd", "one\n")

    def test_an_unchanged_source_is_not_built_again(self):
        self.assertFalse(self.build()["cached"])
        self.assertEqual(self.nix_builds(), 1)
        first = self.revision()
        again = self.build()
        self.assertTrue(again["cached"])
        self.assertFalse(again["new_revision"])
        # another template and another machine size, same source, role and profile
        other = self.build(config=self.config(name="other", mem=256))
        self.assertTrue(other["cached"])
        self.assertEqual(self.nix_builds(), 1)
        sizes = [r["artifact_paths"]["sizes"] for r in (first, self.revision("other"))]
        self.assertEqual(sizes[0], sizes[1])
        self.assertGreater(sizes[0]["nix_closure_bytes"], 0)

    def test_a_changed_source_is_noticed_despite_the_same_lock(self):
        self.build()
        lock = self.revision()["flake_lock_hash"]
        for text in ("two\n", "onE\n", "one\n"):
            self.write("flake/motd", text)
            self.build()
            self.assertEqual(self.guest_file("/motd").decode(), text)
            self.assertEqual(self.revision()["flake_lock_hash"], lock)
        self.assertEqual(self.nix_builds(), 3) # the last source equals the first

    def test_force_builds_again(self):
        self.build()
        forced = self.build("--force")
        self.assertFalse(forced["cached"])
        self.assertFalse(forced["new_revision"]) # the same source, so the same bytes
        self.assertEqual(self.nix_builds(), 2)


if __name__ == "__main__":
    harness.main()
