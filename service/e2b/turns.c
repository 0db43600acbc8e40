/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of a sandbox take turns: the next one begins with the document that the last one left.
 *
 * Otherwise a worker could write an older document over it.  A paused sandbox would have a lease
 * again, at whose end it is killed, or lack the mark by which its VM may end without it.
 *
 * A turn is of a request, of a lease's end, or of a waking, for which any number of requests wait.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "e2b/e2b.h"
#include "request.h"
#include "server.h"

#define BUSY_MS 1000 /* when there is too much to do now */

/* A request that the turn wakes the sandbox for. */
struct waiter {
	struct waiter *next;
	struct request *rq;
};

struct turn {
	struct turn *next; /* later */
	struct e2b *e2b;
	char id[SANDBOX_ID_SIZE];
	struct request *rq; /* NULL: the end of the lease, or a waking */
	work_fn fn;	    /* the request's */
	struct work work;   /* of one without a request, with a copy of the document */
	json_t *doc;
	struct waiter *waiters; /* NULL: no waking */
	struct mvm_error err;	/* of the waking */
	bool ends, runs;
};

static void begin_next(struct e2b *e, const char *id);

static void add(struct turn *t)
{
	struct turn **at = &t->e2b->turns;
	while (*at)
		at = &(*at)->next;
	*at = t;
}

static struct turn *first_of(const struct e2b *e, const char *id)
{
	struct turn *t = e->turns;
	while (t && strcmp(t->id, id) != 0)
		t = t->next;
	return t;
}

/* Let the requests go that wait for the waking; err: it failed. */
static void release(struct turn *t, struct mvm_error *err)
{
	if (err && err->code == -ENOENT)
		err->code = -EHOSTDOWN;
	for (struct waiter *w; (w = t->waiters);) {
		t->waiters = w->next;
		if (err)
			request_fail(w->rq, err);
		else
			request_go_on(w->rq);
		request_unref(w->rq);
		free(w);
	}
}

static void remove_turn(struct turn *t)
{
	struct turn **at = &t->e2b->turns;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	request_unref(t->rq);
	json_decref(t->doc);
	free(t);
}

void turns_free(struct e2b *e)
{
	while (e->turns) {
		release(e->turns, NULL); /* they have no client any more */
		remove_turn(e->turns);
	}
}

/* Its work has ended, and the loop has its news. */
static void over(struct turn *t)
{
	struct e2b *e = t->e2b;
	struct sandbox *s = sandbox_find(e, t->id);
	char id[SANDBOX_ID_SIZE];

	memcpy(id, t->id, sizeof(id));
	if (s && t->ends)
		s->ending = false;
	if (t->waiters)
		release(t, t->err.code < 0 ? &t->err : NULL);
	else if (s && !t->rq)
		sandbox_lease_done(e, s, SANDBOX_AGAIN_MS);
	remove_turn(t);
	begin_next(e, id);
}

/* ---- what is due when a lease is over ---- */

static void end_it(struct work *work, struct mvm *mvm)
{
	struct turn *t = (void *)((char *)work - offsetof(struct turn, work));
	struct mvm_error err = { 0 };
	bool pause = json_is_true(json_object_get(t->doc, "autoPause"));
	bool memory = !json_is_false(json_object_get(t->doc, "autoPauseMemory"));
	int r = 0;
	/* a stop that began must not become its end */
	if (json_object_get(t->doc, SANDBOX_ON_DISK))
		r = sandbox_stop(t->e2b, mvm, t->doc, &err);
	else
		r = pause ? sandbox_pause(t->e2b, mvm, t->doc, memory, &err)
			  : sandbox_kill(t->e2b, mvm, t->doc, &err);
	/* its VM was booted, such as after a pause without memory */
	if (r == -EOPNOTSUPP && pause && memory)
		r = sandbox_stop(t->e2b, mvm, t->doc, &err);
	if (r == -EOPNOTSUPP && pause) {
		fprintf(stderr, "mvmd: sandbox %s ends: it cannot be suspended: %s\n", t->id,
			err.text);
		r = sandbox_kill(t->e2b, mvm, t->doc, &err);
	}
	if (r < 0 && r != -EALREADY)
		fprintf(stderr, "mvmd: sandbox %s is over, but: %s\n", t->id, err.text);
}

static void ended(struct work *work)
{
	over((void *)((char *)work - offsetof(struct turn, work)));
}

