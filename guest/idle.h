/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_IDLE_H
#define GUEST_IDLE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"

/*
 * Wait until the guest's processors have been idle for a moment.
 *
 * Every clone repeats the work that is under way when its guest is captured: the end of a
 * connection, the exit of a server's child, the kernel's clean-up.
 *
 *   max_ms  then go on; a workload that computes is never idle
 *
 * Reaps children meanwhile.  Nothing else of the loop runs.
 */
void idle_wait(struct agent *a, int max_ms);

/* The two numbers of /proc/uptime, in hundredths of a second: since boot, and how long all
 * processors together were idle. */
bool idle_parse(const char *text, uint64_t *ret_up, uint64_t *ret_idle);

#endif
