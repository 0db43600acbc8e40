# SPDX-License-Identifier: Apache-2.0
"""Templates from Nix flakes, built by the real nix: hermetic flakes that need no nixpkgs and no
network, in a Nix store of each test's own."""

import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import unittest

import harness

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from tiny_kernel import tiny_kernel # pylint: disable=wrong-import-position

NIX = shutil.which("nix")
SYSTEM = platform.machine() + "-linux"
FAILED, NOT_FOUND, BUSY, UNSUPPORTED = 1, 3, 4, 6
NO_LOCKS = b'{"nodes":{"root":{}},"root":"root","version":7}'


def why_no_nix():
    for program in ("nix", "busybox", "debugfs", "e2fsck", "mke2fs"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def rootfs_with(name):
    """A builder's script: a root folder with one file that says which package it is."""
    return f"$bb mkdir -p $out/rootfs/etc; echo {name} >$out/rootfs/etc/name"


@unittest.skipIf(why_no_nix(), why_no_nix())
class TestCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.unlock_store)
        self.wrapper_log = self.path("nix-runs")
        self.write("wrap/nix", f'#!/bin/sh\necho "$*" >>{self.wrapper_log}\nexec {NIX} "$@"\n',
                   0o755)
        self.write("nix/etc/nix.conf",
                   "substitute = false\nsandbox = false\nbuild-users-group =\n")
        os.makedirs(self.path("flake", "bin"))
        shutil.copy(shutil.which("busybox"), self.path("flake", "bin", "busybox"))
        with open(self.path("kernel.elf"), "wb") as file:
            file.write(tiny_kernel("6.1.0-test"))
        self.mvm_ok("kernel", "add", self.path("kernel.elf"), "--name", "tiny")

    def unlock_store(self):
        """Nix makes everything in its store read-only, folders too."""
        for folder, _, _ in os.walk(self.path("nix")):
            os.chmod(folder, 0o755)

    def environment(self, extra=None):
        env = super().environment(extra)
        nix = self.path("nix")
        env.setdefault("PATH", "")
        env.update(NIX_STORE_DIR=f"{nix}/store", NIX_STATE_DIR=f"{nix}/var",
                   NIX_LOG_DIR=f"{nix}/log", NIX_CONF_DIR=f"{nix}/etc", NIX_REMOTE="")
        if not extra or "PATH" not in extra:
            env["PATH"] = self.path("wrap") + ":" + env["PATH"]
        return env

    def nix(self, *args):
        done = subprocess.run([NIX, "--extra-experimental-features", "nix-command flakes", *args],
                              env=self.environment(), capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def nix_builds(self):
        """How often mvm had nix build something."""
        with open(self.wrapper_log, encoding="utf-8") as file:
            return sum(" build " in line for line in file)

    def flake(self, packages, folder="flake", inputs="", extra=""):
        """Write a flake with these packages, {name: script}."""
        text = "".join(f'''
      "{name}" = derivation {{
        name = "guest"; system = "{SYSTEM}"; inherit bb;
        builder = bb; args = [ "sh" "-euc" ''{script}'' ]; {extra}
      }};''' for name, script in packages.items())
        return self.write(f"{folder}/flake.nix", f'''{{
  {inputs}
  outputs = inputs: let bb = "${{./bin}}/busybox"; in {{
    packages.{SYSTEM} = {{{text}
    }};
  }};
}}
''')

    def config(self, ref="path:./flake", variants=(("worker", "minimal"),), name="t", mem=128):
        text = f'template_id = "{name}"\nflake_ref = "{ref}"\n'
        for role, profile in variants:
            text += (f'[[variants]]\nname = "{name}"\nrole = "{role}"\nprofile = "{profile}"\n'
                     f'vcpus = 1\nmem_mib = {mem}\n')
        return self.write(f"{name}.toml", text)

    def build(self, *args, config=None, **kwargs):
        result, = self.mvm_json("template", "build", "--config", config or self.config(), *args,
                                **kwargs)
        return result

    def build_fails(self, status, *args, config=None, **kwargs):
        return self.mvm_fails(status, "template", "build", "--config", config or self.config(),
                              *args, **kwargs)

    def current(self, *parts, name="t"):
        return os.path.join(self.data_dir, "templates", name, "current", *parts)

    def revision(self, name="t"):
        return json.loads(read(self.current("revision.json", name=name)))

    def guest_file(self, path, name="t"):
        return subprocess.run(["debugfs", "-R", f"cat {path}", self.current("rootfs.ext4",
                                                                            name=name)],
                              capture_output=True, check=True, timeout=harness.PATIENCE_S).stdout

    def check_image(self):
        done = subprocess.run(["e2fsck", "-fn", self.current("rootfs.ext4")], capture_output=True,
                              text=True, check=False, timeout=harness.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stdout)


class Attributes(TestCase):
    def test_the_first_package_that_fits_role_and_profile_is_built(self):
        names = ["tenant-gw-full", "gw-full", "tenant-full", "tenant-gw", "full", "gw"]
        config = self.config(variants=(("gw", "full"),))
        while names:
            # others do not count, nor does `default` for this profile
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
        says = self.build_fails(NOT_FOUND, config=self.config("path:./flake#missing"))
        self.assertIn(f"has no 'missing'; packages.{SYSTEM} has default, other", says)

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
        self.assertIn("guest> step 2\n", says) # it was followed while it ran
        log = os.path.join(self.data_dir, "logs", "nix-t.log")
        self.assertIn(f"log: {log}", error)
        self.assertIn(b"guest> step 1\n", read(log))
        self.assertFalse(os.path.lexists(self.current()))
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])
        self.flake({"default": rootfs_with("default")})
        self.build()

    def test_the_usual_causes_come_with_what_to_do(self):
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

    def test_a_missing_nix_is_said_before_anything_is_done(self):
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

    def test_what_builders_tell_a_terminal_is_not_shown(self):
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
            file.write(b"\n") # not as Nix would write it
        self.build()
        self.assertEqual(self.lock_hash(), sha256(read(lock)))
        self.assertEqual(self.guest_file("/etc/motd"), b"hello from the input\n")

    def test_without_inputs_the_lock_is_what_nix_reports(self):
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
    def test_a_flake_in_a_folder_of_its_source_has_its_lock_there(self):
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


