# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of sandboxes of E2B's wire whose instances are only played."""

import json
import os
import sys
import time

import harness
import test_mvmd

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from fake_instance import FakeInstance # pylint: disable=wrong-import-position

SECRET = "s" * 80 # of both tokens of each sandbox


class Case(test_mvmd.Case):
    def played_sandbox(self, kind=FakeInstance, name="i" + "0" * 20, **more):
        """A sandbox that mvmd finds when it starts; `more` is in its document.  Returns its name."""
        instance = kind(self.data_dir, name, "web", "8e09f99e74a7162c4dbf2bdc68bbe9a6")
        self.addCleanup(instance.close)
        self.end_mvmd()
        with open(os.path.join(self.data_dir, "service", "e2b", name + ".json"), "w", encoding="ascii") as file:
            json.dump({"id": name, "template": "web", "accessToken": SECRET, "trafficToken": SECRET, "startedAt": 1,
                       "endAt": time.time() + 3600, **more}, file)
        self.start_mvmd(*self.options)
        return name
