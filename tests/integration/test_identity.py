# SPDX-License-Identifier: Apache-2.0
"""Clones of one snapshot have identities of their own before any of their programs runs."""

import os
import subprocess
import time

import guests
import harness

CLONES = 20
CLOCK_MS = 100

# The loop does not fork, so it reads both values of a line in the same moment.  on_restore keeps the
# values that it has seen, and fails in a clone whose name begins with "bad".
CONFIG = """
template_id = "web"
flake_ref   = "dir:root"
kernel      = "debian"
command     = ["/bin/busybox", "sh", "-c", '''
while :; do
	read name </proc/sys/kernel/hostname
	read id </etc/machine-id
	echo "$name $id"
	sleep 0.5
done''']
on_restore  = ["/bin/busybox", "sh", "-c", '''
cat /proc/sys/kernel/hostname /etc/machine-id /run/mvm/generation >/tmp/at-restore
head -c 32 /dev/urandom | hexdump -e '32/1 "%02x" "\\n"' >>/tmp/at-restore
case $(hostname) in
bad*) echo cannot reload >/dev/console; exit 3 ;;
off*) poweroff -f; sleep 60 ;;
esac''']
""" + guests.VARIANT

# Makes the host's clock jump, but only for the supervisor.  The test writes the seconds of a jump to
# JUMPS, which replaces the supervisor's timer; the read of them fails as on a cancelled timer.
JUMPY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
static long ahead;
static int jump_fd = -1, jumps = -1;
/* the process that watches the clock may open nothing any more */
__attribute__((constructor)) static void early(void)
{
	jumps = open(getenv("JUMPS"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
}
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	if (id == CLOCK_REALTIME)
		ts->tv_sec += ahead;
	return r;
}
int timerfd_create(int id, int flags)
{
	if (id != CLOCK_REALTIME)
		return (int)syscall(SYS_timerfd_create, id, flags);
	return jump_fd = jumps;
}
int timerfd_settime(int fd, int flags, const struct itimerspec *to, struct itimerspec *old)
{
	if (fd != jump_fd)
		return (int)syscall(SYS_timerfd_settime, fd, flags, to, old);
	if (flags != (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		abort();
	int real = (int)syscall(SYS_timerfd_create, CLOCK_REALTIME, TFD_CLOEXEC);
	int r = (int)syscall(SYS_timerfd_settime, real, flags, to, old); /* does Linux take it? */
	close(real);
	return r;
}
ssize_t read(int fd, void *to, size_t size)
{
	char text[16] = "";
	if (fd < 0 || fd != jump_fd)
		return syscall(SYS_read, fd, to, size);
	if (syscall(SYS_read, fd, text, sizeof(text) - 1) > 0)
		ahead += atol(text);
	errno = ECANCELED;
	return -1;
}
"""

LOOK = """
cat /proc/sys/kernel/hostname /etc/hostname /etc/machine-id /proc/sys/kernel/random/boot_id
cat /run/mvm/generation
head -c 32 /dev/urandom | hexdump -e '32/1 "%02x" "\\n"'
cat /tmp/at-restore
busybox grep -c mvm /etc/hosts
"""


@harness.needs_guests
class Identity(guests.TestCase):
    config = CONFIG

    def test_a_name_of_any_length_is_all_that_is_in_its_files(self):
        for name in ("a", "b" * 63):
            record = self.run_detached("web-worker", "--name", name, "--require-snapshot")
            self.assertEqual(record["hostname"], name)
            self.assertEqual(self.exec(name, "cat", "/etc/hostname"), name + "\n")
            self.assertEqual(self.exec(name, "sh", "-c", "busybox grep -w mvm /etc/hosts").split(),
                             ["127.0.1.1", name, "#", "mvm"])
            self.mvm_ok("cp", name + ":/etc/hostname", self.path(name))
            self.mvm_ok("cp", name + ":/etc", self.path("etc-" + name))
            for copy in (name, f"etc-{name}/hostname"):
                with open(self.path(copy), encoding="utf-8") as file:
                    self.assertEqual(file.read(), name + "\n")

    def wait_for_clock(self, name):
        """Wait for the right clock.  The agent sets it with the identity, which a busy host may deliver
        late.  Then the supervisor sets it again until that takes no time."""
        self.assertTrue(guests.wait_until(lambda: self.clock_off_ms(name) < CLOCK_MS),
                        f"the clock of {name} is off")

    def said(self, name):
        return self.mvm_ok("logs", "--workload", name).splitlines()

    def look(self, name):
        lines = self.exec(name, "sh", "-c", LOOK).splitlines()
        (hostname, etc_hostname, machine_id, boot_id, generation, random, at_name, at_id,
         at_generation, at_random, hosts) = lines
        self.assertEqual((hostname, etc_hostname, hosts), (name, name, "1"))
        # on_restore ran after all of it was in place
        self.assertEqual((at_name, at_id, at_generation), (hostname, machine_id, generation))
        self.wait_for_clock(name)
        return {"hostname": hostname, "machine-id": machine_id, "boot id": boot_id,
                "generation": generation, "random numbers": random,
                "first random numbers": at_random}

    def test_twenty_clones_differ_in_every_pair(self):
        names = [f"clone-{i}" for i in range(CLONES)]
        for name in names:
            record = self.run_detached("web-worker", "--name", name, "--require-snapshot")
            self.assertEqual(record["start"], "restore")
        seen = [self.look(name) for name in names]
        for what in seen[0]:
            values = [clone[what] for clone in seen]
            self.assertTrue(all(values), what)
            self.assertEqual(len(set(values)), CLONES, f"{what}: {values}")

        # the workload was frozen in its loop, and never had another identity
        for name, clone in zip(names, seen):
            self.assertTrue(guests.wait_until(lambda n=name: self.said(n)))
            self.assertEqual(set(self.said(name)), {f"{name} {clone['machine-id']}"})

    def test_the_same_name_twice_is_two_machines(self):
        self.run_detached("web-worker", "--name", "same")
        first = self.look("same")
        self.mvm_ok("rm", "-f", "same")
        self.run_detached("web-worker", "--name", "same")
        second = self.look("same")
        for what in first:
            (self.assertEqual if what == "hostname" else self.assertNotEqual)(
                first[what], second[what], what)

    def test_a_clone_that_cannot_become_itself_is_not_handed_out(self):
        says = self.mvm_fails(1, "run", "--template", "web-worker", "-d", "--name", "bad-1",
                              says="on_restore ended with exit status 3")
        self.assertIn("cannot reload", says) # its words on the console
        self.assertNotIn("booting instead", says)
        self.assertEqual(self.mvm_json("inspect", "bad-1")["state"], "failed") # mvm keeps it for diagnosis
        self.mvm_ok("rm", "bad-1")
        self.assert_nothing_left()
        self.mvm_fails(125, "run", "--template", "web-worker", "--name", "bad-2", "--", "true",
                       says="on_restore ended with exit status 3")
        self.assert_nothing_left()

    def test_a_clone_that_ends_itself_is_not_booted_instead(self):
        says = self.mvm_fails(1, "run", "--template", "web-worker", "-d", "--name", "off-1")
        self.assertNotIn("booting instead", says)
        self.assertEqual(self.mvm_json("inspect", "off-1")["state"], "failed")
        self.mvm_ok("rm", "off-1")

    def test_the_clock_is_right_after_a_pause(self):
        name = self.run_detached()["name"]
        self.mvm_ok("pause", name)
        time.sleep(1) # the virtual CPUs miss this second
        self.mvm_ok("resume", name)
        self.wait_for_clock(name)

    @harness.needs_program("cc")
    def test_the_clock_follows_jumps_of_the_hosts(self):
        library, jumps = self.path("jumpy.so"), self.path("jumps")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-"], input=JUMPY,
                       text=True, check=True, timeout=60)
        os.mkfifo(jumps)
        told = os.open(jumps, os.O_RDWR) # O_RDWR does not wait for a reader
        self.addCleanup(os.close, told)
        name = self.mvm_json("run", "--template", "web-worker", "-d",
                             env={"LD_PRELOAD": library, "JUMPS": jumps})["name"]
        self.wait_for_clock(name)
        ahead_s = 0
        for jump_s in (7200, -3600, 60): # a sleep of two hours, a correction, a nap
            os.write(told, str(jump_s).encode())
            jumped_at = time.monotonic()
            ahead_s += jump_s
            self.assertTrue(guests.wait_until(lambda s=ahead_s: self.clock_off_ms(name, s) < 1000),
                            f"{name} has missed a jump by {jump_s} s")
            print(f"# the guest's clock followed after {time.monotonic() - jumped_at:.2f} s")


if __name__ == "__main__":
    guests.main()