class Cache(TestCase):
    def setUp(self):
        super().setUp()
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${./motd} $out/rootfs/motd"})
        self.write("flake/motd", "one\n")

    def test_what_was_built_is_not_built_again(self):
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

    def test_a_changed_source_is_never_missed_though_its_lock_is_the_same(self):
        self.build()
        lock = self.revision()["flake_lock_hash"]
        for text in ("two\n", "onE\n", "one\n"):
            self.write("flake/motd", text)
            self.build()
            self.assertEqual(self.guest_file("/motd").decode(), text)
            self.assertEqual(self.revision()["flake_lock_hash"], lock)
        self.assertEqual(self.nix_builds(), 3) # the last one is the first

    def test_force_builds_again(self):
        self.build()
        forced = self.build("--force")
        self.assertFalse(forced["cached"])
        self.assertFalse(forced["new_revision"]) # the same source, so the same bytes
        self.assertEqual(self.nix_builds(), 2)


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
        # now that it is right, nothing is to be done
        self.build("--update-hash")
        self.assertEqual(read(path).decode(), after)

    def test_flake_nix_is_put_back_when_the_build_fails_all_the_same(self):
        path = self.flake({"default": rootfs_with("x") + "; $bb cat ${(derivation { "
                           f'name = "f"; system = "{SYSTEM}"; builder = bb; inherit bb; '
                           'args = [ "sh" "-c" "echo f >$out" ]; outputHashAlgo = "sha256"; '
                           f'outputHash = "{self.WRONG}"; }})}}; exit 9'})
        before = read(path)
        says = self.build_fails(FAILED, "--update-hash")
        self.assertIn("exit code 9", says)
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


class DryRun(TestCase):
    def test_it_says_what_would_happen_and_changes_nothing(self):
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


