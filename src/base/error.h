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
 *   err   filled in whole, replacing an earlier description; may be NULL
 *   code  negative errno; returned as it is
 *   fmt   the sentence; cut when it does not fit
 *
 * Returns code, so that a failing function can end in `return mvm_error_set(...)`.
 */
#define mvm_error_set(err, code, ...) mvm_error_negative(mvm_error_set_text(err, code, __VA_ARGS__))
int mvm_error_set_text(struct mvm_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Tells compilers and analysers that an error code is negative; it is asserted where it is set. */
static inline int mvm_error_negative(int code)
{
	if (code >= 0)
		__builtin_unreachable();
	return code;
}

/*
 * Put "<context>: " in front of an error's text, unless it begins with the context.  Code, reason
 * and hint stay.
 *
 * Returns code, which must be err's code.
 */
#define mvm_error_context(err, code, ...)                                                          \
	mvm_error_negative(mvm_error_context_text(err, code, __VA_ARGS__))
int mvm_error_context_text(struct mvm_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put text behind an error's text.  Code, reason, subject and hint stay.
 * Returns code, which must be err's code. */
#define mvm_error_more(err, code, ...)                                                             \
	mvm_error_negative(mvm_error_more_text(err, code, __VA_ARGS__))
int mvm_error_more_text(struct mvm_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Attach the user's next step: a command to paste, with its names filled in.
 * Returns code, which must be err's code. */
#define mvm_error_hint(err, code, ...)                                                             \
	mvm_error_negative(mvm_error_hint_text(err, code, __VA_ARGS__))
int mvm_error_hint_text(struct mvm_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Attach a reason for programs.  The command line has a hint for each reason (cli/hints.c), because
 * the library does not know its commands and options.
 *
 *   reason   lower case and '-'; listed in doc/reasons.md
 *   subject  name of the object that it is about; left out when it does not fit; NULL: none
 *
 * Returns code, which must be err's code.
 */
#define mvm_error_reason(err, code, reason, subject)                                               \
	mvm_error_negative(mvm_error_reason_text(err, code, reason, subject))
int mvm_error_reason_text(struct mvm_error *err, int code, const char *reason, const char *subject);

/* The same for an error that may have a reason already: the cause's reason stays, as it is more
 * exact. */
#define mvm_error_reason_unless(err, code, reason, subject)                                        \
	mvm_error_negative(mvm_error_reason_unless_text(err, code, reason, subject))
int mvm_error_reason_unless_text(struct mvm_error *err, int code, const char *reason,
				 const char *subject);

/* Name the object that the error's reason is about.  A subject or a missing reason stays.
 * Returns code, which must be err's code. */
#define mvm_error_subject(err, code, subject)                                                      \
	mvm_error_negative(mvm_error_subject_text(err, code, subject))
int mvm_error_subject_text(struct mvm_error *err, int code, const char *subject);

/* Give a caller the error of an inner call that had one of its own: had the caller's been passed, a
 * failure that does not matter would stand there after a success.  Returns why's code. */
int mvm_error_hand_on(struct mvm_error *err, const struct mvm_error *why);

/* The caller has stopped the work: "<what> was cancelled".  what: "the start".  Returns
 * -ECANCELED. */
#define mvm_error_cancelled(err, what) mvm_error_set(err, -ECANCELED, "%s was cancelled", what)

/* Out of memory, the one description that every module needs.  Returns -ENOMEM. */
#define mvm_error_oom(err) mvm_error_set(err, -ENOMEM, "out of memory")

#define MVM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
