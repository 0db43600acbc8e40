/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_SPEC_RULES_H
#define TEMPLATE_SPEC_RULES_H

/* The rules for every spec that a command writes, and the template's lock. */

#include <mvm/store.h>

#include "start/context.h"

/* Names, machine size and run settings.  -EINVAL naming the key. */
int spec_check(const struct mvm_template_spec *spec, struct mvm_error *err);

/* Are two specs equal but for their times?  1, 0 or -errno. */
int spec_same(const struct mvm_template_spec *a, const struct mvm_template_spec *b,
	      struct mvm_error *err);

/* Make a flake_ref whose path is relative to the working folder absolute; *ret is owned. */
int spec_flake_ref(const char *ref, char **ret, struct mvm_error *err);

/*
 * Take a template's lock.  While it waits, progress gets a note that names the holder.
 *
 *   what     the work that needs the lock, for the notes of waiting processes
 *   no_wait  fail with -EBUSY, naming the holder, instead of waiting
 *
 * Returns a descriptor to close, or -errno.
 */
int template_lock(struct mvm *mvm, const char *id, const char *what, bool no_wait,
		  const struct mvm_progress *progress, struct mvm_error *err);

#endif
