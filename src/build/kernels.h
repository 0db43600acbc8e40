/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_KERNELS_H
#define BUILD_KERNELS_H

/*
 * Guest kernels in the data folder: kernels/<name>/ with kernel.json, vmlinux (a link to its
 * blob) and modules/ (image/kernel.h).  Published whole by one rename.
 */

#include <mvm/kernel.h>

#include "store/store.h"

/* See mvm_kernel_add(). */
int kernels_add(struct store *s, const char *path, const char *name, bool force,
		const struct mvm_progress *progress, struct mvm_kernel **ret,
		struct mvm_error *err);

/* kernels_add() of an open regular file.  src_name: for messages.  source: the artifact that it
 * came from; NULL: none. */
int kernels_add_file(struct store *s, int fd, const char *src_name, const struct mvm_digest *source,
		     const char *name, bool force, const struct mvm_progress *progress,
		     struct mvm_kernel **ret, struct mvm_error *err);

/* Find the kernel that kernels_add_file() of this artifact has added under that name; name NULL:
 * under its version. */
bool kernels_find_source(struct store *s, const struct mvm_digest *source, const char *name,
			 struct mvm_kernel **ret);

/* Find a kernel by name; without a name, the only kernel.  A damaged kernel counts, since the user
 * may mean it.  ret_dir_fd: its folder, the caller's; may be NULL.  -ENOENT, with a reason for
 * which the command line has a hint. */
int kernels_find(struct store *s, const char *name, struct mvm_kernel **ret, int *ret_dir_fd,
		 struct mvm_error *err);

int kernels_list(struct store *s, struct mvm_kernel ***ret, size_t *ret_n, struct mvm_error *err);
int kernels_remove(struct store *s, const char *name, struct mvm_error *err);

#endif
