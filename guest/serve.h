/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SERVE_H
#define GUEST_SERVE_H

/* The agent's side of the protocol: frames in, calls dispatched, answers out. */

#include "agent.h"

/* Say hello and serve until the port is unusable.  Returns the negative errno that ended it: -EPIPE
 * when the host has gone for good. */
int agent_serve(struct agent *a);

#endif
