/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_FREEZE_H
#define GUEST_FREEZE_H

/* Freeze the guest for a snapshot, and thaw it. */

#include "agent.h"

/* Freeze all but the agent, write everything to disk, drop caches.  On failure nothing is frozen.
 * Waits up to 1 s for a guest that is not idle, then up to 10 s for processes that do not
 * freeze. */
int freeze_guest(struct agent *a, struct mvm_error *err);

/* Finish freeze_guest(): give back memory that a snapshot does not need.  memory_bytes as for
 * freemem_zero(). */
void freeze_finish(struct agent *a, uint64_t memory_bytes);

/*
 * Freeze all but the agent, find the connections that leave the guest, and change nothing else.
 *
 *   ret_since_ns  when it began to freeze them
 */
int freeze_only(struct agent *a, int64_t *ret_since_ns, struct mvm_error *err);

int thaw_guest(struct agent *a, struct mvm_error *err);

/* Give the agent priority over all other processes, as freeze_finish() does, or end that. */
void freeze_come_first(bool first);

#endif
