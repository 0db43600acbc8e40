/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/logstream.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/extend.h"
#include "base/sock.h"
#include "instance/instance.h"
#include "instance/logcursor.h"
#include "model/run.h"
#include "net/agent.h"
#include "net/wire.h"

#define N_SOURCES 2

struct mvm_log_stream {
	int dir_fd; /* for the cursors */
	struct log_cursor cursors[N_SOURCES];
	bool at_end[N_SOURCES]; /* not asked again for each entry of the other log */
	unsigned n;
	struct log_cursor *lent;       /* its entry was handed out last */
	char since[LOGFILE_TIME_SIZE]; /* "" for all */
	uint64_t skip;		       /* lines still to skip, for a tail */
	/* its last entry was part of a line; NULL at a line's start */
	const struct log_cursor *open_line;
	struct mvm_log_entry entry;
	/* Following: the supervisor writes the logs, so it says when there is more. */
	struct control control;
	int fd;		/* to wait for; -1: not following */
	bool over;	/* the supervisor has ended: nothing more will be written */
	uint32_t asked; /* the stream of the CALL_LOGS under way; 0: none */
	uint64_t seen;	/* the bytes that the last answer named */
};

/* Find the cursor with the oldest entry; NULL when there is none. */
static int next_entry(struct mvm_log_stream *s, struct log_cursor **ret)
{
	*ret = NULL;
	for (unsigned i = 0; i < s->n; i++) {
		struct log_cursor *c = &s->cursors[i];
		int r;
		if (s->at_end[i])
			continue;
		while ((r = log_cursor_peek(c)) > 0 && strcmp(c->entry.time, s->since) < 0)
			log_cursor_pop(c);
		if (r < 0)
			return r;
		s->at_end[i] = r == 0;
		if (r > 0 && (!*ret || strcmp(c->entry.time, (*ret)->entry.time) < 0))
			*ret = c;
	}
	return *ret != NULL;
}

/* Go on to an entry of c.  Returns whether it cuts off an unfinished line of the other log. */
static bool cut_line(struct mvm_log_stream *s, const struct log_cursor *c)
{
	bool cut = s->open_line && s->open_line != c;
	s->open_line = c->entry.full ? NULL : c;
	return cut;
}

static int count_lines(struct mvm_log_stream *s, uint64_t *ret)
{
	struct log_cursor *c;
	int r;
	while ((r = next_entry(s, &c)) > 0) {
		*ret += cut_line(s, c);
		*ret += c->entry.full;
		log_cursor_pop(c);
	}
	*ret += s->open_line != NULL; /* such as a prompt */
	s->open_line = NULL;
	for (unsigned i = 0; i < s->n; i++)
		log_cursor_rewind(&s->cursors[i]);
	return r;
}

/* Find the next entry after the skipped ones.  Returns 1, 0 or -errno. */
static int advance(struct mvm_log_stream *s)
{
	struct log_cursor *c;
	int r;
	memset(s->at_end, 0, sizeof(s->at_end));
	while ((r = next_entry(s, &c)) > 0) {
		s->skip -= cut_line(s, c) && s->skip > 0;
		if (s->skip == 0) {
			s->lent = c;
			return 1;
		}
		s->skip -= c->entry.full;
		log_cursor_pop(c);
	}
	return r;
}

static int fill_in(struct mvm_log_stream *s, const struct mvm_log_entry **ret)
{
	const struct log_entry *e = &s->lent->entry;
	s->entry = (struct mvm_log_entry){
		.time = e->time,
		.workload = str_eq(s->lent->name, WORKLOAD_LOG_NAME),
		.full = e->full,
		.text = e->text,
		.len = e->len,
	};
	*ret = &s->entry;
	return MVM_STREAM_ITEM;
}

static int ask_for_more(struct mvm_log_stream *s)
{
	AUTO_DONE(strbuf) args = { 0 };
	wire_put_u64(&args, FIELD_SIZE, s->seen);
	return control_send_call(&s->control, CALL_LOGS, &args, &s->asked, NULL);
}

/* Take the supervisor's answer, if it has come.  Returns 1, 0 (not yet) or -errno. */
static int take_answer(struct mvm_log_stream *s)
{
	struct frame f;
	int r;
	while ((r = channel_receive(&s->control.channel, &f)) > 0) {
		if (f.type != FRAME_REPLY || f.stream != s->asked)
			continue;
		s->asked = 0;
		if (!wire_find_u64(f.payload, f.len, FIELD_SIZE, UINT64_MAX, &s->seen))
			return -EOPNOTSUPP; /* of an older mvm */
		return 1;
	}
	return r;
}

