# SPDX-License-Identifier: Apache-2.0
"""`mvm node`: what this host offers a scheduler.  Nothing boots; test_artifact_guest.py has snapshots."""

import os
import re

import harness
from revisions_case import Revisions

LABEL = re.compile(r"((templates|snapshots)\.)?mvm\.dev/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


class Node(Revisions):
    def setUp(self):
        super().setUp()
        self.write("bin/qemu", "#!/bin/sh\necho 'QEMU emulator version 7.2.9 (Debian 1:7.2+dfsg-7)'\n", 0o755)

    def environment(self, extra=None):
        return super().environment({"MVM_ACCEL": "tcg", "MVM_QEMU": self.path("bin/qemu"), **(extra or {})})

    def test_templates_that_can_start_are_features_and_labels(self):
        revision = self.build()
        for name in "not-built", "ends-":
            self.mvm_ok("template", "create", name, "--flake", "dir:root", "--", "/bin/x")
        self.build("ends-")
        status = self.mvm_json("node", "status")
        web = {"template_id": "web", "revision_hash": revision, "digest": None, "has_snapshot": False,
               "start": "boot", "reason": "the revision has no snapshot"}
        self.assertEqual([t["template_id"] for t in status["templates"]], ["ends-", "not-built", "web"])
        self.assertLessEqual(web.items(), status["templates"][2].items())
        self.assertEqual((status["templates"][1]["revision_hash"], status["templates"][1]["start"]), (None, "none"))
        self.assertEqual(status["cpus"], len(os.sched_getaffinity(0)))
        for key in "mem_bytes", "mem_available_bytes", "disk_bytes", "disk_free_bytes":
            self.assertGreater(status[key], 1 << 20, key)
        features = self.mvm_json("node", "features")
        self.assertEqual(features, ["x86_64", "qemu", "cpu_" + status["cpu_hash"],
                                    "backend_" + status["backend_hash"], "tpl_ends-", "tpl_web"])
        self.assertEqual(self.mvm_ok("node", "features"), ",".join(features) + "\n")
        labels = self.mvm_json("node", "labels")
        for key, value in labels.items():
            self.assertTrue(LABEL.fullmatch(key) and VALUE.fullmatch(value), (key, value))
        self.assertEqual([key for key in labels if "templates" in key], ["templates.mvm.dev/web"])
        self.assertEqual((labels["templates.mvm.dev/web"], labels["mvm.dev/kvm"], labels["mvm.dev/backend-version"]),
                         (revision, "false", "7.2.9"))
        gib = int(labels["mvm.dev/disk-free-gib"])
        self.assertTrue(gib & (gib - 1) == 0 and gib <= status["disk_free_bytes"] >> 30, gib)
        self.assertEqual(self.mvm_ok("node", "labels").splitlines(), [f"{k}={v}" for k, v in labels.items()])
        self.assertRegex(self.mvm_ok("node", "status"), rf"(?m)^web +{revision} +boot +the revision has no")

    def test_another_qemu_is_another_hash(self):
        one = self.mvm_json("node", "status")
        self.write("bin/qemu", "#!/bin/sh\necho 'QEMU emulator version 7.2.10'\n", 0o755)
        two = self.mvm_json("node", "status")
        self.assertEqual(one["cpu_hash"], two["cpu_hash"])
        self.assertNotEqual(one["backend_hash"], two["backend_hash"])

    def test_without_a_backend_nothing_can_start(self):
        self.build()
        env = {"MVM_QEMU": self.path("none"), "PATH": self.path("none")}
        status = self.mvm_json("node", "status", env=env)
        self.assertEqual((status["backend"], status["cpu_hash"], status["templates"][0]["start"]), (None, None, "none"))
        self.assertIn("no backend here can run", status["problem"])
        self.assertEqual(self.mvm_json("node", "features", env=env), ["x86_64"])
        self.assertNotIn("templates.mvm.dev/web", self.mvm_json("node", "labels", env=env))

    def test_a_damaged_template_is_told_and_hides_no_other(self):
        revision = self.build()
        self.mvm_ok("template", "create", "bad", "--flake", "dir:root")
        self.build("bad")
        os.unlink(os.path.join(self.data_dir, "templates", "bad", "current", "revision.json"))
        bad, web = self.mvm_json("node", "status")["templates"]
        self.assertEqual((bad["start"], web["start"], web["revision_hash"]), ("none", "boot", revision))
        self.assertIn("revision.json", bad["reason"])
        self.assertNotIn("tpl_bad", self.mvm_json("node", "features"))


if __name__ == "__main__":
    harness.main()
