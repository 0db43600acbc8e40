/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CONFIRM_H
#define CLI_CONFIRM_H

#include "command.h"

/* Is there a terminal to ask on, and to read the answer from? */
bool can_ask(void);

/*
 * Ask before something is lost.
 *
 *   question  without the question mark
 *
 * Returns 0 when the answer on the terminal is yes; -ECANCELED when it is not, with a sentence;
 * a usage error that asks for --force when there is no terminal to ask on.
 */
int confirm(struct cli_context *c, const char *question);

#endif
