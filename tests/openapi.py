# SPDX-License-Identifier: Apache-2.0
"""What service/openapi.yaml says.  The document is indented by two, so no YAML parser is needed."""

import os
import re

import harness

PATH = os.path.join(harness.SOURCE_DIR, "service", "openapi.yaml")


class Operation:
    def __init__(self, method, path):
        self.method, self.path = method, path
        self.name = None
        self.needs_body = False
        self.statuses = set() # "default" is one


def text():
    with open(PATH, encoding="utf-8") as file:
        return file.read()


def operations():
    """All operations, in the document's order."""
    found, path = [], None
    for line in text().splitlines():
        if line and not line.startswith(" "):
            path = None # another part of the document
        if match := re.match(r"  (/\S*):$", line):
            path = match[1]
        elif path and (match := re.match(r"    (get|put|post|delete|patch|head|options):$", line)):
            found.append(Operation(match[1].upper(), path))
        elif path and found:
            if match := re.match(r"      operationId: (\S+)$", line):
                found[-1].name = match[1]
            elif match := re.match(r'        "?(\d{3}|default)"?:', line):
                found[-1].statuses.add(match[1])
            elif line == "        required: true":
                found[-1].needs_body = True # a parameter's is indented by two more
    return found


def failures():
    """{(status, word)} of the table in the response Error."""
    rows = re.findall(r"^        \| (\d{3}) \| (.*?) \|", text(), re.M)
    return {(int(status), word) for status, words in rows for word in re.findall(r"`(\w+)`", words)}
