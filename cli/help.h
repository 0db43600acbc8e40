/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

/* Help from the tables, at most 80 columns wide. */

#include <stdio.h>

#include "command.h"

/* The list of all commands. */
void help_all(FILE *out);

/* The commands whose name begins with this word. */
void help_group(FILE *out, const char *group);

void help_command(FILE *out, const struct command *command);

/* What the tables hold, as JSON.  path: of one command or a group of commands; "": everything.
 * Returns 0, -ENOMEM or -EIO. */
int help_json(FILE *out, const char *path);

#endif
