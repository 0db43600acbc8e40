/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/clocksync.h"

#include "base/clock.h"
#include "net/wire.h"

#define NEAR_NS	     (20 * NS_PER_MS) /* an answer after this shows that the clock is right */
#define ATTEMPTS_MAX 20u
#define PAUSE_MS     100
#define ANSWER_MS    5000 /* a guest that does not answer has other troubles */

static void on_answer(void *arg, int status, const char *message)
{
	struct clocksync *c = arg;
	(void)message;
	bool right = status == 0 && clock_now_ns() - c->sent_ns <= NEAR_NS;
	loop_source_arm(c->timer, right || c->attempts >= ATTEMPTS_MAX
					  ? DEADLINE_NONE
					  : clock_deadline_ns(PAUSE_MS));
}

static void send(struct clocksync *c)
{
	AUTO_DONE(strbuf) args = { 0 };
	c->attempts++;
	c->sent_ns = clock_now_ns();
	wire_put_u64(&args, FIELD_TIME_NS, (uint64_t)clock_wall_ns());
	/* an agent that cannot be reached is told about by others */
	int r = agent_client_begin(c->agent, &c->call, CALL_CLOCK, &args, on_answer, c);
	loop_source_arm(c->timer, r == 0 ? clock_deadline_ns(ANSWER_MS) : DEADLINE_NONE);
}

static void on_timer(void *arg)
{
	struct clocksync *c = arg;
	if (c->call.stream)
		agent_client_cancel(c->agent, &c->call);
	else
		send(c);
}

int clocksync_start(struct clocksync *c, struct loop *loop, struct agent_client *agent)
{
	clocksync_stop(c);
	c->agent = agent;
	int r = loop_add_timer(loop, DEADLINE_NONE, on_timer, c, &c->timer);
	if (r == 0)
		send(c);
	return r;
}

void clocksync_stop(struct clocksync *c)
{
	if (!c->timer)
		return;
	agent_client_cancel(c->agent, &c->call);
	loop_source_free(c->timer);
	*c = (struct clocksync){ 0 };
}
