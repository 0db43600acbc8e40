/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_FREEMEM_H
#define GUEST_FREEMEM_H

#include <stdint.h>

/*
 * Write zeros over free memory, so that a snapshot has holes there instead of old data.
 *
 *   bytes  upper limit: memory that was never touched is zero already, and touching it would only
 *          make the host provide it
 *
 * Takes small pages, which the kernel cuts from blocks that were in use before it breaks up those
 * that never were, and gives them back.  Leaves a reserve, so that nothing is reclaimed or killed
 * for it, and takes ten seconds at most.  Returns the number of bytes that are zero now.  A
 * failure only makes the snapshot larger.
 */
uint64_t freemem_zero(uint64_t bytes);

#endif
