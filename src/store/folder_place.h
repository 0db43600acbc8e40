/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FOLDER_PLACE_H
#define STORE_FOLDER_PLACE_H

/* Where the data folder lies: the way to it, and places where it must not lie.  The rules are in
 * store/folder.h. */

#include <stdbool.h>

#include "base/error.h"

/* Is the caller root, for whom the path must be safe? */
bool place_is_roots(void);

/* Open a folder; create: make it and its parents (mode 0700) if they are missing.  -errno with a
 * sentence. */
int place_open(const char *path, bool create, struct mvm_error *err);

/* The same as place_open() for root, by a path that only root may change; else -EPERM. */
int place_open_as_root(const char *path, bool create, struct mvm_error *err);

/* "your home folder", "the root of a file system"; NULL when a data folder may be there. */
const char *place_forbidden(int fd);

#endif
