/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_OWNED_H
#define SERVICE_OWNED_H

/*
 * Starting instances for the client that asks: within its limits, and with its label (limits.h).
 * Handlers call these in place of the library's functions of the same name.  On a worker.
 */

#include <mvm/instance.h>
#include <mvm/suspend.h>

struct request;

/* -EDQUOT, or as mvm_instance_start(). */
int owned_start(struct request *rq, struct mvm *mvm, const struct mvm_start_options *options,
		struct mvm_instance **ret, struct mvm_error *err);

/* -EDQUOT, or as mvm_instance_start_many(). */
int owned_start_many(struct request *rq, struct mvm *mvm, const struct mvm_start_options *options,
		     uint32_t n, struct mvm_instance **ret, struct mvm_error *err);

/* -EDQUOT, or as mvm_instance_start_again().  It stays whose it was. */
int owned_start_again(struct request *rq, struct mvm *mvm, const char *name,
		      struct mvm_instance **ret, struct mvm_error *err);

/* -EDQUOT, or as mvm_instance_restart().  It stays whose it was. */
int owned_restart(struct request *rq, struct mvm *mvm, const char *name, int64_t timeout_ms,
		  struct mvm_instance **ret, struct mvm_error *err);

/* -EDQUOT, or as mvm_instance_fork(). */
int owned_fork(struct request *rq, struct mvm *mvm, const char *name,
	       const struct mvm_fork_options *options, uint32_t n, struct mvm_instance **ret,
	       struct mvm_error *err);

#endif