class Example(TestCase):
    """examples/nixos, with a stand-in for nixpkgs."""

    STAND_IN = '''{ outputs = { self }: let
  bb = "${./bin}/busybox";
  make = name: script: derivation {
    inherit name bb; system = "SYSTEM"; builder = bb;
    args = [ "sh" "-euc"
      ("mkdir() { $bb mkdir \\"$@\\"; }; ln() { $bb ln \\"$@\\"; }; " + script) ];
  };
in {
  legacyPackages."SYSTEM" = {
    runCommand = name: env: script: make name script;
    callPackage = path: { storePaths, volumeLabel, populateImageCommands }:
      make "image" (populateImageCommands + "$bb cp ${./image.ext4} $out");
  };
  # every module is read and must be a function
  lib.nixosSystem = { system, modules }:
    assert builtins.all (m: builtins.isFunction (import m)) modules; {
      config.system.build.toplevel = make "nixos" "mkdir $out";
      config.system.modulesTree = ./.;
      config.boot.kernelPackages.kernel = ./.;
    };
}; }'''

    def test_it_has_what_its_templates_want(self):
        shutil.copytree(os.path.join(harness.SOURCE_DIR, "examples", "nixos"), self.path("nixos"))
        self.write("nixpkgs/flake.nix", self.STAND_IN.replace("SYSTEM", SYSTEM))
        shutil.copytree(self.path("flake", "bin"), self.path("nixpkgs", "bin"))
        shutil.copy(self.path("kernel.elf"), self.path("nixpkgs", "bzImage"))
        self.write("nixpkgs/lib/modules/6.1.0-test/modules.dep", "")
        Outputs.ext4(self, "nixpkgs/image.ext4")

        text = read(self.path("nixos", "flake.nix")).decode()
        where = "github:NixOS/nixpkgs/nixos-24.11"
        self.assertIn(where, text)
        text = text.replace(where, "path:" + self.path("nixpkgs"))
        self.write("nixos/flake.nix", text.replace("x86_64-linux", SYSTEM))
        self.nix("flake", "lock", "path:" + self.path("nixos"))

        self.mvm_ok("template", "build", "--config", self.path("nixos", "template.toml"))
        for role in ("worker", "web"):
            name = "nixos-" + role
            self.assertEqual(self.revision(name)["build"]["attribute"], role)
            self.assertEqual(self.guest_file("/etc/name", name), b"ext4\n")
            self.assertEqual(read(self.current("vmlinux", name=name)),
                             read(self.path("kernel.elf")))


@harness.needs_guests
class Guests(TestCase):
    @harness.needs_program("dpkg-deb")
    def test_a_guest_boots_with_the_flake_s_own_kernel_and_modules(self):
        self.mvm_ok("kernel", "rm", "tiny")
        subprocess.run(["dpkg-deb", "-x", os.environ["MVM_TEST_KERNEL_DEB"], self.path("deb")],
                       check=True, timeout=harness.PATIENCE_S)
        boot, modules = self.path("deb", "boot"), self.path("deb", "lib", "modules")
        vmlinuz = next(n for n in os.listdir(boot) if n.startswith("vmlinuz"))
        shutil.copy(os.path.join(boot, vmlinuz), self.path("flake", "vmlinuz"))
        shutil.copytree(modules, self.path("flake", "modules"), symlinks=True)
        self.flake({"default": rootfs_with("nix") + "; $bb mkdir -p $out/lib $out/rootfs/bin; "
                    "$bb cp $bb $out/rootfs/bin/busybox; $bb ln -s busybox $out/rootfs/bin/sh; "
                    "$bb ln -s busybox $out/rootfs/bin/cat; $bb ln -s ${./vmlinuz} $out/kernel; "
                    "$bb ln -s ${./modules} $out/lib/modules"})
        config = self.config()
        text = read(config).decode().replace(
            "[[variants]]", 'command = ["/bin/busybox", "tail", "-f", "/dev/null"]\n[[variants]]')
        self.build(config=self.write("boot.toml", text))
        self.assertEqual(self.mvm_ok("run", "--template", "t", "--", "/bin/cat", "/etc/name"),
                         "nix\n")


