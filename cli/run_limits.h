/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RUN_LIMITS_H
#define CLI_RUN_LIMITS_H

/* When a VM that `run` starts is stopped or suspended: --ttl, --ttl-action and --on-idle. */

#include <mvm/instance.h>

#include "options.h"

/* Put the options into those of a start.  Returns 0 or -EINVAL, having said why. */
int run_limits(struct cli_context *c, const struct args *a, struct mvm_start_options *ret);

#define RUN_LIMITS_OPTIONS                                                                         \
	{ .name = "ttl",                                                                           \
	  .kind = OPTION_DURATION,                                                                 \
	  .value = "TIME",                                                                         \
	  .help = "stop it after this time; 0: never",                                             \
	  .group = "Life" },                                                                       \
		{ .name = "ttl-action",                                                            \
		  .kind = OPTION_CHOICE,                                                           \
		  .value = "ACTION",                                                               \
		  .choices = "stop|suspend",                                                       \
		  .help = "what the --ttl does: stop (the default) or suspend, which keeps the "   \
			  "VM's state for 'mvm resume'",                                           \
		  .group = "Life" },                                                               \
	{                                                                                          \
		.name = "on-idle", .kind = OPTION_STRING, .value = "TIME[=ACTION]",                \
		.help = "suspend it, or stop it, when nobody has used it for this time, at least " \
			"10s: "                                                                    \
			"no exec, cp or session, and no data by its forwarded ports",              \
		.group = "Life"                                                                    \
	}

#endif
