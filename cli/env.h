/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ENV_H
#define CLI_ENV_H

/* --env NAME=VALUE and --env-file FILE. */

#include "options.h"

/*
 * The variables of all files, then those of the options; of a name that repeats the last one
 * counts.  A file is UTF-8 of at most 1 MiB with a NAME=VALUE on each line; doc/instances.md says
 * what is passed over and what is refused.
 *
 * Returns 0, -EINVAL (wrong usage) that names the invalid variable, or the errno of reading a file.
 */
int env_collect(struct cli_context *c, const struct args *a, struct strv *ret);

#endif
