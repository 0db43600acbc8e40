# SPDX-License-Identifier: Apache-2.0
"""scripts/fleet-model: what must hold in any fleet, and cases that have an answer on paper."""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import xml.etree.ElementTree

import harness

PROGRAM = os.path.join(harness.SOURCE_DIR, "scripts", "fleet-model")
SMALL = ("--nodes", "20", "--starts", "40", "--templates", "60", "--sample", "5", "--hours", "1", "--warm-hours", "0.5")
QUIET = ("--rollout-hours", "0", "--loss-days", "0")


def load():
    loader = importlib.machinery.SourceFileLoader("fleet_model", PROGRAM)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fleet_model", loader))
    loader.exec_module(module)
    return module


MODEL = load()


def rows(*words):
    return MODEL.model(MODEL.options([*SMALL, *words]))["rows"]


def run(*words):
    return subprocess.run([PROGRAM, *SMALL, *words], capture_output=True, text=True, timeout=120, check=False)


class FleetModel(harness.TestCase):
    def test_no_byte_comes_or_goes_unseen(self):
        found = rows("--disk", "5,20", "--rollout-hours", "1")
        self.assertEqual([r["placement"] for r in found], ["random", "label", "revision"] * 2)
        for row in found:
            for ledger in row["ledger"]:
                self.assertAlmostEqual(ledger["added"], ledger["removed"] + ledger["held"], 3)
            pulled = (row["egress_mib_s"]["new"] + row["egress_mib_s"]["rollout"]) * 3600  # by all 20 nodes
            self.assertAlmostEqual(pulled * len(row["ledger"]) / 20, row["sampled_mib"], 3)

    def test_nothing_is_pulled_when_all_templates_are_everywhere(self):
        for row in rows("--disk", "100000", *QUIET):
            self.assertEqual((row["hit_rate"], row["egress_total_mib_s"], row["requests_s"]), (1.0, 0.0, 0.0))
            self.assertGreater(row["starts"], 1000)

    def test_a_lazy_start_needs_no_more_than_a_whole_pull(self):
        for row in rows("--disk", "5,20", "--rollout-hours", "1"):
            self.assertGreater(row["sampled_mib"], 0)
            self.assertLessEqual(row["sampled_first_mib"], row["sampled_mib"])
            self.assertLessEqual(row["waited"]["lazy"], row["waited"]["whole"])

    def test_alike_templates_hit_as_often_as_the_share_that_fits(self):
        costs = MODEL.read_costs(os.path.join(harness.SOURCE_DIR, "doc", "bench.json"))
        gib = 15 * 100 * costs["disk_per_packed"] / 1024 + 1e-6  # room for 15 of 60
        row, = rows("--zipf", "0", "--size-min", "100", "--size-max", "100", "--disk", str(gib),
                    "--placement", "random", *QUIET)
        self.assertAlmostEqual(row["hit_rate"], 15 / 60, delta=0.01)
        self.assertAlmostEqual(row["paper"]["hit_rate"], 15 / 60, delta=0.01)

    def test_templates_of_one_size_hit_as_on_paper(self):
        row, = rows("--size-min", "100", "--size-max", "100", "--disk", "10", "--placement", "random", *QUIET)
        self.assertTrue(0.3 < row["hit_rate"] < 0.95, row)
        self.assertAlmostEqual(row["hit_rate"], row["paper"]["hit_rate"], delta=0.03)

    def test_labels_ask_the_registry_for_less(self):
        random, label, revision = (r["egress_total_mib_s"] for r in rows("--disk", "40"))
        self.assertLess(label, revision)
        self.assertLess(revision, random)

    def test_the_same_seed_gives_the_same_numbers(self):
        drawing = self.path("a.svg")
        first, again = (run("--disk", "20", "--json", "--svg", drawing) for _ in range(2))
        self.assertEqual((first.returncode, first.stderr), (0, ""))
        self.assertEqual(first.stdout, again.stdout)
        self.assertEqual(set(json.loads(first.stdout)), {"options", "costs", "fleet", "rows", "pool", "limits"})
        xml.etree.ElementTree.parse(drawing)
        self.assertNotEqual(run("--disk", "20", "--json", "--seed", "2").stdout, first.stdout)

    def test_what_it_cannot_play_is_refused(self):
        for words, said in ((("--placement", "near"), "no placement 'near'"), (("--disk", "x"), "--disk takes numbers"),
                            (("--nodes", "0"), "must be more than 0")):
            done = run(*words)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr)


if __name__ == "__main__":
    harness.main()
