/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_REHEARSE_H
#define GUEST_REHEARSE_H

/*
 * Run commands that do nothing through the whole path of CALL_EXEC, before anybody waits for one.
 *
 * A guest's first command takes many times as long as its third: the kernel reads files and fills
 * its caches, and under TCG all code on the way is translated.  So PREPARE and REHEARSE run two
 * commands in advance.  The second one covers the work that the first one's end sets off.
 *
 * The command is the image's `true`, so that the image's loader and C library are warm, too; or the
 * agent's own program, which then does nothing.  The workload's processes stay frozen.  The
 * command's frames go to a stream that hosts ignore (REHEARSAL_STREAM), and it leaves neither a
 * process nor a cgroup behind.
 */

#include "agent.h"

/* Run the commands, wait until the guest is idle, then call fn.  They run while the agent serves.
 * One that fails or hangs does no harm. */
void rehearse_commands(struct agent *a, uint32_t id, rehearsed_fn fn);

/* Go on with the commands.  Call this after each turn of the loop. */
void rehearse_go_on(struct agent *a);

/* The argument with which main() does nothing. */
#define REHEARSE_ARGUMENT "nothing"

#endif
