/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_FOLDERS_H
#define GUEST_FOLDERS_H

/*
 * Create a folder that the image may lack, and those above it, with mode 0755.
 *
 *   path  absolute
 *
 * Links are followed, as container runtimes do: the target of a link that leads nowhere is created.
 * Call this in the guest's root only, so that an absolute link stays inside it.
 *
 * Returns 0 when the folder is there, -ENOTDIR (something else is in the way), -ELOOP,
 * -ENAMETOOLONG, -ENOMEM or the errno of mkdir(2).
 */
int folders_make(const char *path);

#endif
