/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sock.h"
#include "base/visible.h"
#include "instance/instance.h"
#include "instance/logcursor.h"
#include "model/run.h"

#define OUT_HIGH  ((size_t)64 * 1024)
#define N_SOURCES 2

struct view {
	const struct mvm_logs_options *options;
	struct log_cursor cursors[N_SOURCES];
	unsigned n;
	char since[LOGFILE_TIME_SIZE]; /* "" for all */
	uint64_t skip;		       /* lines still to be left out for --tail */
	struct strbuf out;
	struct strbuf shown; /* of out, spelled out */
	const struct log_cursor
		*open_line; /* whose part was printed last; NULL at a line's start */
};

/* The cursor whose entry is the oldest one now; NULL when there is none. */
static int next_entry(struct view *v, struct log_cursor **ret)
{
	*ret = NULL;
	for (unsigned i = 0; i < v->n; i++) {
		struct log_cursor *c = &v->cursors[i];
		int r;
		while ((r = log_cursor_peek(c)) > 0 && strcmp(c->entry.time, v->since) < 0)
			log_cursor_pop(c);
		if (r < 0)
			return r;
		if (r > 0 && (!*ret || strcmp(c->entry.time, (*ret)->entry.time) < 0))
			*ret = c;
	}
	return *ret != NULL;
}

/* Go on to an entry of c.  Returns whether another log's unfinished line is cut off by it. */
static bool cut_line(struct view *v, const struct log_cursor *c)
{
	bool cut = v->open_line && v->open_line != c;
	v->open_line = c->entry.full ? NULL : c;
	return cut;
}

static int count_lines(struct view *v, uint64_t *ret)
{
	struct log_cursor *c;
	int r;
	while ((r = next_entry(v, &c)) > 0) {
		*ret += cut_line(v, c);
		*ret += c->entry.full;
		log_cursor_pop(c);
	}
	*ret += v->open_line != NULL; /* a prompt, say */
	v->open_line = NULL;
	for (unsigned i = 0; i < v->n; i++)
		log_cursor_rewind(&v->cursors[i]);
	return r;
}

static int pass(const struct view *v, const struct log_cursor *c)
{
	const struct mvm_log_entry entry = {
		.time = c->entry.time,
		.workload = str_eq(c->name, WORKLOAD_LOG_NAME),
		.full = c->entry.full,
		.text = c->entry.text,
		.len = c->entry.len,
	};
	return v->options->fn(v->options->arg, &entry);
}

static int show(struct view *v, const struct log_cursor *c)
{
	const struct log_entry *e = &c->entry;
	bool begins = v->open_line != c;

	if (cut_line(v, c)) {
		if (v->skip > 0)
			v->skip--;
		else if (!v->options->fn)
			strbuf_adds(&v->out, "\n");
	}
	if (v->skip > 0) {
		v->skip -= e->full;
		return 0;
	}
	if (v->options->fn)
		return pass(v, c);
	if (v->options->timestamps && begins)
		strbuf_addf(&v->out, "%s ", e->time);
	strbuf_add(&v->out, e->text, e->len);
	if (e->full)
		strbuf_adds(&v->out, "\n");
	return 0;
}

/* last: nothing follows that could complete a character. */
static int flush(struct view *v, bool last)
{
	struct strbuf *from = v->options->visible ? &v->shown : &v->out;
	size_t used = v->out.len;
	if (v->options->visible && used)
		used = visible_add(&v->shown, v->out.data, v->out.len, last);
	if (v->out.failed || from->failed)
		return -ENOMEM;
	int r = from->len ? file_write_all(v->options->out_fd, from->data, from->len) : 0;
	strbuf_consume(&v->out, used);
	strbuf_consume(&v->shown, v->shown.len);
	return r;
}

/* Print what there is now. */
static int show_all(struct view *v)
{
	struct log_cursor *c;
	int r;
	while ((r = next_entry(v, &c)) > 0) {
		r = show(v, c);
		log_cursor_pop(c);
		if (r == 0 && v->out.len >= OUT_HIGH)
			r = flush(v, false);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : flush(v, false);
}

/* Wait for more to read.  1: go on, 0: the supervisor has gone or we were cancelled. */
static int wait_for_more(int watch_fd, int control_fd, int cancel_fd)
{
	struct pollfd fds[] = {
		{ .fd = watch_fd, .events = POLLIN },
		{ .fd = control_fd, .events = POLLIN },
		{ .fd = cancel_fd, .events = POLLIN },
	};
	int r;
	do
		r = poll(fds, 3, -1);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;

	char events[4096];
	(void)!read(watch_fd, events, sizeof(events)); /* that there was one is all we want */
	return !fds[1].revents && !fds[2].revents;
}

static int follow(struct view *v, int dir_fd)
{
	AUTO_CLOSE int watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[FD_PATH_SIZE];
	fd_path(dir_fd, path);
	if (watch_fd < 0 ||
	    inotify_add_watch(watch_fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return -errno;

	/* hangs up when the supervisor ends; when nobody listens, there is nothing to wait for */
	AUTO_CLOSE int control_fd = sock_connect_at(dir_fd, INSTANCE_SOCKET_NAME);
	int more = control_fd >= 0;
	for (;;) {
		int r = show_all(v);
		if (r < 0 || more <= 0)
			return r < 0 ? r : more;
		more = wait_for_more(watch_fd, control_fd, v->options->cancel_fd);
	}
}

static void view_done(struct view *v)
{
	for (unsigned i = 0; i < v->n; i++)
		log_cursor_done(&v->cursors[i]);
	strbuf_done(&v->out);
	strbuf_done(&v->shown);
	free(v);
}
DEFINE_AUTO(view, view_done)

static int open_cursors(struct view *v, int dir_fd)
{
	const struct mvm_logs_options *o = v->options;
	bool both = o->console == o->workload;
	int r = 0;
	if (o->console || both)
		r = log_cursor_open(&v->cursors[v->n++], dir_fd, CONSOLE_LOG_NAME);
	if (r == 0 && (o->workload || both))
		r = log_cursor_open(&v->cursors[v->n++], dir_fd, WORKLOAD_LOG_NAME);
	return r;
}

int instance_logs(int instances_fd, const char *name, const struct mvm_logs_options *o,
		  struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	AUTO(view) v = calloc(1, sizeof(*v)); /* too large for the stack */
	if (!v)
		return mvm_error_oom(err);
	v->options = o;
	int r = logfile_parse_since(o->since, v->since, err);
	if (r == 0)
		r = instance_load(instances_fd, name, &rec, &dir_fd, err);
	if (r < 0)
		return r;
	if (rec.no_agent && o->workload && !o->console)
		return mvm_error_set(err, -EOPNOTSUPP, "instance '%s' " RUN_NO_AGENT, name);
	r = open_cursors(v, dir_fd);
	if (r == 0 && o->tail >= 0) {
		uint64_t lines = 0;
		r = count_lines(v, &lines);
		v->skip = lines > (uint64_t)o->tail ? lines - (uint64_t)o->tail : 0;
	}
	if (r == 0)
		r = o->follow ? follow(v, dir_fd) : show_all(v);
	if (r == 0)
		r = flush(v, true);
	return r < 0 ? mvm_error_set(err, r, "logs of '%s': %s", name, strerror(-r)) : 0;
}
