/* SPDX-License-Identifier: Apache-2.0 */
#include "operation.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "code.h"
#include "guard.h"
#include "reply.h"
#include "request.h"
#include "server.h"
#include "stream.h"

#define KEEP_NS	      (3600 * NS_PER_S)
#define LOG_BYTES_MAX ((size_t)1024 * 1024) /* of progress; then the rest is left out */
#define KEY_MAX	      255		    /* characters of an Idempotency-Key */
#define UPDATE_NS     (100 * NS_PER_MS)	    /* between two reports of one step */

enum state { RUNNING, DONE, FAILED, CANCELLED };
static const char *const state_names[] = { "running", "done", "failed", "cancelled" };

struct waiter {
	struct waiter *next;
	struct operation *op;
	struct request *rq;
	struct loop_source *timer; /* NULL: as long as it takes */
	bool answer;		   /* it gets the answer of the work, not the operation */
};

struct follower {
	struct follower *next;
	struct operation *op;
	struct stream *stream;
	size_t sent; /* of the log */
	bool ended;
};

struct operation {
	struct operation *next; /* older */
	struct operations *all;
	char id[33];
	const char *kind;
	char *target; /* the path that was asked for */
	struct request *rq;
	char *key;		       /* Idempotency-Key of its request; NULL: none */
	char client[CLIENT_NAME_SIZE]; /* who gave the key */
	json_t *asked;		       /* the body */
	enum state state;
	int64_t created_s, ended_s, ended_ns;
	unsigned status;
	json_t *result; /* metadata, or the error */
	struct strbuf log;
	struct waiter *waiters;
	struct follower *followers;

	/* its worker's */
	struct work work;
	int cancel_fd;
	struct mvm_progress progress;
	int64_t reported_ns;
};

struct operations {
	struct server *server;
	struct operation *first;
	unsigned n;
};

/* A line for the log, on its way from the worker to the loop. */
struct news {
	struct work work;
	struct operation *op;
	char *line;
};

int operations_new(struct server *server, struct operations **ret, struct mvm_error *err)
{
	struct operations *o = calloc(1, sizeof(*o));
	if (!o)
		return mvm_error_oom(err);
	o->server = server;
	*ret = o;
	return 0;
}

static void free_operation(struct operation *op)
{
	if (!op)
		return;
	if (op->cancel_fd >= 0)
		close(op->cancel_fd);
	json_decref(op->result);
	json_decref(op->asked);
	free(op->key);
	strbuf_done(&op->log);
	free(op->target);
	free(op);
}

void operations_free(struct operations *o)
{
	while (o && o->first) {
		struct operation *op = o->first;
		o->first = op->next;
		free_operation(op);
	}
	free(o);
}

/* Forget operations that ended long ago, and the oldest ended ones when there are too many. */
static void sweep(struct operations *o)
{
	int64_t now = clock_now_ns();
	unsigned n = 0;

	for (struct operation **link = &o->first; *link;) {
		struct operation *op = *link;
		bool old = ++n > OPERATIONS_MAX || now - op->ended_ns > KEEP_NS;
		if (old && op->state != RUNNING && !op->waiters && !op->followers && !op->rq) {
			*link = op->next;
			free_operation(op);
			o->n--;
		} else {
			link = &op->next;
		}
	}
}

unsigned operations_running(const struct operations *o)
{
	unsigned n = 0;
	for (const struct operation *op = o->first; op; op = op->next)
		n += op->state == RUNNING;
	return n;
}

/* ---- JSON ---- */

char *operation_address(const struct operation *op)
{
	return str_printf("/v1/operations/%s", op->id);
}

json_t *operation_json(const struct operation *op)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put_string(&out, o, "id", op->id);
	json_put_string(&out, o, "kind", op->kind);
	json_put_text(&out, o, "target", op->target);
	json_put_string(&out, o, "state", state_names[op->state]);
	json_put_time(&out, o, "created_at", op->created_s);
	if (op->state != RUNNING) {
		json_put_time(&out, o, "ended_at", op->ended_s);
		json_put_u64(&out, o, "status", op->status);
		json_put(&out, o, op->state == DONE ? "metadata" : "error",
			 json_incref(op->result));
	}
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

