/* SPDX-License-Identifier: Apache-2.0 */
#include "v1/wait.h"

#include <errno.h>
#include <mvm/stream.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "request.h"
#include "server.h"
#include "v1/instances.h"

#define WAIT_MAX_MS (INT64_C(24) * 3600 * 1000)
#define LOOK_NS	    (5 * NS_PER_S)
#define LOOKS_MAX   8 /* at once, so that many who wait leave the threads to others */

struct waiter {
	struct waiter *next, **link;
	struct waits *all;
	struct request *rq;
	struct loop_source *timer;
	int64_t deadline_ns;
	/* a look at the instance, by a worker */
	struct work work;
	struct waiter *next_look;    /* the next one that wants a look */
	bool queued, looking, again; /* something happened meanwhile */
	int found;		     /* errno of the look, 0 */
	struct mvm_error err;
	bool reached;
	json_t *record;
};

struct waits {
	struct server *server;
	struct waiter *first;
	struct mvm_event_stream *events; /* NULL: none could be opened, or nobody waits */
	struct loop_source *source;
	struct waiter *looks, **looks_end; /* who wants a look, in their order */
	unsigned looking;
};

static void look(struct waiter *w);
static void go_on(struct waits *all);

static void close_events(struct waits *all)
{
	loop_source_free(all->source);
	mvm_event_stream_close(all->events);
	all->source = NULL;
	all->events = NULL;
}

/* Reply, and forget the waiter. */
static void finish(struct waiter *w)
{
	struct waits *all = w->all;
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	loop_source_free(w->timer);
	if (w->found < 0)
		request_fail(w->rq, &w->err);
	else
		request_reply(w->rq, 200, json_incref(w->record));
	json_decref(w->record);
	request_unref(w->rq);
	free(w);
	if (!all->first)
		close_events(all);
}

/* ---- looking ---- */

static struct waiter *of_work(struct work *work)
{
	return (void *)((char *)work - offsetof(struct waiter, work));
}

static bool is_reached(const struct request *rq, const struct mvm_instance_info *info)
{
	const char *state = request_query(rq, "state");
	if (state)
		return strcmp(state, mvm_instance_state_name(info->state)) == 0;
	return info->state == MVM_INSTANCE_EXITED || info->state == MVM_INSTANCE_FAILED;
}

static void run_look(struct work *work, struct mvm *mvm)
{
	struct waiter *w = of_work(work);
	struct mvm_instance_info *info = NULL;
	const char *name = request_arg(w->rq, 0);

	mvm_instance_settle(mvm, NULL, NULL); /* its supervisor may have been killed */
	w->found = mvm_instance_inspect(mvm, name, &info, &w->err);
	if (w->found < 0)
		return;
	w->reached = is_reached(w->rq, info);
	w->record = json_loads(info->json, 0, NULL);
	mvm_instance_info_free(info);
}

static void looked(struct work *work)
{
	struct waiter *w = of_work(work);
	struct waits *all = w->all;
	w->looking = false;
	all->looking--;
	if (w->found < 0 || w->reached || request_gone(w->rq) || clock_now_ns() >= w->deadline_ns) {
		finish(w);
		go_on(all);
		return;
	}
	int64_t next_ns = clock_now_ns() + LOOK_NS;
	loop_source_arm(w->timer, next_ns < w->deadline_ns ? next_ns : w->deadline_ns);
	if (w->again)
		look(w);
	go_on(all);
}

/* Begin the looks that are wanted, as many as may run. */
static void go_on(struct waits *all)
{
	while (all->looking < LOOKS_MAX && all->looks) {
		struct waiter *w = all->looks;
		all->looks = w->next_look;
		w->queued = false;
		json_decref(w->record);
		w->record = NULL;
		w->work = (struct work){ .run = run_look, .done = looked, .owner = w->rq->owner };
		w->looking = workers_add(all->server->workers[WORK_READ], &w->work, NULL) == 0;
		all->looking += w->looking;
		if (!w->looking) /* they are busy: in a moment */
			loop_source_arm(w->timer, clock_now_ns() + NS_PER_S / 10);
	}
}

static void look(struct waiter *w)
{
	struct waits *all = w->all;

	w->again = w->looking;
	if (w->looking || w->queued)
		return;
	if (!all->looks)
		all->looks_end = &all->looks;
	w->queued = true;
	w->next_look = NULL;
	*all->looks_end = w;
	all->looks_end = &w->next_look;
	go_on(all);
}

static void on_timer(void *arg)
{
	look(arg);
}

/* ---- events ---- */

static void on_events(void *arg, uint32_t events)
{
	struct waits *all = arg;
	const struct mvm_event *event;
	int r;

	(void)events;
	while ((r = mvm_event_stream_read(all->events, &event, NULL)) == MVM_STREAM_ITEM) {
		for (struct waiter *w = all->first; w; w = w->next) {
			if (strcmp(request_arg(w->rq, 0), event->instance) == 0)
				look(w);
		}
	}
	if (r < 0 || r == MVM_STREAM_END)
		close_events(all); /* the timers look all the same */
}

static void open_events(struct waits *all)
{
	struct mvm_event_stream_options options = MVM_EVENT_STREAM_OPTIONS_INIT;
	options.follow = true;
	options.since = "1s";
	if (all->events ||
	    mvm_event_stream_open(all->server->mvm, &options, &all->events, NULL) < 0)
		return;
	if (loop_add_fd(all->server->loop, mvm_event_stream_fd(all->events), EPOLLIN, on_events,
			all, &all->source) < 0)
		close_events(all);
}

/* ---- waiters ---- */

static struct waits *waits_of(struct server *s)
{
	if (!s->waits) {
		s->waits = calloc(1, sizeof(*s->waits));
		if (s->waits)
			s->waits->server = s;
	}
	return s->waits;
}

int handle_wait(struct request *rq, struct mvm_error *err)
{
	int64_t timeout_ms = WAIT_MAX_MS;
	struct waits *all = waits_of(rq->server);
	int r = request_query_ms(rq, "timeout", WAIT_MAX_MS, &timeout_ms, err);
	if (r == 0)
		r = query_state(rq, err);
	if (r < 0)
		return r;
	struct waiter *w = calloc(1, sizeof(*w));
	if (!all || !w ||
	    loop_add_timer(rq->server->loop, DEADLINE_NONE, on_timer, w, &w->timer) < 0) {
		free(w);
		return mvm_error_oom(err);
	}
	w->all = all;
	w->rq = request_ref(rq);
	w->deadline_ns = clock_deadline_ns(timeout_ms);
	w->next = all->first;
	w->link = &all->first;
	if (w->next)
		w->next->link = &w->next;
	all->first = w;
	open_events(all);
	look(w);
	return 0;
}

void waits_free(struct waits *w)
{
	while (w && w->first) {
		w->first->found = mvm_error_set(&w->first->err, -EAGAIN, "mvmd is being stopped");
		finish(w->first);
	}
	free(w);
}
