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
#include "codec/sha256.h"
#include "guard.h"
#include "operation_own.h"
#include "reply.h"
#include "request.h"
#include "server.h"

#define KEEP_NS (3600 * NS_PER_S)
#define KEY_MAX 255 /* characters of an Idempotency-Key */

static const char *const state_names[] = { "running", "done", "failed", "cancelled" };

struct waiter {
	struct waiter *next;
	struct operation *op;
	struct request *rq;
	struct loop_source *timer; /* NULL: as long as it takes */
	bool answer;		   /* it gets the answer of the work, not the operation */
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
		if (old && op->state != OPERATION_RUNNING && !op->waiters && !op->followers &&
		    !op->rq) {
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
		n += op->state == OPERATION_RUNNING;
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
	if (op->state != OPERATION_RUNNING) {
		json_put_time(&out, o, "ended_at", op->ended_s);
		json_put_u64(&out, o, "status", op->status);
		json_put(&out, o, op->state == OPERATION_DONE ? "metadata" : "error",
			 json_incref(op->result));
	}
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

json_t *operations_json(const struct operations *o, uint64_t before, uint64_t max,
			uint64_t *ret_more)
{
	json_t *list = json_array();
	const struct operation *op = o->first;

	while (op && op->number >= before)
		op = op->next;
	uint64_t last = 0;
	for (; op && max > 0; op = op->next, max--) {
		last = op->number;
		json_array_append_new(list, operation_json(op));
	}
	*ret_more = op ? last : 0;
	return list;
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
	if (op->state == OPERATION_DONE)
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

static void remove_waiter(struct waiter *w)
{
	struct waiter **link = &w->op->waiters;
	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	loop_source_free(w->timer);
	request_unref(w->rq);
	free(w);
}

static void on_gone(void *arg)
{
	struct waiter *w = arg;
	request_forget_gone(w->rq);
	remove_waiter(w);
}

static int add_waiter(struct operation *op, struct request *rq, struct waiter **ret,
		      struct mvm_error *err)
{
	struct waiter *w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	w->op = op;
	w->rq = request_ref(rq);
	request_on_gone(rq, on_gone, w);
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
	op->state = rq->err.code == 0 ? OPERATION_DONE : OPERATION_FAILED;
	if (rq->err.code == -ECANCELED)
		op->state = OPERATION_CANCELLED;
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
	operation_serve_followers(op);
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

/* A body is not kept: it may be as large as a thousand operations. */
static int digest_body(const struct request *rq, struct mvm_digest *ret)
{
	AUTO_FREE char *text = rq->json ? json_dumps(rq->json, JSON_COMPACT | JSON_SORT_KEYS)
					: strdup("");
	if (!text)
		return -ENOMEM;
	sha256_buf(text, strlen(text), ret);
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
	op->scope = rq->route->scope;
	op->created_s = clock_wall_ns() / NS_PER_S;
	op->target = strdup(rq->target);
	op->key = key ? strdup(key) : NULL;
	memcpy(op->client, rq->client.token, sizeof(op->client));
	op->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (op->target && (op->key || !key) && op->cancel_fd >= 0 && make_id(op->id) == 0 &&
	    (!key || digest_body(rq, &op->asked) == 0))
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
		    (op->state == OPERATION_RUNNING || op->state == OPERATION_DONE))
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
	struct mvm_digest asked;

	if (digest_body(rq, &asked) < 0)
		return mvm_error_oom(err);
	if (strcmp(op->target, rq->target) != 0 || memcmp(&asked, &op->asked, sizeof(asked)) != 0) {
		mvm_error_set(err, -EEXIST, "this Idempotency-Key belongs to another request");
		return mvm_error_hint(err, -EEXIST, "make a new key for each request");
	}
	if (rq->async)
		reply_accepted(op, rq);
	else if (op->state != OPERATION_RUNNING)
		reply_again(op, rq);
	if (rq->async || op->state != OPERATION_RUNNING)
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
					      .fn = operation_on_progress,
					      .arg = op,
					      .cancel_fd = &op->cancel_fd };
	op->work = (struct work){ .run = run, .done = ended, .owner = rq->owner };
	rq->operation = op;
	rq->progress = &op->progress;
	int r = workers_add(all->server->workers[rq->route->class], &op->work, err);
	if (r < 0) {
		rq->operation = NULL;
		free_operation(op);
		return r;
	}
	request_ref(rq);
	sweep(all);
	op->number = ++all->begun;
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

enum scope operation_scope(const struct operation *op)
{
	return op->scope;
}

static void cancel(struct operation *op)
{
	uint64_t one = 1;
	ssize_t n = write(op->cancel_fd, &one, sizeof(one));
	(void)n; /* a full counter is readable, too */
}

int operation_cancel(struct operation *op, struct mvm_error *err)
{
	if (op->state != OPERATION_RUNNING)
		return mvm_error_set(err, -EBUSY, "the operation has ended: %s",
				     state_names[op->state]);
	cancel(op);
	return 0;
}

void operations_cancel_all(struct operations *o)
{
	for (struct operation *op = o->first; op; op = op->next) {
		if (op->state == OPERATION_RUNNING)
			cancel(op);
	}
}

static void waited_enough(void *arg)
{
	struct waiter *w = arg;
	request_reply(w->rq, 200, operation_json(w->op));
	remove_waiter(w);
}

int operation_wait(struct operation *op, struct request *rq, int64_t timeout_ms,
		   struct mvm_error *err)
{
	if (op->state != OPERATION_RUNNING || timeout_ms == 0) {
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
