/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "follow.h"
#include "handles.h"
#include "options.h"

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_CLOSE int cancel_fd = -1;
	int r = follow_open(c, a, &mvm, &cancel_fd);
	if (r < 0)
		return r;
	const struct mvm_logs_options options = {
		.console = args_flag(a, "console"),
		.workload = args_flag(a, "workload"),
		.timestamps = args_flag(a, "timestamps"),
		.tail = args_given(a, "tail") ? (int64_t)args_u32(a, "tail", 0) : -1,
		.since = args_string(a, "since"),
		.follow = args_flag(a, "follow"),
		.cancel_fd = cancel_fd,
		.out_fd = STDOUT_FILENO,
	};
	return follow_result(c, mvm_instance_logs(mvm, args_at(a, 0), &options, &c->err));
}

static const struct option options[] = {
	{ .name = "follow",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "go on until the instance ends or ^C is pressed" },
	{ .name = "tail",
	  .letter = 'n',
	  .kind = OPTION_U32,
	  .value = "N",
	  .help = "only the last N lines" },
	{ .name = "since",
	  .kind = OPTION_STRING,
	  .value = "TIME",
	  .help = "only what came since then: 2026-01-31T12:00:00Z, or 10m ago" },
	{ .name = "timestamps",
	  .letter = 't',
	  .kind = OPTION_FLAG,
	  .help = "begin each line with when it came" },
	{ .name = "console",
	  .kind = OPTION_FLAG,
	  .help = "only what the kernel, the image's init and the agent print" },
	{ .name = "workload", .kind = OPTION_FLAG, .help = "only what the command prints" },
	{ 0 },
};

const struct command command_logs = {
	.path = "logs",
	.summary = "Print what an instance has printed",
	.details = "The guest's console and the output of the template's command are kept apart, "
		   "and shown together, by time, unless one of them is asked for.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = options,
	.examples = "mvm logs -f web\n"
		    "mvm logs --workload --tail 20 --since 10m web",
	.run = run,
};
