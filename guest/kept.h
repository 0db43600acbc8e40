/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_KEPT_H
#define GUEST_KEPT_H

/*
 * CALL_KEPT_START, CALL_KEPT_ATTACH, CALL_KEPT_LIST: commands that outlive the streams of those who
 * look at them.
 *
 * A kept command belongs to the agent.  Each stream on it is a viewer: all viewers get its output
 * from then on, and each may send input, signals and the terminal's size.  A RESET only ends the
 * viewer.  Without a viewer output is dropped, so the command never waits for a host that is gone.
 * A suspended or forked guest takes its kept commands along, since no stream of the host's needs to
 * be open for them.
 */

#include "agent.h"
#include "request.h"

/* Start one.  The stream is its first viewer. */
void kept_start(struct agent *a, uint32_t id, const struct request *q);

/* Look at the one with the request's PID, which may have ended a while ago. */
void kept_attach(struct agent *a, uint32_t id, const struct request *q);

/* Reply with those that run. */
void kept_list(struct agent *a, uint32_t id);

/* After all streams: kill and forget them. */
void kept_done(struct agent *a);

#endif
