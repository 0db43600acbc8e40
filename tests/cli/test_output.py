# SPDX-License-Identifier: Apache-2.0
"""Every command fails when its result does not reach the reader."""

import itertools
import json
import os
import signal
import subprocess

import harness
from revisions_case import KERNEL, Revisions

# Arguments with which a command prints a result here.  Other commands need a running guest or print
# nothing.
PRINTS = {
    "template init": ["started", "--json"],
    "template build": ["web"],
    "template apply": ["web.toml", "--json"],
    "template create": ["new", "--flake", "dir:root", "--json"],
    "template create-multi": ["more", "--roles", "a,b", "--flake", "dir:root", "--json"],
    "template edit": ["web", "--cpus", "3", "--json"],
    "template list": [],
    "template info": ["web"],
    "template history": ["web"],
    "template rollback": ["web"],
    "template diff": ["web@OLD", "web"],
    "template verify": ["web"],
    "template prune": ["--keep", "1", "--dry-run"],
    "template export": ["web", "web.tar", "--force"],
    "template import": ["web.tar", "copy"],
    "template rm": ["spare2", "--force", "--json"],
    "template delete": ["spare", "--force", "--json"],
    "ps": [],
    "stats": [],
    "events": [],
    "pool list": [],
    "kernel add": [KERNEL, "--name", "again"],
    "kernel list": [],
    "key generate": ["mine"],
    "key trust": ["data/keys/mine.pub"],
    "key list": [],
    "key untrust": ["mine", "--json"],
    "token add": ["ci"],
    "token list": [],
    "token rm": ["ci", "--json"],
    "volume list": ["--json"],
    "backends": [],
    "doctor": [],
    "node status": [],
    "node features": [],
    "node labels": [],
    "version": [],
    "help": [],
    "completion": ["bash"],
}
NEEDS_A_GUEST = {"template snapshot", "run", "port", "top", "inspect", "exec", "cp", "commit", "logs",
                 "wait", "pause", "resume", "suspend", "fork", "stop", "start", "restart", "kill", "rename", "update", "rm", "volume inspect", "volume rm",
                 "network show", "network set"}
PRINTS_NOTHING = {"pool set", "pool serve", "kernel rm", "kernel fetch", # fetch needs apt
                  "login", "logout", "template sign", "template push", "template pull"} # and these a registry


class Full(Revisions):
    def to_full(self, *args, seconds=harness.TestCase.timeout):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([harness.MVM, *args], stdout=full, stderr=subprocess.PIPE,
                                  env=self.environment(), text=True, check=False, timeout=seconds,
                                  cwd=self.folder)
        self.assertEqual(done.returncode, 1, (args, done.stderr))
        self.assertIn("cannot write the result: No space left on device", done.stderr, args)

    def setUp(self):
        super().setUp()
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")

    def test_every_command_fails_when_its_result_is_lost(self):
        old = self.build()
        self.source("two")
        self.build()
        self.mvm_ok("template", "create", "spare", "--flake", "dir:root")
        self.mvm_ok("template", "create", "spare2", "--flake", "dir:root")
        self.write("web.toml", 'flake_ref = "dir:root"\n[[variants]]\nname = "web"\n'
                   'role = "worker"\nvcpus = 2\nmem_mib = 1024\n')
        os.makedirs(os.path.join(self.data_dir, "logs"), exist_ok=True)
        self.write("data/logs/events.jsonl", json.dumps(
            {"time": "2026-01-31T12:00:00.000Z", "event": "started", "instance": "web-1",
             "template_id": "web", "revision_hash": old}) + "\n")
        commands = [c["name"] for c in self.mvm_json("help")["commands"]]
        self.assertEqual(set(commands), PRINTS.keys() | NEEDS_A_GUEST | PRINTS_NOTHING)
        for command in commands:
            with self.subTest(command):
                self.to_full(*command.split(), "--help")
                if command in PRINTS:
                    args = [arg.replace("OLD", old) for arg in PRINTS[command]]
                    self.to_full(*command.split(), *args)

    def test_help_has_each_heading_once(self):
        for command in self.mvm_json("help")["commands"]:
            groups = [key for key, _ in itertools.groupby(o["group"] for o in command["options"])]
            self.assertEqual(len(groups), len(set(groups)), command["name"])

    def test_help_of_all_and_of_a_group_is_a_result(self):
        for words in ["--help"], ["template", "--help"], ["--help", "ps"], ["--version"]:
            self.to_full(*words)

    def test_watching_ends_with_its_output(self):
        for words in ["stats", "--watch"], ["stats", "--watch", "--json"]:
            self.to_full(*words, seconds=harness.PATIENCE_S)


class Reader(harness.TestCase):
    def test_following_ends_when_its_reader_has_gone(self):
        for words in ["events", "-f"], ["events", "-f", "--json"]:
            with subprocess.Popen([harness.MVM, *words], env=self.environment(),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                process.stdout.close()
                self.assertEqual(process.wait(harness.PATIENCE_S), -signal.SIGPIPE)

    def test_a_lost_reader_is_an_error_where_sigpipe_is_ignored(self):
        with subprocess.Popen(["env", "--ignore-signal=PIPE", harness.MVM, "events", "-f"],
                              env=self.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.close()
            self.assertEqual(process.wait(harness.PATIENCE_S), 1)
            self.assertIn(b"cannot write the result: Broken pipe", process.stderr.read())


if __name__ == "__main__":
    harness.main()
