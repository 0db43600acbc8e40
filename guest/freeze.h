/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_FREEZE_H
#define GUEST_FREEZE_H

/* Holding the guest still for a snapshot, and letting it go again. */

#include "agent.h"

/* Freeze all but the agent, write everything to disk, give back what need not be in a snapshot;
 * memory_bytes as for freemem_zero().  On failure nothing is frozen.  Waits up to 10 s for
 * processes that do not freeze. */
int freeze_guest(struct agent *a, uint64_t memory_bytes, struct mvm_error *err);

int thaw_guest(struct agent *a, struct mvm_error *err);

/* Run the agent before everything else (freeze_guest does that), or like everything else again. */
void freeze_come_first(bool first);

#endif
