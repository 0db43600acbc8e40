/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_CONNECT_H
#define GUEST_CONNECT_H

/* CALL_CONNECT: a TCP connection to a port of the guest's loopback, as a stream.  Bytes move only
 * while there is credit, as those of a command do (exec.h). */

#include "agent.h"
#include "request.h"

/* Connect.  The reply comes once the connection stands or was refused. */
void connect_call(struct agent *a, uint32_t id, const struct request *q);

#endif
