# SPDX-License-Identifier: Apache-2.0
"""template build --dry-run, info, history, rollback, diff and verify."""

import json
import os

import harness
from revisions_case import Revisions


class Info(Revisions):
    def test_an_unbuilt_template_is_reported_so(self):
        text = self.mvm_ok("template", "info", "web")
        self.assertRegex(text, r"(?m)^template +web$")
        self.assertRegex(text, r"(?m)^machine +2 CPUs, 1 GiB$")
        self.assertRegex(text, r"(?m)^revision +none: not built yet$")
        self.write("one.toml", 'template_id = "one"\nflake_ref = "dir:root"\ncolour = 1\n[[variants]]\n'
                   'role = "worker"\nvcpus = 1\nmem_mib = 128\n')
        said = self.mvm("template", "apply", self.path("one.toml"), status=0).stderr
        self.assertIn("colour: unknown key (ignored; --strict refuses it)", said)
        self.assertIn("1 CPU, 128 MiB", self.mvm_ok("template", "info", "one-worker"))
        info = self.mvm_json("template", "info", "web")
        self.assertEqual((info["revision"], info["kind"]), (None, None))
        self.assertEqual(info["spec"]["template_id"], "web")

    def test_text_and_json_tell_the_same(self):
        revision = self.build()
        info = self.mvm_json("template", "info", "web")
        self.assertEqual(set(info), {"spec", "revision", "current", "kind", "cache_key",
                                     "disk_bytes", "run", "changed_file"})
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

    def test_a_dry_run_tells_whether_cache_and_revision_exist(self):
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
        self.assertIn("a new build was asked for", self.plan("web", "--force")["why"])
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

    def test_a_template_without_builds_has_no_revisions(self):
        self.assertEqual(self.history(), [])
        self.mvm_fails(3, "template", "history", "nix", says="no template 'nix'")


class Rollback(Revisions):
    def current(self):
        return self.mvm_json("template", "info", "web")["revision"]["revision_hash"]

    def test_rollback_goes_back_by_one_or_to_the_named_revision(self):
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

    def test_a_missing_revision_cannot_become_current(self):
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

    def test_the_missing_side_of_a_comparison_is_named(self):
        self.mvm_fails(3, "template", "diff", "web", says="mvm: template 'web' has not been built")
        self.build()
        self.mvm_fails(3, "template", "diff", "web", "nix", says="mvm: no template 'nix'")


class Verify(Revisions):
    def broken(self, *args, status=5):
        """Run verify; returns its problems and the error."""
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
        self.assertLess(found["bytes"], size + 2000) # plus two fc-base.json
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

    def test_an_edited_revision_json_is_damage(self):
        """It parses, but its digest is not the one in checksums.json."""
        revision = self.build()
        path = self.revision_path(revision, "revision.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        edited = text.replace('"mem_mib": ', '"mem_mib": 1')
        self.assertNotEqual(edited, text)
        with open(path, "w", encoding="utf-8") as file:
            file.write(edited)
        problem, = self.broken("web")[0]
        self.assertEqual((problem["revision_hash"], problem["file"]), (revision, "revision.json"))
        self.mvm_fails(5, "run", "-T", "web", "-d", says="'revision.json' is damaged")
        result, = self.mvm_json("template", "build", "web")
        self.assertEqual((result["revision_hash"], result["new_revision"]), (revision, True))
        with open(path, encoding="utf-8") as file:
            self.assertIn('"mem_mib": ' + text.split('"mem_mib": ')[1].split(",")[0] + ",", file.read())
        self.mvm_ok("template", "verify", "web")

    def test_a_revision_without_a_digest_of_revision_json_is_read(self):
        """An older mvm, or another program, wrote its checksums.json."""
        path = self.revision_path(self.build(), "checksums.json")
        with open(path, encoding="utf-8") as file:
            sums = json.load(file)
        del sums["revision_sha256"]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(sums, file)
        self.mvm_ok("template", "verify", "web")

    def test_a_forced_build_mends_a_revision_and_its_blobs(self):
        revision = self.build()
        path = self.revision_path(revision, "rootfs.ext4")
        os.chmod(path, 0o644)
        with open(path, "r+b") as file: # changes the blob and all its links
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

    def test_a_missing_template_is_not_found(self):
        self.mvm_fails(3, "template", "verify", "nix", says="no template 'nix'")
        self.mvm_fails(3, "template", "verify", "web@abcd", says="has no revision")
        self.assertEqual(self.mvm_json("template", "verify")["revisions"], 0)


if __name__ == "__main__":
    harness.main()
