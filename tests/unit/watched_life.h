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

#include "supervisor/supervise.h"

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

#endif
