/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_EACH_H
#define CLI_EACH_H

/* Commands that do one thing to each of several names: stop, rm, kernel rm, volume rm. */

#include <mvm/mvm.h>

#include "handles.h"
#include "options.h"

/* Act on one instance, kernel or volume.  c: for its progress.  a: the whole command line.  Returns
 * 0; EACH_KEPT with the reason in *err; or a negative errno with *err filled. */
enum { EACH_KEPT = 1 };
typedef int (*each_fn)(struct cli_context *c, struct mvm *mvm, const char *name,
		       const struct args *a, struct mvm_error *err);

/*
 * Call fn for every name, go on after a failure, and print each name that it worked for; with
 * --json an array of {"name":..., "result": done}.  One that is kept gets a note, and the result
 * "kept".
 *
 * Returns 0 or the last failure; those before it have been shown.
 */
int each_name(struct cli_context *c, const struct args *a, const struct strv *names,
	      struct mvm *mvm, each_fn fn, const char *done);

/* each_name() of the names on the command line, in the data folder. */
int each_positional(struct cli_context *c, const struct args *a, each_fn fn, const char *done);

/* The positionals of a command that takes instances. */
#define INSTANCE_NAMES                                                                             \
	{                                                                                          \
		{                                                                                  \
			.name = "NAME", .help = "the instances", .many = true,                     \
			.hint = VALUE_INSTANCE                                                     \
		}                                                                                  \
	}

#endif
