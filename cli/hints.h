/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_HINTS_H
#define CLI_HINTS_H

/*
 * The library says what is wrong and why (struct mvm_error).  Here the command line adds what to do
 * about it, by the error's reason.
 */

#include <mvm/error.h>

#define HINT_SIZE 512

/* The next step, "" when there is none: a command that works, or the library's own hint. */
void hint_of(const struct mvm_error *err, char ret[HINT_SIZE]);

/* The next step by a reason that comes without an error, in buf; NULL: there is none.  reason and
 * subject may be NULL. */
const char *hint_of_reason(const char *reason, const char *subject, char buf[HINT_SIZE]);

#endif
