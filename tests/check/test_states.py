# SPDX-License-Identifier: Apache-2.0
"""The steps that src/supervisor/life.h lists are those of the table in life.c."""

import os
import re

import harness

STATE = re.compile(r"^\t\[LIFE_(\w+)\] = \{(.*?)\},\n", re.M | re.S)
LISTED = re.compile(r"^ \*\t([A-Z]+)((?:[\t ]+[A-Z]+)*)$", re.M)


def read(name):
    with open(os.path.join(harness.SOURCE_DIR, "src", "supervisor", name), encoding="utf-8") as file:
        return file.read()


class States(harness.TestCase):
    def test_the_header_lists_the_steps_of_the_table(self):
        text = read("life.c")
        ends = re.search(r"#define ENDS \((.*)\)", text)[1]
        table = {name: set(re.findall(r"TO\((\w+)\)", body.replace("ENDS", ends)))
                 for name, body in STATE.findall(text)}
        self.assertGreater(len(table), 15)
        comment = read("life.h").split("*/")[1]
        listed = {name: set(steps.split()) for name, steps in LISTED.findall(comment)}
        self.assertEqual(listed, table)


if __name__ == "__main__":
    harness.main()
