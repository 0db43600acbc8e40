/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FOLDER_PLACE_H
#define STORE_FOLDER_PLACE_H

/* The place of the data folder: a safe path to it, and forbidden places.  store/folder.h has the
 * rules. */

#include <stdbool.h>

#include "base/error.h"

/* Is the caller root, for whom the path must be safe? */
bool place_is_roots(void);

/* Open a folder; create: make it and its parents (mode 0700) if they are missing.  -errno with a
 * sentence. */
int place_open(const char *path, bool create, struct mvm_error *err);

/* place_open() for root: -EPERM unless only root may change the path. */
int place_open_as_root(const char *path, bool create, struct mvm_error *err);

/* Why the place is forbidden: "your home folder", "the root of a file system"; NULL: allowed. */
const char *place_forbidden(int fd);

#endif
