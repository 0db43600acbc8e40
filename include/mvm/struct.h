/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_STRUCT_H
#define MVM_STRUCT_H

/*
 * How structs of this library grow without breaking the programs that use them.
 *
 * Structs that the caller provides (options, results) begin with `size_t size`.  Their _INIT sets
 * it to the size that the caller was compiled with:
 *
 *	struct mvm_prune_options options = MVM_PRUNE_OPTIONS_INIT;
 *	options.dry_run = true;
 *
 * Later versions append members.  An older library refuses a newer caller (-EOPNOTSUPP) only if the
 * caller has set a member that the library does not know.  A size of 0 means the struct as first
 * published, so `= { 0 }` is as good as _INIT.  Zero is the safe default of every member: no
 * descriptor, no time limit, no cancelling, everything or the usual choice.
 *
 * Structs that the library provides (from a list, a lookup or a callback) have no size: callers
 * never make, copy or embed them.  Later versions append members to them, too.
 *
 * Structs that callers put into arrays (mvm_forward, mvm_volume) have reserved room for later
 * members.  It must be 0, else the call fails with -EOPNOTSUPP: fill the structs with their
 * parsers, or from `= { 0 }`.
 *
 * struct mvm_error, mvm_strings, mvm_digest, mvm_template_setting and mvm_snapshot_step never
 * change.
 */
#include <stddef.h>

#ifdef __cplusplus
#define MVM_STRUCT_INIT(type)                                                                      \
	[] {                                                                                       \
		type init_ = {}; /* -Wextra warns of an incomplete initialiser list */             \
		init_.size = sizeof(init_);                                                        \
		return init_;                                                                      \
	}()
#else
#define MVM_STRUCT_INIT(type)                                                                      \
	{                                                                                          \
		.size = sizeof(type)                                                               \
	}
#endif

#endif
