/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/clocksync.h"

#include <errno.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "net/wire.h"

#define NEAR_NS	     (20 * NS_PER_MS) /* an answer after this shows that the clock is right */
#define ATTEMPTS_MAX 8u
#define PAUSE_MS     100  /* the first pause; all pauses take 13 s */
#define ANSWER_MS    5000 /* a guest that does not answer has other troubles */

static void on_answer(void *arg, int status, const char *message, const struct frame *reply)
{
	struct clocksync *c = arg;
	(void)message;
	(void)reply;
	bool right = status == 0 && clock_now_ns() - c->sent_ns <= NEAR_NS;
	if (status == 0)
		c->back = false; /* from now on the guest's clock can only be behind */
	loop_source_arm(c->timer, right || c->attempts >= ATTEMPTS_MAX
					  ? DEADLINE_NONE
					  : clock_deadline_ns(c->pause_ms));
	c->pause_ms *= 2;
}

static void send(struct clocksync *c)
{
	AUTO_DONE(strbuf) args = { 0 };
	c->attempts++;
	c->sent_ns = clock_now_ns();
	wire_put_u64(&args, FIELD_TIME_NS, (uint64_t)clock_wall_ns());
	if (c->back)
		wire_put_u64(&args, FIELD_BACK, 1);
	/* the health watch reports an agent that cannot be reached */
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

static int64_t host_offset_ns(void)
{
	int64_t monotonic_ns = clock_now_ns();
	return clock_wall_ns() - monotonic_ns;
}

/* The host's clock was set, or the host was asleep: its monotonic clock does not count sleep. */
static void on_jump(void *arg, uint32_t events)
{
	struct clocksync *c = arg;
	uint64_t times;
	(void)events;
	(void)!read(c->jump_fd, &times, sizeof(times)); /* ECANCELED; the timer goes on */
	int64_t offset_ns = host_offset_ns();
	/* we may have lost the CPU between reading the two clocks, so a small step back does not
	 * count; several add up to one that does */
	if (offset_ns < c->offset_ns - NEAR_NS)
		c->back = true;
	if (c->back || offset_ns > c->offset_ns)
		c->offset_ns = offset_ns;
	c->attempts = 0;
	c->pause_ms = PAUSE_MS;
	agent_client_cancel(c->agent, &c->call); /* that call carries the old time */
	send(c);
}

static int watch_host_clock(struct clocksync *c, struct loop *loop)
{
	const struct itimerspec never = { .it_value = { .tv_sec = INT64_MAX } };
	const int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;

	c->jump_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	/* ECANCELED: the clock was set meanwhile; the timer is armed all the same */
	if (c->jump_fd < 0 ||
	    (timerfd_settime(c->jump_fd, flags, &never, NULL) < 0 && errno != ECANCELED))
		return -errno;
	c->offset_ns = host_offset_ns();
	return loop_add_fd(loop, c->jump_fd, EPOLLIN, on_jump, c, &c->jump_source);
}

int clocksync_start(struct clocksync *c, struct loop *loop, struct agent_client *agent,
		    int64_t first_ms)
{
	clocksync_stop(c);
	c->agent = agent;
	c->pause_ms = PAUSE_MS;
	int r = loop_add_timer(loop, DEADLINE_NONE, on_timer, c, &c->timer);
	if (r < 0)
		return r;
	r = watch_host_clock(c, loop);
	if (first_ms)
		loop_source_arm(c->timer, clock_deadline_ns(first_ms));
	else
		send(c);
	return r;
}

void clocksync_stop(struct clocksync *c)
{
	if (!c->timer)
		return;
	agent_client_cancel(c->agent, &c->call);
	loop_source_free(c->timer);
	loop_source_free(c->jump_source);
	if (c->jump_fd >= 0)
		close(c->jump_fd);
	*c = (struct clocksync){ 0 };
}
