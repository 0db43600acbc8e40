# SPDX-License-Identifier: Apache-2.0
"""`rename`: a running guest, its logs, events and ports under another name."""

import os
import signal

import guests
import harness


def has_open(process, what):
    """Does the process have a file open whose name has `what` in it?"""
    folder = f"/proc/{process.pid}/fd"
    for fd in os.listdir(folder):
        try:
            if what in os.readlink(os.path.join(folder, fd)):
                return True
        except FileNotFoundError:  # it was closed just now
            pass
    return False


@harness.needs_guests
class Rename(guests.TestCase):
    config = guests.CONFIG

    def test_a_running_instance_has_another_name(self):
        first = self.run_detached("web-worker", "--name", "old", "-p", "0:8080", "-l", "tier=web",
                                  "--require-snapshot")
        port = first["forwards"][0]["host_port"]
        logs = self.start_mvm("logs", "-f", "old")
        waits = self.start_mvm("wait", "old")
        # both have found it by its first name
        self.assertTrue(guests.wait_until(lambda: has_open(logs, "console.log") and has_open(waits, "socket:")))
        self.mvm_fails(4, "rename", "old", "old", says="instance 'old' has that name already")
        os.mkdir(self.data("instances", "other"))
        self.mvm_fails(4, "rename", "old", "other", says="'mvm rm --force other'")
        os.rmdir(self.data("instances", "other"))
        self.assertEqual(self.mvm_json("rename", "old", "new"),
                         {"name": "new", "former_name": "old", "result": "renamed"})
        record = self.inspect("new")
        for key in ("state", "supervisor_pid", "vmm_pid", "machine_id", "labels", "created_at",
                    "hostname", "health"):
            self.assertEqual(record[key], first[key], key)
        self.assertEqual(self.mvm_ok("ps", "-q"), "new\n")
        self.mvm_fails(3, "inspect", "old", says="there is no instance 'old'")
        self.assertEqual(self.exec("new", "hostname"), "old\n")
        self.assertIn("microVM", guests.get(port, "/"))
        self.assertEqual(self.mvm_ok("port", "new", "8080"), f"127.0.0.1:{port}\n")
        self.exec("new", "sh", "-c", "echo said later >/dev/console")
        self.assertTrue(guests.wait_until(lambda: "said later" in self.mvm_ok("logs", "new")))
        self.mvm_ok("pause", "new")
        self.assertEqual(self.mvm_ok("rename", "new", "newer"), "newer\n")
        self.mvm_ok("resume", "newer")
        self.mvm_ok("kill", "newer")
        self.assertIn("said later", logs.communicate(timeout=harness.PATIENCE_S)[0])
        waits.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(waits.returncode, 137)

        # it has ended
        self.assertEqual(self.mvm_ok("rename", "newer", "last"), "last\n")
        self.assertIn("said later", self.mvm_ok("logs", "last"))
        events = [line.split()[1:3] for line in self.mvm_ok("events").splitlines()]
        self.assertEqual([e for e in events if e[0] == "renamed"],
                         [["renamed", "new:"], ["renamed", "newer:"], ["renamed", "last:"]])

        # it starts again, with its old host name; and it is lost under its new name
        self.mvm_ok("start", "last")
        self.assertEqual(self.exec("last", "hostname"), "old\n")
        self.mvm_ok("rename", "last", "lost")
        os.kill(self.inspect("lost")["supervisor_pid"], signal.SIGKILL)
        self.assertTrue(guests.wait_until(lambda: self.inspect("lost")["state"] == "failed"))
        self.assertEqual(self.mvm_ok("ps", "--format", "{{.Name}} {{.State}}"), "lost failed\n")
        self.mvm_ok("rename", "lost", "found")
        self.assertEqual(self.mvm_ok("rm", "found"), "found\n")
        self.assertEqual(os.listdir(os.path.join(self.data_dir, "instances")), [])

    def test_a_command_in_the_foreground_keeps_its_instances_name(self):
        runs = self.start_mvm("run", "-T", "web-worker", "--name", "mine", "--", "sleep", "600")
        self.assertTrue(guests.wait_until(lambda: "mine running" in self.mvm_ok(
            "ps", "--format", "{{.Name}} {{.State}}")))
        self.mvm_fails(1, "rename", "mine", "yours", says="the command that started it")
        runs.send_signal(signal.SIGTERM)
        runs.communicate(timeout=harness.PATIENCE_S)


if __name__ == "__main__":
    guests.main()
