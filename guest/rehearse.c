/* SPDX-License-Identifier: Apache-2.0 */
#include "rehearse.h"

#include "base/clock.h"
#include "command.h"
#include "exec.h"
#include "idle.h"
#include "net/agent.h"
#include "request.h"
#include "stream.h"

#define COMMANDS	2u
#define COMMANDS_MAX_MS 10000 /* both together; they take 0.3 s under TCG */
#define CLEAN_UP_MAX_MS 500   /* the kernel removes a cgroup later than its folder */

static void end_commands(void *arg)
{
	struct agent *a = arg;
	struct stream *s = stream_find(a, REHEARSAL_STREAM);
	a->rehearsal.left = 0;
	if (s)
		s->ops->frame(s, &(struct frame){ .type = FRAME_RESET, .stream = s->id });
}

void rehearse_commands(struct agent *a, uint32_t id, rehearsed_fn fn)
{
	struct rehearsal *r = &a->rehearsal;
	command_drop_spare(a);
	*r = (struct rehearsal){ .fn = fn, .id = id, .serial = a->exec_serial };
	if (a->program && loop_add_timer(a->loop, clock_deadline_ns(COMMANDS_MAX_MS), end_commands,
					 a, &r->timer) == 0)
		r->left = COMMANDS;
}

static void run(struct agent *a, char *program, char *argument)
{
	char *argv[] = { program, argument, NULL };
	const struct request q = { .call = CALL_EXEC,
				   .args = { .v = argv, .n = argument ? 2 : 1 } };
	exec_call(a, REHEARSAL_STREAM, &q);
}

static void run_nothing(struct agent *a)
{
	static char image[] = "true", nothing[] = REHEARSE_ARGUMENT;
	run(a, image, NULL);
	if (!stream_find(a, REHEARSAL_STREAM)) /* the image has none */
		run(a, a->program, nothing);
}

void rehearse_go_on(struct agent *a)
{
	struct rehearsal *r = &a->rehearsal;
	if (!r->fn || stream_find(a, REHEARSAL_STREAM))
		return;
	while (r->left > 0) {
		r->left--;
		run_nothing(a);
		if (stream_find(a, REHEARSAL_STREAM))
			return;
	}
	if (r->timer)
		idle_wait(a, CLEAN_UP_MAX_MS);
	command_drop_spare(a);
	a->exec_serial = r->serial;
	command_sweep(a);
	loop_source_free(r->timer);
	const struct rehearsal done = *r;
	*r = (struct rehearsal){ 0 };
	done.fn(a, done.id);
}
