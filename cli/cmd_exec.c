/* SPDX-License-Identifier: Apache-2.0 */
#include "env.h"
#include "guest_command.h"
#include "handles.h"
#include "options.h"

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance) instance = NULL;
	AUTO_CLOSE int signals = -1;
	AUTO_DONE(strv) env = { 0 };
	struct guest_command command = { 0 };

	c->failure_status = 125;
	int r = env_collect(c, a, &env);
	if (r == 0)
		r = guest_command_parse(c, a, &env, &command);
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_open(mvm, args_at(a, 0), &instance, &c->err);
	if (r < 0)
		return r;
	command.signal_fd = signals = guest_signals_block(command.tty);
	int status = guest_command_run(c, instance, &command);
	guest_signals_unblock(); /* the last words may wait for a reader for ever */
	return status;
}

static const struct option options[] = {
	GUEST_COMMAND_OPTIONS(NULL),
	{ 0 },
};

const struct command command_exec = {
	.path = "exec",
	.summary = "Run a command in a running VM",
	.details = GUEST_COMMAND_INPUT
	" Write options of mvm before COMMAND.\n\nExits with the command's "
	"status, or 128 + the signal that ended it; 126 if it cannot be "
	"executed, 127 if there is no such program or folder (-w), 125 if "
	"mvm itself failed.",
	.examples = "mvm exec http-worker-1a2b3c uname -a\n"
		    "mvm exec -it http-worker-1a2b3c sh\n"
		    "tar c . | mvm exec -i http-worker-1a2b3c tar x -C /srv",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.rest = "COMMAND",
	.rest_required = true,
	.options = options,
	.run = run,
};
