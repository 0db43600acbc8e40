# SPDX-License-Identifier: Apache-2.0
"""template prune; delete of built templates; shapes of JSON; revisions of other programs."""

import fcntl
import json
import os
import re
import subprocess
import time

import harness
import test_mvmd
from revisions_case import KERNEL, Revisions


class Prune(Revisions):
    def prune(self, *args):
        return self.mvm_json("template", "prune", *args)

    def test_the_newest_and_the_current_stay(self):
        a, b, c = self.build_three()
        self.mvm_ok("template", "rollback", "web", a)
        result = self.prune("--keep", "1")
        self.assertEqual([r["revision_hash"] for r in result["revisions"]], [b])
        self.assertEqual({h["revision_hash"] for h in self.history()}, {a, c})
        self.assertEqual(self.mvm_json("template", "verify")["problems"], [])
        self.assertFalse(os.path.exists(self.revision_path(b)))
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])

    def test_three_stay_without_an_option(self):
        self.build_three()
        self.assertEqual(self.prune()["revisions"], [])
        self.source("four")
        self.build()
        self.assertEqual(len(self.prune()["revisions"]), 1)

    def test_a_dry_run_says_the_same_and_changes_nothing(self):
        self.build_three()
        before, locks = self.files(), os.listdir(os.path.join(self.data_dir, "locks"))
        dry = self.prune("--keep", "0", "--dry-run")
        self.assertEqual(self.files(), before)
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "locks")), locks)
        wet = self.prune("--keep", "0")
        self.assertEqual((dry.pop("dry_run"), wet.pop("dry_run")), (True, False))
        self.assertEqual(dry, wet)
        self.assertEqual((len(wet["revisions"]), wet["cached_builds"], wet["blobs"]), (2, 2, 2))
        self.assertEqual(set(wet["revisions"][0]),
                         {"template_id", "revision_hash", "built_at", "disk_bytes"})
        self.assertEqual(set(wet), {"revisions", "in_use", "cached_builds", "blobs",
                                    "freed_bytes"})

    def test_prune_frees_the_bytes_that_it_reports(self):
        def used(): # without metadata, which prune does not count, either
            seen, total = set(), 0
            for where, _, names in os.walk(self.data_dir):
                for name in names:
                    st = os.lstat(os.path.join(where, name))
                    if st.st_ino not in seen and not name.endswith(".json"):
                        total += st.st_blocks * 512
                    seen.add(st.st_ino)
            return total

        self.build_three()
        before = used()
        freed = self.prune("--keep", "0")["freed_bytes"]
        self.assertLessEqual(abs(before - used() - freed), 16384)

    def test_a_budget_takes_the_oldest_first(self):
        made = []
        for i in range(4): # 4 MiB each, and a kernel and an initrd that all share
            with open(self.path("root/bin/large"), "wb") as file:
                file.write(os.urandom(4 << 20))
            made.append(self.build())
            self.next_tick()
        self.assertEqual(self.prune("--keep", "1", "--max-bytes", "1G")["revisions"], [])
        options = ("--keep", "1", "--max-bytes", "10M")
        dry = self.prune(*options, "--dry-run")
        self.assertEqual([r["revision_hash"] for r in dry["revisions"]], [made[1], made[0]])
        self.assertEqual(self.prune(*options)["revisions"], dry["revisions"])
        self.assertEqual(self.prune(*options)["revisions"], [])
        lease = self.lease(made[2])
        done = self.mvm("template", "prune", "--keep", "1", "--max-bytes", "1M", status=0)
        self.assertRegex(done.stderr, r"the revisions that stay take [\d.]+ MiB, more than 1 MiB")
        lease.close()
        result = self.prune("--keep", "1", "--max-bytes", "1M")
        self.assertEqual([r["revision_hash"] for r in result["revisions"]], [made[2]])

    def test_leased_revisions_stay(self):
        a, b, _ = self.build_three()
        lease = self.lease(a)
        result = self.prune("--keep", "0", "-n")
        self.assertEqual(([r["revision_hash"] for r in result["revisions"]], result["in_use"]),
                         ([b], 1))
        result = self.prune("--keep", "0")
        self.assertEqual(([r["revision_hash"] for r in result["revisions"]], result["in_use"]),
                         ([b], 1))
        lease.close()
        self.assertEqual([r["revision_hash"] for r in self.prune("--keep", "0")["revisions"]], [a])

    def test_prune_sweeps_locks_of_removed_templates(self):
        self.build_three()
        locks = os.path.join(self.data_dir, "locks")
        for name in "template.gone", "lease.gone", "lease.web":
            self.write(os.path.join(locks, name), "", mode=0o600)
        lease = self.lease("a" * 32, template="late")
        self.prune("--keep", "1", "-n")
        self.assertIn("template.gone", os.listdir(locks))
        self.prune("--keep", "1")
        self.assertEqual(sorted(name for name in os.listdir(locks) if "." in name),
                         ["lease.late", "lease.web", "template.web"])
        lease.close()

    def test_only_old_revisions_are_pruned(self):
        a, b, _ = self.build_three()
        path = self.revision_path(a, "revision.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(re.sub(r'"built_at": ".*?"', '"built_at": "2025-01-01T00:00:00Z"', text))
        result = self.prune("--keep", "0", "--older-than", "30d")
        self.assertEqual([r["revision_hash"] for r in result["revisions"]], [a])
        self.assertTrue(os.path.exists(self.revision_path(b)))
        self.mvm_fails(2, "template", "prune", "--older-than", "30", says="not an age such as")

    def test_prune_removes_damaged_revisions_but_not_newer_formats(self):
        a, b, _ = self.build_three()
        with open(self.revision_path(a, "revision.json"), "w", encoding="ascii") as file:
            file.write("{")
        path = self.revision_path(b, "revision.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace('"schema_version": 1', '"schema_version": 9'))
        result = self.prune("--keep", "0")
        self.assertEqual([(r["revision_hash"], r["built_at"]) for r in result["revisions"]],
                         [(a, None)])

    def test_no_revision_is_pruned_while_the_current_one_is_unknown(self):
        made = self.build_three()
        link = os.path.join(self.data_dir, "templates", "web", "current")
        for target in "artifacts/none", "../web":
            os.unlink(link)
            os.symlink(target, link)
            for dry in ([], ["-n"]):
                done = self.mvm("template", "prune", "--keep", "0", *dry, status=0)
                self.assertRegex(done.stderr, "'web': its current .*, so its revisions stay\n")
                self.mvm_fails(5, "template", "prune", "web", "--keep", "0", *dry,
                               says="'web': its current ")
            self.assertEqual([h["revision_hash"] for h in self.history()], made[::-1])
        self.mvm_ok("template", "rollback", "web", made[1])
        self.assertEqual(len(self.prune("--keep", "0")["revisions"]), 2)

    def test_one_template_can_be_named(self):
        self.mvm_ok("template", "create", "db", "--flake", "dir:root")
        for text in ("one", "two"):
            self.source(text)
            self.build("web")
            self.build("db")
        result = self.prune("db", "--keep", "0")
        self.assertEqual([r["template_id"] for r in result["revisions"]], ["db"])
        self.assertEqual(len(self.history("web")), 2)
        self.mvm_fails(3, "template", "prune", "nix", says="no template 'nix'")

    def test_a_locked_template_is_left_for_the_next_time(self):
        self.build_three()
        path = os.path.join(self.data_dir, "locks", "template.web")
        with open(path, "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write("77 template build")
            file.flush()
            done = self.mvm("template", "prune", "--keep", "0", status=0)
            self.assertIn("'web' is locked by process 77 template build", done.stderr)
            self.assertEqual(len(self.history()), 3)
            self.mvm_fails(4, "template", "prune", "web", "--keep", "0", says="is locked by")

    def test_deleted_templates_leave_nothing_but_the_kernel(self):
        self.build_three()
        kernel = {hex for hex in self.blobs()
                  if os.stat(os.path.join(self.data_dir, "blobs", "sha256", hex)).st_size
                  == os.path.getsize(KERNEL)}
        self.mvm_ok("template", "delete", "web", "--force")
        self.assertGreater(len(self.blobs()), 1)
        result = self.prune()
        self.assertEqual((result["cached_builds"], result["revisions"]), (3, []))
        self.assertEqual(self.blobs(), kernel)
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "cache", "builds")), [])

    def test_parallel_builds_and_prunes_do_not_interfere(self):
        end = time.monotonic() + 2

        def start(*args):
            return subprocess.Popen([harness.MVM, "template", *args], env=self.environment(),
                                    cwd=self.folder, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True)

        for n in range(3):
            self.mvm_ok("template", "create", f"t{n}", "--flake", "dir:root")
        while time.monotonic() < end:
            runs = [start("build", f"t{n}", "--force") for n in range(3)]
            runs += [start("prune", "--keep", "0") for _ in range(3)]
            runs += [start("delete", "t0", "--force")]
            ends = [(run.args[2:], run.communicate(timeout=300)[1], run.returncode) for run in runs]
            for args, says, status in ends:
                if "t0" in args and status == 3: # the other process deleted it first
                    continue
                self.assertEqual(status, 0, f"{args}: {says}")
            self.mvm("template", "create", "t0", "--flake", "dir:root")
        self.assertEqual(self.mvm_json("template", "verify")["problems"], [])
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])


