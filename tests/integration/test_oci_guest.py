# SPDX-License-Identifier: Apache-2.0
"""A container image in a real guest: its configured command is the workload, and other commands use
the image's settings."""

import os
import shutil

import guests
import harness
import oci_images as oci

BUSY = shutil.which("busybox")

SCRIPT = """#!/bin/sh
trap 'echo told to end; sleep 0.2; echo ends in good order; exit 43' TERM
trap 'echo asked to end; exit 0' INT
trap 'echo another signal' USR1
echo $$ >/tmp/pid
echo "args $# $1 $2"
echo "as $(id -u) $(id -g) $(id -G) in $(pwd) mode $MODE home $HOME"
while :; do sleep 1000 & wait $!; done
"""


def make_image(path):
    with open(BUSY, "rb") as file:
        busybox = file.read()
    tools = ("sh", "id", "sleep", "cat")
    image = oci.Image(Entrypoint=["/srv/app/serve.sh"], Cmd=["one word", "two"],
                      Env=["PATH=/tools:/bin", "MODE=image", "EMPTY="], WorkingDir="/srv/app",
                      User="app:", StopSignal="int")
    image.layer(oci.tar_of(
        oci.file("bin/busybox", busybox, mode=0o755),
        *(oci.symlink("bin/" + tool, "busybox") for tool in tools),
        oci.folder("proc"), oci.folder("sys"), oci.folder("dev"), oci.folder("tmp", mode=0o1777),
        oci.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:2000::/home/app:/bin/sh\n"),
        oci.file("etc/group", b"root:x:0:\napp:x:2000:\nmore:x:3000:app\n"),
        oci.folder("home/app", uid=1000, gid=2000), oci.folder("root", mode=0o700)))
    # an upper layer, as in an image that is based on another
    image.layer(oci.tar_of(oci.folder("srv/app", uid=1000, gid=2000),
                           oci.file("srv/app/serve.sh", SCRIPT.encode(), mode=0o755)), "+zstd")
    image.save(path)


@harness.needs_guests
@harness.needs_program("busybox")
class Guest(guests.TestCase):
    config = """
template_id = "app"
flake_ref = "oci:image"
kernel = "debian"
[health]
exec = ["/bin/id"]
interval_ms = 1000
retries = 1
""" + guests.VARIANT

    @classmethod
    def make_source(cls):
        make_image(os.path.join(cls.shared, "image"))

    def said(self, name):
        return self.mvm_ok("logs", "--workload", name)

    def start(self):
        # a clone's log lacks the workload's first lines
        name = self.run_detached("app-worker", "--cold")["name"]
        self.assertTrue(guests.wait_until(lambda: "mode" in self.said(name)))
        return name

    def test_the_image_sets_how_commands_run(self):
        name = self.start()
        logs = self.said(name)
        self.assertIn("args 2 one word two\n", logs)
        self.assertIn("as 1000 2000 2000 3000 in /srv/app mode image home /home/app\n", logs)

        # like `docker exec`: user, folder and environment come from the image, unless options set them
        ask = ("/bin/sh", "-c", "echo $(id -u) $(id -g) $(id -G) $(pwd) $MODE $HOME $PATH")
        for options, says in (
                ((), "1000 2000 2000 3000 /srv/app image /home/app /tools:/bin"),
                (("-w", "/"), "1000 2000 2000 3000 / image /home/app /tools:/bin"),
                (("-e", "MODE=mine"), "1000 2000 2000 3000 /srv/app mine /home/app /tools:/bin"),
                (("-u", "root", "-w", "/root"), "0 0 0 /root image /root /tools:/bin"),
                (("-u", "4711:42"), "4711 42 42 /srv/app image / /tools:/bin"),
                (("-u", "1000:"), "1000 2000 2000 3000 /srv/app image /home/app /tools:/bin"),
                (("-u", ":3000", "-w", "/"), "0 3000 3000 / image /root /tools:/bin")):
            with self.subTest(options=options):
                self.assertEqual(self.exec(name, *ask, options=options), says + "\n")
        self.assertEqual(self.exec(name, "id", "-u"), "1000\n") # found on the image's PATH
        # mvm still copies files as root, into any folder
        self.mvm_ok("cp", self.write("file", "copied\n"), name + ":/root/file")
        self.assertEqual(self.exec(name, "cat", "/root/file", options=("-u", "0")), "copied\n")
        self.mvm("exec", name, "--", "cat", "/root/file", status=1)
        # a command in a new VM, next to the workload
        self.assertEqual(self.mvm_ok("run", "--template", "app-worker", "--", *ask),
                         "1000 2000 2000 3000 /srv/app image /home/app /tools:/bin\n")

    def test_signals_and_the_exit_status_are_passed_on(self):
        name = self.start()
        self.mvm("exec", name, "--", "sh", "-c", "exit 41", status=41)
        self.mvm("exec", name, "--", "sh", "-c", "kill -TERM $$", status=128 + 15)
        self.exec(name, "sh", "-c", "kill -USR1 $(cat /tmp/pid)")
        self.assertTrue(guests.wait_until(lambda: "another signal" in self.said(name)))
        self.mvm_ok("stop", "--timeout", "90s", name) # sends the image's stop signal
        self.assertRegex(self.said(name), r"another signal\nasked to end\n$")

        name = self.start()
        self.exec(name, "sh", "-c", "kill -TERM $(cat /tmp/pid)")
        self.mvm("wait", name, status=43) # the VM ends with its workload
        self.assertEqual(self.inspect(name)["exit_code"], 43)
        self.assertRegex(self.said(name), r"told to end\nends in good order\n$")
        self.assertIn("workload ended with exit status 43", self.mvm_ok("logs", name))


if __name__ == "__main__":
    guests.main()
