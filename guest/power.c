/* SPDX-License-Identifier: Apache-2.0 */
#include "power.h"

#include <linux/reboot.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "cgroup.h"
#include "disks.h"
#include "freeze.h"
#include "output.h"

#define WORKLOAD_GRACE_MS 5000
#define INIT_GRACE_MS	  30000
#define LAST_WORDS_MS	  500

/* systemd(1): SIGRTMIN+5 starts reboot.target.  Its SIGRTMIN is glibc's, 34; musl's is 35. */
#define SIGNAL_SYSTEMD_REBOOT (34 + 5)

/* Send the last output and queued replies to the host, for at most LAST_WORDS_MS. */
static void send_last_words(struct agent *a)
{
	int64_t deadline_ns = clock_deadline_ns(LAST_WORDS_MS);
	output_drain(a);
	while (a->channel.fd >= 0 && channel_wants_write(&a->channel)) {
		struct pollfd p = { .fd = a->channel.fd, .events = POLLOUT };
		if (poll(&p, 1, clock_remaining_ms(deadline_ns)) <= 0 || (p.revents & POLLHUP) ||
		    channel_flush(&a->channel) < 0)
			return;
	}
}

_Noreturn void power_off(struct agent *a)
{
	if (a->cgroup_fd >= 0)
		cgroup_kill_others(a->cgroup_fd, AGENT_CGROUP);
	send_last_words(a);
	sync();
	disks_seal(a->upper_fd);
	/*
	 * Reset instead of powering off.  Without ACPI's S5 (Firecracker, or acpi=off) a power-off
	 * only halts the CPU.  A reset ends Firecracker, and QEMU with -no-reboot.
	 */
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART,
		NULL);
	for (;;)
		pause(); /* reached only outside a guest, where reboot() is refused */
}

static void on_grace_over(void *arg)
{
	power_off(arg);
}

void power_workload_ended(struct agent *a)
{
	if (a->shutting_down)
		power_off(a);
}

/* The signal that makes this init reboot, which ends the machine (see power_off()).  busybox's init
 * reboots on SIGTERM.  If the init ignores it, the agent ends the machine after the grace time. */
static int init_reboot_signal(void)
{
	return access("/run/systemd/system", F_OK) == 0 ? SIGNAL_SYSTEMD_REBOOT : SIGTERM;
}

void power_shutdown(struct agent *a, uint64_t grace_ms)
{
	if (a->shutting_down)
		return;
	a->shutting_down = true;
	thaw_guest(a, NULL); /* if this fails, frozen processes are killed after the grace time */

	int64_t grace = grace_ms ? (int64_t)grace_ms : WORKLOAD_GRACE_MS;
	if (a->workload == WORKLOAD_INIT) {
		grace = grace_ms ? (int64_t)grace_ms : INIT_GRACE_MS;
		kill(1, init_reboot_signal()); /* if this fails, the grace time ends the VM */
	} else if (a->workload == WORKLOAD_RUNS) {
		kill(a->workload_child.pid, /* likewise */
		     a->stop_signal ? a->stop_signal : SIGTERM);
	} else {
		power_off(a);
	}
	int r = loop_add_timer(a->loop, clock_deadline_ns(grace), on_grace_over, a,
			       &a->shutdown_timer);
	if (r < 0)
		power_off(a);
}
