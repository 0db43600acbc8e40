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
#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"

struct progress_step {
	const struct mvm_progress *to; /* NULL: no step is open, or there is no receiver */
	int64_t started_ns, updated_ns;
	uint64_t done_bytes, total_bytes;
	char text[160];
};

/* Open a step.  to: borrowed until the step ends; may be NULL. */
void progress_begin(struct progress_step *s, const struct mvm_progress *to, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Report how far the step is; s: NULL without one; total 0: unknown.  Cheap: an update is sent at
 * most ten times a second, and not in a step's first tenth of a second.  Returns 0, or -ECANCELED
 * when the work must stop. */
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

/*
 * Must the work stop?
 *
 *   to  may be NULL
 *
 * Returns 0, or -ECANCELED when cancel_fd is readable or, with progress_watch(), the receiver has
 * asked to stop.  Cost: one poll(2).
 */
int progress_check(const struct mvm_progress *to, struct mvm_error *err);

/* The descriptor that stops the work, for callers that wait; -1: none. */
int progress_cancel_fd(const struct mvm_progress *to);

/*
 * A receiver in front of the caller's.  It remembers that the caller's receiver asked to stop.
 *
 *	struct progress_watch watch;
 *	progress = progress_watch(&watch, progress);
 *
 * Returns &watch's receiver, or NULL when the caller has none.
 */
struct progress_watch {
	struct mvm_progress self;
	const struct mvm_progress *caller;
	bool stopped;
};
const struct mvm_progress *progress_watch(struct progress_watch *w,
					  const struct mvm_progress *caller);

#endif
