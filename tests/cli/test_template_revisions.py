# SPDX-License-Identifier: Apache-2.0
"""template build --dry-run, info, history, rollback, diff, verify, prune; delete of what was built.

Nothing boots, so the kernel is a few bytes that pass for one and the agent any file.
"""

import fcntl
import json
import os
import re
import struct
import subprocess
import time

import harness

F_OFD_SETLK = 37 # Python's fcntl has no name for it
KERNEL = os.path.join(harness.SOURCE_DIR, "tests", "fuzz", "corpus", "kernel", "vmlinux")


class Revisions(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.write("lib/mvm-agent", "agent")
        self.source("one")
        self.mvm_ok("kernel", "add", KERNEL, "--name", "k")
        self.mvm_ok("template", "create", "web", "--flake", "dir:root", "--", "/bin/x")

    def environment(self, extra=None):
        return super().environment({"MVM_LIBEXEC_DIR": self.path("lib"), **(extra or {})})

    def source(self, text):
        self.write("root/bin/x", text)

    def build(self, template="web", *args):
        return self.mvm_json("template", "build", template, *args)[0]["revision_hash"]

    def build_three(self):
        """Three revisions, oldest first."""
        made = []
        for text in ("one", "two", "three"):
            self.source(text)
            made.append(self.build())
            self.next_tick()
        return made

    def next_tick(self):
        """Until the file system's clock has moved: two revisions in one tick have no order."""
        before = now = os.stat(self.write("tick", "")).st_mtime_ns
        while now == before:
            os.unlink(self.path("tick"))
            now = os.stat(self.write("tick", "")).st_mtime_ns

    def history(self, template="web"):
        return self.mvm_json("template", "history", template)

    def revision_path(self, revision, *parts, template="web"):
        return os.path.join(self.data_dir, "templates", template, "artifacts", revision, *parts)

    def damage(self, revision, name, template="web"):
        """Other bytes in a file of a revision alone, not in what it shares."""
        path = self.revision_path(revision, name, template=template)
        with open(path, "rb") as file:
            content = bytearray(file.read())
        content[-1] ^= 1
        os.unlink(path)
        with open(path, "wb") as file:
            file.write(content)

    def lease(self, revision, template="web"):
        """What a running VM holds; close it to let go."""
        path = os.path.join(self.data_dir, "locks", f"lease.{template}")
        # pylint: disable-next=consider-using-with
        file = open(path, "a+", encoding="ascii")
        self.addCleanup(file.close)
        number = 0xcbf29ce484222325
        for byte in revision.encode():
            number = (number ^ byte) * 0x100000001b3 % 2**64
        fcntl.fcntl(file, F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET,
                                                   number >> 2, 1, 0))
        return file

    def blobs(self):
        return set(os.listdir(os.path.join(self.data_dir, "blobs", "sha256")))

    def files(self):
        """Every file of the data folder but locks, with its inode: nothing was changed if equal."""
        found = {}
        for where, _, names in os.walk(self.data_dir):
            for name in names:
                path = os.path.join(where, name)
                if "/locks" not in where:
                    found[path] = os.lstat(path).st_ino
        return found


class Info(Revisions):
    def test_a_template_that_was_not_built_says_so(self):
        text = self.mvm_ok("template", "info", "web")
        self.assertRegex(text, r"(?m)^template +web$")
        self.assertRegex(text, r"(?m)^machine +2 CPUs, 1 GiB$")
        self.assertRegex(text, r"(?m)^revision +none: not built yet$")
        info = self.mvm_json("template", "info", "web")
        self.assertEqual((info["revision"], info["kind"]), (None, None))
        self.assertEqual(info["spec"]["template_id"], "web")

    def test_people_and_programs_are_told_the_same(self):
        revision = self.build()
        info = self.mvm_json("template", "info", "web")
        self.assertEqual(set(info), {"spec", "revision", "current", "kind", "cache_key",
                                     "disk_bytes", "run"})
        self.assertEqual(set(info["run"]), {"backend", "start", "reason"})
        self.assertEqual(info["kind"], "Image")
        self.assertIs(info["current"], True)
        text = self.mvm_ok("template", "info", "web")
        for what in (f"{revision} (current)", info["cache_key"], "command     /bin/x",
                     "snapshot    none", "kind        image", info["revision"]["built_at"]):
            self.assertIn(what, text)
        says = {"boot": "boots on ", "none": "cannot start it here"}[info["run"]["start"]]
        self.assertIn("run         " + says, text)
        self.assertIn(info["run"]["reason"], text)

    def test_an_earlier_revision_can_be_named(self):
        first, *_ = self.build_three()
        info = self.mvm_json("template", "info", f"web@{first[:8]}")
        self.assertEqual(info["revision"]["revision_hash"], first)
        self.assertIs(info["current"], False)
        self.mvm_fails(3, "template", "info", "web@" + "0" * 32, says="has no revision")
        self.mvm_fails(3, "template", "info", "nix", says="no template 'nix'")


