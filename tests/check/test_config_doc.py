# SPDX-License-Identifier: Apache-2.0
"""doc/template-toml.md equals the table of keys, and every example of a template.toml is valid."""

import glob
import json
import os
import re
import subprocess
import sys

import harness

PROGRAM = os.environ.get("MVM_TEST_CONFIG_KEYS", "")
PAGE = os.path.join(harness.SOURCE_DIR, "doc", "template-toml.md")
# keys that each table needs beside the tested key
TOP = {"template_id": 'template_id = "t"', "flake_ref": 'flake_ref = "dir:rootfs"',
       "variants": "[[variants]]"}
# values at the limits of keys that are not numbers: accepted and refused
NAMES = ["a" * 63], ["a" * 64, "-a", "a b", "a/b"]
LISTS = ([["/x"] * 4096, ["/" + "x" * (56 * 1024 - 7)]],
         [["/x"] * 4097, ["/" + "x" * (56 * 1024 - 6)], [""]])
RULES = ([[], ["host:1", "*.example.org:443"], ["10.0.0.0/8"] * 128],
         [["host"], [""], ["10.0.0.0/8"] * 129])
VALUES = {
    "template_id": (["", "a" * 60], ["a" * 64, "A"]),
    "flake_ref": (["dir:/" + "x" * 4091], ["dir:/" + "x" * 4092, "", "dir:", "dir:/a\n"]),
    "variants": ([], [[{"name": f"t{i}", "role": "w"} for i in range(4097)], []]),
    "name": (["a" * 63], ["a" * 64, "A", "-a"]),
    "profile": (NAMES[0] + ["", "A.b"], NAMES[1]),
    "role": (NAMES[0] + ["A.b"], NAMES[1] + [""]),
    "kernel": (NAMES[0] + ["", "A.b"], NAMES[1]),
    "command": LISTS,
    "on_restore": (LISTS[0] + ["restart", "signal:USR1", "signal:SIGRTMIN+1", "signal:64"],
                   LISTS[1] + ["", "reload", "signal:", "signal:65"]),
    "point": (["boot", "healthy"], ["", "late"]),
    "exec": LISTS,
    "env": ([{f"V{i:04}": "" for i in range(4096)}, {"A": "=" * (56 * 1024 - 8)}],
            [{f"V{i:04}": "" for i in range(4097)}, {"A": "=" * (56 * 1024 - 7)}, {"": "x"}]),
    "network": (["user", "none"], ["", "tap"]),
    "mode": (["user", "none"], ["", "tap"]),
    "allow": RULES,
    "deny": RULES,
    "dns": ([[], ["9.9.9.9", "::1"]], [["dns.example"], ["9.9.9.9"] * 5]),
    "initrd": (["mvm", "image"], ["", "own"]),
    "boot_args": (["", "x" * 1024], ["x" * 1025, "\u00e9", "a\nb"]),
    "http": ([f"http://{host}" for host in ("127.0.0.1", "[::1]:65535/x", "localhost:1?y")] +
             ["http://127.0.0.1/" + "x" * 2031],
             [f"http://{host}" for host in ("", "example.com/", "::1/", "127.0.0.1:0", "[::1]:65536",
                                            "localhost:", "127.0.0.1/a b")] +
             ["https://127.0.0.1/", "http://127.0.0.1/" + "x" * 2032]),
}


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)

# the tables that may have a key, and their names in a variant
TABLES = {"health": "health", "snapshot": "snapshot", "network_table": "network"}
SCOPES = ("top", "variant", *TABLES)


