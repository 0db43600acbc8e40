/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

/*
 * Reporting steps to the caller's receiver (mvm/progress.h).
 *
 *	AUTO_DONE(progress_step) step = { 0 };
 *	progress_begin(&step, progress, "%s: root image", id);
 *	... an early return reports FAILED at the end of the scope ...
 *	progress_end(&step, "%zu files", n);
 *
 * All functions accept a NULL receiver and then cost nothing.
 */

#include <mvm/error.h>
#include <mvm/progress.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"

struct progress_step {
	const struct mvm_progress *to; /* NULL: no step is open, or there is no receiver */
	int64_t started_ns, updated_ns;
	uint64_t done_bytes, total_bytes;
	bool checked;
	char text[160];
};

/* Open a step.  to: borrowed until the step ends; may be NULL. */
void progress_begin(struct progress_step *s, const struct mvm_progress *to, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Report how far the step is; s: NULL without one; total 0: unknown.  Cheap: an update is sent at
 * most ten times a second, and not in a step's first tenth of a second.  Returns 0, or -ECANCELED
 * when the work must stop; it looks with each update and, for a stop at the step's begin, at its
 * first call. */
int progress_bytes(struct progress_step *s, uint64_t done, uint64_t total, struct mvm_error *err);

/* The step is done.  fmt: its outcome, or NULL. */
void progress_end(struct progress_step *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The step failed.  Does nothing when no step is open. */
void progress_failed(struct progress_step *s);
DEFINE_AUTO_DONE(progress_step, progress_failed)

/* Report a note outside of steps. */
void progress_note(const struct mvm_progress *to, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- stopping ---- */

/*
 * A copy of the caller's receiver, in today's layout, which remembers that the caller's asked to
 * stop.  Every public function that takes a receiver begins with one:
 *
 *	struct progress_watch watch;
 *	int r = progress_take(&watch, &progress, err);
 */
struct progress_watch {
	struct mvm_progress self, caller;
	bool stopped;
	int64_t told_ns; /* when the caller's receiver heard the last event */
};

/* Put w's receiver in place of *progress; nothing changes when that is NULL.  Errors: as
 * mvm_struct_take(). */
int progress_take(struct progress_watch *w, const struct mvm_progress **progress,
		  struct mvm_error *err);

/*
 * Must the work stop?
 *
 *   to  may be NULL
 *
 * Returns 0, or -ECANCELED when cancel_fd is readable or the receiver has asked to stop.  Cost: one
 * poll(2).
 */
int progress_check(const struct mvm_progress *to, struct mvm_error *err);

/* The descriptor that stops the work; -1: none. */
int progress_cancel_fd(const struct mvm_progress *to);

/*
 * Wait for descriptors as poll(2) does, while the receiver may stop the work.
 *
 *   to   may be NULL
 *   fds  n of them; the last one is the function's own, to be filled by it
 *
 * Returns how many are ready, or 0 when the deadline is over.  Errors: -ECANCELED, also when others
 * are ready; -EINTR and others of poll(2).
 */
int progress_poll(const struct mvm_progress *to, struct pollfd *fds, size_t n, int64_t deadline_ns);

/*
 * For a loop of events: let the receiver stop the work, if a tenth of a second has passed since it
 * was asked.
 *
 *   ret_next_ns  when to call this again: DEADLINE_NONE: never
 *
 * Returns 0 or -ECANCELED.  cancel_fd is the loop's business.
 */
int progress_ask(const struct mvm_progress *to, int64_t *ret_next_ns);

/* For work in many small pieces: may the next one begin?  Returns 0 or -ECANCELED. */
int progress_go_on(const struct mvm_progress *to, struct mvm_error *err);

/* wait_readable() (base/wait.h), while the receiver may stop the work. */
int progress_wait(const struct mvm_progress *to, int fd, int64_t deadline_ns);

/* progress_wait() for the first of two descriptors; -1: none. */
int progress_wait_either(const struct mvm_progress *to, int fd, int other_fd, int64_t deadline_ns);

#endif
