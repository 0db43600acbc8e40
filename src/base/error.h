/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <errno.h>
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
#define mvm_error_set(err, code, ...) MVM_ERROR_NEGATIVE(mvm_error_set_text(err, code, __VA_ARGS__))
int mvm_error_set_text(struct mvm_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* An error code is negative (asserted where it is set), and compilers and analysers should know. */
#define MVM_ERROR_NEGATIVE(call)                                                                   \
	__extension__({                                                                            \
		int code_ = (call);                                                                \
		if (code_ >= 0)                                                                    \
			__builtin_unreachable();                                                   \
		code_;                                                                             \
	})

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
#define mvm_error_oom(err) mvm_error_set(err, -ENOMEM, "out of memory")

#define MVM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
