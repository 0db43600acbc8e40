/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static int open_log(struct console *c)
{
	int fd = openat(c->dir_fd, CONSOLE_LOG_NAME,
			O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	c->log_fd = fd;
	c->log_bytes = 0;
	return 0;
}

static void log_bytes(struct console *c, const char *data, size_t len)
{
	if (c->log_fd < 0)
		return;
	/* a full disk costs log lines, not the guest */
	(void)file_write_all(c->log_fd, data, len);
	c->log_bytes += len;
	if (c->log_bytes < CONSOLE_LOG_MAX)
		return;
	(void)close(TAKE_FD(c->log_fd));
	(void)renameat(c->dir_fd, CONSOLE_LOG_NAME, c->dir_fd, CONSOLE_LOG_NAME ".1");
	(void)open_log(c);
}

static void keep_tail(struct console *c, const char *data, size_t len)
{
	if (len > CONSOLE_TAIL_MAX) {
		data += len - CONSOLE_TAIL_MAX;
		len = CONSOLE_TAIL_MAX;
	}
	if (c->tail_len + len >= sizeof(c->tail)) {
		size_t keep = CONSOLE_TAIL_MAX - 1;
		memmove(c->tail, c->tail + c->tail_len - keep, keep);
		c->tail_len = keep;
	}
	memcpy(c->tail + c->tail_len, data, len);
	c->tail_len += len;
}

static void on_ready(void *arg, uint32_t events)
{
	struct console *c = arg;
	char chunk[16384];
	(void)events;

	for (;;) {
		ssize_t n = read(c->fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			loop_source_free(TAKE_PTR(c->source)); /* the VMM has gone */
			return;
		}
		log_bytes(c, chunk, (size_t)n);
		keep_tail(c, chunk, (size_t)n);
	}
}

int console_init(struct console *c, struct loop *loop, int fd, int dir_fd)
{
	*c = (struct console){ .fd = fd, .dir_fd = dir_fd, .log_fd = -1 };
	int r = open_log(c);
	if (r == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	return r < 0 ? r : loop_add_fd(loop, fd, EPOLLIN, on_ready, c, &c->source);
}

const char *console_tail(struct console *c)
{
	if (c->source)
		on_ready(c, EPOLLIN); /* what was printed just before the end */

	size_t len = c->tail_len < sizeof(c->tail) ? c->tail_len : sizeof(c->tail) - 1, to = 0;
	size_t from = len > 700 ? len - 700 : 0;
	for (; from < len; from++) {
		unsigned char ch = (unsigned char)c->tail[from];
		if (ch == '\n' || ch == '\t' || (ch >= ' ' && ch < 0x7f))
			c->tail[to++] = (char)ch;
	}
	while (to > 0 && c->tail[to - 1] == '\n')
		to--;
	c->tail[to] = '\0';
	c->tail_len = to;
	return c->tail;
}

void console_done(struct console *c)
{
	loop_source_free(c->source);
	if (c->fd > 0)
		(void)close(c->fd);
	if (c->log_fd > 0)
		(void)close(c->log_fd);
	*c = (struct console){ 0 };
}
