#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Count the individual tests of runs of `meson test`: summary.py RUN[:FOLDER,...] ...

RUN.json is Meson's log, one object a line.  RUN.list, if it exists, is the earlier output of `meson
test --list`: each of its tests must be in the log.  So must a test of each program in the named
folders of tests/, since Meson does not register programs whose libraries are missing.

A meson test is a program that runs many tests.  Its output tells how many: cmocka's lines, TAP, or
Python's unittest.  A program whose output names no test counts as one test.  A program that failed
without a failed test in its output (it crashed, hung, or could not start) adds one failure.

Below each failed test of TAP stand the last lines that it said, because often only the end of a log is
kept.

The last line is "N passed, N failed, N skipped".  The exit status is 1 if a test failed or is missing,
or if nothing ran.
"""

import json
import os
import re
import sys

CMOCKA = re.compile(r"^\[ *(RUN|OK|FAILED|SKIPPED) *\] (\w+)$", re.M)
TAP = re.compile(r"^(not ok|ok)\b *\d* *-? *([^#\n]*?)(?: *# *(SKIP|TODO)\b *(.*))?$", re.M | re.I)
TAP_PLAN = re.compile(r"^1\.\.(\d+)(?: *# *SKIP\b *(.*))?$", re.M | re.I)
UNITTEST = re.compile(r"^Ran (\d+) tests? in [^\n]*\n+(?:OK|FAILED)(?: \((.*)\))?$", re.M)
PROGRAM = re.compile(r"((?:test|fuzz)_\w+)\.(?:c|py)$")
SAID = re.compile(r"(?:^#[^\n]*\n?)*", re.M)
SAID_LINES, SAID_COLUMNS = 12, 200
TESTS_DIR = os.path.dirname(os.path.abspath(__file__))
GOOD, SKIPPED = {"OK", "EXPECTEDFAIL"}, {"SKIP"}


class Count:
    """Tests of one program or of all."""

    def __init__(self, passed=0, failed=(), skipped=()):
        self.passed, self.failed, self.skipped = passed, list(failed), list(skipped)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def total(self):
        return self.passed + len(self.failed) + len(self.skipped)


def count_cmocka(text):
    """Count the last state of each test; the program died in a test whose last state is RUN."""
    states, run = {}, 0
    for state, name in CMOCKA.findall(text):
        if state == "RUN":
            run += 1
            states[run] = (name, state)
        elif run and states[run][0] == name and states[run][1] == "RUN":
            states[run] = (name, state)
    names = {s: [n for n, state in states.values() if state == s]
             for s in ("RUN", "OK", "FAILED", "SKIPPED")}
    failed = names["FAILED"] + [name + " (ended the program)" for name in names["RUN"]]
    return Count(len(names["OK"]), failed, names["SKIPPED"])


def what_it_said(text, at):
    """The last lines of the comment that follows a line of TAP, each on a line of its own."""
    lines = SAID.match(text, at).group().splitlines()[-SAID_LINES:]
    return "".join("\n    " + line[:SAID_COLUMNS] for line in lines)


def count_tap(text):
    count, seen = Count(), 0
    for match in TAP.finditer(text):
        ok, name, directive, reason = (group or "" for group in match.groups())
        seen += 1
        if directive.upper() == "SKIP":
            count.skipped.append(f"{name}: {reason}" if reason else name)
        elif ok.lower() == "ok" or directive.upper() == "TODO":
            count.passed += 1
        else:
            count.failed.append(name + what_it_said(text, match.end() + 1))
    plan = TAP_PLAN.search(text)
    if plan and plan.group(2) is not None and plan.group(1) == "0":
        count.skipped.append(plan.group(2) or "all")
    elif plan and int(plan.group(1)) > seen:
        count.failed.append(f"{int(plan.group(1)) - seen} planned tests did not run")
    return count


def count_unittest(text):
    count = Count()
    for total, details in UNITTEST.findall(text):
        numbers = dict(re.findall(r"([a-z][a-z ]*)=(\d+)", details))
        get = lambda key: int(numbers.get(key, 0))
        bad = get("failures") + get("errors") + get("unexpected successes")
        count.failed += ["see the log"] * bad
        count.skipped += [""] * get("skipped")
        count.passed += max(0, int(total) - bad - get("skipped"))
    return count


def count_program(record):
    """Count the tests in one record of the log."""
    text = record.get("stdout", "") + "\n" + record.get("stderr", "")
    result = record["result"]
    if CMOCKA.search(text):
        count = count_cmocka(text)
    elif TAP_PLAN.search(text):
        count = count_tap(text)
    elif UNITTEST.search(text):
        count = count_unittest(text)
    else:
        count = Count()

    if result not in GOOD | SKIPPED and not count.failed:
        count.failed.append(f"the program ended with {result}, status {record.get('returncode')}")
    if count.total() == 0:
        if result in SKIPPED:
            lines = text.strip().splitlines()
            count.skipped.append(lines[-1] if lines else "")
        else:
            count.passed += 1
    return count


def missing_tests(run, records):
    """Tests that Meson has listed but not run."""
    try:
        with open(run + ".list", encoding="utf-8", errors="replace") as file:
            listed = [line for line in file.read().splitlines() if " / " in line]
    except FileNotFoundError:
        return
    ran = {record["name"] for record in records}
    for name in listed:
        if name not in ran:
            yield f"{name.split(':', 1)[-1]} did not run"


def missing_programs(folders, records):
    """Programs in folders of tests/ that no record has run."""
    ran = {os.path.basename(word).removesuffix(".py")
           for record in records for word in record.get("command", ())}
    for folder in folders:
        names = [match[1] for match in map(PROGRAM.match, sorted(os.listdir(
            os.path.join(TESTS_DIR, folder)))) if match]
        if not names:
            yield f"tests/{folder} has no tests"
        for name in names:
            if name not in ran:
                yield f"tests/{folder}/{name} did not run: is it registered in this build folder?"


def main(runs):
    total, missing = Count(), []
    for run, _, folders in (argument.partition(":") for argument in runs):
        try:
            with open(run + ".json", encoding="utf-8", errors="replace") as log:
                records = [json.loads(line) for line in log if line.strip()]
        except (OSError, ValueError) as error:
            missing.append(f"{run}.json: {error}")
            continue
        missing += missing_tests(run, records)
        missing += missing_programs(filter(None, folders.split(",")), records)
        for record in records:
            count = count_program(record)
            program = record["name"].split(":", 1)[-1]
            count.failed = [f"{program}: {name}" for name in count.failed]
            count.skipped = [f"{program}: {name}" for name in count.skipped]
            total.add(count)

    print()
    for name in total.skipped:
        print("skipped:", name)
    for name in total.failed:
        print("failed: ", name)
    for name in missing:
        print("missing:", name)
    if total.total() == 0:
        print("nothing ran")
    print(f"{total.passed} passed, {len(total.failed) + len(missing)} failed, "
          f"{len(total.skipped)} skipped")
    return 1 if total.failed or missing or total.total() == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
