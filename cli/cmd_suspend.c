/* SPDX-License-Identifier: Apache-2.0 */
/* suspend and fork: the state of instances that run. */
#include <mvm/suspend.h>

#include "each.h"
#include "handles.h"
#include "options.h"
#include "out.h"
#include "started.h"

static int suspend_one(struct cli_context *c, struct mvm *mvm, const char *name,
		       const struct args *a, struct mvm_error *err)
{
	(void)a;
	return mvm_instance_suspend(mvm, name, &c->progress, err);
}

static int suspend(struct cli_context *c, const struct args *a)
{
	return each_positional(c, a, suspend_one, "suspended");
}

static int start_forks(struct cli_context *c, const struct args *a, struct mvm *mvm,
		       struct started *ret)
{
	uint32_t n = args_u32(a, "count", 1);
	const struct mvm_fork_options options = {
		.size = sizeof(options),
		.name = args_string(a, "name"),
		.held = true,
		.remove_at_end = args_flag(a, "rm"),
	};
	int r = started_begin(c, n, ret);
	if (r < 0)
		return r;
	r = mvm_instance_fork(mvm, args_at(a, 0), &options, n, &c->progress, ret->v, &c->err);
	return started_end(c, ret, r);
}

static int fork_run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(started) started = STARTED_NONE;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = start_forks(c, a, mvm, &started);
	return r < 0 ? r : started_hand_over(c, mvm, &started, args_given(a, "count"));
}

static const struct option suspend_options[] = { OPTION_JSON, { 0 } };

static const struct option fork_options[] = {
	{ .name = "name",
	  .letter = 'n',
	  .kind = OPTION_STRING,
	  .value = "NAME",
	  .help = "the fork's name (default: made from the template's)",
	  .hint = VALUE_NEW_INSTANCE },
	{ .name = "count",
	  .kind = OPTION_U32,
	  .value = "N",
	  .min = 1,
	  .max = MVM_START_MANY_MAX,
	  .help = "start N forks, all or none; with --name they are NAME-1 to NAME-N" },
	{ .name = "rm", .kind = OPTION_FLAG, .help = "remove each fork when it has ended" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_suspend = {
	.path = "suspend",
	.summary = "Keep the state of instances on disk, and end their VMs",
	.details = "Writes the devices' state and the pages of memory that differ from the "
		   "template's snapshot into the instance's folder. Its memory is free then. 'mvm "
		   "resume' continues it, also after a restart of this host; 'mvm start' starts it "
		   "cold instead. The VM must have been restored from a snapshot. Its connections "
		   "are reset when it goes on.",
	.positionals = INSTANCE_NAMES,
	.options = suspend_options,
	.examples = "mvm suspend web\n"
		    "mvm resume web",
	.run = suspend,
};

const struct command command_fork = {
	.path = "fork",
	.summary = "Start VMs that continue from this moment of a running one",
	.details =
		"The instance runs on. Each fork has its memory, its processes and a copy of its "
		"disks, and gets a name and an identity of its own, as a clone of the template "
		"does. "
		"Its connections are reset. Ports of this host that the instance has become free "
		"ones: see 'mvm port'. Prints the names of the forks.",
	.positionals = { { .name = "NAME",
			   .help = "the instance, which was restored from a snapshot",
			   .hint = VALUE_INSTANCE } },
	.options = fork_options,
	.examples = "mvm fork web\n"
		    "mvm fork web --count 3 --name try",
	.run = fork_run,
};
