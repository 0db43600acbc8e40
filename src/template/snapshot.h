/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_SNAPSHOT_H
#define TEMPLATE_SNAPSHOT_H

#include <mvm/build.h>

#include "base/extend.h"
#include "start/context.h"
#include "start/start.h"
#include "template/capture.h"

/* The size of the result that every caller of mvm_template_build() and mvm_template_snapshot() has,
 * however old. */
#define BUILD_RESULT_FIRST STRUCT_END(struct mvm_build_result, why)

/*
 * Make a snapshot of a revision.  It replaces the revision's earlier snapshot.
 *
 * The steps: boot the revision with its memory in a file, wait until the guest is healthy, have the
 * guest prepare, capture it, make the memory file sparse, prove that a clone answers with the nonce
 * that only its memory has, record the clone's working set.  Then one rename publishes the whole
 * revision again.
 *
 *   from      instead of a boot, a VM that runs; NULL: none
 *   revision  open; closed in any case, so that the replaced folder can be removed
 *   result    its snapshot part is filled in
 *
 * The caller holds the template's lock.  A failure changes nothing.
 */
int snapshot_make(struct mvm *mvm, struct revision *revision, const struct vmm_ops *ops,
		  const struct vmm_probe *probe, const struct capture_source *from,
		  const struct mvm_progress *progress, struct mvm_build_result *result,
		  struct mvm_error *err);

/*
 * Make a snapshot of result->revision, if options ask for one.  A snapshot that this host can
 * restore is kept, unless options->force.  Fills in the result's snapshot part.
 *
 * The caller holds the template's lock.  A failure changes nothing.
 */
int snapshot_ensure(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		    const struct mvm_progress *progress, struct mvm_build_result *result,
		    struct mvm_error *err);

#endif
