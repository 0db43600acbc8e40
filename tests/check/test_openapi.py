# SPDX-License-Identifier: Apache-2.0
"""service/openapi.yaml has every route of /v1, and no other."""

import os
import re
import subprocess

import harness

PATH = re.compile(r"^  (/\S*):$")
METHOD = re.compile(r"^    (get|put|post|delete|patch|head|options):$")


def read(*path):
    with open(os.path.join(harness.SOURCE_DIR, "service", *path), encoding="utf-8") as file:
        return file.read()


def documented():
    """{(method, path)} of the document; it is indented by two, so that no YAML parser is needed."""
    found, path = set(), None
    for line in read("openapi.yaml").splitlines():
        if line and not line.startswith(" "):
            path = None # another part of the document
        if match := PATH.match(line):
            path = match[1]
        elif path and (match := METHOD.match(line)):
            found.add((match[1].upper(), path))
    return found


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
        table, paths = routes(), {path for _, path in documented()}
        self.assertGreater(len(table), 40)
        self.assertEqual(sorted(proxies(table) - paths), [], "a proxy that is not documented")
        written = {(method, path) for method, path in documented() if path not in proxies(table)}
        made = {(method, path) for method, path in table if not path.endswith("*")}
        self.assertEqual(sorted(written - made), [], "documented, and not in a table")
        self.assertEqual(sorted(made - written), [], "in a table, and not documented")

    def test_every_operation_has_a_name_of_its_own(self):
        names = re.findall(r"operationId: (\S+)", read("openapi.yaml"))
        self.assertEqual(len(names), len(documented()))
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    harness.main()
