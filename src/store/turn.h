/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_TURN_H
#define STORE_TURN_H

/*
 * Turns: builds of one cache key run one after the other, so that the second finds the first one's
 * result in the cache.
 *
 * A turn is an exclusive lock locks/build.<cache key>, taken after a template's lock and before the
 * store lock.  Every state of every source has a key, so the holder removes the file with its turn.
 * A process that waited for a removed file waits again for the current one.
 */

#include "base/lock.h"
#include "store/store.h"

struct turn {
	int fd;
	int locks_fd; /* borrowed */
	char name[96];
};

#define TURN_NONE                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/*
 * Take the turn of a cache key, if nobody has it.
 *
 *   what        what this holder does, told to waiting processes
 *   ret         turn_done() it, while the store is open; it ends with the process too
 *   ret_holder  on -EBUSY "<pid> <what>" of the holder, "" in its first moment; may be NULL
 *
 * Returns 0 or -errno.
 */
int turn_take(struct store *s, const char *cache_key, const char *what, struct turn *ret,
	      char ret_holder[LOCK_HOLDER_SIZE]);

/* Wait until nobody has the turn, and take none.  0, -ECANCELED once progress (may be NULL) stops
 * the work, or -errno. */
int turn_await(struct store *s, const char *cache_key, const struct mvm_progress *progress);

void turn_done(struct turn *t);
DEFINE_AUTO_DONE(turn, turn_done)

/* Remove the files of turns whose holder was killed. */
int turn_sweep(struct store *s);

#endif
