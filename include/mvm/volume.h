/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_VOLUME_H
#define MVM_VOLUME_H

/*
 * Named volumes: folders in the data folder that VMs get a copy of, and that get back what a VM has
 * left in it (struct mvm_volume in mvm/instance.h).  One VM at a time may write to a volume.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mvm_volume_info {
	char *name;
	char *path;	/* its folder on this host */
	uint64_t bytes; /* that its files take */
	bool in_use;	/* a VM that may write to it runs */
};
MVM_API void mvm_volume_info_free(struct mvm_volume_info *info);

/* Look at one.  -EINVAL (no valid name), -ENOENT. */
MVM_API int mvm_volume_inspect(struct mvm *mvm, const char *name, struct mvm_volume_info **ret,
			       struct mvm_error *err);

/* All volumes by name; mvm_volume_list_free() the list. */
MVM_API int mvm_volume_list(struct mvm *mvm, struct mvm_volume_info ***ret, size_t *ret_n,
			    struct mvm_error *err);
MVM_API void mvm_volume_list_free(struct mvm_volume_info **list, size_t n);

/* Remove one with all that is in it.  -ENOENT; -EBUSY while a VM that may write to it runs. */
MVM_API int mvm_volume_remove(struct mvm *mvm, const char *name, struct mvm_error *err);

#endif
