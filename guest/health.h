/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_HEALTH_H
#define GUEST_HEALTH_H

/* CALL_HEALTH: attempt after attempt until one succeeds, the time is up, or the workload has
 * ended. */

#include "agent.h"
#include "request.h"

void health_call(struct agent *a, uint32_t id, const struct request *q);

#endif
