/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

/* Names on the command line, checked before a command runs, as its table's value hints say. */

#include "options.h"

/* Returns 0, or -EINVAL (wrong usage) about the first invalid name of a template or instance. */
int check_names(struct cli_context *c, const struct args *a);

#endif
