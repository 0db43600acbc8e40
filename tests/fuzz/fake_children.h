/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FAKE_CHILDREN_H
#define TESTS_FUZZ_FAKE_CHILDREN_H

/*
 * Children of the agent that are no processes: a fork, an exec and their ends cost a fuzz target
 * milliseconds for each input.  The target is linked with --wrap for child_spawn() and kill(); for
 * stdio_terminal(), since each read of a terminal waits for a thread of the kernel, and
 * stdio_pipes(); and for user_find(), which would read /etc/passwd.
 *
 * `cat` copies its input to its output from the agent's loop and ends with its input; any other
 * program ends at once with status 1.  A signal that would end a process ends it.
 */

#include "base/loop.h"

/* Set the loop of the next children. */
void fake_children_begin(struct loop *loop);

/* Forget all remaining children.  Call it before freeing the loop. */
void fake_children_end(void);

#endif
