# SPDX-License-Identifier: Apache-2.0
"""template create, create-multi, edit and delete without a built revision."""

import json
import os
import pty
import select
import subprocess

import harness


class Specs(harness.TestCase):
    def spec_path(self, template):
        return os.path.join(self.data_dir, "templates", template, "template.json")

    def spec(self, template):
        with open(self.spec_path(template), encoding="utf-8") as file:
            return json.load(file)

    def create(self, template, *args):
        return json.loads(self.mvm_ok("template", "create", "--json", template, "--flake",
                                      "dir:/x", *args))

    def type_answer(self, answer, *args):
        """Run mvm on a terminal and type an answer; returns the status and the shown text."""
        master, slave = pty.openpty()
        process = subprocess.Popen([harness.MVM, *args], stdin=slave, stdout=slave, stderr=slave,
                                   env=self.environment(None))
        os.close(slave)
        shown = b""
        while b"[y/N] " not in shown and select.select([master], [], [], 300)[0]:
            shown += os.read(master, 4096)
        os.write(master, answer.encode())
        status = process.wait(timeout=300)
        os.close(master)
        return status, shown.decode()


class Pools(Specs):
    def test_a_pool_of_a_newer_mvm_is_refused(self):
        self.create("web")
        self.mvm_ok("pool", "set", "web", "--size", "1")
        self.write("data/pool/web.json", '{"schema_version": 2, "size": 1}')
        self.mvm_fails(6, "pool", "list", says="web.json: written by a newer mvm")


