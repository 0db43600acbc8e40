/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_NETWORK_H
#define MVM_NETWORK_H

/* What an instance may reach in the network (doc/network.md). */

#include <stdbool.h>
#include <stddef.h>

#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>

/*
 * Check a rule for the network, as in `10.1.0.0/16`, `*.example.org:443` or `host:5432`
 * (doc/network.md).
 *
 * Returns 0 or -EINVAL with what is wrong.
 */
MVM_API int mvm_network_rule_check(const char *text, struct mvm_error *err);

struct mvm_network_options {
	size_t size; /* MVM_NETWORK_OPTIONS_INIT sets it (mvm/struct.h) */
	/* rules as in struct mvm_start_options; NULL-terminated; NULL: none */
	const char *const *allow, *const *deny;
	bool add; /* keep the rules that it has */
};
#define MVM_NETWORK_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_network_options)

/*
 * Give a running instance other rules for its network, in place of all that it has.
 *
 *   options  borrowed
 *
 * They hold when this returns.  Connections that they refuse are reset; forwarded ports stay.  A
 * restart of the VM keeps them.
 * Errors: -ENOENT; -EINVAL (a rule; an instance without a network); -E2BIG; -EBUSY (it does not
 * run, or is being started or stopped); -EOPNOTSUPP (the backend takes no rules); -ETIMEDOUT.
 */
MVM_API int mvm_instance_set_network(struct mvm *mvm, const char *name,
				     const struct mvm_network_options *options,
				     const struct mvm_progress *progress, struct mvm_error *err);

#endif
