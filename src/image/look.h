/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LOOK_H
#define IMAGE_LOOK_H

/* Find files in an ext4 image, without mounting it and without reading all of it. */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Called with a found file: the index of its pattern, and its path.  Returns false to stop. */
typedef bool (*image_found_fn)(void *arg, size_t pattern, const char *path);

/*
 * Find files by patterns of paths.
 *
 *   image_fd  a regular file, borrowed
 *   patterns  absolute; the last part may have the wildcards of fnmatch(3).  Folders on the way
 *             may be links that stay in the image
 *   fn        called for every matching file or link, except empty files; in the order of the
 *             patterns
 *
 * Returns 0, or -EBADMSG when the image has no readable file system.  A missing or damaged folder
 * counts as empty.
 */
int image_look(int image_fd, const char *const *patterns, size_t n, image_found_fn fn, void *arg,
	       struct mvm_error *err);

#endif
