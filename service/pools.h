/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_POOLS_H
#define SERVICE_POOLS_H

/*
 * Keeping the pools full (mvm/pool.h) is a thread of mvmd: what 'mvm pool serve' does.  While
 * another process does it, the thread waits for its turn.
 */

#include <mvm/error.h>
#include <stdint.h>

struct pools;

/* max_memory_bytes: as in struct mvm_pool_serve_options. */
int pools_begin(const char *data_dir, uint64_t max_memory_bytes, struct pools **ret,
		struct mvm_error *err);

/* End the VMs that wait, and the thread.  NULL is fine. */
void pools_end(struct pools *p);

#endif