/* ---- a request to a guest that sleeps ---- */

static void wake_it(struct work *work, struct mvm *mvm)
{
	struct turn *t = (void *)((char *)work - offsetof(struct turn, work));
	int r = sandbox_wake(t->e2b, mvm, t->doc, &t->err);
	t->err.code = r < 0 ? r : 0;
}

/* ---- what a client asks for ---- */

static void on_worked(struct request *rq)
{
	struct turn *t = rq->server->e2b->turns;
	while (t->rq != rq)
		t = t->next;
	over(t);
}

/* ---- turns ---- */

static int begin(struct turn *t, struct mvm_error *err)
{
	struct server *server = t->e2b->server;
	struct sandbox *s = NULL;

	if (server->stop > 1)
		return mvm_error_set(err, -EAGAIN, "mvmd is being stopped");
	int r = sandbox_get(t->e2b, t->id, &s, err);
	if (r < 0)
		return r;
	if (t->waiters && sandbox_runs(s))
		return -EALREADY;
	if (!t->rq && !t->waiters && (!s->end_ms || s->end_ms > clock_wall_ns() / 1000000))
		return -ECANCELED; /* an earlier turn has moved it */
	json_t *doc = sandbox_copy(s);
	if (!doc)
		return mvm_error_oom(err);
	if (t->rq) {
		t->rq->own = doc;
		t->rq->own_free = (void (*)(void *))json_decref;
		t->rq->worked = on_worked;
		r = request_work(t->rq, WORK_START, t->fn, err);
	} else {
		t->doc = doc;
		t->work = (struct work){ .run = t->waiters ? wake_it : end_it,
					 .done = ended,
					 .owner = "" };
		r = workers_add(server->workers[WORK_START], &t->work, err);
	}
	if (r < 0)
		return r;
	t->runs = true;
	s->ending = t->ends;
	if (t->ends) /* they ask for its health once their streams break */
		sandbox_drop_uses(s);
	return 0;
}

static void begin_next(struct e2b *e, const char *id)
{
	struct turn *t;
	while ((t = first_of(e, id)) && !t->runs) {
		struct mvm_error err = { 0 };
		struct sandbox *s = sandbox_find(e, id);
		int r = begin(t, &err);
		if (r == 0)
			break;
		if (t->waiters)
			release(t, r == -EALREADY ? NULL : &err);
		else if (t->rq)
			request_fail(t->rq, &err);
		else if (s)
			sandbox_lease_done(e, s, BUSY_MS);
		remove_turn(t);
	}
}

static struct turn *new_turn(struct e2b *e, const char *id)
{
	struct turn *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->e2b = e;
	snprintf(t->id, sizeof(t->id), "%s", id);
	return t;
}

int control_change(struct request *rq, work_fn fn, bool ends, struct mvm_error *err)
{
	const char *id = request_arg(rq, 0);
	struct e2b *e = NULL;
	struct sandbox *s = NULL;
	int r = e2b_of(rq->server, &e, err);
	if (r == 0)
		r = sandbox_get(e, id, &s, err);
	if (r < 0)
		return r;
	struct turn *t = new_turn(e, id);
	if (!t)
		return mvm_error_oom(err);
	rq->lasts = ends; /* as what it waits for on its worker */
	t->rq = request_ref(rq);
	t->fn = fn;
	t->ends = ends;
	add(t);
	begin_next(e, id);
	return 0;
}

bool sandbox_end_lease(struct e2b *e, struct sandbox *s)
{
	struct turn *t = new_turn(e, s->id);
	if (!t)
		return false;
	s->due = true;
	t->ends = true;
	add(t);
	begin_next(e, s->id);
	return true;
}

int sandbox_wake_for(struct e2b *e, struct sandbox *s, struct request *rq, struct mvm_error *err)
{
	struct turn *t = e->turns;
	if (sandbox_runs(s) || !sandbox_wakes(s))
		return 0;
	struct waiter *w = calloc(1, sizeof(*w));
	while (t && !(t->waiters && strcmp(t->id, s->id) == 0))
		t = t->next;
	const bool joins = t;
	if (w && !joins)
		t = new_turn(e, s->id);
	if (!w || !t) {
		free(w);
		return mvm_error_oom(err);
	}
	w->rq = request_ref(rq);
	w->next = t->waiters;
	t->waiters = w;
	if (!joins) {
		add(t);
		begin_next(e, s->id);
	}
	return 1;
}
