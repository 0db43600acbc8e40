/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_POOL_UPKEEP_H
#define START_POOL_UPKEEP_H

/* One pool of the pools' server (pool_serve.c): its waiting VMs, and what it needs next. */

#include "base/loop.h"
#include "start/pool.h"

struct pool;

/* A waiting VM. */
struct waiting {
	struct waiting *next;
	struct pool *pool;
	struct mvm_instance *vm; /* holds its leash */
	struct loop_source *source;
	char file[POOL_KEY_SIZE + 64]; /* in the pool's folder */
	int dir_fd;		       /* of the instance */
	uint64_t bytes;		       /* its private memory */
	int64_t claimed_ns;	       /* when a start removed its file; 0: not yet */
	bool gone;		       /* taken or dead */
};

struct pool {
	struct pool *next;
	char *id;
	int dir_fd;
	int waiting_wd, template_wd, artifacts_wd; /* inotify; -1: not watched */
	uint32_t size;				   /* wanted */
	uint32_t n;
	struct waiting *list;
	char key[POOL_KEY_SIZE]; /* of the snapshot that VMs are restored from */
	bool changed;		 /* check it again */
	bool unset;		 /* the user has removed this pool */
	int64_t retry_ns;	 /* start no VM before this time; 0: now */
	unsigned failures;
	char note[256];
};

struct pool_server {
	struct mvm *mvm;
	const struct mvm_progress *progress;
	struct loop *loop;
	int pool_fd, notify_fd;
	struct pool *pools;
	bool cancelled, changed;
	uint64_t max_bytes, bytes;
};

/* Note what holds the pool up, for `pool list` and the receiver of progress; NULL: nothing does. */
void pool_say(struct pool_server *s, struct pool *p, const char *text);

/* Take one step towards a full pool. */
void pool_maintain(struct pool_server *s, struct pool *p);

/* Does the pool need a step now?  Otherwise lower *ret_next to the time when it may. */
bool pool_is_due(const struct pool *p, int64_t *ret_next);

/* End all waiting VMs, except those that starts have taken. */
void pool_end_waiting(struct pool_server *s, struct pool *p);

#endif
