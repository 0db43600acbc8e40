/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_CLOCKSYNC_H
#define INSTANCE_CLOCKSYNC_H

/*
 * Setting a guest's wall clock after it has begun to run: after a start, and after a pause.
 *
 * A clone gets the time with its identity, but on a busy host a tenth of a second may pass between
 * writing that message and the guest reading it.  So it is told again, until an answer comes so
 * fast that what passed on the way does not matter, or some attempts were made.  The guest's clock
 * only ever goes forward (CALL_CLOCK).
 */

#include "base/loop.h"
#include "instance/agent_client.h"

struct clocksync {
	struct agent_client *agent; /* borrowed */
	struct loop_source *timer;
	struct agent_later call;
	int64_t sent_ns;
	unsigned attempts;
};

/* Begin, or begin again. */
int clocksync_start(struct clocksync *c, struct loop *loop, struct agent_client *agent);

/* A zeroed one is fine. */
void clocksync_stop(struct clocksync *c);

#endif
