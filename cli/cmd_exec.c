/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "guest_command.h"
#include "handles.h"
#include "options.h"

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance) instance = NULL;

	c->failure_status = 125;
	if (args_flag(a, "tty") && !isatty(STDIN_FILENO))
		return cli_usage(c, "--tty needs a terminal on standard input");
	int r = guest_env_check(c, args_list(a, "env"));
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_open(mvm, args_at(a, 0), &instance, &c->err);
	if (r < 0)
		return r;
	struct guest_command command = {
		.argv = a->rest,
		.env = args_list(a, "env"),
		.workdir = args_string(a, "workdir"),
		.user = args_string(a, "user"),
		.input = args_flag(a, "interactive"),
		.tty = args_flag(a, "tty"),
		.timeout_ms = args_ms(a, "timeout", -1),
	};
	return guest_command_run(c, instance, &command);
}

static const struct option options[] = {
	{ .name = "interactive",
	  .letter = 'i',
	  .kind = OPTION_FLAG,
	  .help = "pass standard input to the command" },
	{ .name = "tty",
	  .letter = 't',
	  .kind = OPTION_FLAG,
	  .help = "give the command a terminal" },
	{ .name = "env",
	  .letter = 'e',
	  .kind = OPTION_LIST,
	  .value = "NAME=VALUE",
	  .help = "add to the command's environment" },
	{ .name = "workdir",
	  .letter = 'w',
	  .kind = OPTION_STRING,
	  .value = "DIR",
	  .help = "run it in this folder of the guest" },
	{ .name = "user",
	  .letter = 'u',
	  .kind = OPTION_STRING,
	  .value = "USER[:GROUP]",
	  .help = "run it as this user of the guest, else as the workload's" },
	{ .name = "timeout",
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "kill it after this time, `90s`, `5m`" },
	{ 0 },
};

const struct command command_exec = {
	.path = "exec",
	.summary = "Run a command in a running VM",
	.details =
		"Exits with the command's status, or 128 + the signal that ended it; 126 when it "
		"cannot be executed, 127 when there is no such program, 125 when mvm itself "
		"failed.",
	.examples = "mvm exec http-worker-1a2b3c -- uname -a\n"
		    "mvm exec -it http-worker-1a2b3c -- sh",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.rest = "COMMAND",
	.rest_required = true,
	.options = options,
	.run = run,
};