class Create(Specs):
    def test_the_defaults_are_those_of_the_design(self):
        self.assertEqual(self.create("web"), {"template_id": "web", "result": "created"})
        spec = self.spec("web")
        self.assertEqual(spec.pop("created_at"), spec.pop("updated_at"))
        self.assertEqual(spec, {"schema_version": 1, "template_id": "web", "flake_ref": "dir:/x",
                                "profile": "minimal", "role": "worker", "vcpus": 2,
                                "mem_mib": 1024, "data_disk_mib": 0})

    def test_every_option_and_the_command_are_stored(self):
        self.create("web", "--profile", "Full", "--role", "gw", "--cpus", "4", "--mem", "1.5GiB",
                    "--data-disk", "2G", "--kernel", "k-6", "--network", "none", "--boot-args",
                    "quiet", "-e", "A=1", "-e", "B=", "--", "/bin/httpd", "-f")
        spec = self.spec("web")
        self.assertEqual([spec[k] for k in ("profile", "role", "vcpus", "mem_mib",
                                            "data_disk_mib")], ["Full", "gw", 4, 1536, 2048])
        self.assertEqual(spec["run"], {"command": ["/bin/httpd", "-f"],
                                       "env": {"A": "1", "B": ""}, "network": "none",
                                       "kernel": "k-6", "boot_args": "quiet"})

    def test_a_relative_reference_counts_from_the_working_folder(self):
        self.mvm_ok("template", "create", "web", "--flake", "tar:x.tar")
        self.assertEqual(self.spec("web")["flake_ref"], f"tar:{self.folder}/x.tar")

    def test_an_images_initrd_excludes_settings_for_the_agent(self):
        for args, key in ((["--", "/bin/sh"], "command"), (["-e", "A=1"], "env")):
            self.mvm_fails(2, "template", "create", "web", "--flake", ".", "--initrd", "image",
                           *args, says=f"{key}: needs mvm's agent")
        self.mvm_fails(2, "template", "create", "web", "--flake", ".", "--initrd", "own",
                       says="mvm or image")
        self.create("web", "--initrd", "image")
        self.assertEqual(self.spec("web")["run"], {"initrd": "image"})
        self.assertRegex(self.mvm_ok("template", "info", "web"),
                         r"(?m)^initrd +image: the image's own, without mvm's agent$")
        self.mvm_fails(2, "template", "edit", "web", "--", "/bin/sh",
                       says="command: needs mvm's agent")
        self.mvm_fails(6, "pool", "set", "web", "-s", "1", says="template 'web': it boots")
        for edit in (["--initrd", "mvm"], ["--initrd", "image"], ["--unset", "initrd"]):
            self.mvm_ok("template", "edit", "web", *edit)
            self.assertEqual("run" in self.spec("web"), edit[-1] == "image")
        self.mvm_ok("template", "edit", "web", "--", "/bin/sh")
        self.mvm_fails(2, "template", "edit", "web", "--initrd", "image",
                       says="command: needs mvm's agent")

    def test_initrd_image_needs_a_source_with_an_initrd(self):
        self.create("web", "--initrd", "image")
        for args in ([], ["--dry-run"]):
            self.mvm_fails(3, "template", "build", "web", *args,
                           says="only images of Nix flakes have one")

    def test_an_existing_template_is_replaced_only_with_force(self):
        self.create("web")
        before = self.spec("web")
        says = self.mvm_fails(4, "template", "create", "web", "--flake", "dir:/y",
                              says="template 'web' exists")
        self.assertIn("mvm template edit", says)
        self.assertEqual(self.spec("web"), before)
        self.assertEqual(self.create("web", "--mem", "96", "--force")["result"], "replaced")
        self.assertEqual(self.spec("web")["mem_mib"], 96)
        self.assertEqual(self.spec("web")["created_at"], before["created_at"])

    def test_impossible_machines_are_refused(self):
        for args, says in ((["--mem", "0.1M"], "not a size"), (["--mem", "1K"], "--mem"),
                           (["--mem", "64M"], "--mem"), (["--cpus", "0"], "--cpus"),
                           (["--cpus", "33"], "--cpus"), (["--data-disk", "0"], "--data-disk"),
                           (["--data-disk", "7"], "'--data-disk': '7' is not between 8 and"),
                           (["--data-disk", "9T"], "--data-disk"),
                           (["--mem", "1.00001G"], "--mem"), (["--network", "tap"], "none or")):
            with self.subTest(args):
                self.mvm_fails(2, "template", "create", "web", "--flake", ".", *args, says=says)
        for args, says in ((["--profile", "a/b"], "profile: 'a/b' is no valid"),
                           (["--role", ""], "'' is no valid role"), (["-e", "A"], "'A' is not NAME=VALUE"),
                           (["--kernel", ".."], "'..' is no valid kernel name"),
                           (["--boot-args", "a\nb"], "boot_args: expected"),
                           (["--", "/bin/\udcff"], "command: is not UTF-8"),
                           (["-e", "A=\udcff"], "env: is not UTF-8"),
                           (["-e", "\udcff=1"], "env: is not UTF-8")):
            with self.subTest(args):
                self.mvm_fails(2, "template", "create", "web", "--flake", ".", *args, says=says)
        self.mvm_fails(2, "template", "create", "Web", "--flake", ".", says="no valid template")
        self.mvm_fails(2, "template", "create", "../x", "--flake", ".", says="no valid template")
        self.mvm_fails(2, "template", "create", "web", says="--flake is missing")
        self.assertEqual(self.mvm_json("template", "list"), [])

    def test_one_template_is_made_for_each_role(self):
        made = self.mvm_json("template", "create-multi", "shop", "--roles", "web,db", "--roles",
                             "x", "--flake", "dir:/x", "--mem", "256")
        self.assertEqual([m["template_id"] for m in made], ["shop-web", "shop-db", "shop-x"])
        self.assertEqual([self.spec(f"shop-{r}")["role"] for r in ("web", "db", "x")],
                         ["web", "db", "x"])

    def test_several_roles_are_created_together_or_not_at_all(self):
        multi = ["template", "create-multi", "shop", "--flake", "dir:/x", "--roles"]
        self.create("shop-db")
        self.mvm_fails(4, *multi, "web,db", says="'shop-db' exists; nothing was created")
        self.mvm_fails(2, *multi, "web,Db", says="role 'Db': 'shop-Db' is no valid template")
        self.mvm_fails(2, *multi, "web,web", says="role 'web' is named twice")
        self.mvm_fails(2, *multi[:-1], says="--roles is missing")
        self.assertEqual(len(self.mvm_json("template", "list")), 1)
        made = self.mvm_json(*multi, "web,db", "--force")
        self.assertEqual([m["result"] for m in made], ["created", "replaced"])


