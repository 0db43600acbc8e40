/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_OUTPUT_H
#define GUEST_OUTPUT_H

/*
 * What the workload prints: read from a pipe and sent to the host as FRAME_LOG, apart from the
 * console.
 *
 * A host that does not keep up must not stall the workload, so what finds no room in the port's
 * queue is dropped, and how much it was is said as soon as there is room.
 */

#include "agent.h"

/* Make the pipe.  Returns its write end, the caller's, to be the workload's output; or -errno. */
int output_open(struct agent *a);

/* Send what has been printed by now. */
void output_drain(struct agent *a);

void output_done(struct agent *a);

#endif
