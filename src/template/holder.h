/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_HOLDER_H
#define TEMPLATE_HOLDER_H

/*
 * Finds suspended instances, which need their revision and its snapshot.
 *
 * No process runs that could hold a lease for them, so their folders do, which have the state
 * (instance/saved.h).  A supervisor keeps that state before it gives up its lease, and a resume
 * takes a lease before it takes the state away.  So whoever has claimed a revision and then finds
 * no such folder may remove the revision.
 *
 * A replaced snapshot needs more, because VMs that hold a lease may be suspended meanwhile.  So
 * holder_publish() claims the snapshot while it looks and replaces, and a suspend holds it while it
 * looks for the snapshot and names the state.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>

#include "store/revision.h"

/*
 * Find an instance that needs this revision, or (revision NULL) any revision of the template.
 *
 *   ret  its name, to free(3); NULL: none needs it
 *
 * Returns 0, or -errno when that cannot be told: then the revision must stay.
 */
int holder_find(struct mvm *mvm, const char *id, const char *revision, char **ret,
		struct mvm_error *err);

/* Returns 0, -EBUSY ("instance-in-the-way") with the instance's name, or as holder_find(). */
int holder_check(struct mvm *mvm, const char *id, const char *revision, struct mvm_error *err);

/* Put a staged revision in the place of one that exists, and so another snapshot, or none.  As
 * store_revision_publish(), and as holder_check(). */
int holder_publish(struct mvm *mvm, struct staging *st, const char *id, const char *revision,
		   struct mvm_error *err);

#endif