class DryRun(Revisions):
    def plan(self, *args):
        before = self.files()
        plan = self.mvm_json("template", "build", *args, "--dry-run")
        self.assertEqual(self.files(), before)
        return plan[0]

    def test_it_says_whether_the_cache_has_it_and_the_revision_then(self):
        plan = self.plan("web")
        self.assertEqual((plan["revision_hash"], plan["cached"], plan["new_revision"]),
                         (None, False, True))
        self.assertIn("the build cache has nothing", plan["why"])
        revision = self.build()
        plan = self.plan("web")
        self.assertEqual((plan["revision_hash"], plan["cached"], plan["new_revision"]),
                         (revision, True, False))
        self.mvm_ok("template", "edit", "web", "--mem", "2G")
        plan = self.plan("web")
        self.assertNotEqual(plan["revision_hash"], revision)
        self.assertEqual((plan["cached"], plan["new_revision"]), (True, True))
        self.assertEqual(self.build(), plan["revision_hash"])
        self.assertIn("it was asked for", self.plan("web", "--force")["why"])
        self.assertEqual(self.plan("web")["cache_key"],
                         self.mvm_json("template", "info", "web")["cache_key"])

    def test_a_config_is_not_applied(self):
        config = self.write("template.toml", 'template_id = "t"\nflake_ref = "dir:root"\n'
                            '[[variants]]\nrole = "a"\nvcpus = 1\nmem_mib = 128\n')
        self.assertEqual(self.plan("--config", config)["template_id"], "t-a")
        self.assertEqual(len(self.mvm_json("template", "list")), 1)

    def test_people_read_a_line(self):
        self.assertIn("web@?  would build a revision: ",
                      self.mvm_ok("template", "build", "web", "-n"))
        self.build()
        self.assertIn("would change nothing: ", self.mvm_ok("template", "build", "web", "-n"))


class History(Revisions):
    def test_revisions_are_listed_newest_first(self):
        made = self.build_three()
        history = self.history()
        self.assertEqual([h["revision_hash"] for h in history], made[::-1])
        self.assertEqual([h["current"] for h in history], [True, False, False])
        self.assertEqual(set(history[0]), {
            "revision_hash", "current", "in_use", "built_at", "vcpus", "mem_mib", "rootfs_bytes",
            "disk_bytes", "has_snapshot", "snapshot_at", "snapshot_mem_bytes", "problem"})
        self.assertGreater(history[0]["disk_bytes"], 0)
        lines = self.mvm_ok("template", "history", "web").splitlines()
        self.assertRegex(lines[1], rf"^\* +{made[2]} +2")
        self.assertRegex(lines[2], rf"^ +{made[1]} +2")

    def test_a_running_vm_and_damage_show(self):
        made = self.build_three()
        self.lease(made[0])
        with open(self.revision_path(made[1], "revision.json"), "w", encoding="ascii") as file:
            file.write("{")
        found = {h["revision_hash"]: h for h in self.history()}
        self.assertTrue(found[made[0]]["in_use"])
        self.assertIn("revision.json", found[made[1]]["problem"])
        self.assertIsNone(found[made[1]]["built_at"])
        self.assertIn("damaged", self.mvm_ok("template", "history", "web"))

    def test_without_builds_it_is_empty(self):
        self.assertEqual(self.history(), [])
        self.mvm_fails(3, "template", "history", "nix", says="no template 'nix'")


