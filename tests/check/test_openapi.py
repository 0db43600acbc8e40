# SPDX-License-Identifier: Apache-2.0
"""service/openapi.yaml has every route of /v1 and no other, and every failure."""

import os
import re
import subprocess

import harness
import openapi


def routes():
    """{(method, pattern)} of mvmd's tables below /v1."""
    mvmd = os.path.join(os.path.dirname(harness.MVM), "mvmd")
    text = subprocess.run([mvmd, "--routes"], check=True, capture_output=True, text=True,
                          timeout=harness.PATIENCE_S).stdout
    return {tuple(line.split()) for line in text.splitlines() if line.split()[1].startswith("/v1")}


def proxies(all_routes):
    """A proxy, whose pattern ends with "*", takes every method: only its path is compared."""
    return {re.sub(r"\*$", "{path}", path) for _, path in all_routes if path.endswith("*")}


class Openapi(harness.TestCase):
    def test_the_document_has_every_route_and_no_other(self):
        documented = {(o.method, o.path) for o in openapi.operations()}
        table, paths = routes(), {path for _, path in documented}
        self.assertGreater(len(table), 40)
        self.assertEqual(sorted(proxies(table) - paths), [], "a proxy that is not documented")
        written = {(method, path) for method, path in documented if path not in proxies(table)}
        made = {(method, path) for method, path in table if not path.endswith("*")}
        self.assertEqual(sorted(written - made), [], "documented, and not in a table")
        self.assertEqual(sorted(made - written), [], "in a table, and not documented")

    def test_every_operation_has_a_name_of_its_own(self):
        names = [o.name for o in openapi.operations()]
        self.assertNotIn(None, names)
        self.assertEqual(len(names), len(set(names)))

    def test_the_document_has_every_failure_and_no_other(self):
        with open(os.path.join(harness.SOURCE_DIR, "service", "code.c"), encoding="utf-8") as file:
            table = re.findall(r'\{ \w+, (\d{3}), "(\w+)" \}', file.read())
        self.assertGreater(len(table), 30)
        self.assertEqual(openapi.failures(), {(int(status), word) for status, word in table})
        for operation in openapi.operations():
            named = {int(status) for status in operation.statuses - {"default"} if status >= "400"}
            self.assertEqual(named - {status for status, _ in openapi.failures()}, set(), operation.name)


if __name__ == "__main__":
    harness.main()
