/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_CONFINE_H
#define INSTANCE_CONFINE_H

#include "instance/record.h"

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

/*
 * Put the VMM into a cgroup of its own with limits somewhat above the machine's size, if this
 * process has a cgroup v2 delegated to it; note path and limits in the record.
 *
 * Otherwise nothing happens: the limits are a second fence around a machine whose size the VMM
 * keeps by itself.  The host's memory pressure then has one more name to account to.
 * Source: cgroups(7), systemd's CGROUP_DELEGATION.md.
 */
void confine(struct record *r);

/* Remove that cgroup, empty by now.  NULL is fine. */
void confine_end(const char *cgroup);

#endif