class Rollback(Revisions):
    def current(self):
        return self.mvm_json("template", "info", "web")["revision"]["revision_hash"]

    def test_it_goes_back_by_one_or_to_the_one_named(self):
        a, b, c = self.build_three()
        self.assertEqual(self.mvm_json("template", "rollback", "web"),
                         {"template_id": "web", "from": c, "to": b, "changed": True})
        self.assertEqual(self.current(), b)
        self.mvm_ok("template", "rollback", "web")
        self.assertEqual(self.current(), a)
        self.mvm_fails(3, "template", "rollback", "web", says="no revision before the current")
        self.assertIn(f"web@{c} is current, was {a}",
                      self.mvm_ok("template", "rollback", "web", c[:6]))
        self.assertEqual(os.readlink(os.path.join(self.data_dir, "templates", "web", "current")),
                         f"artifacts/{c}")
        self.assertIs(self.mvm_json("template", "rollback", "web", c)["changed"], False)

    def test_a_damaged_revision_never_becomes_current(self):
        _, b, c = self.build_three()
        self.damage(b, "rootfs.ext4")
        says = self.mvm_fails(5, "template", "rollback", "web", says="'rootfs.ext4' is damaged")
        self.assertIn("mvm template history", says)
        self.mvm_fails(5, "template", "rollback", "web", b, says="'rootfs.ext4' is damaged")
        self.assertEqual(self.current(), c)

    def test_what_is_not_there_cannot_become_current(self):
        self.mvm_fails(3, "template", "rollback", "web", says="no revision is current")
        self.build()
        self.mvm_fails(3, "template", "rollback", "web", "abcdef", says="has no revision")
        self.mvm_fails(3, "template", "rollback", "nix", says="no template 'nix'")


class Diff(Revisions):
    def test_files_and_settings_that_differ_are_shown(self):
        a = self.build()
        self.source("other")
        self.mvm_ok("template", "edit", "web", "--mem", "2G", "-e", "A=1", "--network", "none",
                    "--", "/bin/x", "-v")
        b = self.build()
        diff = self.mvm_json("template", "diff", f"web@{a}", f"web@{b}")
        self.assertEqual(diff["from"], {"template_id": "web", "revision_hash": a})
        self.assertEqual(diff["to"], {"template_id": "web", "revision_hash": b})
        files = {f["name"]: f for f in diff["artifacts"]}
        self.assertEqual(set(files), {"rootfs.ext4", "fc-base.json"})
        self.assertEqual(set(files["rootfs.ext4"]["from"]), {"sha256", "bytes"})
        self.assertGreater(files["rootfs.ext4"]["to"]["bytes"], 0)
        settings = {s["key"]: (s["from"], s["to"]) for s in diff["settings"]}
        self.assertEqual(settings.pop("mem_mib"), (1024, 2048))
        self.assertEqual(settings.pop("run.command"), (["/bin/x"], ["/bin/x", "-v"]))
        self.assertEqual(settings.pop("run.env.A"), (None, "1"))
        self.assertEqual(settings.pop("run.network"), (None, "none"))
        self.assertEqual(set(settings), {"flake_lock_hash", "build.source_fingerprint"})
        text = self.mvm_ok("template", "diff", f"web@{a}", f"web@{b}")
        self.assertRegex(text, r"(?m)^mem_mib +1024 +2048$")
        self.assertRegex(text, r"(?m)^run.network +- +\"none\"$")
        self.assertRegex(text, r"(?m)^rootfs.ext4 +2 MiB [0-9a-f]{12} +2 MiB [0-9a-f]{12}$")

    def test_one_revision_is_compared_with_the_current_one(self):
        a, _, c = self.build_three()
        diff = self.mvm_json("template", "diff", f"web@{a[:6]}")
        self.assertEqual((diff["from"]["revision_hash"], diff["to"]["revision_hash"]), (a, c))
        self.assertEqual(self.mvm_ok("template", "diff", f"web@{c}"), "no difference\n")

    def test_templates_can_be_compared(self):
        self.build()
        self.mvm_ok("template", "create", "db", "--flake", "dir:root", "--role", "db", "--",
                    "/bin/x")
        self.build("db")
        diff = self.mvm_json("template", "diff", "web", "db")
        self.assertEqual((diff["artifacts"], [s["key"] for s in diff["settings"]]), ([], ["role"]))

    def test_what_is_missing_is_named(self):
        self.mvm_fails(3, "template", "diff", "web", says="web: template 'web' has not been built")
        self.build()
        self.mvm_fails(3, "template", "diff", "web", "nix", says="nix: no template 'nix'")


