/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_POOL_H
#define MVM_POOL_H

/*
 * A pool: VMs of a template that are restored already and wait, paused, for somebody to want one.
 *
 * mvm_pool_set() says how many, mvm_pool_serve() keeps them there, and mvm_instance_start() takes
 * one whenever it would restore the snapshot that they were restored from; otherwise, and when
 * none is there, it restores as ever.  A VM that waits has no identity yet and its processes are
 * frozen: it becomes a machine of its own when it is taken, and not before.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stddef.h>
#include <stdint.h>

#define MVM_POOL_SIZE_MAX    256u
#define MVM_POOL_SERVER_SIZE 128 /* of the text that says who serves the pools */

/*
 * Have `size` VMs of a template's current revision wait; 0: none, forget the pool.
 *
 * Only what is wanted is written; a server that runs notices by itself.  Errors: -ENOENT (no such
 * template), -EINVAL.
 */
MVM_API int mvm_pool_set(struct mvm *mvm, const char *template_id, uint32_t size,
			 struct mvm_error *err);

struct mvm_pool_info {
	char *template_id;
	uint32_t size;	/* wanted */
	uint32_t ready; /* wait now */
	char *note;	/* why there are fewer, as the server has said last; NULL: nothing to say */
};
MVM_API void mvm_pool_info_free(struct mvm_pool_info *info);

/*
 * All pools by template id; mvm_pool_list_free() the list.
 *
 *   ret_server  who serves them, "1234 mvm pool serve"; "" when nobody does
 */
MVM_API int mvm_pool_list(struct mvm *mvm, struct mvm_pool_info ***ret, size_t *ret_n,
			  char ret_server[MVM_POOL_SERVER_SIZE], struct mvm_error *err);
MVM_API void mvm_pool_list_free(struct mvm_pool_info **list, size_t n);

struct mvm_pool_serve_options {
	size_t size;		   /* MVM_POOL_SERVE_OPTIONS_INIT sets it (mvm/struct.h) */
	uint64_t max_memory_bytes; /* what waiting VMs may have for themselves; 0: a quarter of the
				    * host's memory */
};
#define MVM_POOL_SERVE_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_pool_serve_options)

/*
 * Keep the pools full until cancelled, then end the VMs that wait; those that were taken go on.
 *
 * VMs end with this process, however it ends.  One that is taken is replaced at once; a new current
 * revision or snapshot replaces them all.  A start that fails is tried again after a pause that
 * grows from a second to a minute.  Errors: -EBUSY when another process serves these pools.
 *
 *   options   borrowed; NULL: all defaults
 *   progress  gets notes, and its cancel_fd ends the call with 0; without one it never ends
 */
MVM_API int mvm_pool_serve(struct mvm *mvm, const struct mvm_pool_serve_options *options,
			   const struct mvm_progress *progress, struct mvm_error *err);

#endif
