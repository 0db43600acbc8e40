/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RUN_CHOOSE_H
#define CLI_RUN_CHOOSE_H

/* What `run` starts: the template that --template or IMAGE names, or that of an image. */

#include <mvm/mvm.h>

#include "options.h"

/* Refuse a command line that names none or too much. */
int run_choose_check(struct cli_context *c, const struct args *a);

/*
 * Find the template, and make that of an image if it is missing.
 *
 *   ret       ID or ID@REV; borrowed from the arguments or from *ret_made
 *   ret_made  the caller's to free; set for an image
 */
int run_choose(struct cli_context *c, const struct args *a, struct mvm *mvm, const char **ret,
	       char **ret_made);

#endif
