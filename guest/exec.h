/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_EXEC_H
#define GUEST_EXEC_H

/* CALL_EXEC, CALL_PUT, CALL_GET, CALL_COMMIT: a command whose streams the host holds.  Bytes move
 * only while there is credit, so a slow process or a slow host neither blocks the agent nor makes
 * it buffer more than a window. */

#include "agent.h"
#include "request.h"

/* Start the command and reply; from then on the stream lives by itself. */
void exec_call(struct agent *a, uint32_t id, const struct request *q);

/* Break off the call of CALL_COMMIT, if there is one, and thaw what it has frozen. */
void exec_end_commit(struct agent *a);

#endif
