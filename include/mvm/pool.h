/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_POOL_H
#define MVM_POOL_H

/*
 * A pool: VMs of a template that are already restored and wait, paused, for a start.
 *
 * mvm_pool_set() says how many, and mvm_pool_serve() keeps the pool full.  mvm_instance_start()
 * takes a VM from the pool when it would restore the same snapshot.  An empty pool only means an
 * ordinary restore.  A waiting VM has no identity and its processes are frozen: it becomes a
 * machine of its own when it is taken, and not before.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stddef.h>
#include <stdint.h>

#define MVM_POOL_SIZE_MAX    256u
#define MVM_POOL_SERVER_SIZE 128 /* of the text that names the pools' server */

/*
 * Set the size of a template's pool, for its current revision.
 *
 *   size  at most MVM_POOL_SIZE_MAX; 0: forget the pool
 *
 * This only writes the size down; a running server notices by itself.  Errors: -ENOENT (no such
 * template), -EINVAL.
 */
MVM_API int mvm_pool_set(struct mvm *mvm, const char *template_id, uint32_t size,
			 struct mvm_error *err);

struct mvm_pool_info {
	char *template_id;
	uint32_t size;	/* wanted */
	uint32_t ready; /* waiting now */
	char *note;	/* why its size cannot be read, or the server's last reason for fewer VMs */
};
MVM_API void mvm_pool_info_free(struct mvm_pool_info *info);

/*
 * All pools by template id; mvm_pool_list_free() the list.
 *
 *   ret_server  pid and work of the server, "1234 pool serve"; "" when none runs
 */
MVM_API int mvm_pool_list(struct mvm *mvm, struct mvm_pool_info ***ret, size_t *ret_n,
			  char ret_server[MVM_POOL_SERVER_SIZE], struct mvm_error *err);
MVM_API void mvm_pool_list_free(struct mvm_pool_info **list, size_t n);

struct mvm_pool_serve_options {
	size_t size; /* MVM_POOL_SERVE_OPTIONS_INIT sets it (mvm/struct.h) */
	/* Limit for the private memory of waiting VMs; 0: a quarter of the host's memory. */
	uint64_t max_memory_bytes;
};
#define MVM_POOL_SERVE_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_pool_serve_options)

/*
 * Maintain the pools until cancelled, then end the waiting VMs.  VMs that were taken go on.
 *
 * Waiting VMs end with this process, however it ends.  A taken VM is replaced at once.  A new
 * current revision or snapshot replaces all VMs of its pool.  A failed start is tried again after a
 * pause that grows from a second to a minute.  Errors: -EBUSY when another process serves these
 * pools.
 *
 *   options   borrowed; NULL: all defaults
 *   progress  gets notes; its cancel_fd or receiver ends the call with 0, and nothing else does
 */
MVM_API int mvm_pool_serve(struct mvm *mvm, const struct mvm_pool_serve_options *options,
			   const struct mvm_progress *progress, struct mvm_error *err);

#endif