class Edit(Specs):
    def test_only_named_settings_change_and_unknown_keys_stay(self):
        self.create("web", "-e", "A=1", "--", "/bin/x")
        spec = self.spec("web")
        spec["tenant"] = {"id": 7}
        spec["run"]["later"] = [1]
        spec["created_at"] = spec["updated_at"] = "2025-01-01T00:00:00Z"
        with open(self.spec_path("web"), "w", encoding="utf-8") as file:
            json.dump(spec, file)
        self.assertEqual(self.mvm_json("template", "edit", "web", "--mem", "2G"),
                         {"template_id": "web", "result": "updated"})
        after = self.spec("web")
        self.assertNotEqual(after.pop("updated_at"), spec.pop("updated_at"))
        self.assertEqual(after, {**spec, "mem_mib": 2048})

    def test_setting_the_same_value_changes_nothing(self):
        self.create("web")
        before = os.stat(self.spec_path("web")).st_ino
        self.assertEqual(self.mvm_json("template", "edit", "web", "--cpus", "2")["result"],
                         "unchanged")
        self.assertEqual(os.stat(self.spec_path("web")).st_ino, before)

    def test_variables_are_added_and_replaced_one_by_one(self):
        self.create("web", "-e", "A=1", "-e", "AB=2")
        self.mvm_ok("template", "edit", "web", "-e", "A=3", "-e", "C=4")
        self.assertEqual(self.spec("web")["run"]["env"], {"A": "3", "AB": "2", "C": "4"})
        self.mvm_ok("template", "edit", "web", "--unset", "env")
        self.assertNotIn("run", self.spec("web"))

    def test_settings_go_back_to_their_defaults(self):
        self.create("web", "--kernel", "k", "--network", "none", "--boot-args", "x",
                    "--data-disk", "1G", "--", "/bin/x")
        self.mvm_ok("template", "edit", "web", "--unset", "kernel,network,boot_args",
                    "--unset", "command,data_disk_mib,health,on_restore")
        self.assertNotIn("run", self.spec("web"))
        self.assertEqual(self.spec("web")["data_disk_mib"], 0)

    def test_impossible_settings_are_refused_and_nothing_changes(self):
        self.create("web")
        before = self.spec("web")
        edit = ["template", "edit", "web"]
        self.mvm_fails(2, *edit, says="nothing to change")
        self.mvm_fails(2, *edit, "--unset", "comand", says="did you mean 'command'?")
        self.mvm_fails(2, *edit, "--unset", "kernel", "--kernel", "k", says="twice")
        self.mvm_fails(2, *edit, "--mem", "0", says="--mem")
        self.mvm_fails(2, *edit, "--profile", "a b", says="profile: 'a b'")
        self.mvm_fails(3, "template", "edit", "nix", "--mem", "2G", says="no template 'nix'")
        self.mvm_fails(2, "template", "edit", "../x", "--mem", "2G", says="no valid template")
        self.assertEqual(self.spec("web"), before)

    def test_edits_at_the_same_time_are_all_kept(self):
        self.create("web")
        runs = [subprocess.Popen([harness.MVM, "template", "edit", "web", "-e", f"V{i}={i}"],
                                 env=self.environment(None), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for i in range(12)]
        self.assertEqual([run.wait(timeout=300) for run in runs], [0] * 12)
        self.assertEqual(self.spec("web")["run"]["env"], {f"V{i}": str(i) for i in range(12)})


class Delete(Specs):
    def test_delete_without_a_terminal_needs_force(self):
        self.create("web")
        self.mvm_fails(2, "template", "delete", "web", says="give --force")
        self.assertEqual(self.mvm_json("template", "delete", "web", "--force"),
                         {"template_id": "web", "result": "deleted"})
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "templates")), [])
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "tmp")), [])
        self.mvm_fails(3, "template", "delete", "web", "--force", says="no template 'web'")
        self.mvm_fails(3, "template", "delete", "web", says="no template 'web'")

    def test_delete_continues_after_a_missing_template(self):
        for template in ("a", "b", "c"):
            self.create(template)
        done = self.mvm("template", "delete", "-f", "a", "none", "c", status=3)
        self.assertEqual(done.stdout, "a deleted\nc deleted\n")
        self.assertIn("no template 'none'", done.stderr)
        self.assertEqual([t["template_id"] for t in self.mvm_json("template", "list")], ["b"])
        self.create("d")
        self.assertEqual(self.mvm_json("template", "delete", "-f", "b", "d"),
                         [{"template_id": "b", "result": "deleted"},
                          {"template_id": "d", "result": "deleted"}])

    def test_on_a_terminal_it_asks(self):
        self.create("web")
        status, shown = self.type_answer("n\n", "template", "delete", "web")
        self.assertEqual((status, shown),
                         (1, "delete template 'web' and all its revisions? [y/N] "))
        self.assertTrue(os.path.exists(self.spec_path("web")))
        status, _ = self.type_answer("y\n", "template", "delete", "web")
        self.assertEqual(status, 0)
        self.assertFalse(os.path.exists(self.spec_path("web")))

    def test_a_damaged_template_can_be_deleted_or_replaced(self):
        config = self.write("web.toml", 'flake_ref = "dir:/y"\n[[variants]]\nname = "web"\n'
                            'role = "worker"\nvcpus = 2\nmem_mib = 512\n')
        for command in (["delete", "web", "--force"], ["apply", config],
                        ["create", "web", "--flake", "dir:/y", "--force"]):
            self.create("web", "--force")
            with open(self.spec_path("web"), "w", encoding="utf-8") as file:
                file.write("{")
            self.mvm_fails(5, "template", "edit", "web", "--mem", "2G")
            self.mvm_ok("template", *command)
        self.assertEqual(self.spec("web")["flake_ref"], "dir:/y")


if __name__ == "__main__":
    harness.main()
