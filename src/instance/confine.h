/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_CONFINE_H
#define INSTANCE_CONFINE_H

/*
 * The cgroup v2 below which VMMs get cgroups of their own: MVM_CGROUP's, else this process's if it
 * is delegated to us.
 *
 *   ret_path  its path, the caller's
 *
 * Returns it open, or -ENOENT (there is no cgroup v2), -EPERM (it is not ours), -errno.
 */
int confine_open_parent(char **ret_path);

#define CONFINE_MOUNT "/sys/fs/cgroup"

/* This process's path in the cgroup2 hierarchy, as "/sys/fs/cgroup/<path>", the caller's; NULL
 * without one. */
char *confine_own_cgroup(void);

#endif
