/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_POOL_H
#define START_POOL_H

/*
 * Pools on disk, in the folder pool/ of the data folder:
 *
 *	<id>.json	{"schema_version": 1, "size": 4}: how many VMs are to wait
 *	<id>.note	why there are fewer, for people
 *	<id>/<key>.<name>	an empty file per VM that waits: instance <name>, restored from
 *			the snapshot with that key
 *	lock		held by the server
 *
 * Who removes a VM's file has it for himself: the server to end it, a start to take it.  So no
 * start waits for the server, and none fails with it.
 */

#include <mvm/pool.h>

#include "start/start.h"

#define POOL_LOCK     "lock"
#define POOL_KEY_SIZE 17 /* 16 hex digits of the hash of the snapshot's nonce, and NUL */

/* The key of a revision's snapshot; "" when it has none. */
void pool_key(const struct mvm_template_revision *rev, char ret[POOL_KEY_SIZE]);

/* How many VMs of a template are to wait.  A pool that is not there has size 0.  -EBADMSG. */
int pool_size(int pool_fd, const char *id, uint32_t *ret, struct mvm_error *err);

/* The ids of all pools.  -errno. */
int pool_ids(int pool_fd, struct strv *ret);

/* Is this the name of a file in a pool's own folder, as the server makes them? */
bool pool_is_waiting(const char *name);

/* Remove the files of a server that has been killed: its VMs went with it. */
void pool_clear(int dir_fd);

/* Write down why a pool is not full; NULL: it is. */
void pool_note(int pool_fd, const char *id, const char *text);

/*
 * Take a VM that waits, if the plan is a restore and there is one.
 *
 * Returns 1 with *ret, 0 when the instance must be started in another way: for whatever reason no
 * VM could be had, which progress is told if one was tried.
 */
int pool_take(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
	      const struct mvm_progress *progress, struct mvm_instance **ret);

#endif
