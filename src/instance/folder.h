/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_FOLDER_H
#define INSTANCE_FOLDER_H

/*
 * An instance's folder, and whose it is.
 *
 * Everything that mvm puts into one has a name that folder.c knows: a new file needs its name
 * there, or instances that remove themselves stay.  A folder is mvm's when it has a record or a
 * lock.  mvm makes the lock first and removes it last, so this holds at every moment but the one
 * before the first lock, when the folder is empty.
 */

#include <stdbool.h>

#include "base/error.h"

/* Did mvm make this folder?  An empty one counts if it has the mode that mvm gives (0700). */
bool instance_folder_is_own(int dir_fd);

/*
 * Remove an instance's folder.
 *
 *   dir_fd   the folder; another one that has its name by now is left alone (-ENOENT).  The caller
 *            holds its lock, or nobody can
 *   by_name  the user named the instance: whatever lies in its folder goes.  Otherwise a folder
 *            with anything in it that mvm did not make stays whole (-ENOTEMPTY)
 *
 * Returns 0 or -errno.
 */
int instance_folder_remove(int instances_fd, const char *name, int dir_fd, bool by_name);

#endif
