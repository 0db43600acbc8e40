/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_TREE_TAR_H
#define IMAGE_TREE_TAR_H

/*
 * `tar:` sources: a root filesystem as a tar, in any of the usual compressions.
 *
 * Modes, owners, times, extended attributes, hard links and device nodes are kept.  Paths are
 * made relative ("/" and "./" in front do not matter), ".." is refused.  A later entry replaces
 * an earlier one of that path, but a folder that is a folder again keeps what it holds.  Folders
 * that no entry describes are 0755 and root's.  An entry whose parent is no folder is refused:
 * links in the tree are never followed.  Attributes named "system.*" (access lists in the form of
 * another kernel's interface) are left out.
 *
 * The stream is read twice, since an image must know its files before their contents.
 */

#include <stddef.h>

#include "image/tree.h"

/*
 * Read the names and metadata.
 *
 *   fd        read from its start; borrowed
 *   tar_name  for messages
 *   mtime     of folders that no entry describes
 *   limits    NULL: the defaults of tree_new
 *   ret       a sealed tree, the caller's
 *
 * Returns 0; -EBADMSG (cut, damaged or no tar), -EINVAL (an entry that cannot be in an image, by
 * name), -EFBIG (over a limit), -ENOMEM or errno.
 */
int tree_tar_scan(int fd, const char *tar_name, int64_t mtime, const struct tree_limits *limits,
		  struct tree **ret, struct mvm_error *err);

/* The same from memory. */
int tree_tar_scan_buf(const void *data, size_t len, const char *tar_name, int64_t mtime,
		      const struct tree_limits *limits, struct tree **ret, struct mvm_error *err);

/*
 * Read the contents of the files of a scanned tree, in the order of the stream.
 *
 * Returns 0; -EBADMSG, what fn returned, -EBUSY (not the stream that was scanned) or errno.
 */
int tree_tar_read(int fd, const char *tar_name, struct tree *t, tree_content_fn fn, void *arg,
		  struct mvm_error *err);

#endif
