/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wait.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"

/* Wait for either descriptor.  Returns 0, -ETIMEDOUT or -errno of poll(2). */
static int wait_either(struct pollfd p[2], int64_t deadline_ns)
{
	int n;

	do
		n = poll(p, 2, clock_remaining_ms(deadline_ns));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n > 0 ? 0 : -ETIMEDOUT;
}

int wait_readable(int fd, int cancel_fd, int64_t deadline_ns)
{
	struct pollfd p[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = cancel_fd, .events = POLLIN },
	};
	int r = wait_either(p, deadline_ns);
	return r == 0 && p[1].revents ? -ECANCELED : r;
}

int wait_writable(int fd, int cancel_fd)
{
	struct pollfd p[] = {
		{ .fd = fd, .events = POLLOUT },
		{ .fd = cancel_fd, .events = POLLIN },
	};
	int r = wait_either(p, DEADLINE_NONE);
	return r == 0 && !p[0].revents ? -ECANCELED : r;
}
