/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_TREE_DIR_H
#define IMAGE_TREE_DIR_H

/*
 * `dir:` sources: a folder of the host as a tree that is the same wherever it is checked out.
 *
 * Owners become root, times one given time, write bits of group and others go except on sticky
 * folders; hard links become files of their own, extended attributes are left behind, and the
 * root folder is 0755 whatever the host's is.  Nothing is ever opened through a symbolic link.
 */

#include <mvm/digest.h>

#include "image/tree.h"

/*
 * Read the names and what stat(2) says.
 *
 *   dir_fd    the folder; borrowed
 *   dir_name  for messages
 *   mtime     the time of everything
 *   ret       a sealed tree, the caller's
 *
 * Returns 0; -EINVAL (a socket, fifo or device; the text names its path), -EFBIG (over a limit),
 * or errno of what could not be read.
 */
int tree_dir_scan(int dir_fd, const char *dir_name, int64_t mtime, struct tree **ret,
		  struct mvm_error *err);

/*
 * Read the contents of a scanned tree, once, in the tree's order.
 *
 *   fn        gets them; NULL: only the lock is wanted
 *   ret_lock  the source's lock; may be NULL
 *
 * The lock is SHA-256 over "mvm dir 1\n" and, for everything below the root, folders before what
 * they hold and names in byte order: the path and a NUL, the type as one letter (d, f, l), the
 * mode as four octal digits, then for a file the SHA-256 of its contents (32 bytes), for a
 * symbolic link its target and a NUL.
 *
 * Returns 0; -EBUSY (a file changed since the scan), what fn returned, or errno of a read.
 */
int tree_dir_read(int dir_fd, const char *dir_name, struct tree *t, tree_content_fn fn, void *arg,
		  struct mvm_digest *ret_lock, struct mvm_error *err);

#endif
