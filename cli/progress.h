/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

/*
 * Progress on standard error.
 *
 * On a terminal one line shows the step that is under way, with a bar once it counts bytes, and
 * stays behind with its time when the step is done.  Elsewhere each step is one plain line, "step
 * ... 12 ms (3.0 MiB)".  With --json every event is a line (doc/cli-json.md).  Each is one write.
 */

#include <mvm/progress.h>
#include <stdbool.h>

#include "command.h"

struct progress_view {
	bool terminal, json;
	bool line_open; /* the cursor stands behind a step's text */
};

/* Choose the way by standard error and the environment (TERM=dumb gets plain lines). */
void progress_view_init(struct progress_view *v, bool json);

/* The receiver; arg is the struct progress_view. */
int progress_view_event(void *arg, const struct mvm_progress_event *event);

/* Say something outside of steps, by the command's receiver. */
void note(const struct cli_context *c, const char *text);

/* The same of an error that does not end the command, with its hint. */
void note_error(const struct cli_context *c, const struct mvm_error *err);

/* Leave the line, before anything else is printed to standard error. */
void progress_view_leave(struct progress_view *v);

#endif
