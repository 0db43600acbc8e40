/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_RECALL_H
#define TEMPLATE_RECALL_H

/* Would a pull change anything here?  What earlier pulls have left tells, without the registry. */

#include "model/template.h"
#include "pull/pull.h"

/*
 * Find out which revision a digest names, and whether its snapshot is for a host like this one.
 *
 *   p     pull_choose() has been called with the same keys
 *   root  as for pull_recall()
 *   keys  of this host; n 0: it has no VMM, and takes any snapshot
 *
 * Returns as pull_recall().
 */
int recall(struct pull *p, const struct mvm_digest *root, const struct variant_key *keys, size_t n,
	   struct pull_found *ret);

/* Is a revision of this host what a pull would leave here?  It came with that manifest, or it is
 * the same revision and the pull would leave it alone: it has a snapshot that was made here, or
 * none of the snapshots under that tag is for a host like this one. */
bool recall_is(const struct mvm_template_revision *rev, const struct pull_found *found);

#endif