class Verify(Revisions):
    def broken(self, *args, status=5):
        """The problems that verify finds, and the error."""
        done = self.mvm("template", "verify", *args, "--json", status=status)
        return json.loads(done.stdout)["problems"], \
            json.loads(done.stderr.splitlines()[-1])["error"]

    def test_sound_templates_are_counted_and_shared_files_read_once(self):
        self.build()
        self.mvm_ok("template", "edit", "web", "--mem", "2G")
        revision = self.build()
        found = self.mvm_json("template", "verify")
        size = sum(os.path.getsize(self.revision_path(revision, name))
                   for name in ("vmlinux", "rootfs.ext4", "initrd"))
        self.assertEqual({**found, "bytes": 0}, {"templates": 1, "revisions": 2, "files": 8,
                                                 "bytes": 0, "problems": []})
        self.assertLess(found["bytes"], size + 2000) # and two fc-base.json
        self.assertIn("all sound", self.mvm_ok("template", "verify", "web"))
        self.assertEqual(self.mvm_json("template", "verify", f"web@{revision}")["revisions"], 1)

    def test_all_damage_is_reported_and_the_first_is_the_error(self):
        a, b, _ = self.build_three()
        self.damage(a, "rootfs.ext4")
        os.unlink(self.revision_path(b, "initrd"))
        self.write(os.path.join("data", "templates", "web", "artifacts", b, "extra"), "x")
        problems, error = self.broken()
        self.assertEqual({(p["revision_hash"], p["file"], p["message"]) for p in problems},
                         {(a, "rootfs.ext4", "'rootfs.ext4' is damaged: its digest is not the "
                                             "one recorded"),
                          (b, "initrd", "'initrd' is missing"),
                          (b, "extra", "'extra' is not in checksums.json")})
        self.assertEqual(set(problems[0]), {"template_id", "revision_hash", "file", "message"})
        self.assertEqual((error["code"], error["exit_status"]), ("EBADMSG", 5))
        first = problems[0]
        self.assertEqual(error["message"],
                         f"web@{first['revision_hash'][:12]}: {first['message']}")
        done = self.mvm("template", "verify", "web", status=5)
        self.assertEqual(len(done.stdout.splitlines()), 4)
        self.assertIn("mvm: web@", done.stderr)
        self.mvm_ok("template", "verify", f"web@{self.history()[0]['revision_hash']}")

    def test_damaged_metadata_is_found(self):
        a, b, c = self.build_three()
        with open(self.revision_path(a, "revision.json"), "a", encoding="ascii") as file:
            file.write("x")
        with open(self.revision_path(b, "checksums.json"), "w", encoding="ascii") as file:
            file.write("{}")
        os.unlink(self.revision_path(c, "checksums.json"))
        link = os.path.join(self.data_dir, "templates", "web", "current")
        os.unlink(link)
        os.symlink("artifacts/ffff", link)
        problems, _ = self.broken("web")
        self.assertEqual({(p["revision_hash"], p["file"]) for p in problems},
                         {(None, "current"), (a, "revision.json"), (b, "checksums.json"),
                          (c, "checksums.json")})
        with open(os.path.join(self.data_dir, "templates", "web", "template.json"), "w",
                  encoding="ascii") as file:
            file.write("[]")
        self.assertIn("template.json", [p["file"] for p in self.broken()[0]])

    def test_a_forced_build_mends_a_revision_and_its_blobs(self):
        revision = self.build()
        path = self.revision_path(revision, "rootfs.ext4")
        os.chmod(path, 0o644)
        with open(path, "r+b") as file: # the blob's own bytes, shared by its links
            file.write(b"damage")
        self.assertEqual(len(self.broken()[0]), 1)
        self.assertEqual(self.build("web", "--force"), revision)
        self.assertEqual(self.mvm_json("template", "verify")["problems"], [])
        self.damage(revision, "fc-base.json")
        self.assertEqual(len(self.broken()[0]), 1)
        self.assertEqual(self.build("web", "--force"), revision)
        self.assertEqual(self.mvm_json("template", "verify")["problems"], [])

    def test_a_missing_artifact_is_noticed_and_built_anew(self):
        revision = self.build()
        for removed in (["rootfs.ext4"], ["vmlinux"], ["initrd", "rootfs.ext4"], ["revision.json"]):
            with self.subTest(removed):
                for name in removed:
                    os.unlink(self.revision_path(revision, name))
                says = self.mvm_fails(5, "run", "-T", "web", "-d", says="is missing")
                self.assertIn("hint: build it anew with 'mvm template build web --force'", says)
                self.assertTrue(self.mvm_json("template", "build", "web",
                                              "--dry-run")[0]["new_revision"])
                result, = self.mvm_json("template", "build", "web")
                self.assertEqual((result["revision_hash"], result["new_revision"]),
                                 (revision, True))
                self.mvm_ok("template", "verify", "web")

    def test_what_is_not_there_is_not_found(self):
        self.mvm_fails(3, "template", "verify", "nix", says="no template 'nix'")
        self.mvm_fails(3, "template", "verify", "web@abcd", says="has no revision")
        self.assertEqual(self.mvm_json("template", "verify")["revisions"], 0)


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

    def test_the_bytes_it_says_are_those_it_frees(self):
        def used(): # metadata counts on neither side
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

    def test_locks_left_by_templates_that_are_gone_go_with_a_prune(self):
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

    def test_only_what_is_old_enough_goes(self):
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

    def test_damaged_revisions_go_and_newer_ones_stay(self):
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

    def test_while_nobody_knows_which_is_current_all_stay(self):
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

    def test_what_was_deleted_leaves_nothing_but_the_kernel(self):
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

    def test_builds_and_prunes_at_the_same_time_disturb_nobody(self):
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
                if "t0" in args and status == 3: # it was deleted first
                    continue
                self.assertEqual(status, 0, f"{args}: {says}")
            self.mvm("template", "create", "t0", "--flake", "dir:root")
        self.assertEqual(self.mvm_json("template", "verify")["problems"], [])
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])


