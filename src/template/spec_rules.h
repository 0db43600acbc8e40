/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_SPEC_RULES_H
#define TEMPLATE_SPEC_RULES_H

/* What holds for every spec that is written, whichever command writes it; and the lock for it. */

#include <mvm/store.h>

#include "start/context.h"

/* Names, machine size and run settings.  -EINVAL naming the key. */
int spec_check(const struct mvm_template_spec *spec, struct mvm_error *err);

/* Do two specs say the same, whenever they were written?  1, 0 or -errno. */
int spec_same(const struct mvm_template_spec *a, const struct mvm_template_spec *b,
	      struct mvm_error *err);

/* Make a flake_ref whose path is relative to the working folder absolute; *ret is owned. */
int spec_flake_ref(const char *ref, char **ret, struct mvm_error *err);

/*
 * Take a template's lock; the one who waits is told for whom.
 *
 *   what     what the holder does, for those who wait
 *   no_wait  -EBUSY naming the holder instead
 *
 * Returns a descriptor to close, or -errno.
 */
int template_lock(struct mvm *mvm, const char *id, const char *what, bool no_wait,
		  const struct mvm_progress *progress, struct mvm_error *err);

#endif
