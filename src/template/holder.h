/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_HOLDER_H
#define TEMPLATE_HOLDER_H

/*
 * Finds suspended instances, which need their revision and its snapshot.
 *
 * No process runs that could hold a lease for them, so their records do.  A supervisor writes such
 * a record before it gives up its lease, and a resume takes a lease before it changes the record.
 * So whoever has claimed a revision and finds none here may remove it.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>

#include "store/revision.h"

/* The name of an instance that needs this revision, or (revision NULL) any revision of the
 * template; free(3) it.  NULL: none needs it. */
char *holder_find(struct mvm *mvm, const char *id, const char *revision);

/* Returns 0, or -EBUSY ("instance-in-the-way") with the instance's name. */
int holder_check(struct mvm *mvm, const char *id, const char *revision, struct mvm_error *err);

/* Put a staged revision in the place of one that exists, and so another snapshot, or none.  As
 * store_revision_publish(), and -EBUSY as holder_check(). */
int holder_publish(struct mvm *mvm, struct staging *st, const char *id, const char *revision,
		   struct mvm_error *err);

#endif
