/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

/* What commands share that print what there is, and with --follow what comes: logs, events. */

#include <mvm/mvm.h>

#include "command.h"

/*
 * Open the data folder and get ready to be interrupted.
 *
 *   ret            the caller's
 *   ret_cancel_fd  readable when somebody presses ^C, to be closed; -1 without --follow
 *
 * Returns 0 or a negative errno with c->err filled.
 */
int follow_open(struct cli_context *c, const struct args *a, struct mvm **ret, int *ret_cancel_fd);

/* The command's result: a --since that is none is wrong usage.  cancel_fd: of follow_open(). */
int follow_result(struct cli_context *c, int r, int cancel_fd);

#endif
