/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FOLDER_H
#define STORE_FOLDER_H

/*
 * Rules for the data folder.
 *
 * mvm removes files under its own names in the data folder, and runs files from it.  So a foreign
 * folder must never become a data folder:
 *
 *  - `/`, the root of a mounted file system and the caller's home folders ($HOME and those in
 *    /etc/passwd) are refused, even when they are empty or have a marker: other programs put files
 *    there, under any name.  A folder below them is fine.  So is a mounted part of a file system (a
 *    bind mount, a container's volume).
 *  - A folder inside another data folder of the caller's is refused.
 *  - The folder belongs to the caller, and nobody else may write to it.
 *  - It has a marker (store/marker.h).
 *  - For root, every folder on the way belongs to root and only root may change it: a path through
 *    a symbolic link, through another user's folder or through a folder that others may write is
 *    refused.  A sticky folder (/tmp) is fine, because the next folder belongs to root.  The path
 *    is walked folder by folder, so nobody can exchange one between the check and the use.  In a
 *    user namespace, owners without a number there count as the host's root.
 */

#include <stdbool.h>

#include "base/error.h"

/*
 * Open the data folder, and create it with its marker if it is missing.
 *
 *   read_only  create and write nothing; an empty folder, and one of an earlier version, then need
 *              no marker
 *
 * Returns a descriptor to close, or -errno with a sentence: -ENOENT (read_only: it is missing),
 * -EPERM (refused by a rule above; hint), -EROFS and -EACCES (not writable), -EOPNOTSUPP (a newer
 * mvm made it), -EBADMSG (its marker is damaged).
 */
int folder_open(const char *path, bool read_only, struct mvm_error *err);

/* Report that the data folder is not writable, with the remedy.  Returns code. */
int folder_not_writable(const char *path, int code, struct mvm_error *err);

#endif
