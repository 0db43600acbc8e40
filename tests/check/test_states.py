# SPDX-License-Identifier: Apache-2.0
"""What src/supervisor/ makes of states and events is what the headers and doc/ list."""

import os
import re

import harness

STATE = re.compile(r"^\t\[LIFE_(\w+)\] = \{(.*?)\},\n", re.M | re.S)
LISTED = re.compile(r"^ \*\t([A-Z]+)((?:[\t ]+[A-Z]+)*)$", re.M)


def read(*path):
    with open(os.path.join(harness.SOURCE_DIR, *path), encoding="utf-8") as file:
        return file.read()


class States(harness.TestCase):
    def test_the_header_lists_the_steps_of_the_table(self):
        text = read("src/supervisor/life.c")
        ends = re.search(r"#define ENDS \((.*)\)", text)[1]
        table = {name: set(re.findall(r"TO\((\w+)\)", body.replace("ENDS", ends)))
                 for name, body in STATE.findall(text)}
        self.assertGreater(len(table), 15)
        comment = read("src/supervisor/life.h").split("*/")[1]
        listed = {name: set(steps.split()) for name, steps in LISTED.findall(comment)}
        self.assertEqual(listed, table)

    def test_the_header_and_the_manual_list_all_events(self):
        table = re.search(r"event_named\(.*?names\[\] = \{(.*?)\};", read("src/supervisor/warden.c"), re.S)[1]
        events = set(re.findall(r'"([a-z-]+)"', table)) | {"renamed", "removed"}
        self.assertGreater(len(events), 18)
        header = re.search(r"One of: (.*?)\.  ", read("include/mvm/logs.h"), re.S)[1]
        self.assertEqual(set(re.findall(r"[a-z-]+", header)), events)
        manual = read("doc/instances.md").split("| event | when |")[1].split("\n\n")[0]
        rows = re.findall(r"^\| (`.*?`) \|", manual, re.M)
        self.assertEqual(set(re.findall(r"`([a-z-]+)`", " ".join(rows))), events)


if __name__ == "__main__":
    harness.main()
