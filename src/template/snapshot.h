/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_SNAPSHOT_H
#define TEMPLATE_SNAPSHOT_H

#include <mvm/build.h>

#include "base/extend.h"
#include "start/context.h"
#include "start/start.h"

/* What every caller of mvm_template_build() and mvm_template_snapshot() has of the result. */
#define BUILD_RESULT_FIRST STRUCT_END(struct mvm_build_result, why)

/*
 * Make a snapshot of a revision, in place of the one it may have.
 *
 * Boots the revision with its memory in a file, waits until the guest is healthy, has it prepare,
 * captures it, makes the file sparse, proves that a clone of it answers with what only its memory
 * knows, records what memory that took, and then publishes the whole revision anew in one rename.
 *
 *   revision  open; done with in any case, so that the folder that was replaced can go
 *   result    its snapshot part is filled in
 *
 * The caller holds the template's lock.  When it fails nothing has changed.
 */
int snapshot_make(struct mvm *mvm, struct revision *revision, const struct vmm_ops *ops,
		  const struct vmm_probe *probe, const struct mvm_progress *progress,
		  struct mvm_build_result *result, struct mvm_error *err);

/*
 * See to it that result->revision has a usable snapshot, if options ask for one.  One that can be
 * restored here is kept, unless options->force.  Fills in the result's snapshot part.
 *
 * The caller holds the template's lock.  When it fails nothing has changed.
 */
int snapshot_ensure(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		    const struct mvm_progress *progress, struct mvm_build_result *result,
		    struct mvm_error *err);

#endif
