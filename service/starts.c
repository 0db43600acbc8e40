/* SPDX-License-Identifier: Apache-2.0 */
#include "starts.h"

#include <mvm/instance.h>
#include <mvm/stream.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "guard.h"
#include "say.h"
#include "server.h"

struct starts {
	struct server *server;
	struct mvm_event_stream *events;
	struct loop_source *source;
};

/* A look into the record of an instance that has started. */
struct look {
	struct work work;
	struct server *server;
	char *name, *json;
};

static void run_look(struct work *work, struct mvm *mvm)
{
	struct look *look = (struct look *)work; /* its first member */
	struct mvm_instance_info *info = NULL;
	if (mvm_instance_inspect(mvm, look->name, &info, NULL) == 0)
		look->json = strdup(info->json);
	mvm_instance_info_free(info);
}

static void look_done(struct work *work)
{
	struct look *look = (struct look *)work;
	if (look->json) /* else it has gone already */
		metrics_start(&look->server->guard->metrics, look->json);
	free(look->name);
	free(look->json);
	free(look);
}

/* A start that there is no room to look at is not counted: the queue is full of clients' work. */
static void count_start(struct server *s, const char *name)
{
	struct look *look = calloc(1, sizeof(*look));
	if (!look)
		return;
	*look = (struct look){ .work = { .run = run_look, .done = look_done },
			       .server = s,
			       .name = strdup(name) };
	if (look->name && workers_add(s->workers[WORK_READ], &look->work, NULL) == 0)
		return;
	free(look->name);
	free(look);
}

static void count(struct starts *st, const struct mvm_event *event)
{
	struct metrics *m = &st->server->guard->metrics;

	if (str_eq(event->event, "started"))
		count_start(st->server, event->instance);
	else if (str_eq(event->event, "failed"))
		m->ended[1]++;
	else if (str_eq(event->event, "stopped") || str_eq(event->event, "exited"))
		m->ended[0]++;
}

static void stop(struct starts *st)
{
	loop_source_free(st->source); /* before the descriptor closes */
	st->source = NULL;
	mvm_event_stream_close(st->events);
	st->events = NULL;
}

static void on_events(void *arg, uint32_t ready)
{
	struct starts *st = arg;
	const struct mvm_event *event;
	struct mvm_error err = { 0 };
	int r;
	(void)ready;

	while ((r = mvm_event_stream_read(st->events, &event, &err)) == MVM_STREAM_ITEM)
		count(st, event);
	if (r == MVM_STREAM_WAIT)
		return;
	say(SAY_ERR, "events", "error", r < 0 ? err.text : "they have ended", (char *)NULL);
	stop(st);
}

void starts_begin(struct server *s)
{
	struct mvm_event_stream_options options = MVM_EVENT_STREAM_OPTIONS_INIT;
	struct starts *st = calloc(1, sizeof(*st));
	struct mvm_error err = { 0 };
	char now[RFC3339_SIZE];

	if (!st)
		return;
	st->server = s;
	s->starts = st;
	clock_format(clock_wall_ns() / NS_PER_S, now);
	options.follow = true;
	options.since = now;
	int r = mvm_event_stream_open(s->mvm, &options, &st->events, &err);
	if (r == 0)
		r = loop_add_fd(s->loop, mvm_event_stream_fd(st->events), EPOLLIN, on_events, st,
				&st->source);
	if (r == 0) {
		on_events(st, 0); /* what it holds already wakes no loop */
		return;
	}
	say(SAY_WARNING, "events", "error", err.text[0] ? err.text : strerror(-r), (char *)NULL);
	stop(st);
}

void starts_end(struct server *s)
{
	if (!s->starts)
		return;
	stop(s->starts);
	free(s->starts);
	s->starts = NULL;
}
