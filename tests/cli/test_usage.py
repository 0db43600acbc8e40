# SPDX-License-Identifier: Apache-2.0
"""Wrong command lines end in exit status 2 before anything is read or started."""

import json
import os

import harness
from revisions_case import KERNEL

RUN = ["run", "-T", "web"]


class Usage(harness.TestCase):
    def assert_usage(self, says, *words):
        with self.subTest(words):
            self.mvm_fails(2, *words, says=says)

    def test_a_host_name_is_one_by_rfc_1123(self):
        for name in ("", "a..b", ".a", "a.", "-a", "a-", "a.-b", "a_b", "ä", "a" * 64):
            self.assert_usage(" is no host name", *RUN, "-d", "--hostname", name)
            self.assert_usage(" is no host name", *RUN, "--hostname=" + name, "--", "true")
        for name in ("a", "A-1.example", "0", "a" * 63):
            self.mvm_fails(3, *RUN, "-d", "--hostname", name, says="no template 'web'")

    def test_an_unknown_backend_is_refused_with_the_choices(self):
        for words in RUN, ["template", "build", "web"], ["template", "snapshot", "web"], ["commit", "a", "web"]:
            self.assert_usage("'nosuch' is not firecracker or qemu", *words, "--backend", "nosuch")
        names = sorted(b["name"] for b in self.mvm_json("backends"))
        choices = [sorted(option["choices"]) for command in self.mvm_json("help")["commands"]
                   for option in command["options"] if option["name"] == "backend"]
        self.assertEqual(choices, [names] * 4)

    def test_a_word_is_no_network_rule(self):
        for word, hint in (("none", "deny 'all'"), ("any", "write 'all'"),
                           ("localhost:80", "'host:PORT'"), ("internt", "see 'mvm help run'")):
            for option in ("--allow", "--deny"):
                says = self.mvm_fails(2, *RUN, option, word, says=f"'{word}' is no network rule")
                self.assertIn(f"hint: {hint}" if hint.startswith("see") else hint, says)
        for rule in ("all", "all:25", "internet", "intranet."):
            self.mvm_fails(3, *RUN, "--deny", rule, says="no template 'web'")

    def test_an_image_is_named_as_docker_does(self):
        for image in "docker://A", "docker://", "a:b:c", "r.io/A", "r.io/a@sha256:1":
            self.mvm_fails(2, "run", image, "--", "true", says="names nothing in a registry")

    def test_a_closed_network_takes_no_rules(self):
        for option in ("--allow", "--deny"):
            self.assert_usage("leaves nothing", *RUN, "--network", "none", option, "host:80")
        self.assert_usage("'user' is not none", *RUN, "--network", "user")

    def test_a_port_of_this_host_is_given_away_once(self):
        for one, other in (("9999:80", "9999:81"), ("9999:80", "127.0.0.1:9999:81"),
                           ("[::1]:9999:80", "[0::1]:9999:80"), ("9:9/udp", "9:8/udp")):
            self.assert_usage("take the same port of this host", *RUN, "-p", one, "-p", other)
        for one, other in (("9999:80", "9999:80/udp"), ("0:80", "0:80"),
                           ("9999:80", "127.0.0.2:9999:80"), ("9999:80", "9998:80")):
            self.mvm_fails(3, *RUN, "-p", one, "-p", other, says="no template 'web'")

    def test_a_filter_value_must_be_possible(self):
        self.assert_usage("state 'bogus' is not starting, running, paused, exited or failed",
                          "ps", "--filter", "state=bogus")
        self.assert_usage("health '' is not none", "ps", "-f", "health=")
        self.assertEqual(self.mvm_json("ps", "-f", "state=failed", "-f", "health=none"), [])

    def test_forms_of_a_list_exclude_each_other(self):
        forms = ["-q"], ["--json"], ["--format", "{{.Name}}"]
        for one, other in (forms[:2], forms[1:], forms[::2]):
            self.assert_usage("exclude each other", "ps", *one, *other)
        self.assert_usage("'json' has no placeholder such as {{.Name}}; --json prints JSON",
                          "ps", "--format", "json")

    def test_help_is_for_one_command(self):
        self.assert_usage("'x' is one argument too many", "help", "run", "x")
        self.assert_usage("no such command: 'nope'", "help", "nope", "--json")
        self.assertEqual([c["name"] for c in self.mvm_json("help", "run")["commands"]], ["run"])
        self.assertEqual([c["name"] for c in self.mvm_json("help", "pool")["commands"]],
                         ["pool set", "pool list", "pool serve"])
        self.assert_usage("'x' is one argument too many", "help", "template", "build", "x")

    def test_without_a_command_an_error_is_an_object_too(self):
        for words, hint in ((["--json"], "see 'mvm help'"),
                            (["template", "--json"], "see 'mvm help template'"),
                            (["--json", "template"], "see 'mvm help template'")):
            error = json.loads(self.mvm_fails(2, *words))["error"]
            self.assertIn("no command", error["message"])
            self.assertEqual((error["hint"], error["exit_status"]), (hint, 2))


