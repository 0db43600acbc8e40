# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of running VMs: a template that says hello, and checks of its VMs."""

import json

import guests

# says hello, then serves and is healthy; a file /tmp/sick makes it unhealthy
CONFIG = """
template_id = "web"
flake_ref   = "dir:root"
kernel      = "debian"
boot_args   = "loglevel=1" # so that the kernel prints nothing in between
command     = ["/bin/busybox", "sh", "-c", '''
echo hello from the workload
echo and this is stderr >&2
printf 'no newline'
echo $$ >/tmp/said
exec /bin/busybox httpd -f -p 8080 -h /www''']

[health]
exec        = ["/bin/busybox", "sh", "-c", "test -e /tmp/said || exit 1; test ! -e /tmp/sick || { echo it is sick $(cat /tmp/sick); exit 1; }"]
interval_ms = 1000
retries     = 2
""" + guests.VARIANT

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "


class TestCase(guests.TestCase):
    config = CONFIG

    def logs(self, name, *options):
        return self.mvm_ok("logs", *options, name)

    def events(self, name=None):
        events = [json.loads(line) for line in self.mvm_ok("events", "--json").splitlines()]
        return [e for e in events if name in (None, e["instance"])]

    def wait_for_event(self, name, event):
        self.assertTrue(guests.wait_until(
            lambda: event in [e["event"] for e in self.events(name)]),
            f"no {event}: {self.events(name)}")