class Served(test_mvmd.Case, Revisions):
    def test_no_revision_is_older_than_all_time(self):
        self.build_three()
        for age in 1 << 62, (1 << 63) - 1:
            body = json.dumps({"keep": 1, "older_than_s": age}).encode()
            status, _, reply = self.local("POST", "/v1/prune", {"Content-Type": "application/json"}, body)
            self.assertEqual((status, reply["metadata"]["revisions"]), (200, []), age)


class Shapes(Revisions):
    """The output of --json has exactly the keys of doc/cli-json.md."""

    RESULT = "template_id result"
    BUILD = ("template_id revision_hash cache_key cached new_revision has_snapshot new_snapshot "
             "rootfs_bytes snapshot_mem_bytes snapshot_disk_bytes build_ns snapshot_ns "
             "snapshot_steps")

    def documented(self):
        """The documented text for each command."""
        path = os.path.join(harness.SOURCE_DIR, "doc", "cli-json.md")
        with open(path, encoding="utf-8") as file:
            sections = re.split(r"(?m)^## ", file.read())[1:]
        return {command: text for heading, text in (each.split("\n", 1) for each in sections)
                for command in heading.split(", ")}

    def check(self, command, keys, *args):
        value = self.mvm_json("template", *command.split(), *args)
        value = value[0] if isinstance(value, list) else value
        self.assertEqual(set(value), set(keys.split()), command)
        text = self.documented()[command]
        for key in value:
            self.assertRegex(text, f'[`"]{key}[`"]', command)

    def test_every_template_command_has_a_section(self):
        commands = [each["name"].removeprefix("template ") for each in
                    self.mvm_json("help")["commands"] if each["name"].startswith("template ")]
        self.assertGreater(len(commands), 14)
        self.assertEqual(set(commands) - set(self.documented()), set())

    def test_each_prints_the_documented_keys(self):
        config = self.write("t.toml", 'template_id = "t"\nflake_ref = "dir:root"\n[[variants]]\n'
                            'role = "a"\nvcpus = 1\nmem_mib = 128\n')
        revision = self.build()
        for command, keys, *args in (
                ("init", "dir files", self.path("new")),
                ("create", self.RESULT, "x", "--flake", "dir:root"),
                ("create-multi", self.RESULT, "y", "--roles", "a", "--flake", "dir:root"),
                ("apply", self.RESULT, config),
                ("edit", self.RESULT, "x", "--mem", "1G"),
                ("delete", self.RESULT, "x", "--force"),
                ("build --dry-run", self.BUILD + " why", "web"),
                ("build", self.BUILD, "web"),
                ("list", "template_id problem role profile vcpus mem_mib revision_hash "
                         "rootfs_bytes has_snapshot snapshot_mem_bytes"),
                ("info", "spec revision current kind cache_key disk_bytes run changed_file", "web"),
                ("history", "revision_hash current in_use built_at vcpus mem_mib rootfs_bytes "
                            "disk_bytes has_snapshot snapshot_at snapshot_mem_bytes problem",
                 "web"),
                ("snapshot", "template_id revision_hash result has_snapshot snapshot_mem_bytes "
                             "snapshot_disk_bytes snapshot_ns snapshot_steps", "web", "--rm"),
                ("diff", "from to artifacts settings", "web"),
                ("rollback", "template_id from to changed", "web", revision),
                ("verify", "templates revisions files bytes problems"),
                ("prune", "dry_run revisions in_use cached_builds blobs freed_bytes")):
            with self.subTest(command):
                self.check(command, keys, *args)


