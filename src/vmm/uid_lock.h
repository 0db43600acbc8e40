/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_UID_LOCK_H
#define VMM_UID_LOCK_H

/*
 * Which uids of VMs are taken: a lock for each, all in one file that only root can open.
 *
 * The file lies in a folder that only root can write (/run, else /var/lib), so no other user can
 * take a uid, or stop root from taking one.  All of root's mvm processes that see the same /run
 * share it, whatever their data folder and network namespace.  The kernel frees the lock with its
 * last descriptor.
 */

#include <sys/types.h>

/*
 * Open the first of these folders that only root can write.
 *
 *   paths  NULL-terminated; the first is made if it is missing
 *
 * Returns a descriptor; -ENOENT when none is fit, or -errno of a fit one that cannot be used: two
 * processes must not come to different answers because a disk was full for a moment.
 */
int uid_lock_folder(const char *const *paths);

/* The same of this host's folders. */
int uid_lock_open(void);

/*
 * Take a uid.  One that a process still runs as is not free: what broke out of an earlier VM could
 * have left it there.
 *
 * Returns a descriptor that keeps the uid; -EBUSY when it is not free, -EPERM when others can open
 * the file, else -errno.
 */
int uid_lock_take(int folder_fd, uid_t uid);

#endif
