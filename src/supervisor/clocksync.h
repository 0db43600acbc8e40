/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_CLOCKSYNC_H
#define SUPERVISOR_CLOCKSYNC_H

/*
 * Setting a guest's wall clock while it runs: after a start, after a pause, and whenever the host's
 * own clock jumps, because the host was asleep or somebody set it.
 *
 * A clone gets the time with its identity, but on a busy host a tenth of a second may pass until
 * the guest reads that message.  So the time is sent again, until an answer comes so fast that the
 * delay does not matter, or a limit of attempts is reached.  Each pause is twice the last one,
 * so that the messages of fifty clones do not keep their host busy.  The guest's clock goes back
 * only when the host's went back (CALL_CLOCK).
 *
 * Source: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; Linux reports the end of a sleep the same way
 * (kernel/time/timekeeping.c, timekeeping_resume(); before 5.14 by clock_was_set_delayed()).
 */

#include "base/loop.h"
#include "supervisor/agent_client.h"

struct clocksync {
	struct agent_client *agent; /* borrowed */
	struct loop_source *timer, *jump_source;
	struct agent_later call;
	int jump_fd; /* a timerfd that never expires, but is cancelled when the clock is set */
	int64_t offset_ns; /* how far the host's wall clock was ahead of its monotonic one */
	bool back;	   /* the host's clock went back, the guest's not yet */
	int64_t sent_ns;
	unsigned attempts;
	int64_t pause_ms; /* before the next attempt */
};

/*
 * Begin, or begin again.  After a failure the guest may not learn of later jumps.
 *
 *   first_ms  wait before the first message, which would delay a clone's first command; 0: none
 */
int clocksync_start(struct clocksync *c, struct loop *loop, struct agent_client *agent,
		    int64_t first_ms);

/* A zeroed one is fine. */
void clocksync_stop(struct clocksync *c);

#endif
