/* SPDX-License-Identifier: Apache-2.0 */
/* start and restart: instances that exist. */
#include "each.h"
#include "options.h"

static int start_one(struct cli_context *c, struct mvm *mvm, const char *name, const struct args *a,
		     struct mvm_error *err)
{
	AUTO(mvm_instance) started = NULL;
	(void)a;
	return mvm_instance_start_again(mvm, name, &c->progress, &started, err);
}

static int start(struct cli_context *c, const struct args *a)
{
	return each_positional(c, a, start_one, "started");
}

static int restart_one(struct cli_context *c, struct mvm *mvm, const char *name,
		       const struct args *a, struct mvm_error *err)
{
	AUTO(mvm_instance) started = NULL;
	return mvm_instance_restart(mvm, name, args_ms(a, "timeout", 10000), &c->progress, &started,
				    err);
}

static int restart(struct cli_context *c, const struct args *a)
{
	return each_positional(c, a, restart_one, "restarted");
}

static const struct option start_options[] = { OPTION_JSON, { 0 } };

static const struct option restart_options[] = {
	{ .name = "timeout",
	  .letter = 't',
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "kill the guest if its shutdown takes longer (10s); 0: kill it at once" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_start = {
	.path = "start",
	.summary = "Start instances again that have ended",
	.details =
		"Starts each with its name, its revision and the options of its 'mvm run', in the "
		"background, and with the rules that its network had last. Volumes are copied in "
		"again. A data disk keeps its contents, and the VM then boots; the rest of the "
		"guest is as after its first start. Its logs go on. One that is suspended loses "
		"what it has suspended; 'mvm resume' continues it.\n\nAn instance that was "
		"started with --rm, or without --detach, is gone once it has ended.",
	.positionals = INSTANCE_NAMES,
	.options = start_options,
	.examples = "mvm start web",
	.run = start,
};

const struct command command_restart = {
	.path = "restart",
	.summary = "Stop instances, and start them again",
	.details = "Does 'mvm stop' and 'mvm start' for each. One that has ended is only started.",
	.positionals = INSTANCE_NAMES,
	.options = restart_options,
	.examples = "mvm restart web",
	.run = restart,
};
