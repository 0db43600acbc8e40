/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of an instance and events of all, to their end or followed.  A slow reader stops the reading
 * of the files, and loses nothing that they still have. */
#include <errno.h>
#include <mvm/stream.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "codec/json.h"
#include "request.h"
#include "server.h"
#include "v1/bytes.h"
#include "v1/lines.h"
#include "v1/routes.h"

#define TURN_MAX 256 /* entries in one turn of the loop */
#define TAIL_MAX 1000000

struct follow {
	/* opening, by a worker, because it reads what the client leaves out */
	struct work work; /* first */
	bool of_logs, ran;
	struct mvm_log_stream_options log_options;
	struct mvm_event_stream_options event_options;
	struct mvm_error err;

	struct request *rq;
	struct lines lines;
	struct mvm_log_stream *logs; /* one of the two */
	struct mvm_event_stream *events;
	const char *instance; /* only its events; NULL: all */
	struct loop_source *source, *timer;
	bool full; /* no room: wait for the reader */
};

static void free_follow(struct follow *f)
{
	loop_source_free(f->source);
	loop_source_free(f->timer);
	mvm_log_stream_close(f->logs);
	mvm_event_stream_close(f->events);
	free(f);
}

static json_t *entry_json(const struct mvm_log_entry *e)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_string(&out, o, "log", e->workload ? "workload" : "console");
	json_put_string(&out, o, "time", e->time);
	json_put(&out, o, "text", bytes_text(e->text, e->len));
	json_put(&out, o, "full", json_boolean(e->full));
	return o;
}

/* Pass one entry on.  Returns enum mvm_stream_result or an error. */
static int pass_one(struct follow *f, struct mvm_error *err)
{
	const struct mvm_log_entry *entry;
	const struct mvm_event *event;
	int r;

	if (f->logs) {
		r = mvm_log_stream_read(f->logs, &entry, err);
		if (r == MVM_STREAM_ITEM)
			lines_put(&f->lines, entry_json(entry));
		return r;
	}
	r = mvm_event_stream_read(f->events, &event, err);
	if (r == MVM_STREAM_ITEM && (!f->instance || strcmp(f->instance, event->instance) == 0))
		lines_put_text(&f->lines, event->json);
	return r;
}

static void stop_waiting(struct follow *f)
{
	loop_source_free(f->source);
	f->source = NULL;
	loop_source_arm(f->timer, DEADLINE_NONE);
}

static void go_on(struct follow *f);

static void on_ready(void *arg, uint32_t events)
{
	(void)events;
	go_on(arg);
}

static void on_time(void *arg)
{
	go_on(arg);
}

static void wait(struct follow *f)
{
	int fd = f->logs ? mvm_log_stream_fd(f->logs) : mvm_event_stream_fd(f->events);
	if (!f->source &&
	    loop_add_fd(f->rq->server->loop, fd, EPOLLIN, on_ready, f, &f->source) < 0)
		stream_abort(f->lines.stream);
}

static void go_on(struct follow *f)
{
	struct mvm_error err = { 0 };
	int r = MVM_STREAM_ITEM;

	for (int i = 0; i < TURN_MAX && r == MVM_STREAM_ITEM; i++) {
		f->full = stream_room(f->lines.stream) == 0;
		if (f->full) {
			stop_waiting(f);
			return;
		}
		r = pass_one(f, &err);
	}
	if (r == MVM_STREAM_WAIT) {
		wait(f);
		return;
	}
	if (r == MVM_STREAM_ITEM) { /* more next turn */
		loop_source_arm(f->timer, clock_now_ns());
		return;
	}
	stop_waiting(f);
	if (r == MVM_STREAM_END)
		stream_end(f->lines.stream);
	else
		lines_fail(&f->lines, &err);
}

static void on_room(void *arg)
{
	struct follow *f = arg;
	if (f->full)
		loop_source_arm(f->timer, clock_now_ns());
}

static void on_closed(void *arg)
{
	free_follow(arg);
}

static const struct stream_ops ops = { .room = on_room, .closed = on_closed };

