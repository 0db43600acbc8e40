/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WATCHED_LIFE_H
#define TESTS_WATCHED_LIFE_H

/*
 * A test's supervisor, which shows every state that it enters, and whose clock stands still.
 *
 * The linker puts these functions between life.c and its callers, and before clock_gettime(2)
 * (--wrap).  The test itself uses the real clock.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "supervisor_world.h"

#define WATCHED_STEPS_MAX 64

/* In memory that the test and its supervisors share. */
extern struct watched {
	_Atomic int64_t now_ns; /* the supervisor's clock */
	_Atomic unsigned n;
	_Atomic int step[WATCHED_STEPS_MAX]; /* enum life_state; each other than the one before */
} * watched;

/* Call this once, in the test's own process. */
bool watched_init(void);

/* Call this before each supervisor. */
void watched_begin(void);

/* watched_begin() and world_setup(), as a test's setup. */
int watched_setup(void **state);

#define WATCHED_NO_CALL 9999u /* a call that every state refuses at once */

/* Let a client ask, and be answered.  The supervisor has then seen all events that came before the
 * turn of its loop that ends with the answer; two answers make sure of all earlier ones. */
void watched_turn(struct control *c);

/* Let the supervisor, which takes clients, see all earlier events. */
void watched_sync(struct world *x);

/* Let it see all earlier events, then let this much time pass for it. */
void watched_pass(struct world *x, int64_t ms);

/* Let time pass, up to an event. */
void watched_pass_to(struct world *x, int64_t ms, const char *event);

#endif
