# SPDX-License-Identifier: Apache-2.0
"""Things that an image may expect of its machine, because container runtimes provide them."""

import os
import pty
import shutil
import subprocess

import guests
import harness
import oci_images as oci

APP, GROUP = 1000, 2000

# System calls for which busybox has no command.
PROBE = """
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/xattr.h>
static void attribute(const char *name)
{
	char value[64] = "";
	ssize_t n = getxattr("/", name, value, sizeof(value) - 1);
	printf("%s %s\\n", name, n < 0 ? strerror(errno) : value);
}
int main(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(80),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int r = bind(fd, (struct sockaddr *)&at, sizeof(at));
	printf("port 80: %s\\n", r < 0 ? strerror(errno) : "ours");

	struct icmphdr echo = { .type = ICMP_ECHO };
	fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	r = fd < 0 ? -1 : sendto(fd, &echo, sizeof(echo), 0, (struct sockaddr *)&at, sizeof(at));
	if (r >= 0)
		r = recv(fd, &echo, sizeof(echo), 0);
	printf("ping: %s\\n", r < 0 ? strerror(errno) : "answered");
	attribute("security.mark");
	attribute("trusted.mark");
	return 0;
}
"""

# Each stream by each of its names; the log is a link, as in nginx's image.
REOPEN = """
set -e
echo fd >/proc/self/fd/1
echo stdout >/dev/stdout
echo stderr >/dev/stderr
echo dev-fd >/dev/fd/1
echo logged >/srv/access.log
"""
AS_WORKLOAD = """
is="$(id -u) $(pwd -P)"
[ "$is" = "1000 /srv/application/work" ] || { echo "the check runs as $is"; exit 1; }
"""
REOPENED = ["fd", "stdout", "dev-fd", "logged"]

SERVE = REOPEN + """
echo "as $(id -u) in $(pwd -P)"
/bin/probe
exec sleep 100000
"""

INIT = b"""#!/bin/sh
echo "$$ $(id -u) $(pwd) $1 $COLOUR $USER" >/tmp/said
while :; do sleep 100000; done
"""

TOML = """
template_id = "%s"
flake_ref = "oci:%s"
kernel = "debian"
""" + guests.VARIANT

LINKS = {"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
         "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
         "/dev/core": "/proc/kcore", "/dev/ptmx": "pts/ptmx"}
OPEN_TO_ALL = "/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx".split()


