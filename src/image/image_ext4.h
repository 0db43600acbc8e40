/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_IMAGE_EXT4_H
#define IMAGE_IMAGE_EXT4_H

/*
 * Root filesystem images that another program made.  mvm copies them unchanged, if a guest can
 * mount them read-only.
 *
 * Source: the kernel's Documentation/filesystems/ext4/super.rst.
 */

#include <stdbool.h>

#include "base/error.h"

/* Does the file begin like an ext2, ext3 or ext4 file system?  1 or 0, or -errno of the read. */
int image_is_ext4(int fd);

/*
 * Copy an ext4 image.
 *
 *   in_fd   a regular file; borrowed, its offset may move
 *   name    for messages
 *   out_fd  an empty regular file
 *
 * Returns 1 if the copy shares its storage (reflink), else 0; -EINVAL (no ext4, cut off, or not
 * clean: without an unmount after the last mount, no guest can mount it read-only), or errno.
 */
int image_copy_ext4(int in_fd, const char *name, int out_fd, struct mvm_error *err);

#endif
