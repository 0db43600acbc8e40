/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/console.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"

#define CHUNKS_AT_ONCE 16

static void on_ready(void *arg, uint32_t events)
{
	struct console *c = arg;
	char chunk[16384];
	(void)events;

	/* bounded: a guest that prints without end must not hold up the loop */
	for (int i = 0; i < CHUNKS_AT_ONCE; i++) {
		ssize_t n = read(c->fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			loop_source_free(TAKE_PTR(c->source)); /* the VMM has hung up */
			return;
		}
		c->heard_ns = clock_now_ns();
		logfile_add(&c->log, chunk, (size_t)n);
		panic_watch_add(&c->panic, chunk, (size_t)n);
	}
}

int console_init(struct console *c, struct loop *loop, int fd)
{
	c->fd = fd;
	int r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	return r < 0 ? r : loop_add_fd(loop, fd, EPOLLIN, on_ready, c, &c->source);
}

const char *console_tail(struct console *c)
{
	if (c->source)
		on_ready(c, EPOLLIN);
	return logfile_tail(&c->log);
}

void console_done(struct console *c)
{
	loop_source_free(c->source);
	if (c->fd > 0)
		close(c->fd);
	logfile_close(&c->log);
	*c = (struct console){ 0 };
}