/* Reply with what the opened stream gives.  f is taken over. */
static int begin(struct request *rq, struct follow *f, struct mvm_error *err)
{
	int r = loop_add_timer(rq->server->loop, clock_now_ns(), on_time, f, &f->timer);
	if (r < 0)
		mvm_error_set(err, r, "cannot wait: %s", strerror(-r));
	else
		r = lines_open(rq, &ops, f, &f->lines, err);
	if (r < 0)
		free_follow(f);
	return r;
}

static void run_open(struct work *work, struct mvm *mvm)
{
	struct follow *f = (struct follow *)work;
	int r;

	f->ran = true;
	if (f->of_logs)
		r = mvm_log_stream_open(mvm, request_arg(f->rq, 0), &f->log_options, &f->logs,
					&f->err);
	else
		r = mvm_event_stream_open(mvm, &f->event_options, &f->events, &f->err);
	if (r == 0)
		f->err.code = 0;
}

static void opened(struct work *work)
{
	struct follow *f = (struct follow *)work;
	struct request *rq = f->rq;
	struct mvm_error err = f->err;

	if (!f->ran)
		mvm_error_set(&err, -EAGAIN, "mvmd is being stopped");
	else if (err.code == 0 && request_gone(rq))
		mvm_error_set(&err, -ECANCELED, "the client has gone");
	if (err.code < 0)
		free_follow(f);
	if (err.code < 0 || begin(rq, f, &err) < 0)
		request_fail(rq, &err);
	request_unref(rq);
}

/* f is taken over. */
static int open_it(struct request *rq, struct follow *f, struct mvm_error *err)
{
	f->rq = rq;
	f->work = (struct work){ .run = run_open, .done = opened, .owner = rq->owner };
	int r = workers_add(rq->server->workers[WORK_READ], &f->work, err);
	if (r < 0) {
		free_follow(f);
		return r;
	}
	request_ref(rq);
	return 0;
}

static int logs_options(const struct request *rq, struct mvm_log_stream_options *ret,
			struct mvm_error *err)
{
	const char *log = request_query(rq, "log");
	uint64_t tail = 0;

	ret->since = request_query(rq, "since");
	ret->console = log && strcmp(log, "console") == 0;
	ret->workload = log && strcmp(log, "workload") == 0;
	if (log && !ret->console && !ret->workload)
		return mvm_error_set(err, -EINVAL, "log is 'console' or 'workload'");
	int r = request_query_bool(rq, "follow", &ret->follow, err);
	if (r == 0)
		r = request_query_u64(rq, "tail", 0, TAIL_MAX, &tail, err);
	if (request_query(rq, "tail"))
		ret->tail = tail ? (int64_t)tail : -1;
	return r;
}

static int get_logs(struct request *rq, struct mvm_error *err)
{
	struct follow *f = calloc(1, sizeof(*f));
	if (!f)
		return mvm_error_oom(err);
	f->of_logs = true;
	f->log_options = (struct mvm_log_stream_options)MVM_LOG_STREAM_OPTIONS_INIT;
	int r = logs_options(rq, &f->log_options, err);
	if (r < 0) {
		free_follow(f);
		return r;
	}
	return open_it(rq, f, err);
}

static int get_events(struct request *rq, struct mvm_error *err)
{
	struct follow *f = calloc(1, sizeof(*f));
	if (!f)
		return mvm_error_oom(err);
	f->event_options = (struct mvm_event_stream_options)MVM_EVENT_STREAM_OPTIONS_INIT;
	f->event_options.since = request_query(rq, "since");
	f->instance = request_query(rq, "instance");
	int r = request_query_bool(rq, "follow", &f->event_options.follow, err);
	if (r < 0) {
		free_follow(f);
		return r;
	}
	return open_it(rq, f, err);
}

const struct route v1_logs_routes[] = {
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}/logs",
	  .scope = SCOPE_READ,
	  .handle = get_logs },
	{ .method = "GET", .pattern = "/v1/events", .scope = SCOPE_READ, .handle = get_events },
	{ 0 },
};
