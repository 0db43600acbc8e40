/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/logcursor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static int open_at(const struct log_cursor *c, const char *suffix)
{
	char name[64];
	snprintf(name, sizeof(name), "%s%s", c->name, suffix);
	int fd = openat(c->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static bool same_file(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino;
}

int log_cursor_open(struct log_cursor *c, int dir_fd, const char *name)
{
	c->dir_fd = dir_fd;
	c->name = name;
	c->have = false;
	c->entry = (struct log_entry){ 0 };
	c->at = c->len = 0;
	/* in this order, so that a rotation in between shows a file twice, never not at all */
	c->fd = open_at(c, "");
	c->old_fd = open_at(c, LOGFILE_OLD_SUFFIX);
	if (c->fd >= 0 && c->old_fd >= 0 && same_file(c->fd, c->old_fd)) {
		close(c->old_fd);
		c->old_fd = -ENOENT;
	}
	int r = c->fd < 0 && c->fd != -ENOENT ? c->fd : 0;
	if (c->old_fd < 0)
		c->old_fd = -1;
	if (c->fd < 0)
		c->fd = -1;
	return r;
}

/* Parse "2026-01-31T12:00:00.123456789Z F text" or "+F text".  Other lines are shown unchanged. */
static void parse(struct log_cursor *c, const char *line, size_t len, bool newline)
{
	struct log_entry *e = &c->entry;
	bool same = len > 0 && line[0] == LOGFILE_SAME[0] && e->time[0];
	size_t time = LOGFILE_TIME_SIZE - 1;
	size_t kind = same ? strlen(LOGFILE_SAME) : time + strlen(" ");
	size_t header = kind + strlen("F ");

	e->full = newline;
	e->text = line;
	e->len = len;
	if (len < header || (line[kind] != 'F' && line[kind] != 'P') || line[kind + 1] != ' ' ||
	    (!same && (line[time - 1] != 'Z' || line[time] != ' '))) {
		e->time[0] = '\0';
		return;
	}
	if (!same) {
		memcpy(e->time, line, time);
		e->time[time] = '\0';
	}
	e->full = line[kind] == 'F';
	e->text = line + header;
	e->len = len - header;
}

/* Take the next entry from the buffer, if a whole one is in it. */
static bool take_line(struct log_cursor *c)
{
	char *line = c->buffer + c->at;
	size_t left = c->len - c->at;
	const char *end = memchr(line, '\n', left);

	if (!end && left < LOGFILE_LINE_MAX)
		return false;
	size_t len = end ? (size_t)(end - line) : left;
	parse(c, line, len, end != NULL);
	c->at += len + (end != NULL);
	c->have = true;
	return true;
}

/* Read more.  Returns the number of bytes, 0 at the current end, or -errno. */
static ssize_t fill(struct log_cursor *c)
{
	for (;;) {
		int fd = c->old_fd >= 0 ? c->old_fd : c->fd;
		if (fd < 0) {
			c->fd = open_at(c, "");
			if (c->fd < 0)
				return c->fd == -ENOENT ? 0 : c->fd;
			continue;
		}
		memmove(c->buffer, c->buffer + c->at, c->len - c->at);
		c->len -= c->at;
		c->at = 0;
		ssize_t n = read(fd, c->buffer + c->len, sizeof(c->buffer) - c->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != 0) {
			c->len += n > 0 ? (size_t)n : 0;
			return n < 0 ? -errno : n;
		}
		if (c->old_fd >= 0) {
			close(TAKE_FD(c->old_fd));
			continue;
		}
		/* has the log been rotated?  Lines written before that have been read now, or
		 * will be in the next round */
		AUTO_CLOSE int fresh = open_at(c, "");
		if (fresh < 0 || same_file(fresh, c->fd))
			return 0;
		c->old_fd = c->fd;
		c->fd = TAKE_FD(fresh);
	}
}

int log_cursor_peek(struct log_cursor *c)
{
	while (!c->have && !take_line(c)) {
		ssize_t n = fill(c);
		if (n <= 0)
			return (int)n;
	}
	return 1;
}

void log_cursor_rewind(struct log_cursor *c)
{
	int dir_fd = c->dir_fd;
	const char *name = c->name;
	log_cursor_done(c);
	log_cursor_open(c, dir_fd, name); /* a log that cannot be opened reads as empty */
}

void log_cursor_done(struct log_cursor *c)
{
	if (c->name && c->fd >= 0)
		close(c->fd);
	if (c->name && c->old_fd >= 0)
		close(c->old_fd);
	c->fd = c->old_fd = -1;
	c->name = NULL;
}
