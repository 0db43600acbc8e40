# SPDX-License-Identifier: Apache-2.0
"""Tokens of mvmd on the command line.  What a server makes of them is in unit/test_tokens.c."""

import hashlib
import json
import os

import harness

USAGE, NOT_FOUND, BUSY = 2, 3, 4


class Tokens(harness.TestCase):
    def test_a_token_is_shown_once_and_only_its_digest_is_kept(self):
        secret = self.mvm_ok("token", "add", "ci").strip()
        self.assertRegex(secret, r"^mvm_[0-9a-f]{64}$")
        path = os.path.join(self.data_dir, "tokens", "ci.json")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with open(path, encoding="ascii") as file:
            text = file.read()
        self.assertNotIn(secret[4:], text)
        self.assertEqual(json.loads(text)["sha256"], hashlib.sha256(secret[4:].encode()).hexdigest())
        self.assertNotIn("token", self.mvm_json("token", "list")[0])
        self.mvm_fails(BUSY, "token", "add", "ci", says="there is a token 'ci' already")

    def test_scope_and_limits_are_listed(self):
        made = self.mvm_json("token", "add", "bot", "--scope", "read", "--expires", "2h", "--max-instances", "3",
                             "--max-vcpus", "4", "--max-memory", "2G", "--max-rate", "50")
        self.assertTrue(made.pop("token"))
        self.assertEqual(self.mvm_json("token", "list"), [made])
        self.assertEqual([made["scope"], made["max_instances"], made["max_vcpus"], made["max_mem_mib"],
                          made["max_rate"]], ["read", 3, 4, 2048, 50])
        self.assertIn("2 GiB", self.mvm_ok("token", "list"))
        self.mvm_fails(USAGE, "token", "add", "x", "--expires", "0s", says="above 0")

    def test_a_token_is_removed_by_its_name(self):
        self.mvm_ok("token", "add", "a")
        self.mvm_ok("token", "add", "b")
        self.assertEqual(self.mvm_json("token", "rm", "a"), [{"name": "a", "result": "removed"}])
        self.assertEqual([t["name"] for t in self.mvm_json("token", "list")], ["b"])
        self.mvm_fails(NOT_FOUND, "token", "rm", "a", says="there is no token 'a'")


if __name__ == "__main__":
    harness.main()
