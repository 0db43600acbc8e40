/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_SNAPSHOT_H
#define TEMPLATE_SNAPSHOT_H

#include <mvm/build.h>

#include "template/context.h"

/*
 * See to it that result->revision has a usable snapshot, if options ask for one.
 *
 * Boots the revision with its memory in a file, waits until the guest is healthy, has it prepare,
 * captures it, makes the file sparse, proves that a clone of it answers with what only its memory
 * knows, and then publishes the whole revision anew in one rename.  A snapshot that can be restored
 * here is kept, unless options->force.  Fills in the result's snapshot part.
 *
 * The caller holds the template's lock.  When it fails nothing has changed.
 */
int snapshot_ensure(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		    const struct mvm_progress *progress, struct mvm_build_result *result,
		    struct mvm_error *err);

#endif
