/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* Events of one handle in one turn of the loop, so that others get theirs. */
#define TURN_MAX 16

struct guest {
	struct loop *loop;
	struct mvm_exec *exec;
	const struct guest_ops *ops;
	void *arg;
	struct loop_source *source; /* set only while there is something to wait for */
	struct loop_source *timer;
	bool paused, over, reading, closed;
};

static void on_ready(void *arg, uint32_t events);

/* Wait for what matters now.  Without memory for that the guest is lost. */
static void watch(struct guest *g)
{
	/* written bytes go on when something is read, too */
	short wanted = g->over || g->paused ? 0 : mvm_exec_events(g->exec);
	int r = 0;

	if (!wanted) {
		loop_source_free(g->source);
		g->source = NULL;
	} else if (g->source) {
		r = loop_source_set_events(g->source, (uint32_t)wanted);
	} else {
		r = loop_add_fd(g->loop, mvm_exec_fd(g->exec), (uint32_t)wanted, on_ready, g,
				&g->source);
	}
	int ms = g->over || g->paused ? -1 : mvm_exec_timeout_ms(g->exec);
	loop_source_arm(g->timer, r < 0 ? clock_now_ns() : clock_deadline_ns(ms));
}

static void free_guest(struct guest *g)
{
	loop_source_free(g->source);
	loop_source_free(g->timer);
	mvm_exec_close(g->exec);
	free(g);
}

/* Read for one turn.  g may be freed afterwards. */
static void read_on(struct guest *g)
{
	const struct mvm_exec_event *event;
	struct mvm_error err = { 0 };
	int r = MVM_STREAM_ITEM;

	g->reading = true;
	for (int i = 0; i < TURN_MAX && r == MVM_STREAM_ITEM && !g->paused && !g->closed; i++) {
		r = mvm_exec_read(g->exec, &event, &err);
		if (r == MVM_STREAM_ITEM) {
			g->over = event->kind == MVM_EXEC_EXITED;
			g->ops->event(g->arg, event);
			if (g->over)
				break;
		}
	}
	if (r < 0) {
		g->over = true;
		g->ops->failed(g->arg, &err);
	}
	if (!g->over && !g->closed && g->ops->room)
		g->ops->room(g->arg);
	g->reading = false;
	if (g->closed) {
		free_guest(g);
		return;
	}
	watch(g);
	if (r == MVM_STREAM_ITEM && !g->paused && !g->over)
		loop_source_arm(g->timer, clock_now_ns()); /* it may hold more already */
}

static void on_ready(void *arg, uint32_t events)
{
	(void)events;
	read_on(arg);
}

static void on_time(void *arg)
{
	struct guest *g = arg;
	if (!g->paused)
		read_on(g);
}

int guest_new(struct loop *loop, struct mvm_exec *exec, const struct guest_ops *ops, void *arg,
	      struct guest **ret, struct mvm_error *err)
{
	struct guest *g = calloc(1, sizeof(*g));
	if (!g) {
		mvm_exec_close(exec);
		return mvm_error_oom(err);
	}
	*g = (struct guest){ .loop = loop, .exec = exec, .ops = ops, .arg = arg };
	int r = loop_add_timer(loop, DEADLINE_NONE, on_time, g, &g->timer);
	if (r < 0) {
		free_guest(g);
		return mvm_error_set(err, r, "cannot wait for the guest: %s", strerror(-r));
	}
	watch(g);
	*ret = g;
	return 0;
}

void guest_close(struct guest *g)
{
	if (!g)
		return;
	g->closed = true;
	if (!g->reading)
		free_guest(g);
}

void guest_pause(struct guest *g)
{
	g->paused = true;
	if (!g->reading)
		watch(g);
}

void guest_resume(struct guest *g)
{
	if (!g->paused)
		return;
	g->paused = false;
	if (g->reading || g->over)
		return;
	watch(g);
	loop_source_arm(g->timer, clock_now_ns()); /* it may hold events already */
}

int guest_write(struct guest *g, const void *data, size_t len, struct mvm_error *err)
{
	int r = mvm_exec_write(g->exec, data, len, err);
	guest_wrote(g);
	return r;
}

int guest_end_input(struct guest *g, struct mvm_error *err)
{
	int r = mvm_exec_close_stdin(g->exec, err);
	guest_wrote(g);
	return r;
}

struct mvm_exec *guest_exec(struct guest *g)
{
	return g->exec;
}

void guest_wrote(struct guest *g)
{
	if (!g->reading)
		watch(g);
}
