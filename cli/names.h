/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

/* Names on the command line, checked before a command runs, as its table's value hints say. */

#include "options.h"

/* Returns 0, or -EINVAL (wrong usage) about the first value that can be none of its kind. */
int check_names(struct cli_context *c, const struct args *a);

/* The same about one value, for a command that finds it inside an argument.  what: what needs it,
 * "option '--config'". */
int check_name(struct cli_context *c, enum value_hint hint, const char *value, const char *what);

#endif
