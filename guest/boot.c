/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cgroup.h"
#include "device.h"
#include "modules.h"
#include "mounts.h"
#include "net/agent.h"
#include "network.h"
#include "port.h"
#include "quiet.h"

#define DEVICE_TIMEOUT_MS 20000
#define TIMER_TIMEOUT_MS  5000
#define CMDLINE_MAX	  8192u

int boot_option(const char *cmdline, const char *key, char *ret, size_t size)
{
	size_t key_len = strlen(key);
	for (const char *word = cmdline; *word;) {
		size_t len = strcspn(word, " \n");
		if (len > key_len && memcmp(word, key, key_len) == 0 && word[key_len] == '=') {
			snprintf(ret, size, "%.*s", (int)(len - key_len - 1), word + key_len + 1);
			return 1;
		}
		word += len + strspn(word + len, " \n");
	}
	return 0;
}

/* Open the console again, non-blocking, as 0, 1 and 2: a stuck console must not block us. */
static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3 && fd >= 0; i++)
		dup2(fd, i); /* a failure could not be reported: there would be no console */
	if (fd > 2)
		close(fd); /* the copies at 0, 1 and 2 stay open */
}

/* The settings of the kernel's command line; data and upper are "" without such a disk. */
struct disks {
	char root[256], fstype[32], data[256], upper[256];
};

static int read_cmdline(struct disks *ret, struct mvm_error *err)
{
	AUTO_FREE char *cmdline = NULL;
	AUTO_CLOSE int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : file_read_fd(fd, CMDLINE_MAX, &cmdline, NULL);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '/proc/cmdline': %s", strerror(-r));
	assert(cmdline);
	if (!boot_option(cmdline, "mvm.root", ret->root, sizeof(ret->root)))
		strcpy(ret->root, "/dev/vda");
	if (!boot_option(cmdline, "mvm.rootfstype", ret->fstype, sizeof(ret->fstype)))
		strcpy(ret->fstype, "ext4");
	if (!boot_option(cmdline, "mvm.data", ret->data, sizeof(ret->data)))
		ret->data[0] = '\0';
	if (!boot_option(cmdline, "mvm.upper", ret->upper, sizeof(ret->upper)))
		ret->upper[0] = '\0';
	return 0;
}

static int exists(void *arg)
{
	if (access(arg, F_OK) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

static int open_cgroup(void)
{
	AUTO_CLOSE int fd = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : cgroup_join_self(fd, AGENT_CGROUP);
	if (r < 0) {
		agent_log("no cgroup v2: %s", strerror(-r));
		return -1;
	}
	return TAKE_FD(fd);
}

static int find_devices(struct agent *a, struct disks *disks, int *ret_port, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(DEVICE_TIMEOUT_MS);
	AUTO_CLOSE int uevents = device_listen();
	if (uevents < 0)
		return mvm_error_set(err, uevents, "cannot listen for devices: %s",
				     strerror(-uevents));
	modules_load();
	agent_stage(a, "modules");
	AUTO_CLOSE int port = port_open(uevents, deadline_ns, &a->port_is_vsock, err);
	if (port < 0)
		return port;
	agent_stage(a, "port");
	int r = device_wait(uevents, deadline_ns, exists, disks->root);
	if (r < 0)
		return mvm_error_set(err, r, "no root device '%s': %s", disks->root, strerror(-r));
	r = disks->data[0] ? device_wait(uevents, deadline_ns, exists, disks->data) : 0;
	if (r < 0)
		return mvm_error_set(err, r, "no data disk '%s': %s", disks->data, strerror(-r));
	r = disks->upper[0] ? device_wait(uevents, deadline_ns, exists, disks->upper) : 0;
	if (r < 0)
		return mvm_error_set(err, r, "no root disk '%s': %s", disks->upper, strerror(-r));
	*ret_port = TAKE_FD(port);
	return 0;
}

/*
 * Do timers work?  Linux measures the local APIC's timer against the TSC for a tenth of a second.
 * If the host does not run the virtual CPU during that time, the result is far too low, and Linux
 * boots without a timer ("APIC frequency too slow").  Then no sleeping process ever wakes.
 *
 * Source: Linux 6.1 arch/x86/kernel/apic/apic.c, calibrate_APIC_clock().
 */
static bool timers_fire(void)
{
	const struct itimerspec soon = { .it_value = { .tv_nsec = 1 } };
	AUTO_CLOSE int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0 || timerfd_settime(fd, 0, &soon, NULL) < 0)
		return true; /* unknown: assume that they do */

	/* read in a loop, since waiting would need a timer */
	int64_t deadline_ns = clock_deadline_ns(TIMER_TIMEOUT_MS);
	uint64_t times;
	while (read(fd, &times, sizeof(times)) < 0) {
		if (clock_now_ns() > deadline_ns)
			return false;
	}
	return true;
}

int boot(struct agent *a, struct mvm_error *err)
{
	struct disks disks;
	int r = mounts_kernel(err);
	open_console(); /* even if mounting failed, to report that */
	if (r < 0)
		return r;
	if (!timers_fire())
		_exit(AGENT_EXIT_NO_TIMER); /* Linux panics; a reboot might sleep */
	quiet_guest();
	agent_stage(a, "init");
	r = read_cmdline(&disks, err);
	if (r == 0)
		r = find_devices(a, &disks, &a->channel.fd, err);
	if (r == 0)
		r = mounts_switch_root(disks.root, disks.fstype,
				       disks.upper[0] ? disks.upper : NULL, &a->image_fd,
				       &a->upper_fd, err);
	if (r == 0 && disks.data[0])
		r = mounts_data(disks.data, err);
	if (r < 0)
		return r;
	a->cgroup_fd = open_cgroup();
	agent_stage(a, "root");
	return network_loopback(err);
}
