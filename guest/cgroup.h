/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_CGROUP_H
#define GUEST_CGROUP_H

/*
 * The guest's control groups (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).
 *
 * Everything that runs belongs to a group below the root: the agent's own, "workload" or, with
 * an init of the image's, whatever that makes, and one "exec-<n>" per command.  So all but the
 * agent can be frozen, and everything that came of one command can be killed.
 */

#include <stddef.h>
#include <stdint.h>

#include <mvm/error.h>

/* Make the group if it is missing.  Returns its folder, open, or -errno. */
int cgroup_make(int root_fd, const char *name);

/* Move the calling process into a group, which is made if missing. */
int cgroup_join_self(int root_fd, const char *name);

/* SIGKILL to every process in the group, frozen ones too.  -errno only says that there is no such
 * group, or no memory. */
int cgroup_kill(int root_fd, const char *name);

/* Wait until no process lives in the group.  Returns 0, -ETIMEDOUT or -errno. */
int cgroup_wait_empty(int root_fd, const char *name, int64_t deadline_ns);

/* Remove the empty groups whose names begin with prefix, except the group `but`. */
void cgroup_sweep(int root_fd, const char *prefix, const char *but);

/* Freeze every group below the root but one and wait until all their processes are frozen.  On
 * failure (-ETIMEDOUT names the group) everything is thawed again. */
int cgroup_freeze_others(int root_fd, const char *but, int64_t deadline_ns, struct mvm_error *err);

/* Freeze and thaw a group without processes.  Under TCG the kernel's code for it is slow the first
 * time. */
void cgroup_rehearse_freeze(int root_fd, const char *name);

/* Thaw every group below the root but one. */
void cgroup_thaw_others(int root_fd, const char *but);

/* Open cgroup.freeze of every group below the root but one, so that writing "0" to each thaws
 * them.  The array is the caller's to free, and its descriptors to close. */
int cgroup_open_freezers(int root_fd, const char *but, int **ret_fds, size_t *ret_n);

/* Kill every process in every group but one. */
void cgroup_kill_others(int root_fd, const char *but);

#endif
