# SPDX-License-Identifier: Apache-2.0
"""A real Debian with python3 as an OCI image is unpacked as by umoci, built, booted and used."""

import os
import subprocess
import tempfile
import unittest

import debian
import harness
import oci_images as oci

SCRIPT = """\
import os, time
print("serving in", os.getcwd(), "as", os.getuid(), "mode", os.environ["MODE"], flush=True)
open("/tmp/ready", "w").close()
while True:
    time.sleep(60)
"""
ANSWER = """\
import os, sys
print(sum(map(int, sys.argv[1:])), os.uname().machine, open("/etc/debian_version").read())
"""


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


@harness.needs_guests
@harness.needs_program("mmdebstrap")
@harness.needs_program("umoci")
@harness.needs_program("skopeo")
@unittest.skipIf(oci.why_no_unpacking(), oci.why_no_unpacking())
class Debian(harness.TestCase):
    timeout = 600

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="mvm-test-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = scratch.name
        cls.image = os.path.join(cls.scratch, "image")
        tar = os.path.join(cls.scratch, "debian.tar")
        debian.make(tar, "--include=python3-minimal")
        files = {"serve.py": SCRIPT, "answer.py": ANSWER}
        for name, text in files.items():
            oci.write(os.path.join(cls.scratch, name), text.encode())
        image = cls.image + ":latest"
        run("umoci", "init", "--layout", cls.image)
        run("umoci", "new", "--image", image)
        run("umoci", "raw", "add-layer", "--image", image, tar)
        for name in files:
            run("umoci", "insert", "--image", image, os.path.join(cls.scratch, name),
                "/srv/" + name)
        run("umoci", "insert", "--image", image, "--whiteout", "/usr/share/doc")
        run("umoci", "config", "--image", image, "--config.entrypoint=/usr/bin/python3",
            "--config.cmd=/srv/serve.py", "--config.env=MODE=image", "--config.workingdir=/srv",
            "--config.user=daemon")

    def build(self, flake_ref, *options):
        self.mvm_ok("kernel", "add", os.environ["MVM_TEST_KERNEL_DEB"], "--name", "debian")
        config = self.write("template.toml", f"""
            template_id = "py"
            flake_ref = "{flake_ref}"
            [health]
            exec = ["/usr/bin/python3", "-c", "open('/tmp/ready')"]
            timeout_s = 120
            [[variants]]
            name = "py"
            role = "worker"
            vcpus = 1
            mem_mib = 256
            """)
        self.mvm_ok("template", "build", "--config", config, *options)
        return os.path.join(self.data_dir, "templates/py/current/rootfs.ext4")

    def test_the_image_equals_umocis_unpacked_folder(self):
        image = self.build(f"oci:{self.image}")
        run("e2fsck", "-fn", image)
        ours = oci.describe_image(image, self.folder)
        bundle = self.path("bundle")
        run("umoci", "unpack", "--image", self.image, bundle)
        theirs = oci.describe(os.path.join(bundle, "rootfs"))
        self.assertGreater(len(ours), 3000)
        self.assertNotIn("usr/share/doc", ours)
        # umoci gives the time of the unpacking to folders in which a whiteout or an insert changed something
        changed = (".: mtime", "srv: mtime", "usr/share: mtime")
        self.assertEqual([line for line in oci.differences(ours, theirs)
                          if not line.startswith(changed)], [])

    def test_the_image_boots_gets_healthy_and_runs_a_script(self):
        archive = self.path("image.tar")
        run("skopeo", "copy", "--insecure-policy", f"oci:{self.image}:latest",
            f"docker-archive:{archive}:py:v1", env={**os.environ, "TMPDIR": self.folder})
        self.build(f"docker-archive:{archive}:v1", "--snapshot")
        for start in ([], ["--cold"]):
            with self.subTest(start=start):
                name = self.mvm_ok("run", "--template", "py", "-d", *start).split()[0]
                self.addCleanup(self.mvm, "rm", "--force", name)
                script = ["exec", name, "--", "/usr/bin/python3", "/srv/answer.py", "20", "22"]
                sum_is, machine, debian = self.mvm_ok(*script).split()
                self.assertEqual((sum_is, machine), ("42", os.uname().machine))
                self.assertEqual(debian.split(".")[0], "12")
                seen = self.mvm_ok("exec", name, "--", "/usr/bin/python3", "-c", (
                    "import os, glob\n"
                    "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
                    "    if open(path, 'rb').read().endswith(b'/srv/serve.py\\0'):\n"
                    "        folder = os.path.dirname(path)\n"
                    "        print(os.stat(folder).st_uid, os.readlink(folder + '/cwd'),\n"
                    "              b'MODE=image' in open(folder + '/environ', 'rb').read())\n"))
                self.assertEqual(seen.split(), ["1", "/srv", "True"])
                self.mvm_ok("stop", name)
                self.mvm_ok("rm", name)


if __name__ == "__main__":
    harness.main()