ID, NAMED = ["", "A", "a b", "../x", "x" * 64], ["", "a/b", "../x", "-x", ".", "x" * 64]
REFS = ["", "A", "A:/x", "a:b:c", "a//b", "r.io/a:-", "x@sha256:1"]

# Impossible values of options and arguments, by name.  None: only the guest or the disk can decide.
WRONG = {
    "integer": ["", "x", "-1", "99999999999"],
    "size_mib": ["", "x", "-1", "1Q"],
    "duration": ["", "x", "-1", "1 h"],
    "choice": ["", "nosuch"],
    "ID": [*ID, "a@b"], "TEMPLATE": [*ID, "a@b"], "NAME": [*ID, "a@b"], "NEW": [*ID, "a@b"], "ID[@REV]": [*ID, "a@", "a@!"], "ID@REV": [*ID, "a@", "a@!"], "REV": ["", "!", "a/b"],
    "BASE": ID, "FILE": [""], "DIR": [""], "PORT": ["", "x", "80/sctp"], "SHELL": ["", "tcsh"],
    "COMMAND": ["", "nosuch"], "IMAGE": ["", "docker://x"], "SRC": ["", "A:/x"], "DST": ["", "x:y"],
    "name": ID, "template": [*ID, "a@", "a@!", "r.io/A"], "hostname": ["", "a_b"],
    "kernel": NAMED, "role": NAMED, "roles": NAMED, "profile": NAMED[1:], # '': the default
    "flake": ["", "oci:", "dir:", "a\nb"], "boot-args": ["a\nb"], "env": ["", "A", "=x"],
    "env-file": [""], "config": [""], "download": [""], "unset": ["nosuch"], "older-than": ["", "x"],
    "publish": ["", "x", "80", "1:70000"], "volume": ["", "x", "a b:/x", "x:y"],
    "label": ["", "=x", "a b"], "on-idle": ["", "9s", "1m=sleep"], "filter": ["", "x=y", "state=x", "label=", "exited=x"], "format": ["{{.X}}"], "since": ["", "teatime"],
    "allow": ["", "host", "10.0.0.0/33"], "deny": ["", "a..b", "1.2.3.4:0"], "dns": ["", "x", "1.2.3"],
    "sign": NAMED, "tag": ["", "a b", "-x", "a/b", "x" * 129], "for": ["", "a\nb", "web", "r.io/a:v1"], "REF": REFS, "remote": REFS, "sign-command": [""], "key": NAMED, "REGISTRY": ["", "a/b", "http://x", "nothost", "[::1", "r.io:0"],
    "signal": ["", "HUMP", "0", "65", "RTMIN+31"], "workdir": None, "user": None,
    "lease": ["", "x", "5s", "5s:", "0s:/x", "x:/y"],
}
OF_COMMAND = {("kernel add", "name"): NAMED, ("kernel fetch", "name"): NAMED,
              ("kernel rm", "NAME"): NAMED, ("volume rm", "NAME"): NAMED,
              ("volume inspect", "NAME"): NAMED, ("key generate", "NAME"): NAMED,
              ("key untrust", "NAME"): NAMED, ("token add", "NAME"): NAMED, ("token rm", "NAME"): NAMED, ("key trust", "name"): NAMED, ("run", "restart"): ["", "no:1", "on-failure:0"]}
