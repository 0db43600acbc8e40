/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/parse.h"
#include "base/str.h"

#define AGO_MAX_MS INT64_C(31536000000) /* a year */

static int reopen(struct logfile *l)
{
	struct stat st;
	int fd = openat(l->dir_fd, l->name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
			0600);
	if (fd < 0)
		return -errno;
	l->fd = fd;
	l->bytes = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return 0;
}

int logfile_open(struct logfile *l, int dir_fd, const char *name, uint64_t max_bytes)
{
	*l = (struct logfile){
		.dir_fd = dir_fd,
		.name = name,
		.fd = -1,
		.max_bytes = max_bytes ? max_bytes : LOGFILE_MAX_DEFAULT,
	};
	return reopen(l);
}

void logfile_time(int64_t wall_ns, char ret[LOGFILE_TIME_SIZE])
{
	char seconds[RFC3339_SIZE];
	clock_format(wall_ns / NS_PER_S, seconds); /* "2026-01-31T12:00:00Z" */
	(void)snprintf(ret, LOGFILE_TIME_SIZE, "%.19s.%09uZ", seconds,
		       (unsigned)(wall_ns % NS_PER_S) % 1000000000u);
}

static void rotate(struct logfile *l)
{
	char old[64];
	(void)snprintf(old, sizeof(old), "%s" LOGFILE_OLD_SUFFIX, l->name);
	(void)close(TAKE_FD(l->fd));
	/* should this fail, the file just grows on */
	(void)renameat(l->dir_fd, l->name, l->dir_fd, old);
	(void)reopen(l);
}

static void keep_tail(struct logfile *l, const char *data, size_t len)
{
	if (len > LOGFILE_TAIL_MAX) {
		data += len - LOGFILE_TAIL_MAX;
		len = LOGFILE_TAIL_MAX;
	}
	if (l->tail_len + len >= sizeof(l->tail)) {
		size_t keep = LOGFILE_TAIL_MAX - 1;
		memmove(l->tail, l->tail + l->tail_len - keep, keep);
		l->tail_len = keep;
	}
	memcpy(l->tail + l->tail_len, data, len);
	l->tail_len += len;
}

void logfile_add(struct logfile *l, const void *data, size_t len)
{
	AUTO_DONE(strbuf) out = { 0 };
	char time[LOGFILE_TIME_SIZE];
	const char *p = data;

	keep_tail(l, p, len);
	if (l->fd < 0)
		return;
	logfile_time(clock_wall_ns(), time);
	while (len > 0) {
		size_t limit = len < LOGFILE_PART_MAX ? len : LOGFILE_PART_MAX;
		const char *end = memchr(p, '\n', limit);
		size_t part = end ? (size_t)(end - p) : limit;
		strbuf_addf(&out, "%s %c ", time, end ? 'F' : 'P');
		strbuf_add(&out, p, part);
		strbuf_add(&out, "\n", 1);
		p += part + (end != NULL);
		len -= part + (end != NULL);
	}
	if (out.failed)
		return;
	if (l->bytes > 0 && l->bytes + out.len > l->max_bytes) {
		rotate(l);
		if (l->fd < 0)
			return;
	}
	(void)file_write_all(l->fd, out.data, out.len); /* said in the header */
	l->bytes += out.len;
}

const char *logfile_tail(struct logfile *l)
{
	size_t len = l->tail_len < sizeof(l->tail) ? l->tail_len : sizeof(l->tail) - 1, to = 0;
	size_t from = len > 700 ? len - 700 : 0;
	for (; from < len; from++) {
		unsigned char ch = (unsigned char)l->tail[from];
		if (ch == '\n' || ch == '\t' || (ch >= ' ' && ch < 0x7f))
			l->tail[to++] = (char)ch;
	}
	while (to > 0 && l->tail[to - 1] == '\n')
		to--;
	l->tail[to] = '\0';
	l->tail_len = to;
	return l->tail;
}

void logfile_close(struct logfile *l)
{
	if (l->name && l->fd >= 0)
		(void)close(l->fd); /* written for those who look; see logfile_add() */
	*l = (struct logfile){ .fd = -1 };
}

int logfile_parse_since(const char *since, char ret[LOGFILE_TIME_SIZE], struct mvm_error *err)
{
	int64_t seconds, ms;
	if (!since)
		return 0;
	if (clock_parse(since, &seconds) == 0 && seconds >= 0)
		logfile_time(seconds * NS_PER_S, ret);
	else if (parse_duration_ms(since, AGO_MAX_MS, &ms) == 0)
		logfile_time(clock_wall_ns() - ms * NS_PER_MS, ret);
	else
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no time: write 2026-01-31T12:00:00Z, or how long "
				     "ago, as in 10m",
				     since);
	return 0;
}
