/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

/*
 * Reporting steps to whoever asked for them (mvm/progress.h).
 *
 *	AUTO_DONE(progress_step) step = { 0 };
 *	progress_begin(&step, progress, "%s: root image", id);
 *	... may return early: the end of the scope then reports FAILED ...
 *	progress_end(&step, "%zu files", n);
 *
 * All accept a NULL receiver and then cost nothing.
 */

#include <mvm/progress.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"

struct progress_step {
	const struct mvm_progress *to; /* NULL when no step is open */
	int64_t started_ns, updated_ns;
	uint64_t done_bytes, total_bytes;
	char text[160];
};

/* Open a step.  to: borrowed until the step ends; may be NULL. */
void progress_begin(struct progress_step *s, const struct mvm_progress *to, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* How far the step is; total 0 when unknown.  Cheap: passed on at most ten times a second, and not
 * in a step's first tenth. */
void progress_bytes(struct progress_step *s, uint64_t done, uint64_t total);

/* The step is done.  fmt: what came of it, or NULL. */
void progress_end(struct progress_step *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The step failed; nothing when none is open. */
void progress_failed(struct progress_step *s);
DEFINE_AUTO_DONE(progress_step, progress_failed)

/* Say something outside of steps. */
void progress_note(const struct mvm_progress *to, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