# Arguments that a command needs before it notices other mistakes.
NEEDS = {"template create": ["--flake", "dir:."], "run": ["--template", "web"],
         "template create-multi": ["--flake", "dir:.", "--roles", "x"]}
RIGHT = {"SRC": "x:/y", "DST": "z", "FILE": "/nonexistent", "SHELL": "bash", "PORT": "80",
         "COMMAND": "run"}


class WrongValues(harness.TestCase):
    """Every option and argument of every command."""

    def wrong(self, command, name, kind):
        found = OF_COMMAND.get((command["name"], name), WRONG.get(kind, WRONG.get(name, False)))
        self.assertIsNot(found, False, f"'{command['name']}': say what is wrong for '{name}'")
        return found or []

    def lines(self, command):
        """Command lines with one mistake each."""
        words = command["name"].split() + NEEDS.get(command["name"], [])
        rest = ["--", "true"] if command["rest_required"] else []
        arguments = [RIGHT.get(a["name"], "web") for a in command["arguments"]]
        for i, argument in enumerate(command["arguments"]):
            for value in self.wrong(command, argument["name"], None):
                if not value.startswith("-"):
                    yield [*words, *arguments[:i], value, *arguments[i + 1:], *rest]
        arguments = [word for word, a in zip(arguments, command["arguments"])
                     if not (a["optional"] or command["name"] == "help")]
        for option in command["options"]:
            if option["kind"] == "flag":
                continue
            for value in self.wrong(command, option["name"], option["kind"]):
                yield [*words, f"--{option['name']}={value}", *arguments, *rest]

    def test_a_wrong_value_is_a_usage_error_wherever_it_stands(self):
        self.mvm_ok("template", "create", "web", "--flake", "dir:.")
        for command in self.mvm_json("help")["commands"]:
            for line in self.lines(command):
                with self.subTest(line):
                    page = "" if line[0] == "help" and len(line) == 2 and line[1][:2] != "--" else " " + command["name"]
                    self.mvm_fails(2, *line, says=f"hint: see 'mvm help{page}'")
        self.mvm_fails(2, "ps", "--data-dir=", says="--data-dir")
        self.assertFalse(os.path.exists(self.path("web")))


class Several(harness.TestCase):
    def test_removing_kernels_reports_those_that_failed(self):
        for name in "a", "b", "c":
            self.mvm_ok("kernel", "add", KERNEL, "--name", name)
        done = self.mvm("kernel", "rm", "a", "none", "b", status=3)
        self.assertEqual(done.stdout, "a\nb\n")
        self.assertIn("'none'", done.stderr)
        self.assertEqual(self.mvm_json("kernel", "rm", "c"), [{"name": "c", "result": "removed"}])
        self.assertEqual(self.mvm_json("kernel", "list"), [])

    def test_removing_volumes_reports_those_that_failed(self):
        self.mvm_ok("ps")
        for name in "a", "b":
            os.makedirs(os.path.join(self.data_dir, "volumes", name), mode=0o700)
        done = self.mvm("volume", "rm", "a", "none", "b", status=3)
        self.assertEqual(done.stdout, "a\nb\n")
        self.assertEqual(self.mvm_json("volume", "list"), [])


if __name__ == "__main__":
    harness.main()
