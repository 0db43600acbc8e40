/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_OUTPUT_H
#define GUEST_OUTPUT_H

/*
 * The workload's output: read from a pipe and sent to the host as FRAME_LOG, apart from the
 * console.
 *
 * A slow host must not stall the workload.  So the agent drops output that has no room in the
 * port's queue, and sends the number of lost bytes as soon as there is room.
 */

#include "agent.h"

/* Make the pipe.  Returns its write end, the caller's, to be the workload's output; or -errno. */
int output_open(struct agent *a);

/* Send all output so far. */
void output_drain(struct agent *a);

void output_done(struct agent *a);

#endif
