/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

/*
 * Locks that name their holder.
 *
 * A lock is flock(2) on a file of its own.  The kernel releases it with the last descriptor, so a
 * killed holder leaves none behind, and a child that inherits the descriptor goes on holding it.
 * The holder of an exclusive lock writes "<pid> <what>" into the file; that text is only for
 * people.
 *
 * An exclusive holder may remove the file while it holds the lock.  So a process that gets a lock
 * checks that its file still has the name, and starts again if it does not.
 *
 * Order, outermost first: template build lock, turn (store/turn.h), store lock.  Leases are shared
 * locks taken last.
 */

#include <stdbool.h>
#include <stdint.h>

struct mvm_progress;

enum lock_flags {
	LOCK_SHARED = 1u << 0,
	LOCK_NOWAIT = 1u << 1,
	LOCK_PAST_LOOKS = 1u << 2,
};

#define LOCK_HOLDER_SIZE 128

/*
 * Take the lock named name in dir_fd, creating the file if needed.
 *
 *   flags       LOCK_SHARED for readers; LOCK_NOWAIT to fail with -EBUSY instead of waiting;
 *               LOCK_PAST_LOOKS with it, for a lock that is shared only by processes that look for
 *               an instant whether it is held: they are waited for, for seconds at most
 *   what        what this holder does, told to waiting processes; ignored for shared locks
 *   ret_holder  on -EBUSY the holder's text, or ""; may be NULL
 *
 * Returns a descriptor that holds the lock until it is closed, or -errno: -EPERM when a foreign
 * file has that name, -EMLINK when the file has another name as well.  Waits without polling and
 * without a deadline.
 */
int lock_take_at(int dir_fd, const char *name, unsigned flags, const char *what,
		 char ret_holder[LOCK_HOLDER_SIZE]);

/*
 * Take the exclusive flock(2) of an open file or folder that mvm may not have made, until the
 * descriptor is closed.  It names no holder.
 *
 *   progress  its receiver stops the wait: -ECANCELED; NULL: nothing cancels
 *
 * Returns 0; -EBUSY after the deadline; or -errno.  Waits without polling.
 */
int lock_take_fd(int fd, int64_t deadline_ns, const struct mvm_progress *progress);

/* Why a lock could not be taken, for people. */
const char *lock_why(int code);

/* Was it because something that mvm did not make has the lock's name? */
bool lock_is_foreign(int code);

/* Does somebody hold an exclusive lock on this file?  A missing file is not locked. */
bool lock_is_held_at(int dir_fd, const char *name);

/* Was the file made by lock_take_at() or lock_span_at()?  A sweep of locks leaves others alone. */
bool lock_is_own_at(int dir_fd, const char *name);

/*
 * Wait until nobody holds an exclusive lock on this file, and take none.  This creates nothing, so
 * it does not disturb a removal of the folder.  A missing file is not locked.
 *
 *   wake_fd   readable: the wait ends; -1: none
 *   progress  its receiver stops the work: -ECANCELED; NULL: nothing cancels
 *
 * flock(2) cannot be polled, so a child waits in our place.  Returns 0, also when wake_fd ended the
 * wait; -ETIMEDOUT after the deadline; or -errno.
 */
int lock_await_at(int dir_fd, const char *name, int wake_fd, int64_t deadline_ns,
		  const struct mvm_progress *progress);

/* The text of an exclusive lock's holder, "" if there is none. */
void lock_read_holder_at(int dir_fd, const char *name, char ret[LOCK_HOLDER_SIZE]);

/* Name this process, which inherited an exclusive lock, as its holder. */
void lock_sign(int fd, const char *what);

/* Remove a lock's file before releasing the lock.  The caller holds all of it exclusively. */
void lock_remove_at(int dir_fd, const char *name);

/*
 * Many locks in one file: each is a number, and one call can take several neighbours.
 *
 * They are open file description locks, which do not see flock(2), so a file has locks of one kind.
 */
struct lock_span {
	uint64_t first, n; /* n 0: to the last; both below 2^63 */
};

/* flags: enum lock_flags.  Returns a descriptor that holds the locks, or -errno as above. */
int lock_span_at(int dir_fd, const char *name, const struct lock_span *span, unsigned flags);

/* Take further locks with a descriptor of lock_span_at(), without waiting: 0, -EBUSY or -errno.
 * They end with it, or earlier by lock_span_drop(). */
int lock_span_add(int fd, const struct lock_span *span, unsigned flags);
void lock_span_drop(int fd, const struct lock_span *span);

/* Does somebody hold one of these locks, shared or not?  A missing file is not locked. */
bool lock_span_is_held_at(int dir_fd, const char *name, const struct lock_span *span);

#endif
