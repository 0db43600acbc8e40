# SPDX-License-Identifier: Apache-2.0
"""Two hundred captures of a busy guest on a busy host, with a clone of each: none may fail.

The guest prints to its console and through the agent's channel, writes files, and answers requests
of its own, all without end.

MVM_TEST_CAPTURE_COUNT sets another number, MVM_TEST_CAPTURE_BURNERS another number of processes that
keep the host busy (3): a host that is busy already needs none.
"""

import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
import guests
import harness

COUNT = os.environ.get("MVM_TEST_CAPTURE_COUNT", "200")
SECONDS = 3000
BURNERS = int(os.environ.get("MVM_TEST_CAPTURE_BURNERS", "3"))
WORKLOAD = """
busybox httpd -p 8080 -h /www
while :; do echo line on the console; done >/dev/console &
while :; do busybox wget -q -O /tmp/page http://127.0.0.1:8080/ && busybox sync; done &
while :; do echo line through the channel; done
"""


@harness.needs_guests
@unittest.skipUnless("MVM_TEST_CAPTURES" in os.environ, "MVM_TEST_CAPTURES names no program")
class Captures(guests.TestCase):
    config = guests.CONFIG.replace(
        'command     = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]',
        f"command = ['/bin/sh', '-c', '''{WORKLOAD}''']")
    snapshot = False

    def burn(self):
        """Keep the CPUs busy until the test ends, but no longer than its deadline."""
        burner = subprocess.Popen(["timeout", str(SECONDS), sys.executable, "-c",
                                   "while True: pass"])
        self.addCleanup(burner.wait)
        self.addCleanup(burner.terminate)

    def test_every_capture_loads(self):
        scratch = self.path("scratch")
        os.mkdir(scratch)
        for _ in range(BURNERS):
            self.burn()
        env = dict(os.environ, MVM_LIBEXEC_DIR=os.path.dirname(harness.MVM)) # for mvm-net
        done = subprocess.run([os.environ["MVM_TEST_CAPTURES"],
                               os.path.dirname(self.current("web-worker", "revision.json")),
                               scratch, COUNT], env=env, stdout=subprocess.PIPE, text=True, check=False,
                              timeout=SECONDS)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout, f"{COUNT} captures, 0 lost\n")


if __name__ == "__main__":
    guests.main()