class Page(harness.TestCase):
    def keys(self):
        return json.loads(subprocess.run([PROGRAM], stdout=subprocess.PIPE, check=True).stdout)

    def apply(self, text):
        self.mvm_ok("template", "apply", "--strict", "--config",
                    self.write("template.toml", text))

    def table_of(self, key):
        """The line before a key that stands in a variant's table."""
        return "".join(f"[variants.{table}]\n" for scope, table in TABLES.items() if key[scope])

    def test_the_page_is_up_to_date(self):
        script = os.path.join(harness.SOURCE_DIR, "scripts", "make-config-doc")
        done = subprocess.run([sys.executable, script, PROGRAM, "md"], stdout=subprocess.PIPE,
                              text=True, check=True)
        with open(PAGE, encoding="utf-8") as file:
            self.assertEqual(file.read(), done.stdout, "scripts/make-config-doc writes it")

    def test_every_key_is_documented_whole(self):
        for key in self.keys():
            for part in "name", "type", "default", "help", "example":
                self.assertTrue(key[part], key)
            self.assertTrue(any(key[scope] for scope in SCOPES), key)

    def test_every_example_of_a_key_is_accepted_where_it_belongs(self):
        for key in self.keys():
            example = key["example"]
            top = [line for name, line in TOP.items() if name not in (key["name"], "variants")]
            role = [] if key["name"] == "role" else ['role = "worker"']
            if key["top"]:
                lines = top + ([] if key["name"] == "variants" else [example])
                self.apply("\n".join(lines + ["[[variants]]"] + role))
            if key["variant"]:
                self.apply("\n".join(top + ["[[variants]]"] + role + [example]))
            for scope, table in TABLES.items():
                if key[scope]:
                    self.apply("\n".join(top + ["[[variants]]"] + role + [f"[variants.{table}]", example]))

    def test_numbers_have_the_parsers_limits(self):
        for key in (key for key in self.keys() if key["max"]):
            name, table = key["name"], self.table_of(key)
            for value in key["min"] - 1, key["max"] + 1:
                text = (f'flake_ref = "dir:rootfs"\n[[variants]]\nname = "t"\nrole = "w"\n{table}'
                        f"{name} = {value}\n")
                self.mvm_fails(1, "template", "apply", self.write("template.toml", text),
                               says=f"{name}: {value} is ")

    def test_numbers_at_their_limits_are_accepted(self):
        for key in (key for key in self.keys() if key["max"]):
            table = self.table_of(key)
            for value in key["min"], key["max"]:
                self.apply('flake_ref = "dir:rootfs"\n[[variants]]\nname = "t"\nrole = "w"\n'
                           f'{table}{key["name"]} = {value}\n')

    def test_other_keys_have_the_parsers_limits(self):
        keys = {key["name"]: key for key in self.keys() if key["limits"] and not key["max"]}
        self.assertEqual(sorted(keys), sorted(VALUES))
        for name, (good, bad) in VALUES.items():
            for value in good + bad:
                top = {"flake_ref": "dir:/x", "template_id": "t"}
                variant, tables = {"role": "w", "name": "t"}, {}
                if name == "template_id":
                    del variant["name"]
                scope = next(scope for scope in SCOPES if keys[name][scope])
                (top if scope == "top" else variant if scope == "variant" else
                 tables.setdefault(TABLES[scope], {}))[name] = value
                if value == "" and name == "template_id":
                    variant["name"] = "t"
                table = dict(top)
                table.setdefault("variants", [{**variant, **tables}])
                text = "\n".join(f"{k} = {toml(v)}" for k, v in table.items())
                path = self.write("template.toml", text + "\n")
                with self.subTest(key=name, value=toml(value)[:60]):
                    if value in good:
                        self.mvm_ok("template", "apply", "--strict", path)
                    else:
                        self.mvm_fails(1, "template", "apply", path, says=f"{name}: ")

    def test_create_has_the_limits_of_the_file(self):
        """Except an empty --kernel, which comes from a variable that was never set."""
        says = {"network": "--network", "initrd": "--initrd", "role": "no valid role",
                "kernel": "no valid kernel name"}
        options = {"flake_ref": "--flake", "profile": "--profile", "role": "--role",
                   "kernel": "--kernel", "network": "--network", "initrd": "--initrd",
                   "boot_args": "--boot-args"}
        for name, (good, bad) in VALUES.items():
            for value in good + bad:
                args = (["-e" + "=".join(pair) for pair in value.items()] if name == "env" else
                        ["--", *value] if name == "command" else
                        [options.get(name), value] if name in options else None)
                if args is None:
                    continue
                flake = [] if name == "flake_ref" else ["--flake", "dir:/x"]
                args = ["template", "create", "t", "--force", *flake, *args]
                with self.subTest(key=name, value=toml(value)[:60]):
                    if value in good and (name, value) != ("kernel", ""):
                        self.mvm_ok(*args)
                    else:
                        self.mvm_fails(2, *args, says=says.get(name, f"{name}: "))

    def test_defaults_are_those_of_create(self):
        self.apply('flake_ref = "dir:rootfs"\n[[variants]]\nname = "t"\nrole = "w"\n')
        self.mvm_ok("template", "create", "c", "--flake", "dir:rootfs")
        specs = [self.mvm_json("template", "info", name)["spec"] for name in "tc"]
        defaults = {key["name"]: key["default"] for key in self.keys()}
        for name in "vcpus", "mem_mib", "data_disk_mib":
            self.assertEqual([str(spec[name]) for spec in specs], [defaults[name]] * 2)
        self.assertEqual([spec.get("root_disk_mib") for spec in specs], [None] * 2) # 0 is left out

    def test_every_example_in_the_documents_is_accepted(self):
        count = 0
        for path in [os.path.join(harness.SOURCE_DIR, "README.md"), *glob.glob(
                os.path.join(harness.SOURCE_DIR, "doc", "*.md"))]:
            with open(path, encoding="utf-8") as file:
                for text in re.findall(r"^```toml\n(.*?)^```", file.read(), re.M | re.S):
                    for part in ('template_id = "t"', "[[variants]]"):
                        if part.split()[0] not in text: # parts that an excerpt leaves out
                            text = "\n".join((part, text) if "=" in part
                                             else (text, part, 'role = "worker"'))
                    self.apply(text)
                    count += 1
        for path in glob.glob(os.path.join(harness.SOURCE_DIR, "examples", "*", "template.toml")):
            self.mvm_ok("template", "apply", "--strict", path)
            count += 1
        self.assertGreater(count, 4)


if __name__ == "__main__":
    harness.main()
