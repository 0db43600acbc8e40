/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_POOL_H
#define START_POOL_H

/*
 * Pools on disk, in the folder pool/ of the data folder:
 *
 *	<id>.json	{"schema_version": 1, "size": 4}: the number of VMs that should wait
 *	<id>.note	why fewer wait, for the user
 *	<id>/<key>.<name>	an empty file for each waiting VM: instance <name>, restored from
 *			the snapshot with that key
 *	lock		held by the server
 *
 * The process that removes a VM's file owns the VM: the server ends it, a start uses it.  So no
 * start waits for the server, and none fails with it.
 */

#include <mvm/pool.h>

#include "start/start.h"

#define POOL_LOCK     "lock"
#define POOL_KEY_SIZE 17 /* 16 hex digits of the hash of the snapshot's nonce, and NUL */

/* The key of a revision's snapshot; "" without a snapshot. */
void pool_key(const struct mvm_template_revision *rev, char ret[POOL_KEY_SIZE]);

/* The number of a template's VMs that should wait.  A missing pool has size 0.  -EBADMSG. */
int pool_size(int pool_fd, const char *id, uint32_t *ret, struct mvm_error *err);

/* The ids of all pools.  -errno. */
int pool_ids(int pool_fd, struct strv *ret);

/* Is this the name of a waiting VM's file, <key>.<name>? */
bool pool_is_waiting(const char *name);

/* Remove the files that a killed server left.  Its VMs ended with it. */
void pool_clear(int dir_fd);

/* Write down why a pool is not full; NULL: the pool is full. */
void pool_note(int pool_fd, const char *id, const char *text);

/*
 * Take a waiting VM, if the plan is a restore and a VM waits.
 *
 * Returns 1 with *ret; 0 when the caller must start the instance itself.  If a waiting VM failed,
 * progress gets the reason.
 */
int pool_take(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
	      const struct mvm_progress *progress, struct mvm_instance **ret);

#endif
