# SPDX-License-Identifier: Apache-2.0
"""The counts in the last line of `make check` are true."""

import json
import os
import subprocess
import sys

import harness

CMOCKA_GOOD = """[==========] Running 3 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[  SKIPPED ] two
[ RUN      ] three
[       OK ] three
[==========] 3 test(s) run.
[  PASSED  ] 2 test(s).
"""
CMOCKA_BAD = """[ RUN      ] one
[  ERROR   ] --- 1 != 2
[   LINE   ] --- a.c:3: error: Failure!
[  FAILED  ] one
[ RUN      ] two
[       OK ] two
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] one

 1 FAILED TEST(S)
"""


SUMMARY = os.path.join(harness.SOURCE_DIR, "tests", "summary.py")


class Summary(harness.TestCase):
    def summary(self, *records, status):
        log = self.write("log.json", "".join(json.dumps(record) + "\n" for record in records))
        return self.run_on(log.removesuffix(".json"), status=status)

    def run_on(self, *runs, status):
        done = subprocess.run([sys.executable, SUMMARY, *runs], text=True, capture_output=True,
                              check=False, timeout=300)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout.splitlines()

    def last(self, text, result="OK", code=0):
        record = {"name": "mvm:unit / x", "stdout": text, "result": result, "returncode": code}
        return self.summary(record, status=0 if result in ("OK", "SKIP") else 1)[-1]

    def test_cmocka_tests_are_counted_one_by_one(self):
        self.assertEqual(self.last(CMOCKA_GOOD), "2 passed, 0 failed, 1 skipped")

    def test_a_failed_cmocka_test_counts_once(self):
        self.assertEqual(self.last(CMOCKA_BAD, "FAIL", 1), "1 passed, 1 failed, 0 skipped")

    def test_a_crash_is_a_failure_of_the_test_that_ran(self):
        text = "[ RUN      ] one\n[       OK ] one\n[ RUN      ] two\n"
        self.assertEqual(self.last(text, "FAIL", -11), "1 passed, 1 failed, 0 skipped")

    def test_a_sanitizer_report_after_good_tests_is_a_failure(self):
        self.assertEqual(self.last(CMOCKA_GOOD, "FAIL", 1), "2 passed, 1 failed, 1 skipped")

    def test_a_program_without_output_counts_as_one_test(self):
        self.assertEqual(self.last(""), "1 passed, 0 failed, 0 skipped")
        self.assertEqual(self.last("", "TIMEOUT", -9), "0 passed, 1 failed, 0 skipped")
        self.assertEqual(self.last("no qemu", "SKIP", 77), "0 passed, 0 failed, 1 skipped")

    def test_tap_is_counted_and_skips_keep_their_reason(self):
        text = "1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no kvm\nok 4 - d\n"
        record = {"name": "x", "stdout": text, "result": "FAIL"}
        lines = self.summary(record, status=1)
        self.assertEqual(lines[-1], "2 passed, 1 failed, 1 skipped")
        self.assertIn("skipped: x: c: no kvm", lines)

    def test_what_a_failed_tap_test_said_stands_below_its_name(self):
        text = ("not ok 1 - a\n" + "# earlier\n" * 20 + "# AssertionError: 1 != 2\n"
                "not ok 2 - b\nother\n# not of b\nok 3 - c\n1..3\n")
        record = {"name": "mvm:unit / x", "stdout": text, "result": "FAIL", "returncode": 1}
        said = self.summary(record, status=1)
        self.assertEqual(said[1], "failed:  unit / x: a")
        self.assertEqual(said[-4:], ["    # earlier", "    # AssertionError: 1 != 2",
                                    "failed:  unit / x: b", "1 passed, 2 failed, 0 skipped"])

    def test_planned_tests_that_never_ran_are_a_failure(self):
        self.assertEqual(self.last("1..3\nok 1 - a\n", "ERROR"), "1 passed, 1 failed, 0 skipped")

    def test_unittest_output_is_counted(self):
        text = "Ran 5 tests in 0.1s\n\nFAILED (failures=1, errors=1, skipped=1)\n"
        self.assertEqual(self.last(text, "FAIL", 1), "2 passed, 2 failed, 1 skipped")
        self.assertEqual(self.last("Ran 5 tests in 0.1s\n\nOK\n"), "5 passed, 0 failed, 0 skipped")

    def test_programs_add_up(self):
        record = {"name": "x", "stdout": CMOCKA_GOOD, "result": "OK"}
        self.assertEqual(self.summary(record, record, status=0)[-1],
                         "4 passed, 0 failed, 2 skipped")

    def test_a_listed_test_that_is_not_in_the_log_is_a_failure(self):
        record = {"name": "mvm:unit / x", "stdout": CMOCKA_GOOD, "result": "OK"}
        self.write("log.list", "ninja: no work to do.\nmvm:unit / x\nmvm:unit / y\n")
        lines = self.summary(record, status=1)
        self.assertEqual(lines[-2:], ["missing: unit / y did not run",
                                      "2 passed, 1 failed, 1 skipped"])

    def test_a_program_that_no_test_runs_is_a_failure(self):
        unit = os.path.join(os.path.dirname(SUMMARY), "unit")
        programs = [name[:-2] for name in os.listdir(unit)
                    if name.startswith("test_") and name.endswith(".c")]
        records = [{"name": name, "result": "OK", "command": ["env", "/b/tests/unit/" + name]}
                   for name in programs]
        log = self.write("log.json", "".join(json.dumps(r) + "\n" for r in records))
        run = log.removesuffix(".json") + ":unit"
        good = f"{len(programs)} passed, 0 failed, 0 skipped"
        self.assertEqual(self.run_on(run, status=0)[-1], good)
        self.write("log.json", "".join(json.dumps(r) + "\n" for r in records[1:]))
        lines = self.run_on(run, status=1)
        self.assertIn(f"missing: tests/unit/{programs[0]} did not run", lines[-2])
        self.assertEqual(self.run_on(run.replace(":unit", ":check"), status=1)[-2][:20],
                         "missing: tests/check")

    def test_half_a_log_is_a_failure(self):
        log = self.write("log.json", '{"name": "x", "result"')
        self.assertEqual(self.run_on(log.removesuffix(".json"), status=1)[-1],
                         "0 passed, 1 failed, 0 skipped")

    def test_nothing_run_and_no_log_are_failures(self):
        self.assertEqual(self.summary(status=1)[-1], "0 passed, 0 failed, 0 skipped")
        self.assertEqual(self.run_on(self.path("none"), status=1)[-1],
                         "0 passed, 1 failed, 0 skipped")


if __name__ == "__main__":
    harness.main()
