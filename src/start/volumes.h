/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_VOLUMES_H
#define START_VOLUMES_H

/* The volumes that instances are started with; the public face is in mvm/instance.h and
 * mvm/volume.h. */

#include <mvm/instance.h>

#include "instance/copy.h"

/*
 * Copies of volumes in which every one has its path on this host: named ones are made if missing.
 *
 *   n_instances  that are to have them
 *   ret          n of them; volumes_free()
 *
 * Errors: -EINVAL, -EBUSY (another VM may write to it).
 */
int volumes_resolve(struct mvm *mvm, const struct mvm_volume *from, size_t n, uint32_t n_instances,
		    struct mvm_volume **ret, struct mvm_error *err);

/* The caller's options as they are used within, with what cancels.  from, progress: may be NULL. */
int copy_options_take(const struct mvm_copy_options *from, const struct mvm_progress *progress,
		      struct copy_options *ret, struct mvm_error *err);

/*
 * Copy a running instance's volumes back, unless somebody is ending it already.
 *
 *   options   as in mvm_instance_copy_back()
 *   ret_left  its supervisor is ending it, and does it, or has done so
 *
 * Errors: as mvm_instance_copy_back().
 */
int volumes_bring_back(struct mvm *mvm, const char *name, const struct copy_options *options,
		       bool *ret_left, struct mvm_error *err);

/* Of a VM that has ended: -EIO and the record's words when something did not come back. */
int volumes_check_returned(struct mvm *mvm, const char *name, struct mvm_error *err);

void volumes_free(struct mvm_volume *list, size_t n);

#endif
