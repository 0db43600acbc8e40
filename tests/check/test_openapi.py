# SPDX-License-Identifier: Apache-2.0
"""service/openapi.yaml has every route of /v1, and no other."""

import os
import re

import harness

PATH = re.compile(r"^  (/\S*):$")
METHOD = re.compile(r"^    (get|put|post|delete|patch|head|options):$")
ROUTE = re.compile(r'\.method = "([A-Z]+)",\s*\.pattern = "(/v1[^"]*)",')
ACTION = re.compile(r'^\tACTION\("([a-z]+)"', re.M)
SLOW = re.compile(r'^\tSLOW\("([A-Z]+)", "([^"]+)"', re.M)


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
    """{(method, pattern)} of the tables; a last "*" is the parameter `path`."""
    found = set()
    for name in os.listdir(os.path.join(harness.SOURCE_DIR, "service", "v1")):
        if name.endswith(".c"):
            text = read("v1", name)
            found |= set(ROUTE.findall(text))
            found |= {("POST", "/v1/instances/{name}/" + action) for action in ACTION.findall(text)}
            found |= {(verb, "/v1/" + path) for verb, path in SLOW.findall(text)}
    return {(verb, re.sub(r"\*$", "{path}", path)) for verb, path in found}


class Openapi(harness.TestCase):
    def test_the_document_has_every_route_and_no_other(self):
        self.assertGreater(len(routes()), 40)
        self.assertEqual(sorted(documented() - routes()), [], "documented, and not in a table")
        self.assertEqual(sorted(routes() - documented()), [], "in a table, and not documented")

    def test_every_operation_has_a_name_of_its_own(self):
        names = re.findall(r"operationId: (\S+)", read("openapi.yaml"))
        self.assertEqual(len(names), len(documented()))
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    harness.main()
