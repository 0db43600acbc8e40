/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

/* Shared by commands that print existing output and, with --follow, new output: logs, events, and
 * run in the foreground. */

#include <mvm/mvm.h>

#include "base/own.h"
#include "command.h"

/* Following ends by a signal, or when the reader goes. */
struct follow {
	int signals;   /* of guest_signals_block() */
	int cancel_fd; /* readable after a signal, and when nobody reads our output any more */
};

#define FOLLOW_NONE                                                                                \
	{                                                                                          \
		.signals = -1, .cancel_fd = -1                                                     \
	}

/* Get ready to be interrupted.  Signals are blocked from here on. */
void follow_begin(struct follow *f);

void follow_done(struct follow *f);
DEFINE_AUTO_DONE(follow, follow_done)

/*
 * Open the data folder and, with --follow, get ready to be interrupted.
 *
 *   ret         the caller's
 *   ret_follow  FOLLOW_NONE; filled with --follow
 *
 * Returns 0 or a negative errno with c->err filled.
 */
int follow_open(struct cli_context *c, const struct args *a, struct mvm **ret,
		struct follow *ret_follow);

/* The command's result.  A --since that is not a time is wrong usage.  When nobody reads the output
 * any more, the command ends as output_gone() says.  A signal is no failure: these commands have no
 * other end. */
int follow_result(struct cli_context *c, int r, struct follow *f);

/* Why the following ended: a signal's number, SIGPIPE when nobody reads standard output any more, 0
 * when it ended by itself. */
int follow_ended_by(struct follow *f);

/* From here on a pipe without a reader is an error (EPIPE) and does not end the process, which has
 * a duty left. */
void output_guard(void);

/* Nobody reads the output: end by SIGPIPE, as a write would end the process.  Returns -EPIPE with
 * an error only where SIGPIPE is ignored. */
int output_gone(struct cli_context *c);

#endif
