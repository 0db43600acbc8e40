/* SPDX-License-Identifier: Apache-2.0 */
/* Shows logs: mvm_instance_logs(), which waits for more. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/visible.h"
#include "base/wait.h"
#include "instance/instance.h"
#include "instance/logstream.h"

#define OUT_HIGH ((size_t)64 * 1024)

struct view {
	const struct logs_options *options;
	struct strbuf out;
	struct strbuf shown; /* printable form of out */
	bool line_open;	     /* the last printed line is incomplete */
	bool line_workload;  /* that line is the workload's */
	bool given_up;	     /* cancelled while out_fd took no more */
};

static void view_done(struct view *v)
{
	strbuf_done(&v->out);
	strbuf_done(&v->shown);
}
DEFINE_AUTO_DONE(view, view_done)

/* Write all bytes.  -ECANCELED: cancel_fd is readable and out_fd takes no more. */
static int write_out(const struct logs_options *o, const char *data, size_t len)
{
	if (o->cancel_fd < 0)
		return file_write_all(o->out_fd, data, len);
	while (len > 0) {
		int r = wait_writable(o->out_fd, o->cancel_fd);
		if (r < 0)
			return r;
		/* a pipe that is writable takes this many bytes without blocking */
		ssize_t n = write(o->out_fd, data, len < PIPE_BUF ? len : PIPE_BUF);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Print v->out.  last: no more bytes follow that could complete a character. */
static int flush(struct view *v, bool last)
{
	struct strbuf *from = v->options->visible ? &v->shown : &v->out;
	size_t used = v->out.len;
	if (v->options->visible && used)
		used = visible_add(&v->shown, v->out.data, v->out.len, last);
	if (v->out.failed || from->failed)
		return -ENOMEM;
	int r = from->len ? write_out(v->options, from->data, from->len) : 0;
	v->given_up = r == -ECANCELED;
	strbuf_consume(&v->out, used);
	strbuf_consume(&v->shown, v->shown.len);
	return v->given_up ? 0 : r;
}

static int show(struct view *v, const struct mvm_log_entry *e)
{
	if (v->options->fn)
		return v->options->fn(v->options->arg, e);
	bool goes_on = v->line_open && v->line_workload == e->workload;
	if (v->line_open && !goes_on) /* end the other log's incomplete line */
		strbuf_adds(&v->out, "\n");
	if (v->options->timestamps && !goes_on)
		strbuf_addf(&v->out, "%s ", e->time);
	strbuf_add(&v->out, e->text, e->len);
	if (e->full)
		strbuf_adds(&v->out, "\n");
	v->line_open = !e->full;
	v->line_workload = e->workload;
	return v->out.len >= OUT_HIGH ? flush(v, false) : 0;
}

static int cannot_write(int r, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot write the output: %s", strerror(-r));
}

/* Show all entries so far.  Returns MVM_STREAM_WAIT, MVM_STREAM_END or -errno. */
static int show_all(struct view *v, struct mvm_log_stream *s, struct mvm_error *err)
{
	const struct mvm_log_entry *e;
	int r;
	while ((r = mvm_log_stream_read(s, &e, err)) == MVM_STREAM_ITEM) {
		int shown = show(v, e);
		if (v->given_up)
			return MVM_STREAM_END;
		if (shown < 0 && !v->options->fn)
			return cannot_write(shown, err);
		if (shown < 0)
			return mvm_error_set(err, shown, "the logs' receiver failed: %s",
					     strerror(-shown));
	}
	int flushed = r < 0 ? 0 : flush(v, r == MVM_STREAM_END);
	if (flushed < 0)
		return cannot_write(flushed, err);
	return v->given_up ? MVM_STREAM_END : r;
}

/* Convert the option for a log stream, where 0 means all lines and -1 none. */
static int64_t stream_tail(int64_t tail)
{
	if (tail < 0)
		return 0;
	return tail == 0 ? -1 : tail;
}

int instance_logs(int instances_fd, const char *name, const struct logs_options *o,
		  struct mvm_error *err)
{
	const struct mvm_log_stream_options options = {
		.console = o->console,
		.workload = o->workload,
		.follow = o->follow,
		.tail = stream_tail(o->tail),
		.since = o->since,
	};
	AUTO_DONE(view) v = { .options = o };
	AUTO(mvm_log_stream) s = NULL;
	bool cancelled = false;
	int r = log_stream_open(instances_fd, name, &options, &s, err);
	if (r < 0)
		return r;
	for (;;) {
		r = show_all(&v, s, err);
		if (r < 0 || r == MVM_STREAM_END || cancelled)
			break;
		int waited = wait_readable(mvm_log_stream_fd(s), o->cancel_fd, DEADLINE_NONE);
		cancelled = waited == -ECANCELED;
		if (waited < 0 && !cancelled)
			return mvm_error_set(err, waited, "logs of '%s': %s", name,
					     strerror(-waited));
	}
	if (r != MVM_STREAM_WAIT)
		return r < 0 ? r : 0;
	r = flush(&v, true); /* cancelled: print the bytes of an incomplete character */
	return r < 0 ? cannot_write(r, err) : 0;
}
