# SPDX-License-Identifier: Apache-2.0
"""Pages of mvmd's lists.  The last item of a page may be gone by the time that the next page is asked for: a client that
removes what it lists does so."""

import fcntl
import json
import os
import shutil
import sys
import time
import urllib.parse

import harness
import revisions_case
import test_mvmd

sys.path.insert(0, os.path.join(harness.SOURCE_DIR, "tests", "crash"))
from fake_instance import FakeInstance # pylint: disable=wrong-import-position

JSON = {"Content-Type": "application/json"}


class Pages(test_mvmd.Case):
    def play(self, name, started):
        """A sandbox of an instance that is only played."""
        instance = FakeInstance(self.data_dir, name, "web", "8e09f99e74a7162c4dbf2bdc68bbe9a6")
        self.addCleanup(instance.close)
        with open(os.path.join(self.data_dir, "service", "e2b", name + ".json"), "w", encoding="ascii") as file:
            json.dump({"id": name, "template": "web", "startedAt": started, "endAt": time.time() + 3600}, file)
        return instance

    def end(self, instance, name):
        with open(os.path.join(self.data_dir, "instances", name, "instance.json"), "r+", encoding="ascii") as file:
            record = {**json.load(file), "state": "exited"}
            file.seek(0)
            file.truncate()
            json.dump(record, file)
        instance.lock.close()

    def test_a_list_of_sandboxes_goes_on_after_one_that_has_ended(self):
        for order, places in ("asc", [1, 0, 3, 2, 5, 4]), ("desc", [4, 5, 2, 3, 0, 1]):
            names = [f"i{order}{n:016}" for n in range(6)]
            self.end_mvmd()
            instances = {name: self.play(name, 1.1 + at // 2) for at, name in enumerate(names)} # some at the same time
            self.start_mvmd(*self.options)
            got, token = [], ""
            while token is not None:
                status, headers, page = self.local("GET", f"/v2/sandboxes?limit=2&order={order}&nextToken="
                                                          + urllib.parse.quote(token))
                self.assertEqual(status, 200, page)
                got += [row["sandboxID"] for row in page]
                token = headers["X-Next-Token"]
                self.end(instances[got[-1]], got[-1])
                self.assertEqual(self.local("GET", "/sandboxes/" + got[-1])[0], 404)
            self.assertEqual(got, [names[n] for n in places])
            for name in names[places[0]], names[places[2]], names[places[4]]:
                self.end(instances[name], name)
        for token in "x", "_", "nan_x", "1":
            self.assertEqual(self.local("GET", "/sandboxes?nextToken=" + token)[0], 400)

    def test_a_list_of_operations_goes_on_after_one_that_is_forgotten(self):
        self.mvm_ok("template", "create", "web", "--flake", "dir:root", "--", "/bin/x")
        none = lambda: self.assertEqual(self.local("POST", "/v1/instances/none/stop")[0], 404)
        with open(os.path.join(self.data_dir, "locks", "template.web"), "r", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            running = self.local("POST", "/v1/templates/web/rollback", {"Prefer": "respond-async"})[2]["metadata"]["id"]
            none()
            page = self.local("GET", "/v1/operations?limit=1")[2]
            for _ in range(1001):
                none()
            rest = self.local("GET", "/v1/operations?next=" + page["next"])[2]
        self.assertEqual(([o["id"] for o in rest["metadata"]], "next" in rest), ([running], False))


class Revisions(test_mvmd.Case, revisions_case.Revisions):
    def test_a_list_of_revisions_goes_on_after_one_that_was_removed(self):
        made = self.build_three()[::-1]
        page = self.local("GET", "/v1/templates/web/revisions?limit=2")[2]
        self.assertEqual([r["revision_hash"] for r in page["metadata"]], made[:2])
        target = "/v1/templates/web/revisions?next=" + page["next"]
        self.assertEqual([r["revision_hash"] for r in self.local("GET", target)[2]["metadata"]], made[2:])
        shutil.rmtree(self.revision_path(made[1]))
        rest = self.local("GET", target)[2]
        self.assertEqual(rest["metadata"][-1]["revision_hash"], made[2])
        self.assertNotIn("next", rest)
        self.assertEqual(self.local("GET", "/v1/templates/web/revisions?next=" + made[0])[0], 400)


if __name__ == "__main__":
    harness.main()