class OtherPrograms(Revisions):
    """Data that the Rust program wrote: no checksums.json, and two forms of `current`."""

    REVISION = "a1b2c3d4e5f6"

    def setUp(self):
        super().setUp()
        for shape in "artifacts", "revisions":
            self.template(shape, shape)

    def template(self, name, shape):
        folder = os.path.join(self.data_dir, "templates", name)
        revision = f"{folder}/artifacts/{self.REVISION}"
        for file in "vmlinux", "rootfs.ext4", "fc-base.json":
            self.write(f"{revision}/{file}", file)
        self.like(f"{folder}/template.json", "spec", template_id=name)
        self.like(f"{revision}/revision.json", "revision", revision_hash=self.REVISION)
        os.symlink(f"{shape}/{self.REVISION}", f"{folder}/current")

    def like(self, path, name, **changes):
        """Write a file as that program does, with some values changed."""
        with open(os.path.join(harness.SOURCE_DIR, "tests", "unit", "serde",
                               name + ".pretty.json"), encoding="utf-8") as file:
            self.write(path, json.dumps({**json.load(file), **changes}, indent=2))

    def test_old_revisions_are_shown_and_compared_and_stay(self):
        listed = {each["template_id"]: each for each in self.mvm_json("template", "list")}
        for name in "artifacts", "revisions":
            self.assertEqual((listed[name]["problem"], listed[name]["revision_hash"]),
                             (None, self.REVISION))
            info = self.mvm_json("template", "info", name)
            self.assertEqual((info["revision"]["revision_hash"], info["current"], info["kind"]),
                             (self.REVISION, True, "Image"))
            self.assertEqual(info["run"]["start"], "none")
            self.assertIn("checksums.json is missing", info["run"]["reason"])
            self.assertIn("cannot start it here", self.mvm_ok("template", "info", name))
            self.assertTrue(self.history(name)[0]["current"])
        self.assertEqual(self.mvm_ok("template", "diff", "artifacts", "revisions"),
                         "no difference\n")
        self.damage(self.REVISION, "rootfs.ext4", template="revisions")
        self.assertEqual([file["name"] for file in self.mvm_json(
            "template", "diff", "artifacts", "revisions")["artifacts"]], ["rootfs.ext4"])
        self.assertEqual(self.mvm_json("template", "prune", "--keep", "0")["revisions"], [])

    def test_a_revision_without_checksums_runs_only_after_a_new_build(self):
        says = "checksums.json is missing: its files cannot be checked"
        self.mvm_fails(5, "run", "--template", "revisions", "-d", says=says)
        self.assertIn(says, self.mvm("template", "verify", status=5).stderr)
        self.mvm_ok("template", "edit", "revisions", "--flake", "dir:root", "--kernel", "k",
                    "--profile", "own", "--", "/bin/x")
        made = self.build("revisions")
        link = os.path.join(self.data_dir, "templates", "revisions", "current")
        self.assertEqual(os.readlink(link), "artifacts/" + made)
        self.mvm_fails(5, "template", "rollback", "revisions", says=says)
        self.assertEqual(os.readlink(link), "artifacts/" + made)


