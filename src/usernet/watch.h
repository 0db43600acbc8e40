/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_WATCH_H
#define USERNET_WATCH_H

/*
 * Ends this process when one turn of its loop does not come to an end, so that another one starts.
 *
 * The clock is the process's own CPU time: it costs nothing while the process waits, and a busy
 * host makes no turn longer.  Nothing that the process does waits but for its poll(2).
 */

#include <stdbool.h>
#include <time.h>

#define WATCH_TURN_S 5

struct watch {
	timer_t timer;
	bool is_on;
};

/* Without a timer the process goes unwatched. */
void watch_begin(struct watch *w);

/* A turn begins. */
void watch_turn(struct watch *w);

#endif
