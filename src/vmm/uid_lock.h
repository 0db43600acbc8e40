/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_UID_LOCK_H
#define VMM_UID_LOCK_H

/*
 * Locks on the uids of VMs: one lock for each uid, all in one file that only root can open.
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
 * Returns a descriptor; -ENOENT when no folder is fit.  A fit folder that fails is an error,
 * -errno: two processes must not choose different folders because a disk was full for a moment.
 */
int uid_lock_folder(const char *const *paths);

/* uid_lock_folder() of this host's folders. */
int uid_lock_open(void);

/*
 * Take a uid.  A uid with a running process is not free: code that broke out of an earlier VM could
 * have left that process.
 *
 * Returns a descriptor that keeps the uid; -EBUSY when it is not free, -EPERM when others can open
 * the file, else -errno.
 */
int uid_lock_take(int folder_fd, uid_t uid);

#endif
