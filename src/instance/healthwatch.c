/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/healthwatch.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "instance/machine.h"

#define INTERVAL_MS_DEFAULT 10000u
#define INTERVAL_MS_MIN	    1000u
#define FIRST_MS	    5000  /* of a clone: when its twins have started, too */
#define ATTEMPT_MS	    5000u /* the agent's own limit */
#define ANSWER_GRACE_MS	    5000  /* for an answer to arrive from a busy guest */

static int64_t interval_ms(const struct healthwatch *w)
{
	uint32_t ms = w->health->interval_ms ? w->health->interval_ms : INTERVAL_MS_DEFAULT;
	return ms < INTERVAL_MS_MIN ? INTERVAL_MS_MIN : ms;
}

static unsigned retries(const struct healthwatch *w)
{
	return w->health->retries ? w->health->retries : MVM_HEALTH_RETRIES;
}

static void set_state(struct healthwatch *w, enum record_health state)
{
	if (w->state == state)
		return;
	w->state = state;
	w->fn(w->arg, state, w->message[0] ? w->message : NULL);
}

static void next(struct healthwatch *w)
{
	loop_source_arm(w->timer, clock_deadline_ns(interval_ms(w)));
}

static void failed(struct healthwatch *w, const char *message)
{
	(void)snprintf(w->message, sizeof(w->message), "%s", message);
	next(w);
	if (w->state != RECORD_HEALTH_HEALTHY && clock_now_ns() < w->grace_ends_ns)
		return;
	if (++w->failures >= retries(w))
		set_state(w, RECORD_HEALTH_UNHEALTHY);
}

static void on_answer(void *arg, int status, const char *message)
{
	struct healthwatch *w = arg;
	if (status != 0) {
		failed(w, message);
		return;
	}
	next(w);
	w->failures = 0;
	w->message[0] = '\0';
	set_state(w, RECORD_HEALTH_HEALTHY);
}

static void on_timer(void *arg)
{
	struct healthwatch *w = arg;
	AUTO_DONE(strbuf) args = { 0 };

	if (w->call.stream) {
		agent_client_cancel(w->agent, &w->call);
		failed(w, "the guest's agent did not answer");
		return;
	}
	unsigned call = CALL_PING;
	if (w->health->kind != MVM_HEALTH_AGENT) {
		call = CALL_HEALTH;
		machine_put_health(w->health, ATTEMPT_MS, ATTEMPT_MS, &args);
	}
	int r = agent_client_begin(w->agent, &w->call, call, &args, on_answer, w);
	if (r < 0) {
		failed(w, "the guest's agent cannot be reached");
		return;
	}
	loop_source_arm(w->timer, clock_deadline_ns(ATTEMPT_MS + ANSWER_GRACE_MS));
}

int healthwatch_start(struct healthwatch *w, struct loop *loop, const struct mvm_health *health,
		      struct agent_client *agent, enum record_health known, healthwatch_fn fn,
		      void *arg)
{
	*w = (struct healthwatch){
		.health = health,
		.agent = agent,
		.state = known,
		.fn = fn,
		.arg = arg,
		.grace_ends_ns = clock_deadline_ns((int64_t)health->start_grace_s * 1000),
	};
	int64_t first_ms = known == RECORD_HEALTH_STARTING ? FIRST_MS : interval_ms(w);
	return loop_add_timer(loop, clock_deadline_ns(first_ms), on_timer, w, &w->timer);
}

void healthwatch_pause(struct healthwatch *w)
{
	if (!w->timer)
		return;
	agent_client_cancel(w->agent, &w->call);
	loop_source_arm(w->timer, DEADLINE_NONE);
}

void healthwatch_resume(struct healthwatch *w)
{
	if (w->timer)
		next(w);
}

void healthwatch_stop(struct healthwatch *w)
{
	if (!w->timer)
		return;
	agent_client_cancel(w->agent, &w->call);
	loop_source_free(TAKE_PTR(w->timer));
}