def base(probe):
    """An image with only busybox and users: a guest makes the folders that it needs."""
    def read(path):
        with open(path, "rb") as data:
            return data.read()
    tools = "sh id sleep cat ls stat readlink ps init mount mkdir touch".split()
    return [oci.file("bin/busybox", read(shutil.which("busybox")), mode=0o755),
            oci.file("bin/probe", read(probe), mode=0o755),
            *(oci.symlink("bin/" + tool, "busybox") for tool in tools),
            oci.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:2000::/:/bin/sh\n")]


@harness.needs_guests
@harness.needs_program("busybox")
@harness.needs_program("musl-gcc")
class ImageExpects(guests.TestCase):
    config = TOML % ("app", "app") + """
data_disk_mib = 8
on_restore = ["/bin/sh", "-c", "echo out >/dev/stdout && echo err >/dev/stderr && echo \\"$(id -u) $(pwd -P)\\" >/tmp/restored"]
[health]
exec = ["/bin/sh", "-c", '''%s''']
""" % (REOPEN + AS_WORKLOAD)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.snapshot = False
        for name in ("links", "init", "command-init"):
            with open(cls.toml, "w", encoding="utf-8") as file:
                file.write(TOML % (name, name))
            cls.build_class()

    @classmethod
    def make_source(cls):
        probe = os.path.join(cls.shared, "probe")
        subprocess.run(["musl-gcc", "-static", "-Os", "-o", probe, "-x", "c", "-"],
                       input=PROBE, text=True, check=True, timeout=60)
        folders = [oci.folder(name) for name in "proc sys dev".split()]
        tmp = oci.folder("tmp", mode=0o1777)
        root = oci.folder(".", mode=0o1751, uid=7, gid=8, pax_headers=oci.xattrs(
            security__mark="kept", trusted__mark="too"))
        oci.Image(Entrypoint=["/bin/sh", "-c", SERVE], User="app",
                  WorkingDir="/app/work").layer(oci.tar_of(
            root, *base(probe), *folders, tmp,
            oci.symlink("app", "/srv/application"), oci.symlink("srv/access.log", "/dev/stdout"),
            oci.folder("data", uid=APP, gid=GROUP, mode=0o2750),
            oci.folder("run/postgresql", uid=APP, gid=GROUP, mode=0o2775),
            oci.folder("run/sshd", mode=0o711))).save(os.path.join(cls.shared, "app"))
        # absolute links, with targets in the image or without any yet
        oci.Image(Entrypoint=["/bin/sleep", "100000"], User="app",
                  WorkingDir="/dev/shm/work/deep").layer(oci.tar_of(
            *base(probe), tmp, oci.symlink("run", "/var/run"), oci.symlink("dev", "/srv/dev"),
            oci.folder("srv/dev"), oci.symlink("proc", "../../srv/proc"))).save(
                os.path.join(cls.shared, "links"))
        oci.Image().layer(oci.tar_of(
            *base(probe), *folders, tmp, oci.symlink("sbin/init", "../bin/busybox"),
            oci.file("etc/inittab", b"::respawn:/bin/sleep 100000\n"),
            oci.folder("run/stale"))).save(os.path.join(cls.shared, "init"))

        oci.Image(Entrypoint=["/bin/boot"], Cmd=["one"], Env=["COLOUR=red"], User="app",
                  WorkingDir="/srv").layer(oci.tar_of(
            *base(probe), *folders, oci.file("init", INIT, mode=0o755),
            oci.symlink("bin/boot", "../init"),
            oci.symlink("run", "/var/run"), oci.symlink("var/run", "/run"),
            oci.symlink("tmp", "/nowhere/tmp"))).save(os.path.join(cls.shared, "command-init"))

    def check_devices(self, name):
        for link, target in LINKS.items():
            self.assertEqual(self.exec(name, "readlink", link), target + "\n", link)
        modes = self.exec(name, "stat", "-L", "-c", "%n %a", *OPEN_TO_ALL).splitlines()
        self.assertEqual(modes, [device + " 666" for device in OPEN_TO_ALL])
        mounts = self.exec(name, "cat", "/proc/mounts")
        self.assertRegex(mounts, r"tmpfs \S*/dev/shm tmpfs ")
        self.assertRegex(mounts, r"mqueue \S*/dev/mqueue mqueue ")
        self.assertEqual(self.exec(name, "stat", "-c", "%a", "/dev/shm"), "1777\n")

    def on_a_terminal(self, name, *options):
        ours, theirs = pty.openpty()
        try:
            done = subprocess.run([harness.MVM, "exec", "-t", *options, name, "--", "sh", "-c",
                                   REOPEN], stdin=theirs, capture_output=True, text=True,
                                  timeout=self.timeout, env=self.environment(), check=False)
        finally:
            os.close(theirs)
            os.close(ours)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def check_streams(self, name):
        for options in ((), ("-u", "4711:42"), ("-u", "0")):
            with self.subTest(name=name, options=options):
                done = self.mvm("exec", *options, name, "--", "sh", "-c", REOPEN, status=0)
                self.assertEqual(done.stdout.split(), REOPENED)
                self.assertEqual(done.stderr, "stderr\n")
                self.assertEqual(sorted(self.on_a_terminal(name, *options).split()),
                                 sorted(REOPENED + ["stderr"]))
                for stream in ("/proc/self/fd/0", "/dev/stdin", "/dev/fd/0"):
                    self.assertEqual(self.exec(name, "cat", stream, options=("-i", *options),
                                               stdin="asked\n"), "asked\n")

    def check_root(self, name):
        self.assertEqual(self.exec(name, "stat", "-c", "%a %u %g %Y", "/"),
                         f"1751 7 8 {oci.TIME}\n")
        says = self.exec(name, "probe", options=("-u", "0"))
        self.assertIn("security.mark kept\ntrusted.mark too\n", says)
        folders = ("/run/postgresql", "/run/sshd", "/data")
        self.assertEqual(self.exec(name, "stat", "-c", "%a %u %g", *folders).splitlines(),
                         ["2775 1000 2000", "711 0 0", "2750 1000 2000"])
        self.exec(name, "touch", "/run/postgresql/mine", "/data/mine")

    def check_streams_of_pid_1(self, name):
        self.exec(name, "sh", "-c", "echo said to 1 >/proc/1/fd/1; echo and 2 >/proc/1/fd/2",
                  options=("-u", "0"))
        self.assertTrue(guests.wait_until(
            lambda: "said to 1\nand 2\n" in self.mvm_ok("logs", "--workload", name)))

    def test_a_non_root_workload_has_a_containers_rights(self):
        name = self.run_detached("app-worker", "--cold")["name"]
        self.assertTrue(guests.wait_until(
            lambda: "trusted.mark" in self.mvm_ok("logs", "--workload", name)))
        lines = self.mvm_ok("logs", "--workload", name).splitlines()
        self.assertEqual(sorted(lines[:5]), sorted(REOPENED + ["stderr"]))
        self.assertEqual(lines[5:8], [f"as {APP} in /srv/application/work", "port 80: ours",
                                      "ping: answered"])
        self.assertEqual(self.exec(name, "sh", "-c", "ulimit -S -n; ulimit -H -n"),
                         "1024\n524288\n")
        self.check_devices(name)
        self.check_streams(name)
        self.check_root(name)
        self.check_streams_of_pid_1(name)

    def test_a_clone_finds_it_as_well(self):
        record = self.run_detached("app-worker", "--require-snapshot")
        name = record["name"]
        self.check_devices(name)
        self.check_streams(name)
        self.check_root(name)
        self.check_streams_of_pid_1(name)
        self.assertIn("port 80: ours\nping: answered\n", self.exec(name, "probe"))
        self.assertEqual(self.exec(name, "cat", "/tmp/restored"), f"{APP} /srv/application/work\n")
        for options in (("-u", ""), ("-w", ""), ("-u", "", "-w", "")):
            self.assertEqual(self.exec(name, "sh", "-c", "id -u; pwd -P", options=options),
                             f"{APP}\n/srv/application/work\n")
        self.assertTrue(self.exec(name, "cat", "/run/mvm/generation").strip())

    def test_links_lead_inside_the_image(self):
        name = self.run_detached("links-worker")["name"]
        self.assertEqual(self.exec(name, "sh", "-c", "pwd -P"), "/srv/dev/shm/work/deep\n")
        self.assertEqual([self.exec(name, "readlink", path).strip()
                          for path in ("/run", "/dev", "/proc")],
                         ["/var/run", "/srv/dev", "../../srv/proc"])
        self.assertTrue(self.exec(name, "cat", "/var/run/mvm/generation").strip())
        self.check_devices(name)

    def test_an_images_init_has_a_machine_as_its_distribution_expects(self):
        name = self.run_detached("init-worker")["name"]
        self.assertEqual(self.exec(name, "ls", "/run"), "mvm\n")
        self.assertEqual(self.exec(name, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"),
                         "1024\n")
        self.check_devices(name)

    def test_a_command_that_is_an_init_is_pid_1(self):
        os.mkdir(self.path("volume"))
        volume = self.path("volume") + ":/srv/volume" # the init waits for the volume's files
        name = self.run_detached("command-init-worker", "--volume", volume)["name"]
        self.assertTrue(guests.wait_until(
            lambda: self.mvm("exec", name, "cat", "/tmp/said").stdout
            == "1 1000 /srv one red app\n"))
        self.mvm_fails(125, "wait", "--workload", name, says="the guest runs an init")
        # other things in images that may break a boot
        for path, target in (("/var/run", "/run"), ("/tmp", "/nowhere/tmp"),
                             ("/etc/mtab", "/proc/self/mounts")):
            self.assertEqual(self.exec(name, "readlink", path), target + "\n")
        self.assertEqual(self.exec(name, "stat", "-L", "-c", "%a", "/tmp"), "1777\n")
        self.assertIn("'/run' is a link that leads back to itself", self.mvm_ok("logs", name))
        self.assertNotIn("lost+found", self.exec(name, "ls", "-A", "/"))
        self.assertEqual(self.exec(name, "sh", "-c", "echo $HOSTNAME"), name + "\n")


if __name__ == "__main__":
    guests.main()
