/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_CLONE_H
#define GUEST_CLONE_H

/* CALL_PREPARE and CALL_RESTORED, the two ends of a snapshot seen from inside, and CALL_REHEARSE.
 */

#include "agent.h"
#include "request.h"

void clone_prepare(struct agent *a, uint32_t id, const struct request *q);
/* Takes q's ENV. */
void clone_restored(struct agent *a, uint32_t id, struct request *q);
/* The end of a RESTORED that was held: thaw, on_restore, and the answer. */
void clone_let_go(struct agent *a, uint32_t id);
void clone_rehearse(struct agent *a, uint32_t id, const struct request *q);

#endif
