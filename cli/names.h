/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

/* Names on the command line, checked before a command runs, as its table's value hints say. */

#include "options.h"

/* Check every name among the arguments.  Returns 0, or -EINVAL (wrong usage) about the first value
 * that cannot be valid for its kind. */
int check_names(struct cli_context *c, const struct args *a);

/* Check one value, for a command that finds it inside an argument.  what: the option or argument
 * that has the value, "option '--config'". */
int check_name(struct cli_context *c, enum value_hint hint, const char *value, const char *what);

/* Does a value of --template name an artifact in a registry?  No template's name has a slash, and a
 * registry's begins with a letter or a digit, or is an IPv6 address in brackets. */
bool names_artifact(const char *value);

#endif
