/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_CLONE_H
#define GUEST_CLONE_H

/* CALL_PREPARE and CALL_RESTORED, the two ends of a snapshot in the guest; CALL_REHEARSE; and
 * CALL_FREEZE and CALL_THAW, of a guest that goes on. */

#include "agent.h"
#include "request.h"

void clone_prepare(struct agent *a, uint32_t id, const struct request *q);
/* Takes over q's ENV. */
void clone_restored(struct agent *a, uint32_t id, struct request *q);
/* Finish a RESTORED that was held: thaw, run on_restore, answer. */
void clone_let_go(struct agent *a, uint32_t id);
void clone_freeze(struct agent *a, uint32_t id, const struct request *q);
void clone_thaw(struct agent *a, uint32_t id, const struct request *q);
void clone_rehearse(struct agent *a, uint32_t id, const struct request *q);

#endif