class Delete(Revisions):
    def test_a_template_in_use_is_not_deleted(self):
        a, *_ = self.build_three()
        before = self.files()
        lease = self.lease(a)
        says = self.mvm_fails(4, "template", "delete", "web", "--force",
                              says=f"web@{a[:12]} is in use")
        self.assertIn("mvm stop", says)
        self.assertIn("mvm pool set", says) # VMs that wait in a pool are in no list
        self.assertEqual(self.files(), before)
        lease.close()
        self.mvm_ok("template", "delete", "web", "--force")
        self.assertEqual(self.mvm_json("template", "list"), [])

    def test_a_deleted_template_leaves_only_shared_files(self):
        self.build_three()
        self.lease("a" * 32).close() # leaves a lock file, as VMs do
        logs = os.path.join(self.data_dir, "logs")
        os.makedirs(logs, exist_ok=True)
        for name in "nix-web.log", "nix-web2.log":
            self.write(os.path.join(logs, name), "built\n")
        self.mvm_ok("template", "delete", "web", "--force")
        self.assertEqual(os.listdir(logs), ["nix-web2.log"])
        left = os.listdir(os.path.join(self.data_dir, "locks"))
        self.assertEqual([name for name in left if "web" in name], [])


if __name__ == "__main__":
    harness.main()
