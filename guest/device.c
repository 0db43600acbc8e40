/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/own.h"

int device_listen(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
				   NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* Discard all events, since the caller looks for its device itself.  ENOBUFS: some were lost. */
static void discard_events(int fd)
{
	char buffer[8192];
	while (recv(fd, buffer, sizeof(buffer), 0) > 0 || errno == ENOBUFS)
		;
}

int device_wait(int uevent_fd, int64_t deadline_ns, int (*check)(void *arg), void *arg)
{
	for (;;) {
		discard_events(uevent_fd);
		int r = check(arg);
		if (r != 0)
			return r;
		struct pollfd p = { .fd = uevent_fd, .events = POLLIN };
		int n = poll(&p, 1, clock_remaining_ms(deadline_ns));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
	}
}
