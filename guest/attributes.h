/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_ATTRIBUTES_H
#define GUEST_ATTRIBUTES_H

/*
 * Give one folder the owner, mode, extended attributes (ACLs among them) and times of another.
 *
 * Leaves out attributes that the other file system cannot store: tmpfs has no user.* before
 * Linux 6.6.  Also leaves out overlayfs's own attributes, which would mean something else there.
 *
 * Returns 0 or -errno.
 */
int attributes_copy(int from_fd, int to_fd);

#endif