json_t *operations_json(const struct operations *o, const char *after, uint64_t max,
			const char **ret_more)
{
	json_t *list = json_array();
	const struct operation *op = o->first;

	if (after) {
		while (op && strcmp(op->id, after) != 0)
			op = op->next;
		op = op ? op->next : NULL;
	}
	const char *last = NULL;
	for (; op && max > 0; op = op->next, max--) {
		last = op->id;
		json_array_append_new(list, operation_json(op));
	}
	*ret_more = op ? last : NULL;
	return list;
}

/* ---- progress ---- */

static void take_news(struct work *work);
static void serve_follower(struct follower *f);

static json_t *progress_json(const struct mvm_progress_event *event)
{
	static const char *const kinds[] = { "begin", "update", "end", "failed", "note" };
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put_string(&out, o, "event", kinds[event->kind]);
	json_put_text(&out, o, "text", event->text);
	if (event->detail)
		json_put_text(&out, o, "detail", event->detail);
	if (event->done_bytes)
		json_put_u64(&out, o, "done_bytes", event->done_bytes);
	if (event->total_bytes)
		json_put_u64(&out, o, "total_bytes", event->total_bytes);
	if (event->kind == MVM_PROGRESS_END || event->kind == MVM_PROGRESS_FAILED)
		json_put_u64(&out, o, "elapsed_ms", (uint64_t)(event->elapsed_ns / NS_PER_MS));
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

/* On the worker: pass a report on to the loop.  Without memory it is left out. */
static int on_progress(void *arg, const struct mvm_progress_event *event)
{
	struct operation *op = arg;
	int64_t now = clock_now_ns();

	if (event->kind > MVM_PROGRESS_NOTE)
		return 0;
	if (event->kind == MVM_PROGRESS_UPDATE && now - op->reported_ns < UPDATE_NS)
		return 0;
	op->reported_ns = now;
	json_t *value = progress_json(event);
	struct news *news = calloc(1, sizeof(*news));
	char *line = value ? json_dumps(value, JSON_COMPACT) : NULL;
	json_decref(value);
	if (!news || !line) {
		free(news);
		free(line);
		return 0;
	}
	*news = (struct news){ .work.done = take_news, .op = op, .line = line };
	workers_post(op->all->server->workers[op->rq->route->class], &news->work);
	return 0;
}

static void add_line(struct operation *op, const char *line)
{
	if (op->log.len + strlen(line) < LOG_BYTES_MAX) {
		strbuf_adds(&op->log, line);
		strbuf_adds(&op->log, "\n");
	}
	for (struct follower *f = op->followers, *next; f; f = next) {
		next = f->next;
		serve_follower(f);
	}
}

static void take_news(struct work *work)
{
	struct news *news = (struct news *)work; /* its first member */
	add_line(news->op, news->line);
	free(news->line);
	free(news);
}

/* ---- running ---- */

static struct operation *of_work(struct work *work)
{
	return (void *)((char *)work - offsetof(struct operation, work));
}

static void run(struct work *work, struct mvm *mvm)
{
	struct operation *op = of_work(work);
	struct request *rq = op->rq;
	struct pollfd cancel = { op->cancel_fd, POLLIN, 0 };

	if (poll(&cancel, 1, 0) > 0) /* while it waited for a worker */
		mvm_error_set(&rq->err, -ECANCELED, "%s was cancelled", op->kind);
	else if (rq->route->work(rq, mvm, &rq->err) >= 0)
		rq->err.code = 0;
	else if (rq->err.code == 0)
		rq->err.code = -EIO;
}

/* Reply to another request with the same key as to the first one. */
static void reply_again(struct operation *op, struct request *rq)
{
	rq->operation = op;
	request_add_header(rq, "Idempotent-Replayed", "true");
	if (op->state == DONE)
		request_reply(rq, op->status, json_incref(op->result));
	else
		reply_error(rq, op->status, json_incref(op->result));
	rq->operation = NULL;
}

static void answer_waiters(struct operation *op)
{
	while (op->waiters) {
		struct waiter *w = op->waiters;
		op->waiters = w->next;
		loop_source_free(w->timer);
		if (w->answer)
			reply_again(op, w->rq);
		else
			request_reply(w->rq, 200, operation_json(op));
		request_unref(w->rq);
		free(w);
	}
}

static int add_waiter(struct operation *op, struct request *rq, struct waiter **ret,
		      struct mvm_error *err)
{
	struct waiter *w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	w->op = op;
	w->rq = request_ref(rq);
	w->next = op->waiters;
	op->waiters = w;
	*ret = w;
	return 0;
}

static void ended(struct work *work)
{
	struct operation *op = of_work(work);
	struct request *rq = TAKE_PTR(op->rq);

	if (!rq->status && rq->err.code == 0) /* mvmd ends, and its work never ran */
		mvm_error_set(&rq->err, -ECANCELED, "mvmd is being stopped");
	op->state = rq->err.code == 0 ? DONE : FAILED;
	if (rq->err.code == -ECANCELED)
		op->state = CANCELLED;
	op->ended_s = clock_wall_ns() / NS_PER_S;
	op->ended_ns = clock_now_ns();
	op->status = rq->err.code == 0 ? rq->status : code_status(&rq->err);
	op->result = rq->err.code == 0 ? json_incref(rq->answer) : code_json(&rq->err);
	rq->progress = NULL;		   /* it was the operation's */
	if (rq->async || request_gone(rq)) /* its reply says nothing of the end */
		guard_ended(rq, op->status);
	if (!rq->async)
		reply_answer(rq);
	answer_waiters(op);
	for (struct follower *f = op->followers, *next; f; f = next) {
		next = f->next;
		serve_follower(f);
	}
	rq->operation = NULL;
	request_unref(rq);
	sweep(op->all);
}

static int make_id(char ret[33])
{
	unsigned char bytes[16];
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	str_hex(bytes, sizeof(bytes), ret);
	return 0;
}

static struct operation *new_operation(struct operations *all, struct request *rq, const char *key)
{
	struct operation *op = calloc(1, sizeof(*op));
	if (!op)
		return NULL;
	op->all = all;
	op->rq = rq;
	op->kind = rq->route->operation;
	op->created_s = clock_wall_ns() / NS_PER_S;
	op->target = strdup(rq->target);
	op->key = key ? strdup(key) : NULL;
	memcpy(op->client, rq->client.token, sizeof(op->client));
	op->asked = json_incref(rq->json);
	op->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (op->target && (op->key || !key) && op->cancel_fd >= 0 && make_id(op->id) == 0)
		return op;
	free_operation(op);
	return NULL;
}

static bool key_ok(const char *key)
{
	size_t n = 0;
	while (key[n] > ' ' && key[n] <= '~')
		n++;
	return n > 0 && n <= KEY_MAX && !key[n];
}

/* The operation that a request with the same key has started already.  One that failed is tried
 * again. */
static struct operation *find_key(struct operations *all, const struct request *rq, const char *key)
{
	for (struct operation *op = all->first; op; op = op->next) {
		if (op->key && strcmp(op->key, key) == 0 &&
		    strcmp(op->client, rq->client.token) == 0 &&
		    (op->state == RUNNING || op->state == DONE))
			return op;
	}
	return NULL;
}

static void reply_accepted(struct operation *op, struct request *rq)
{
	struct json_out out = { 0 };
	AUTO_FREE char *address = operation_address(op);
	json_t *o = json_new(&out);
	json_put_string(&out, o, "type", "async");
	json_put_u64(&out, o, "status", 202);
	json_put(&out, o, "operation", address ? json_string(address) : NULL);
	json_put(&out, o, "metadata", operation_json(op));
	if (address)
		request_add_header(rq, "Location", address);
	request_add_header(rq, "Preference-Applied", "respond-async");
	request_reply_json(rq, 202, o);
}

static int join(struct operation *op, struct request *rq, struct mvm_error *err)
{
	struct waiter *w;
	bool same_body = json_equal(op->asked, rq->json) || (!op->asked && !rq->json);
	if (strcmp(op->target, rq->target) != 0 || !same_body) {
		mvm_error_set(err, -EEXIST, "this Idempotency-Key belongs to another request");
		return mvm_error_hint(err, -EEXIST, "make a new key for each request");
	}
	if (rq->async)
		reply_accepted(op, rq);
	else if (op->state != RUNNING)
		reply_again(op, rq);
	if (rq->async || op->state != RUNNING)
		return 0;
	int r = add_waiter(op, rq, &w, err);
	if (r == 0)
		w->answer = true;
	return r;
}

int operation_start(struct request *rq, struct mvm_error *err)
{
	struct operations *all = rq->server->operations;
	const char *key = request_header(rq, "Idempotency-Key");
	if (key && !key_ok(key))
		return mvm_error_set(err, -EINVAL,
				     "an Idempotency-Key has 1 to %d visible characters of ASCII",
				     KEY_MAX);
	struct operation *op = key ? find_key(all, rq, key) : NULL;
	if (op)
		return join(op, rq, err);
	op = new_operation(all, rq, key);
	if (!op)
		return mvm_error_oom(err);
	op->progress = (struct mvm_progress){ .size = sizeof(op->progress),
					      .fn = on_progress,
					      .arg = op,
					      .cancel_fd = &op->cancel_fd };
	op->work = (struct work){ .run = run, .done = ended };
	rq->operation = op;
	rq->progress = &op->progress;
	int r = workers_add(all->server->workers[rq->route->class], &op->work);
	if (r < 0) {
		rq->operation = NULL;
		free_operation(op);
		return mvm_error_set(err, r, "too many operations are waiting already");
	}
	request_ref(rq);
	sweep(all);
	op->next = all->first;
	all->first = op;
	all->n++;
	if (rq->async)
		reply_accepted(op, rq);
	return 0;
}

/* ---- clients of an operation ---- */

struct operation *operation_find(struct operations *o, const char *id, struct mvm_error *err)
{
	for (struct operation *op = o->first; op; op = op->next) {
		if (strcmp(op->id, id) == 0)
			return op;
	}
	mvm_error_set(err, -ENOENT, "no operation has the id '%.64s'", id);
	mvm_error_reason(err, -ENOENT, "operation-unknown", NULL);
	return NULL;
}

static void cancel(struct operation *op)
{
	uint64_t one = 1;
	ssize_t n = write(op->cancel_fd, &one, sizeof(one));
	(void)n; /* a full counter is readable, too */
}

int operation_cancel(struct operation *op, struct mvm_error *err)
{
	if (op->state != RUNNING)
		return mvm_error_set(err, -EBUSY, "the operation has ended: %s",
				     state_names[op->state]);
	cancel(op);
	return 0;
}

void operations_cancel_all(struct operations *o)
{
	for (struct operation *op = o->first; op; op = op->next) {
		if (op->state == RUNNING)
			cancel(op);
	}
}

static void waited_enough(void *arg)
{
	struct waiter *w = arg;
	struct waiter **link = &w->op->waiters;
	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	loop_source_free(w->timer);
	request_reply(w->rq, 200, operation_json(w->op));
	request_unref(w->rq);
	free(w);
}

int operation_wait(struct operation *op, struct request *rq, int64_t timeout_ms,
		   struct mvm_error *err)
{
	if (op->state != RUNNING || timeout_ms == 0) {
		request_reply(rq, 200, operation_json(op));
		return 0;
	}
	struct waiter *w;
	int r = add_waiter(op, rq, &w, err);
	if (r == 0 && loop_add_timer(rq->server->loop, clock_deadline_ns(timeout_ms), waited_enough,
				     w, &w->timer) < 0)
		waited_enough(w); /* no memory: reply at once */
	return r;
}

static void serve_follower(struct follower *f)
{
	const struct operation *op = f->op;
	while (f->sent < op->log.len && stream_room(f->stream) > 0) {
		size_t n = op->log.len - f->sent, room = stream_room(f->stream);
		n = n < room ? n : room;
		if (stream_write(f->stream, op->log.data + f->sent, n) < 0)
			return;
		f->sent += n;
	}
	if (f->sent == op->log.len && op->state != RUNNING && !f->ended) {
		f->ended = true;
		stream_write_json(f->stream, json_pack("{s:s, s:o*}", "event", "operation",
						       "operation", operation_json(op)));
		stream_end(f->stream);
	}
}

static void follower_room(void *arg)
{
	serve_follower(arg);
}

static void follower_closed(void *arg)
{
	struct follower *f = arg;
	struct follower **link = &f->op->followers;
	while (*link != f)
		link = &(*link)->next;
	*link = f->next;
	free(f);
}

int operation_follow(struct operation *op, struct request *rq, struct mvm_error *err)
{
	static const struct stream_ops ops = { .room = follower_room, .closed = follower_closed };
	struct follower *f = calloc(1, sizeof(*f));
	if (!f)
		return mvm_error_oom(err);
	f->op = op;
	int r = stream_open(rq, 200, "application/x-ndjson", &ops, f, &f->stream, err);
	if (r < 0) {
		free(f);
		return r;
	}
	f->next = op->followers;
	op->followers = f;
	serve_follower(f);
	return 0;
}
