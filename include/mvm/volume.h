/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_VOLUME_H
#define MVM_VOLUME_H

/*
 * Named volumes: folders in the data folder.  A VM gets a copy of the volume, and its changes are
 * copied back at the VM's end (struct mvm_volume in mvm/instance.h).  One VM at a time may write to
 * a volume.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mvm_volume_info {
	char *name;
	char *path;	/* its folder on this host */
	uint64_t bytes; /* size of its files */
	bool in_use;	/* by a running VM that may write to it */
	char *problem;	/* in a list: why it cannot be read; then only name is set */
};
MVM_API void mvm_volume_info_free(struct mvm_volume_info *info);

/* Look a volume up; mvm_volume_info_free() *ret.  Looks at each of its files for their size, which
 * progress may stop.  Errors: -EINVAL (no valid name), -ENOENT, -ECANCELED. */
MVM_API int mvm_volume_inspect(struct mvm *mvm, const char *name,
			       const struct mvm_progress *progress, struct mvm_volume_info **ret,
			       struct mvm_error *err);

/* All volumes by name, as mvm_volume_inspect() gives them, unreadable ones with their problem;
 * mvm_volume_list_free() the list. */
MVM_API int mvm_volume_list(struct mvm *mvm, const struct mvm_progress *progress,
			    struct mvm_volume_info ***ret, size_t *ret_n, struct mvm_error *err);
MVM_API void mvm_volume_list_free(struct mvm_volume_info **list, size_t n);

/* Remove a volume with its contents, as `rm -r` does: after a crash, or when progress stops it,
 * some of it may stay, and a second call removes that.  Errors: -EINVAL, -ENOENT, -ECANCELED;
 * -EBUSY while a VM that may write to it runs; -EEXIST when it is a folder that no start has named
 * as a volume, and is not empty. */
MVM_API int mvm_volume_remove(struct mvm *mvm, const char *name,
			      const struct mvm_progress *progress, struct mvm_error *err);

#endif