class Shapes(Revisions):
    """What --json prints has the keys that doc/cli-json.md says, and no other."""

    RESULT = "template_id result"
    BUILD = ("template_id revision_hash cache_key cached new_revision has_snapshot new_snapshot "
             "rootfs_bytes snapshot_mem_bytes snapshot_disk_bytes build_ns snapshot_ns "
             "snapshot_steps")

    def documented(self):
        """The text about each command."""
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
                ("info", "spec revision current kind cache_key disk_bytes run", "web"),
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
    """Data as the Rust program leaves it: no checksums.json, and `current` in two shapes."""

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
        """A file as that program writes it, but for some values."""
        with open(os.path.join(harness.SOURCE_DIR, "tests", "unit", "serde",
                               name + ".pretty.json"), encoding="utf-8") as file:
            self.write(path, json.dumps({**json.load(file), **changes}, indent=2))

    def test_they_are_shown_and_compared_and_stay(self):
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

    def test_what_cannot_be_checked_is_not_run_until_it_is_built_anew(self):
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
        self.assertIn("mvm pool set", says) # what waits there is in no list
        self.assertEqual(self.files(), before)
        lease.close()
        self.mvm_ok("template", "delete", "web", "--force")
        self.assertEqual(self.mvm_json("template", "list"), [])

    def test_nothing_of_a_deleted_template_stays_but_shared_files(self):
        self.build_three()
        self.lease("a" * 32).close() # as VMs that have run leave them
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