/* May there be more entries?  The caller reads and asks until the answer is no, so that it misses
 * none.  Returns 1, 0 or -errno. */
static int has_more(struct mvm_log_stream *s)
{
	if (s->over)
		return 0; /* the supervisor had ended before we read the files to their end */
	int r = s->asked ? 0 : ask_for_more(s);
	if (r == 0)
		r = take_answer(s);
	s->over = r == -EPIPE || r == -ECONNRESET || r == -EREMOTEIO;
	return s->over ? 1 : r;
}

int mvm_log_stream_read(struct mvm_log_stream *s, const struct mvm_log_entry **ret,
			struct mvm_error *err)
{
	int r;
	if (s->lent)
		log_cursor_pop(TAKE_PTR(s->lent));
	do {
		r = advance(s);
		if (r > 0)
			return fill_in(s, ret);
		if (r < 0)
			return mvm_error_set(err, r, "cannot read the logs: %s", strerror(-r));
		r = has_more(s);
	} while (r > 0);
	if (r < 0)
		return mvm_error_set(err, r, "the supervisor cannot say when there is more: %s",
				     strerror(-r));
	return s->over ? MVM_STREAM_END : MVM_STREAM_WAIT;
}

int mvm_log_stream_fd(const struct mvm_log_stream *s)
{
	return s->fd;
}

void mvm_log_stream_close(struct mvm_log_stream *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++)
		log_cursor_done(&s->cursors[i]);
	auto_close(&s->dir_fd);
	if (s->fd != s->control.channel.fd)
		auto_close(&s->fd);
	control_done(&s->control);
	free(s);
}

static int follow(struct mvm_log_stream *s, struct mvm_error *err)
{
	int fd = sock_try_connect_at(s->dir_fd, INSTANCE_SOCKET_NAME), r = 0;
	if (fd == -EAGAIN || fd == -EMFILE || fd == -ENFILE)
		return mvm_error_set(err, fd, "cannot reach its supervisor: %s", strerror(-fd));
	if (fd >= 0) {
		r = control_init(&s->control, fd);
		s->fd = fd;
		s->over = false;
	} else { /* no supervisor writes more, so the descriptor is readable at once */
		s->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
		r = s->fd < 0 ? -errno : 0;
	}
	return r < 0 ? mvm_error_set(err, r, "cannot wait for more: %s", strerror(-r)) : 0;
}

static int open_cursors(struct mvm_log_stream *s, const struct mvm_log_stream_options *o)
{
	bool both = o->console == o->workload;
	int r = 0;
	if (o->console || both)
		r = log_cursor_open(&s->cursors[s->n++], s->dir_fd, CONSOLE_LOG_NAME);
	if (r == 0 && (o->workload || both))
		r = log_cursor_open(&s->cursors[s->n++], s->dir_fd, WORKLOAD_LOG_NAME);
	uint64_t lines = 0, tail = o->tail < 0 ? 0 : (uint64_t)o->tail;
	if (r == 0 && o->tail != 0)
		r = count_lines(s, &lines);
	if (r < 0)
		return r;
	s->skip = o->tail != 0 && lines > tail ? lines - tail : 0;
	r = advance(s); /* here, so that no read takes long */
	s->lent = NULL;
	return r < 0 ? r : 0;
}

int log_stream_open(int instances_fd, const char *name,
		    const struct mvm_log_stream_options *options, struct mvm_log_stream **ret,
		    struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	struct mvm_log_stream_options o;
	AUTO(mvm_log_stream) s = calloc(1, sizeof(*s)); /* too large for the stack */

	if (!s)
		return mvm_error_oom(err);
	s->dir_fd = s->fd = -1;
	s->over = true; /* unless it follows */
	int r = mvm_struct_take(&o, sizeof(o), STRUCT_END(struct mvm_log_stream_options, since),
				options, err);
	if (r == 0 && o.tail < -1)
		r = mvm_error_set(err, -EINVAL, "a tail cannot have %lld lines", (long long)o.tail);
	if (r == 0)
		r = logfile_parse_since(o.since, s->since, err);
	if (r == 0)
		r = instance_load(instances_fd, name, &rec, &s->dir_fd, err);
	if (r < 0)
		return r;
	if (rec.no_agent && o.workload && !o.console)
		return mvm_error_set(err, -EOPNOTSUPP, "instance '%s' " RUN_NO_AGENT, name);
	if (o.follow)
		r = follow(s, err);
	if (r < 0)
		return mvm_error_context(err, r, "logs of '%s'", name);
	r = open_cursors(s, &o);
	if (r < 0)
		return mvm_error_set(err, r, "logs of '%s': %s", name, strerror(-r));
	*ret = TAKE_PTR(s);
	return 0;
}
