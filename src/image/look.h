/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LOOK_H
#define IMAGE_LOOK_H

/* Which files are in an ext4 image, found without mounting it and without reading all of it. */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A file that was looked for: the index of its pattern, and its path; false: look no further. */
typedef bool (*image_found_fn)(void *arg, size_t pattern, const char *path);

/*
 * Find files by patterns of paths.
 *
 *   image_fd  a regular file, borrowed
 *   patterns  absolute; the last part may have the wildcards of fnmatch(3).  Folders on the way
 *             may be links that stay in the image
 *   fn        called for every file or link that matches, but for empty files; in the order of the
 *             patterns
 *
 * Returns 0, or -EBADMSG: that is no file system that can be read.  A folder that is missing or
 * damaged has no files.
 */
int image_look(int image_fd, const char *const *patterns, size_t n, image_found_fn fn, void *arg,
	       struct mvm_error *err);

#endif
