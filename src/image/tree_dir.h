/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_TREE_DIR_H
#define IMAGE_TREE_DIR_H

/*
 * `dir:` sources: read a folder of the host into a tree.  Every checkout of a folder gives the same
 * tree.
 *
 * Owners become root and all times one given time.  Write bits of group and others go, except on
 * sticky folders.  Hard links become files of their own, and extended attributes are left behind.
 * The root folder is 0755, whatever its mode on the host.  mvm opens nothing through a symbolic
 * link.
 */

#include <mvm/digest.h>

#include "image/tree.h"

/*
 * Read the names and the results of stat(2).
 *
 *   dir_fd    the folder; borrowed
 *   dir_name  for messages
 *   mtime     the time of everything
 *   ret       a sealed tree, the caller's
 *
 * Returns 0; -EINVAL (a socket, fifo or device; the text names its path), -EFBIG (over a limit),
 * or errno of a failed read.
 */
int tree_dir_scan(int dir_fd, const char *dir_name, int64_t mtime, struct tree **ret,
		  struct mvm_error *err);

/*
 * Read the contents of a scanned tree, once, in the tree's order.
 *
 *   fn        gets the contents; NULL: compute the lock only
 *   ret_lock  the source's lock; may be NULL
 *
 * The lock is SHA-256 over "mvm dir 1\n" and, for everything below the root, folders before what
 * they hold and names in byte order: the path and a NUL, the type as one letter (d, f, l), the
 * mode as four octal digits, then for a file the SHA-256 of its contents (32 bytes), for a
 * symbolic link its target and a NUL.
 *
 * Returns 0; -EBUSY (a file changed since the scan), the result of fn, or errno of a read.
 */
int tree_dir_read(int dir_fd, const char *dir_name, struct tree *t, tree_content_fn fn, void *arg,
		  struct mvm_digest *ret_lock, struct mvm_error *err);

#endif
