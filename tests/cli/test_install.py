#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The installed files: the library as another project uses it (headers, libmvm.so and .a,
pkg-config), manual pages, completions and documents."""

import glob
import json
import os
import re
import shutil
import subprocess

import harness

BUILD_DIR = os.path.dirname(harness.MVM)
HEADERS = sorted(os.listdir(os.path.join(harness.SOURCE_DIR, "include", "mvm")))
EXAMPLES = os.path.join(harness.SOURCE_DIR, "examples", "api")
DECLARED = re.compile(r"^MVM_API [^;]*?\b(mvm_\w+)\(", re.M)
SYMBOLS = "MVM_0.3"  # the node of lib/mvm.map
KEY = "c2d559a37bda0c3c18e0d02c6e2294a1d0caa177b334e95af6e6210ca7af33fc"
CONFIG = """
template_id = "web"
flake_ref = "dir:root"
[[variants]]
role = "worker"
vcpus = 2
mem_mib = 512
[[variants]]
name = "web-gw"
role = "gateway"
profile = "full"
vcpus = 1
mem_mib = 256
"""


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def say(*command, **kwargs):
    """What a command prints on standard error as well."""
    return run("sh", "-c", '"$@" 2>&1', "sh", *command, **kwargs)


class Installed(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.root = self.path("root")
        run("meson", "install", "-C", BUILD_DIR, "--no-rebuild", "--quiet",
            "--destdir", self.root)
        [self.pc] = glob.glob(f"{self.root}/**/mvm.pc", recursive=True)
        self.lib_dir = os.path.dirname(os.path.dirname(self.pc))

    def pkg_config(self, *args):
        env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=self.root,
                   PKG_CONFIG_PATH=os.path.dirname(self.pc))
        return run("pkg-config", *args, "mvm", env=env).split()

    def build(self, example, compiler, *flags, static=()):
        program = self.path(f"{example}-{compiler}")
        run(compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", *flags,
            f"{EXAMPLES}/{example}.c", "-x", "none",
            "-o", program, *self.pkg_config("--cflags", "--libs", *static))
        return program

    def build_and_run(self, compiler, *flags, static=()):
        program = self.build("variants", compiler, *flags, static=static)
        config = self.write("template.toml", CONFIG)
        env = dict(os.environ, LD_LIBRARY_PATH=self.lib_dir)
        return run(program, config, "lock1", env=env)

    def check_output(self, out):
        version = run(harness.MVM, "version").split()[1]
        self.assertEqual(self.pkg_config("--modversion"), [version])
        self.assertEqual(out.splitlines()[:3], [
            f"mvm {version}, source dir:{self.folder}/root",
            "web-worker: role worker, profile minimal, 2 vCPUs, 512 MiB",
            f"  cache key {KEY}"])
        self.assertIn("web-gw: role gateway, profile full, 1 vCPUs, 256 MiB\n", out)

    @harness.needs_program("systemd-analyze")
    def test_systemd_understands_the_units(self):
        [lib] = glob.glob(f"{self.root}/**/lib/systemd", recursive=True)
        prefix = os.path.dirname(os.path.dirname(lib))[len(self.root):]
        for manager in "system", "user":
            units = sorted(os.listdir(os.path.join(lib, manager)))
            self.assertIn("mvmd.service", units)
            for unit in units:
                path = os.path.join(lib, manager, unit)
                with open(path, encoding="utf-8") as file:
                    text = file.read() # its programs are below another root now
                self.write(f"{manager}/{unit}", text.replace(f"={prefix}/bin/", f"={self.root}{prefix}/bin/"))
            for unit in units:
                said = say("systemd-analyze", "verify", "--man=no", f"--{manager}", self.path(manager, unit),
                           env=self.environment({"XDG_RUNTIME_DIR": self.folder}))
                self.assertEqual(said, "", unit)

    def test_a_c_program_builds_with_pkg_config_and_runs(self):
        self.check_output(self.build_and_run("cc", "-std=c11"))

    def test_the_same_program_is_cpp17(self):
        self.check_output(self.build_and_run("c++", "-std=c++17", "-x", "c++"))

    def test_the_other_examples_are_both_as_well(self):
        for example in {name.removesuffix(".c") for name in os.listdir(EXAMPLES)} - {"variants"}:
            self.build(example, "cc", "-std=c11")
            program = self.build(example, "c++", "-std=c++17", "-x", "c++")
            done = subprocess.run([program], env=dict(os.environ, LD_LIBRARY_PATH=self.lib_dir),
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn("usage: ", done.stderr)

    def test_a_program_can_have_the_library_in_itself(self):
        for shared in glob.glob(self.lib_dir + "/libmvm.so*"):
            os.unlink(shared)
        # internal names of libmvm that a program may use, too
        own = self.write("own.c", "int store_open(void);\nint store_open(void) { return 7; }\n"
                         "int file_read_at(void);\nint file_read_at(void) { return 7; }\n")
        for how in (), ("-static",):
            with self.subTest(how=how):
                self.check_output(self.build_and_run("cc", "-std=c11", own, *how,
                                                     static=["--static"]))

    def test_both_libraries_export_the_same_symbols(self):
        shown = [{line.split()[-1].split("@")[0] for line in run("nm", *how).splitlines() if line.split()[1:]}
                 for how in (("-g", "--defined-only", self.lib_dir + "/libmvm.a"),
                             ("-D", "--defined-only", self.lib_dir + "/libmvm.so"))]
        # every program that uses the C++ library has its inline functions
        self.assertEqual({name for name in shown[0] if not name.startswith("_Z")},
                         shown[1] - {SYMBOLS})

    def test_the_library_exports_what_the_headers_declare_and_nothing_else(self):
        declared = set()
        for name in HEADERS:
            with open(os.path.join(harness.SOURCE_DIR, "include", "mvm", name),
                      encoding="utf-8") as file:
                declared |= set(DECLARED.findall(file.read()))
        listing = run("nm", "-D", "--defined-only", os.path.join(self.lib_dir, "libmvm.so"))
        exported = {line.split()[-1] for line in listing.splitlines()}
        self.assertGreater(len(declared), 50)
        self.assertEqual(exported - {SYMBOLS}, {f"{name}@@{SYMBOLS}" for name in declared})

    def test_headers_and_library_are_of_one_version(self):
        [include] = glob.glob(f"{self.root}/**/include/mvm", recursive=True)
        macros = run("cc", "-E", "-dM", "-include", "mvm/mvm.h", "-I", os.path.dirname(include),
                     "-x", "c", "/dev/null")
        numbers = [re.search(rf"MVM_VERSION_{part} (\d+)", macros).group(1)
                   for part in ("MAJOR", "MINOR", "PATCH")]
        self.assertEqual("mvm " + ".".join(numbers), run(harness.MVM, "version").strip())

    @harness.needs_program("abidiff")
    def test_the_abi_matches_this_versions_description(self):
        abi = os.path.join(harness.SOURCE_DIR, "scripts", "abi")
        run(abi, "check", BUILD_DIR)
        described, changed = self.path("described"), self.path("changed")
        run(abi, "write", BUILD_DIR, described)
        for what, kind, old, new in (
                ("a function that went", "xml", "mvm_template_verify", "mvm_template_verified"),
                ("members before others", "xml", r"(offset-in-bits=')", r"\g<1>64"),
                ("a constant", "txt", "MVM_POOL_SIZE_MAX .*", "MVM_POOL_SIZE_MAX 7"),
                ("an order of values", "txt", r"MVM_START_COLD,\n", "")):
            with self.subTest(what):
                for name in "xml", "txt":
                    shutil.copy(f"{described}.{name}", f"{changed}.{name}")
                with open(f"{described}.{kind}", encoding="utf-8") as file:
                    text = file.read()
                self.assertRegex(text, old)
                self.write(f"changed.{kind}", re.sub(old, new, text))
                done = subprocess.run([abi, "check", BUILD_DIR, changed], capture_output=True,
                                      text=True, check=False, timeout=self.timeout)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn("raise the version", done.stderr)

    def test_the_units_start_the_installed_program(self):
        for manager in "user", "system":
            [unit] = glob.glob(f"{self.root}/**/lib/systemd/{manager}/mvm-pool.service",
                               recursive=True)
            with open(unit, encoding="utf-8") as file:
                text = file.read()
            [start] = re.findall(r"^ExecStart=(\S+) pool serve$", text, re.M)
            self.assertTrue(os.access(self.root + start, os.X_OK), start)
            self.assertIn("Environment=HOME=%h\n", text) # else root's service has no data folder
            self.assertIn("KillMode=process\n", text)  # else instances would end with the service
            self.assertNotIn("@", text)

    def test_a_timer_prunes(self):
        for manager in "user", "system":
            with open(self.installed_file(f"lib/systemd/{manager}/mvm-prune.service"), encoding="utf-8") as unit:
                text = unit.read()
            [start] = re.findall(r"^ExecStart=(\S+) template prune \$MVM_PRUNE_OPTIONS$", text, re.M)
            self.assertTrue(os.access(self.root + start, os.X_OK), start)
            [options] = re.findall(r'^Environment="MVM_PRUNE_OPTIONS=(.*)"$', text, re.M)
            self.mvm("template", "prune", "--dry-run", *options.split(), status=0)
            self.assertIn("Environment=HOME=%h\n", text)
            self.assertNotIn("@", text)
            with open(self.installed_file(f"lib/systemd/{manager}/mvm-prune.timer"), encoding="utf-8") as unit:
                self.assertIn("WantedBy=timers.target\n", unit.read())

    def test_the_services_socket_is_the_one_that_it_opens_itself(self):
        for manager in "user", "system":
            texts = {}
            for kind in "service", "socket":
                [unit] = glob.glob(f"{self.root}/**/lib/systemd/{manager}/mvmd.{kind}", recursive=True)
                with open(unit, encoding="utf-8") as file:
                    texts[kind] = file.read()
            [start] = re.findall(r"^ExecStart=(\S+) \$MVMD_OPTIONS$", texts["service"], re.M)
            self.assertTrue(os.access(self.root + start, os.X_OK), start)
            for line in "Type=notify", "Environment=HOME=%h", "KillMode=process":
                self.assertIn(line + "\n", texts["service"])
            self.assertIn("ListenStream=%t/mvm/mvmd.sock\nSocketMode=0600\n", texts["socket"])
            self.assertNotIn("@", "".join(texts.values()))

    def installed_file(self, pattern):
        [path] = glob.glob(f"{self.root}/**/{pattern}", recursive=True)
        return path

    @harness.needs_program("scdoc")
    def test_every_command_has_a_manual_page(self):
        commands = [c["name"] for c in self.mvm_json("help")["commands"]]
        pages = os.path.dirname(self.installed_file("share/man/man1/mvm.1"))
        self.assertEqual(sorted(os.listdir(pages)), sorted(
            ["mvm.1", "mvmd.1"] + [f"mvm-{name.replace(' ', '-')}.1" for name in commands]))
        with open(os.path.join(pages, "mvm-template-build.1"), encoding="utf-8") as file:
            text = file.read()
        for what in "SYNOPSIS", "snapshot", "EXAMPLES", "data-dir":
            self.assertIn(what, text)

    def test_three_shells_find_their_completions(self):
        where = {"bash": "bash-completion/completions/mvm", "zsh": "zsh/site-functions/_mvm",
                 "fish": "fish/vendor_completions.d/mvm.fish"}
        for shell, path in where.items():
            with open(self.installed_file("share/" + path), encoding="utf-8") as file:
                self.assertEqual(file.read(), self.mvm_ok("completion", shell))

    def test_the_installed_documents_lead_to_installed_files(self):
        docs = os.path.dirname(self.installed_file("share/doc/mvm/README.md"))
        files = [os.path.join(folder, name) for folder, _, names in os.walk(docs)
                 for name in names]
        names = {os.path.relpath(path, docs) for path in files}
        self.assertLessEqual({"README.md", "LICENSE", "CHANGELOG.md", "doc/templates.md",
                              "examples/http/template.toml"}, names)
        self.assert_applets(docs)
        for path in (path for path in files if path.endswith(".md")):
            with open(path, encoding="utf-8") as file:
                for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", file.read()):
                    self.assertTrue(os.path.exists(os.path.join(os.path.dirname(path), link)),
                                    f"{path}: {link}")

    def assert_applets(self, docs):
        """Links are installed as in the source, with or without the example's busybox."""
        here, there = (os.path.join(top, "examples/http/rootfs/bin")
                       for top in (harness.SOURCE_DIR, docs))
        links = {name: os.readlink(os.path.join(here, name)) for name in os.listdir(here)
                 if os.path.islink(os.path.join(here, name))}
        self.assertGreater(len(links), 10)
        self.assertEqual({name: os.path.islink(os.path.join(there, name)) and
                          os.readlink(os.path.join(there, name)) for name in os.listdir(there)},
                         links)

    def test_the_installed_program_finds_its_helpers(self):
        done = subprocess.run([self.installed_file("bin/mvm"), "doctor", "--json"], text=True,
                              env=self.environment(), capture_output=True, check=False,
                              timeout=self.timeout)
        for check in json.loads(done.stdout)["checks"]:
            if check["name"] in ("mvm-agent", "mvm-supervisor"):
                self.assertEqual(check["level"], "ok", check)
                self.assertTrue(check["message"].startswith(self.root), check)

    def test_every_header_is_installed_and_compiles_alone(self):
        [include] = glob.glob(f"{self.root}/**/include/mvm", recursive=True)
        self.assertEqual(sorted(os.listdir(include)), HEADERS)
        for name in HEADERS:
            for compiler, std, language in ("cc", "c11", "c"), ("c++", "c++17", "c++"):
                with self.subTest(header=name, std=std):
                    run(compiler, f"-std={std}", "-pedantic", "-Wall", "-Wextra", "-Werror",
                        "-fsyntax-only", "-I", os.path.dirname(include), "-x", language, "-",
                        input=f"#include <mvm/{name}>\nextern int not_empty;\n")


if __name__ == "__main__":
    harness.main()
