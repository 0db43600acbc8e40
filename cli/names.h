/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

/* Names on the command line, checked before a command runs, as its table's value hints say. */

#include "options.h"

/* 0, or -EINVAL (wrong usage) about the first template's or instance's name that can be none. */
int check_names(struct cli_context *c, const struct args *a);

#endif
