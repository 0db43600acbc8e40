/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <mvm/error.h>

/*
 * Filling a struct mvm_error.
 *
 * The function that understands a failure calls mvm_error_set() once.  Its callers return the
 * code as it is, and call mvm_error_context() only to add what the lower level could not know.
 */

/*
 * Describe a failure.
 *
 *   err   filled in whole (an earlier description is replaced); may be NULL
 *   code  negative errno; returned as it is
 *   fmt   the sentence; cut when it does not fit
 *
 * Returns code, so that a failing function can end in `return mvm_error_set(...)`.
 */
int mvm_error_set(struct mvm_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Put "<context>: " in front of an error's text.  Code and hint stay.
 *
 * Returns code, which must be the one that err carries.
 */
int mvm_error_context(struct mvm_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Attach the user's next step.  hint: static text, borrowed for good.  Returns err->code, or
 * code when err is NULL. */
int mvm_error_hint(struct mvm_error *err, int code, const char *hint);

/* Out of memory, the one description that every module needs.  Returns -ENOMEM. */
int mvm_error_oom(struct mvm_error *err);

#define MVM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
