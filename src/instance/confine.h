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
 * Returns its descriptor, or -ENOENT (the host has no cgroup v2), -EPERM (it is not delegated to
 * us), -errno.
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
 * Otherwise this does nothing: the VMM itself keeps the machine's size, and the limits are only a
 * second fence.  A cgroup also lets the host account memory pressure to the VM.
 * Source: cgroups(7), systemd's CGROUP_DELEGATION.md.
 */
void confine(struct record *r);

/* Remove a VM's cgroup, which is empty by now.  NULL is fine. */
void confine_end(const char *cgroup);

#endif
