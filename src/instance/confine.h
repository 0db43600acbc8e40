/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_CONFINE_H
#define INSTANCE_CONFINE_H

#include "instance/record.h"

/*
 * Open the cgroup v2 below which VMMs get cgroups of their own: MVM_CGROUP's; else this process's,
 * or the nearest one above it, that is delegated to our user; else, run by root outside a
 * container, /sys/fs/cgroup/mvm.slice, which is made if it is missing.
 *
 *   ret_path  its path, the caller's
 *
 * Returns a descriptor to close, or -ENOENT (the host has no cgroup v2, or MVM_CGROUP names none),
 * -EPERM (none is delegated to us), -EBUSY (this process is in a cgroup with a limit of memory or
 * CPU that a VM would leave), -errno.
 */
int confine_open_parent(char **ret_path);

/* The limits that VMs can have below this cgroup, as "memory, pids"; the caller's, or NULL. */
char *confine_limits(int parent_fd);

#define CONFINE_MOUNT "/sys/fs/cgroup"

/* This process's path in the cgroup2 hierarchy, as "/sys/fs/cgroup/<path>", the caller's; NULL
 * without one. */
char *confine_own_cgroup(void);

/*
 * Put the VMM and its mvm-net into a cgroup of their own with limits somewhat above the machine's
 * size, if confine_open_parent() finds a place; note path and limits in the record.  If the place
 * is delegated to us and has processes in it, they move into its child `mvm-others`.
 *
 * Otherwise this does nothing: the VMM itself keeps the machine's size, until somebody breaks into
 * it.  A cgroup also lets the host account memory pressure to the VM, and the kernel's buffers of
 * its sockets.
 *
 *   network_pid  mvm-net's; 0: the VM has none
 *
 * Source: cgroups(7), systemd's CGROUP_DELEGATION.md.
 */
void confine(struct record *r, int64_t network_pid);

/* Another mvm-net has been started: put it into the VM's cgroup, if there is one. */
void confine_network(const struct record *r, int64_t pid);

/* Remove a VM's cgroup, which is empty by now.  NULL is fine. */
void confine_end(const char *cgroup);

#endif
