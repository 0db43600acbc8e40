# SPDX-License-Identifier: Apache-2.0
"""Two hundred rounds of run, exec and stop, warm and cold, four at a time, leave nothing behind.

MVM_SOAK_CYCLES sets another number.
"""

import concurrent.futures
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import guests
import harness

CYCLES = int(os.environ.get("MVM_SOAK_CYCLES", "200"))
AT_ONCE = 4
COLD_EVERY = 10       # a boot takes as long as dozens of restores
WARM_UP = 10          # calls until a supervisor has allocated all buffers that it keeps
FLAT_BYTES = 256 << 10


@harness.needs_guests
class Soak(guests.TestCase):
    config = guests.CONFIG

    def cycle(self, number):
        name = f"soak-{number}"
        cold = ["--cold"] if number % COLD_EVERY == 0 else []
        if number % 4 == 1: # attached, with a command: all steps in one
            out = self.mvm_ok("run", "--template", "web-worker", "--name", name, *cold, "--",
                              "hostname")
            self.assertEqual(out, name + "\n")
            return None
        record = self.run_detached("web-worker", "--name", name, "-p", "0:8080", *cold)
        self.assertEqual(record["start"], "boot" if cold else "restore")
        port = record["forwards"][0]["host_port"]
        self.assertEqual(self.exec(name, "hostname"), name + "\n")
        if number % 4 == 2:
            self.mvm_ok("rm", "--force", name)
        else:
            self.mvm_ok("stop", name)
            self.mvm_ok("rm", name)
        return port

    def supervisor(self, name):
        """The open descriptors and the private memory of an instance's supervisor."""
        record = self.inspect(name)
        return (len(os.listdir(f"/proc/{record['supervisor_pid']}/fd")),
                record["usage"]["supervisor_private_bytes"])

    def locks(self):
        """The locks on files of this data folder, found by inode."""
        inodes = {os.lstat(os.path.join(folder, file)).st_ino
                  for folder, _, files in os.walk(self.data_dir) for file in files}
        with open("/proc/locks", encoding="ascii") as file:
            # "1: FLOCK ADVISORY WRITE 12 fe:00:34 0 EOF"; a waiting lock has "->" before its kind
            return [line for line in file
                    if int(re.search(r" [0-9a-f]+:[0-9a-f]+:(\d+) ", line)[1]) in inodes]

    def files(self):
        return sorted(os.path.relpath(os.path.join(folder, file), self.data_dir)
                      for folder, _, files in os.walk(self.data_dir) for file in files)

    def test_nothing_leaks(self):
        self.mvm_ok("rm", "--force", self.run_detached()["name"]) # makes some files that stay
        files = self.files()
        lasting = self.run_detached("web-worker", "--name", "lasting")["name"]
        for _ in range(WARM_UP):
            self.exec(lasting, "hostname")
        self.assertTrue(guests.wait_until(lambda: self.inspect(lasting)["health"] == "healthy"))
        fds, memory = self.supervisor(lasting)

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            cycles = [pool.submit(self.cycle, i) for i in range(1, CYCLES + 1)]
            for done in concurrent.futures.as_completed(cycles):
                done.result()
                self.exec(lasting, "hostname")
        ports = {done.result() for done in cycles} - {None}

        # the supervisor closes the last client's descriptor when it gets to run
        guests.wait_until(lambda: self.supervisor(lasting)[0] <= fds)
        now_fds, now_memory = self.supervisor(lasting)
        print(f"# {CYCLES} cycles; the lasting supervisor: {fds} descriptors, then {now_fds}; "
              f"{memory >> 10} KiB, then {now_memory >> 10} KiB")
        self.assertEqual(now_fds, fds)
        self.assertLessEqual(now_memory, memory + FLAT_BYTES)
        self.mvm_ok("rm", "--force", lasting)
        self.assert_nothing_left()
        self.assertEqual(self.locks(), [])
        self.assertEqual(self.files(), files)
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))


if __name__ == "__main__":
    guests.main()
