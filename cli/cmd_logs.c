/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "guest_command.h"
#include "handles.h"
#include "options.h"

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	bool follow = args_flag(a, "follow");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	AUTO_CLOSE int signals = follow ? guest_signals_block(false) : -1;
	return mvm_instance_logs(mvm, args_at(a, 0), STDOUT_FILENO, false, follow, signals,
				 &c->err);
}

static const struct option options[] = {
	{ .name = "follow",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "go on until the VM ends or ^C is pressed" },
	{ 0 },
};

const struct command command_logs = {
	.path = "logs",
	.summary = "Print an instance's console",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = options,
	.run = run,
};
