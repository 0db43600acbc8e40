/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

/*
 * Locks that name their holder.
 *
 * A lock is flock(2) on a file of its own.  It goes with the last descriptor of the process that
 * took it, so a killed holder leaves none behind, and a child that inherits the descriptor goes on
 * holding it.  The holder of an exclusive lock writes "<pid> <what>" into the file; that text is
 * only for people.
 *
 * The file may be removed by who holds it exclusively, while it is held: whoever gets a lock makes
 * sure that it is on the file that is there now, and starts again if it is not.
 *
 * Order, outermost first: template build lock, turn (store/turn.h), store lock.  Leases are shared
 * locks taken last.
 */

#include <stdbool.h>
#include <stdint.h>

enum lock_flags {
	LOCK_SHARED = 1u << 0,
	LOCK_NOWAIT = 1u << 1,
};

#define LOCK_HOLDER_SIZE 128

/*
 * Take the lock named name in dir_fd, creating the file if needed.
 *
 *   flags       LOCK_SHARED for readers; LOCK_NOWAIT to fail with -EBUSY instead of waiting
 *   what        what the holder is doing, for the ones that wait; ignored for shared locks
 *   ret_holder  on -EBUSY what the holder wrote, or ""; may be NULL
 *
 * Returns a descriptor that holds the lock until it is closed, or -errno; -EPERM when somebody
 * else's file has that name.  Waits without polling and without a deadline.
 */
int lock_take_at(int dir_fd, const char *name, unsigned flags, const char *what,
		 char ret_holder[LOCK_HOLDER_SIZE]);

/* Why a lock could not be taken, for people. */
const char *lock_why(int code);

/* Is an exclusive lock on this file held by somebody?  A missing file is not locked. */
bool lock_is_held_at(int dir_fd, const char *name);

/* Is it a file as lock_take_at() and lock_span_at() make them?  Else who sweeps locks leaves it. */
bool lock_is_own_at(int dir_fd, const char *name);

/* Wait until nobody holds an exclusive lock on this file, and take none: nothing is created, so
 * this disturbs nobody who removes the folder.  A missing file is not locked.  0 or -errno. */
int lock_wait_at(int dir_fd, const char *name);

/*
 * As lock_wait_at(), until cancel_fd is readable: -ECANCELED.
 *
 * flock(2) cannot be polled, so a child waits in our place.  cancel_fd -1: nothing cancels, and no
 * child is needed.
 */
int lock_await_at(int dir_fd, const char *name, int cancel_fd);

/* A process that has inherited an exclusive lock names itself as its holder. */
void lock_sign(int fd, const char *what);

/* Remove a lock's file before letting go of it.  The caller holds all of it exclusively. */
void lock_remove_at(int dir_fd, const char *name);

/*
 * Many locks in one file: each is a number, and several neighbours can be taken at once.
 *
 * They are open file description locks, which do not see flock(2): a file has locks of one kind.
 */
struct lock_span {
	uint64_t first, n; /* n 0: to the last; both below 2^63 */
};

/* flags: enum lock_flags.  Returns a descriptor that holds the locks, or -errno as above. */
int lock_span_at(int dir_fd, const char *name, const struct lock_span *span, unsigned flags);

/* Is one of these held by somebody, shared or not?  A missing file is not locked. */
bool lock_span_is_held_at(int dir_fd, const char *name, const struct lock_span *span);

#endif
