/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wait.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"

int wait_readable(int fd, int cancel_fd, int64_t deadline_ns)
{
	struct pollfd p[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = cancel_fd, .events = POLLIN },
	};
	int n;

	do
		n = poll(p, 2, clock_remaining_ms(deadline_ns));
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ETIMEDOUT;
	return p[1].revents ? -ECANCELED : 0;
}
