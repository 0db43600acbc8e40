/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_WATCH_H
#define USERNET_WATCH_H

/*
 * Ends this process when one turn of its loop hangs, so that the supervisor starts another.
 *
 * The clock is the process's own CPU time.  So it costs nothing while the process waits, and a busy
 * host makes no turn longer.  The process never waits except in poll(2).
 */

#include <stdbool.h>
#include <time.h>

#define WATCH_TURN_S 5

struct watch {
	timer_t timer;
	bool is_on;
};

/* If there is no timer, nothing watches the process. */
void watch_begin(struct watch *w);

/* A turn begins. */
void watch_turn(struct watch *w);

#endif