class PreBuild(TestCase):
    def setUp(self):
        super().setUp()
        self.flake({"default": "$bb mkdir -p $out/rootfs; $bb cp ${./made} $out/rootfs/made"})
        self.write("flake/made", "by hand\n")
        self.script("#!/bin/sh\necho running\necho run >>runs\necho by script >made\n")

    def script(self, text, mode=0o755):
        self.write("flake/pre-build.sh", text, mode)

    def test_it_runs_only_when_it_is_allowed_to(self):
        done = self.mvm("template", "build", "--config", self.config(), status=0)
        self.assertIn("--allow-pre-build", done.stderr)
        self.assertEqual(self.guest_file("/made"), b"by hand\n")
        self.assertFalse(os.path.exists(self.path("flake", "runs")))

        self.assertFalse(self.build("--allow-pre-build")["cached"])
        self.assertEqual(self.guest_file("/made"), b"by script\n")
        self.assertIn(b"running\n", read(os.path.join(self.data_dir, "logs", "nix-t.log")))

    def test_such_a_build_is_neither_taken_from_the_cache_nor_kept_in_it(self):
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


class Outputs(TestCase):
    def ext4(self, name="flake/image.ext4"):
        os.makedirs(self.path("tree", "etc"), exist_ok=True)
        self.write("tree/etc/name", "ext4\n")
        path = self.path(name)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", self.path("tree"), path, "4M"],
                       check=True, timeout=harness.PATIENCE_S, stdout=subprocess.DEVNULL)
        return path

    def test_a_folder_becomes_an_image(self):
        self.flake({"default": rootfs_with("folder") + "; $bb ln -s /etc/name $out/rootfs/link; "
                                                       "$bb chmod 755 $out/rootfs/etc/name"})
        self.build()
        self.check_image()
        self.assertEqual(self.guest_file("/etc/name"), b"folder\n")
        stats = subprocess.run(["debugfs", "-R", "stat /etc/name", self.current("rootfs.ext4")],
                               capture_output=True, text=True, check=True,
                               timeout=harness.PATIENCE_S).stdout
        self.assertRegex(stats, r"Mode: +0555") # as Nix keeps it
        self.assertRegex(stats, r"User: +0 +Group: +0")

    def test_a_tar_becomes_an_image(self):
        self.flake({"default": rootfs_with("tar") + "; $bb tar -cf $out/t -C $out/rootfs .; "
                               "$bb rm -r $out/rootfs; $bb mv $out/t $out/rootfs"})
        self.build()
        self.check_image()
        self.assertEqual(self.guest_file("/etc/name"), b"tar\n")

    def test_an_ext4_image_is_taken_as_it_is(self):
        path = self.ext4()
        for name in ("rootfs.ext4", "rootfs"):
            self.flake({"default": "$bb mkdir $out; $bb cp ${./image.ext4} $out/" + name})
            self.build()
            self.assertEqual(sha256(read(self.current("rootfs.ext4"))), sha256(read(path)))
        # a link to another path of the store is as good
        self.flake({"default": "$bb mkdir $out; $bb ln -s ${./image.ext4} $out/rootfs.ext4"})
        self.build()
        self.assertEqual(sha256(read(self.current("rootfs.ext4"))), sha256(read(path)))

    def test_an_ext4_image_that_a_guest_could_not_mount_is_refused(self):
        path = self.ext4()
        whole = read(path)
        self.flake({"default": "$bb mkdir $out; $bb cp ${./image.ext4} $out/rootfs.ext4"})
        dirty = bytearray(whole)
        dirty[1024 + 0x3a] &= 0xfe
        replay = bytearray(whole)
        replay[1024 + 0x60] |= 4
        for image, says in ((dirty, "is not clean"), (replay, "is not clean"),
                            (whole[:-4096], "is cut off")):
            with open(path, "wb") as file:
                file.write(image)
            with self.subTest(says=says):
                self.build_fails(FAILED, says=says)

    def test_an_output_of_another_shape_is_described(self):
        self.flake({"default": "$bb mkdir $out; echo x >$out/image.img; echo y >$out/readme"})
        self.assertIn("has neither rootfs.ext4 nor rootfs; it has image.img, readme",
                      self.build_fails(FAILED))
        self.flake({"default": "echo x >$out"})
        self.assertIn("is a file", self.build_fails(FAILED))

    def test_a_link_out_of_the_store_is_refused(self):
        self.write("secret/etc/shadow", "secret\n")
        self.flake({"default": f"$bb mkdir $out; $bb ln -s {self.path('secret')} $out/rootfs"})
        self.build_fails(FAILED, says="outside of")

    def test_a_kernel_comes_from_the_flake_with_its_modules(self):
        self.mvm_ok("kernel", "rm", "tiny")
        shutil.copy(self.path("kernel.elf"), self.path("flake", "vmlinux"))
        corpus = os.path.join(harness.SOURCE_DIR, "tests", "fuzz", "corpus", "module")
        shutil.copy(os.path.join(corpus, "overlay.ko"), self.path("flake", "overlay.ko"))
        modules = "$out/lib/modules/6.1.0-test"
        self.flake({
            "worker": rootfs_with("bare") + "; $bb cp ${./vmlinux} $out/vmlinux",
            "scan": rootfs_with("scan") + f"; $bb cp ${{./vmlinux}} $out/kernel; "
                    f"$bb mkdir -p {modules}/kernel/fs; "
                    f"$bb ln -s ${{./overlay.ko}} {modules}/kernel/fs/overlay.ko",
            "dep": rootfs_with("dep") + f"; $bb cp ${{./vmlinux}} $out/vmlinux; "
                   f"$bb mkdir -p {modules}/kernel/fs; "
                   f"$bb gzip -c ${{./overlay.ko}} >{modules}/kernel/fs/overlay.ko.gz; "
                   f"echo kernel/fs/overlay.ko.gz: >{modules}/modules.dep",
            "mixed": rootfs_with("mixed") + "; $bb cp ${./vmlinux} $out/vmlinux; "
                     "$bb mkdir -p $out/lib/modules/5.10.0",
        })
        self.build()
        self.assertEqual(read(self.current("vmlinux")), read(self.path("kernel.elf")))
        self.assertNotIn(b"overlay.ko", read(self.current("initrd")))
        for name in ("scan", "dep"):
            self.build(config=self.config(f"path:./flake#{name}"))
            initrd = read(self.current("initrd"))
            self.assertIn(b"lib/modules/mvm/overlay.ko", initrd)
            self.assertIn(read(self.path("flake", "overlay.ko")), initrd)
        self.build_fails(FAILED, config=self.config("path:./flake#mixed"),
                         says="no modules for kernel '6.1.0-test', but for '5.10.0'")

    def test_an_initrd_of_the_flake_is_not_used_and_that_is_said(self):
        self.flake({"default": rootfs_with("x") + "; echo theirs >$out/initrd"})
        says = self.mvm("template", "build", "--config", self.config(), status=0).stderr
        self.assertIn("t: the flake's initrd is not used", says)
        self.assertNotEqual(read(self.current("initrd")), b"theirs\n")

    def test_a_kernel_that_the_template_names_is_used_instead(self):
        with open(self.path("flake", "vmlinux"), "wb") as file:
            file.write(tiny_kernel("5.0.0"))
        self.flake({"default": rootfs_with("x") + "; $bb cp ${./vmlinux} $out/vmlinux"})
        config = self.config()
        self.build(config=config)
        self.assertIn(b"5.0.0", read(self.current("vmlinux")))
        text = read(config).decode().replace("[[variants]]", 'kernel = "tiny"\n[[variants]]')
        self.build(config=self.write("named.toml", text))
        self.assertIn(b"6.1.0-test", read(self.current("vmlinux")))

    def test_a_template_without_any_kernel_says_what_to_do(self):
        self.mvm_ok("kernel", "rm", "tiny")
        self.flake({"default": rootfs_with("x")})
        self.build_fails(NOT_FOUND, says="brings no kernel")


if __name__ == "__main__":
    harness.main()
