/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SEAL_H
#define BASE_SEAL_H

/*
 * Seal files with fs-verity, where the file system has it: ext4 with the feature `verity`, btrfs,
 * f2fs.
 *
 * The kernel keeps a tree of hashes beside a sealed file.  Nobody can write to the file any more,
 * not even root, and a seal is never taken off.  Links, renames and removal work as before.  The
 * kernel checks each page against the tree when it reads it from the disk: a read of a damaged page
 * fails with EIO, an access through a mapping with SIGBUS.  Pages in the page cache cost nothing
 * more.
 *
 * The seal's text names the content: two sealed files with one text have the same bytes.
 *
 * Source: Linux Documentation/filesystems/fsverity.rst.
 */

#include <stdbool.h>

#define SEAL_PREFIX "fsverity:"
#define SEAL_SIZE   (sizeof(SEAL_PREFIX) + 64)

/*
 * Seal a regular file.  Nobody may have it open for writing.  This reads the whole file, once.
 *
 * Returns 1 when the file is sealed, also when it was before; 0 when the file system has no seals,
 * or this file cannot have one; -errno when the file cannot be opened.
 */
int seal_file(int dir_fd, const char *path);

/*
 * Read the seal of an open file, without reading the file.
 *
 * Returns whether the file has one that this function knows, by SHA-256.
 */
bool seal_read(int fd, char ret[SEAL_SIZE]);

#endif
