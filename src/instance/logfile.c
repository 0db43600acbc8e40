/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/parse.h"
#include "base/str.h"

#define OLD_NAME_SIZE 64

#define SHOWN_MAX  700
#define BURST_S	   8			/* seconds' worth of the rate that a burst may have */
#define AGO_MAX_MS INT64_C(31536000000) /* a year */

static void take(struct logfile *l, int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	l->fd = fd;
	l->stamp_ns = 0;
	l->bytes = size > 0 ? (uint64_t)size : 0;
}

void logfile_take(struct logfile *l, int fd, uint64_t max_bytes, int (*renew)(void *arg), void *arg)
{
	*l = (struct logfile){ .renew = renew, .renew_arg = arg };
	l->max_bytes = max_bytes ? max_bytes : LOGFILE_MAX_DEFAULT;
	l->refilled_ns = clock_now_ns();
	l->may_write = (int64_t)(BURST_S * logfile_rate(l->max_bytes));
	take(l, fd);
}

int logfile_open(int dir_fd, const char *name, bool aside)
{
	char old[OLD_NAME_SIZE];
	snprintf(old, sizeof(old), "%s" LOGFILE_OLD_SUFFIX, name);
	if (aside) /* if this fails, the file just keeps growing */
		renameat(dir_fd, name, dir_fd, old);
	return file_open_append(dir_fd, name, old);
}

/* Has anybody the file open for writing?  Then the kernel refuses a lease for reading
 * (fcntl(2)). */
static bool is_written(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	fcntl(fd, F_SETSIG, SIGURG); /* of a writer that comes now: ignored; SIGIO would kill us */
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return errno == EAGAIN; /* else this filesystem has no leases */
	fcntl(fd, F_SETLEASE, F_UNLCK); /* so does the close */
	return false;
}

bool logfile_may_renew(int dir_fd, const char *name, uint64_t max_bytes)
{
	char old[OLD_NAME_SIZE];
	struct stat st;
	uint64_t most = max_bytes ? max_bytes : LOGFILE_MAX_DEFAULT;
	snprintf(old, sizeof(old), "%s" LOGFILE_OLD_SUFFIX, name);
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (uint64_t)st.st_size >= most / 2 && !is_written(dir_fd, name) &&
	       !is_written(dir_fd, old);
}

void logfile_time(int64_t wall_ns, char ret[LOGFILE_TIME_SIZE])
{
	char seconds[RFC3339_SIZE];
	clock_format(wall_ns / NS_PER_S, seconds); /* "2026-01-31T12:00:00Z" */
	snprintf(ret, LOGFILE_TIME_SIZE, "%.19s.%09uZ", seconds,
		 (unsigned)(wall_ns % NS_PER_S) % 1000000000u);
}

static void rotate(struct logfile *l)
{
	close(TAKE_FD(l->fd));
	int fd = l->renew(l->renew_arg);
	if (fd >= 0)
		take(l, fd);
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

/* Format text as entries.  The first one has a time if the file has none yet. */
static void lay_out(struct logfile *l, struct strbuf *out, const char *p, size_t len)
{
	int64_t now_ns = clock_wall_ns();
	char time[LOGFILE_TIME_SIZE];

	while (len > 0) {
		size_t limit = len < LOGFILE_PART_MAX ? len : LOGFILE_PART_MAX;
		const char *end = memchr(p, '\n', limit);
		size_t part = end ? (size_t)(end - p) : limit;
		bool same = l->stamp_ns && now_ns >= l->stamp_ns &&
			    now_ns - l->stamp_ns < LOGFILE_SAME_NS;
		if (!same) {
			logfile_time(now_ns, time);
			l->stamp_ns = now_ns;
		}
		strbuf_addf(out, "%s%s%c ", same ? LOGFILE_SAME : time, same ? "" : " ",
			    end ? 'F' : 'P');
		strbuf_add(out, p, part);
		strbuf_add(out, "\n", 1);
		l->line_open = !end;
		p += part + (end != NULL);
		len -= part + (end != NULL);
	}
}

static void write_entries(struct logfile *l, const char *p, size_t len)
{
	AUTO_DONE(strbuf) out = { 0 };

	lay_out(l, &out, p, len);
	if (!out.failed && l->bytes > 0 && l->bytes + out.len > l->max_bytes) {
		rotate(l);
		strbuf_consume(&out, out.len);
		lay_out(l, &out, p, len); /* again, because the new file must begin with a time */
	}
	if (out.failed || l->fd < 0)
		return;
	if (file_write_all(l->fd, out.data, out.len) < 0)
		l->stamp_ns = 0; /* the last time may not be in the file */
	l->bytes += out.len;
	l->may_write -= (int64_t)out.len;
}

/* Add a line of the log itself. */
static void say(struct logfile *l, const char *what)
{
	char line[160];
	int n = snprintf(line, sizeof(line), "%smvm: %s\n", l->line_open ? "\n" : "", what);
	write_entries(l, line, (size_t)n);
}

static void say_dropping(struct logfile *l)
{
	char what[128], amount[32];
	str_bytes(logfile_rate(l->max_bytes), amount, sizeof(amount));
	snprintf(what, sizeof(what), "output is dropped from here on: this log takes %s a second",
		 amount);
	say(l, what);
}

static void say_dropped(struct logfile *l)
{
	char what[128];
	snprintf(what, sizeof(what), "%" PRIu64 " bytes of output were dropped", l->dropped);
	if (l->dropped && l->fd >= 0)
		say(l, what);
	l->dropped = 0;
}

uint64_t logfile_rate(uint64_t max_bytes)
{
	return (max_bytes > LOGFILE_MAX_DEFAULT ? max_bytes : LOGFILE_MAX_DEFAULT) / BURST_S;
}

/* May more be written now?  After dropping began, only once there is room for a second's worth. */
static bool has_room(struct logfile *l)
{
	int64_t rate = (int64_t)logfile_rate(l->max_bytes), most = BURST_S * rate;
	int64_t now_ns = clock_now_ns();
	double gained = (double)(now_ns - l->refilled_ns) / NS_PER_S * (double)rate;

	if (gained >= 1) {
		l->may_write = gained < (double)(most - l->may_write)
				       ? l->may_write + (int64_t)gained
				       : most;
		l->refilled_ns = now_ns;
	}
	return l->may_write > (l->dropped ? rate : 0);
}

static void add(struct logfile *l, const void *data, size_t len)
{
	if (l->fd < 0)
		return;
	if (!has_room(l)) {
		if (l->dropped == 0)
			say_dropping(l);
		l->dropped += len;
		return;
	}
	say_dropped(l);
	write_entries(l, data, len);
}

void logfile_add(struct logfile *l, const void *data, size_t len)
{
	keep_tail(l, data, len);
	add(l, data, len);
	if (l->on_add)
		l->on_add(l->arg, len);
}

const char *logfile_tail(struct logfile *l)
{
	size_t len = l->tail_len < sizeof(l->tail) ? l->tail_len : sizeof(l->tail) - 1, to = 0;
	size_t from = len > SHOWN_MAX ? len - SHOWN_MAX : 0;
	const char *end = from ? memchr(l->tail + from - 1, '\n', len - from) : NULL;
	if (end) /* else the buffer begins within one long line */
		from = (size_t)(end + 1 - l->tail);
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
	if (l->renew)
		say_dropped(l);
	if (l->renew && l->fd >= 0)
		close(l->fd); /* a failure only loses lines; see logfile_add() */
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
