/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_VOLUMES_H
#define START_VOLUMES_H

/* The volumes of instances.  mvm/instance.h and mvm/volume.h have the public functions. */

#include <mvm/instance.h>

#include "instance/copy.h"

/*
 * Copy a list of volumes, with each one's path on this host.  Missing named volumes are made.
 *
 *   n_instances  number of instances that will have the volumes
 *   ret          n of them; volumes_free()
 *
 * Errors: -EINVAL, -EBUSY (another VM may write to it).
 */
int volumes_resolve(struct mvm *mvm, const struct mvm_volume *from, size_t n, uint32_t n_instances,
		    struct mvm_volume **ret, struct mvm_error *err);

/* Refuse members of a later version in the i-th volume.  -EOPNOTSUPP. */
int volume_check_reserved(const struct mvm_volume *v, size_t i, struct mvm_error *err);

/* Turn the caller's options into the internal ones, with the descriptor that cancels.  from,
 * progress: may be NULL. */
int copy_options_take(const struct mvm_copy_options *from, const struct mvm_progress *progress,
		      struct copy_options *ret, struct mvm_error *err);

/*
 * Copy a running instance's volumes back, unless its end has begun.
 *
 *   options   as in mvm_instance_copy_back()
 *   ret_left  true: the supervisor is ending the instance, and copies or has copied them itself
 *
 * Errors: as mvm_instance_copy_back().
 */
int volumes_bring_back(struct mvm *mvm, const char *name, const struct copy_options *options,
		       bool *ret_left, struct mvm_error *err);

/* After the VM has ended: -EIO with the record's text when a volume was not copied back. */
int volumes_check_returned(struct mvm *mvm, const char *name, struct mvm_error *err);

/*
 * After a copy back that failed: has the VM ended meanwhile?
 *
 *   why  that failure; it is the error if the supervisor names no volume
 *
 * Returns -EIO if so, else 0.
 */
int volumes_check_ended(struct mvm *mvm, const char *name, const struct mvm_error *why,
			struct mvm_error *err);

void volumes_free(struct mvm_volume *list, size_t n);

#endif
