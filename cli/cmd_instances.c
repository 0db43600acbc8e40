/* SPDX-License-Identifier: Apache-2.0 */
/* The commands about instances that exist: inspect, stop, rm, kill, rename, pause, resume. */
#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "base/str.h"
#include "each.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"

/* For probes: anything but "healthy" is an error. */
static int show_health(struct cli_context *c, const struct mvm_instance_info *info)
{
	bool runs = info->state == MVM_INSTANCE_RUNNING;
	bool comes = info->state == MVM_INSTANCE_STARTING || info->state == MVM_INSTANCE_PAUSED ||
		     info->state == MVM_INSTANCE_SUSPENDED;
	const char *state = mvm_instance_state_name(info->state);

	if (comes)
		return mvm_error_set(&c->err, -EBUSY, "instance '%s' is %s", info->name, state);
	if (!runs)
		return mvm_error_set(&c->err, -ESRCH, "instance '%s' does not run: %s", info->name,
				     info->error ? info->error : state);
	if (str_eq(info->health, "starting"))
		return mvm_error_set(&c->err, -EBUSY, "instance '%s' has had no health check yet",
				     info->name);
	if (str_eq(info->health, "none"))
		return mvm_error_set(&c->err, -EOPNOTSUPP,
				     "instance '%s' has no agent, which would check its health",
				     info->name);
	if (!str_eq(info->health, "healthy"))
		return mvm_error_set(&c->err, -EIO, "instance '%s' is unhealthy: %s", info->name,
				     info->health_message ? info->health_message : "no reason");
	puts(info->health); /* main looks at the stream's errors */
	return 0;
}

static int inspect(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance_info) info = NULL;
	if (args_flag(a, "health") && c->json)
		return cli_usage(c, "--health prints a word: without it, inspect prints JSON");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0)
		r = mvm_instance_inspect(mvm, args_at(a, 0), &info, &c->err);
	if (r < 0)
		return r;
	return args_flag(a, "health") ? show_health(c, info) : json_show(info->json, stdout);
}

/* The instances that --all means.  A command without --all takes every name as a positional. */
enum all {
	ALL_RUNNING,
	ALL_ENDED,
	ALL,
};

static bool all_includes(const struct mvm_instance_info *info, enum all all)
{
	bool ended = info->state == MVM_INSTANCE_EXITED || info->state == MVM_INSTANCE_FAILED;
	if (info->state == MVM_INSTANCE_SUSPENDED) /* neither runs nor has ended */
		return all == ALL;
	return all == ALL || ended == (all == ALL_ENDED);
}

/* The names on the command line; with --all, of the instances that the command applies to. */
static int collect_names(struct cli_context *c, struct mvm *mvm, const struct args *a, enum all all,
			 struct strv *ret)
{
	AUTO_DONE(mvm_instance_info_list) list = { 0 };

	for (size_t i = 0; i < a->n_positionals; i++)
		strv_add(ret, args_at(a, i));
	int r = a->n_positionals ? 0 : mvm_instance_list(mvm, &list.v, &list.n, &c->err);
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		if (all_includes(list.v[i], all))
			strv_add(ret, list.v[i]->name);
	}
	return ret->failed ? -ENOMEM : r;
}

/* all_given: instead of names. */
static int for_named(struct cli_context *c, const struct args *a, bool all_given, enum all all,
		     each_fn fn, const char *done)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(strv) names = { 0 };

	if (all_given && a->n_positionals)
		return cli_usage(c, "give names or --all, not both");
	if (!all_given && !a->n_positionals)
		return cli_usage(c, "NAME is missing: the instances%s",
				 a->command->positionals[0].optional ? ", or --all" : "");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = collect_names(c, mvm, a, all, &names);
	return r < 0 ? r : each_name(c, a, &names, mvm, fn, done);
}

static int stop_one(struct cli_context *c, struct mvm *mvm, const char *name, const struct args *a,
		    struct mvm_error *err)
{
	return mvm_instance_stop(mvm, name, args_ms(a, "timeout", 10000), &c->progress, err);
}

static int stop(struct cli_context *c, const struct args *a)
{
	return for_named(c, a, args_flag(a, "all"), ALL_RUNNING, stop_one, "stopped");
}

static int rm_one(struct cli_context *c, struct mvm *mvm, const char *name, const struct args *a,
		  struct mvm_error *err)
{
	bool force = args_flag(a, "force");
	if (!args_flag(a, "all"))
		return mvm_instance_remove(mvm, name, force, &c->progress, err);
	int r = mvm_instance_remove_unnamed(mvm, name, force, &c->progress, err);
	bool kept = str_eq(err->reason, "instance-not-alone") ||
		    str_eq(err->reason, "instance-damaged");
	return r < 0 && kept ? EACH_KEPT : r;
}

static int rm(struct cli_context *c, const struct args *a)
{
	return for_named(c, a, args_flag(a, "all"), args_flag(a, "force") ? ALL : ALL_ENDED, rm_one,
			 "removed");
}

static int kill_one(struct cli_context *c, struct mvm *mvm, const char *name, const struct args *a,
		    struct mvm_error *err)
{
	const char *signal = args_string(a, "signal");
	return mvm_instance_kill(mvm, name, signal ? signal : "KILL", &c->progress, err);
}

static int kill_all(struct cli_context *c, const struct args *a)
{
	int r = for_named(c, a, false, ALL, kill_one, "signalled");
	if (r == -EINVAL) /* no such signal */
		c->usage = true;
	return r;
}

static int pause_one(struct cli_context *c, struct mvm *mvm, const char *name, const struct args *a,
		     struct mvm_error *err)
{
	(void)a;
	return mvm_instance_pause(mvm, name, &c->progress, err);
}

static int pause_all(struct cli_context *c, const struct args *a)
{
	return for_named(c, a, false, ALL, pause_one, "paused");
}

static int resume_one(struct cli_context *c, struct mvm *mvm, const char *name,
		      const struct args *a, struct mvm_error *err)
{
	(void)a;
	return mvm_instance_resume(mvm, name, &c->progress, err);
}

static int resume_all(struct cli_context *c, const struct args *a)
{
	return for_named(c, a, false, ALL, resume_one, "resumed");
}

static int update_one(struct cli_context *c, struct mvm *mvm, const char *name,
		      const struct args *a, struct mvm_error *err)
{
	return mvm_instance_set_ttl(mvm, name, args_ms(a, "ttl", 0), &c->progress, err);
}

static int update_all(struct cli_context *c, const struct args *a)
{
	if (!args_given(a, "ttl"))
		return cli_usage(c, "give the new --ttl; 0: the VM has no end");
	return for_named(c, a, false, ALL, update_one, "updated");
}

static int rename_one(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	const char *name = args_at(a, 0), *new_name = args_at(a, 1);
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_rename(mvm, name, new_name, &c->progress, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "name", new_name);
	jsonw_string(&j, "former_name", name);
	jsonw_string(&j, "result", "renamed");
	jsonw_close(&j);
	if (c->json)
		return jsonw_print(&j, stdout);
	puts(new_name); /* main looks at the stream's errors */
	return 0;
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

static const struct option inspect_options[] = {
	{ .name = "health",
	  .kind = OPTION_FLAG,
	  .help = "print only its health, and fail unless it is healthy" },
	OPTION_JSON,
	{ 0 },
};

static const struct option stop_options[] = {
	{ .name = "timeout",
	  .letter = 't',
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "kill the guest if it takes longer (10s); 0: kill it at once" },
	{ .name = "all", .letter = 'a', .kind = OPTION_FLAG, .help = "all instances that run" },
	OPTION_JSON,
	{ 0 },
};

static const struct option rm_options[] = {
	{ .name = "force",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "end a VM that still runs first, in whatever state it is" },
	{ .name = "all",
	  .letter = 'a',
	  .kind = OPTION_FLAG,
	  .help = "all instances that do not run; with --force all instances" },
	OPTION_JSON,
	{ 0 },
};

static const struct option kill_options[] = {
	{ .name = "signal",
	  .letter = 's',
	  .kind = OPTION_STRING,
	  .value = "SIGNAL",
	  .offers = "TERM|INT|HUP|QUIT|USR1|USR2|WINCH|STOP|CONT|KILL",
	  .help = "sent to the template's command: TERM, SIGHUP, RTMIN+3 or 10; KILL, the default, "
		  "ends the VM" },
	OPTION_JSON,
	{ 0 },
};

static const struct option update_options[] = {
	{ .name = "ttl",
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "end or suspend it after this time, counted from now; 0: never" },
	OPTION_JSON,
	{ 0 },
};

#define NAMES_OR_ALL                                                                               \
	{                                                                                          \
		{                                                                                  \
			.name = "NAME", .help = "the instances", .many = true, .optional = true,   \
			.hint = VALUE_INSTANCE                                                     \
		}                                                                                  \
	}

const struct command command_inspect = {
	.path = "inspect",
	.summary = "Show everything about an instance, as JSON",
	.details =
		"With --health, for a probe, the exit status is 0 if its last health check held. "
		"It is 1 if it is unhealthy or does not run, and 4 if it is still to be checked, "
		"or paused.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = inspect_options,
	.examples = "mvm inspect web\n"
		    "mvm inspect web --health",
	.run = inspect,
};

const struct command command_stop = {
	.path = "stop",
	.summary = "Shut instances down",
	.details = "Asks the guest to power off, or presses its power button if it has "
		   "no agent. Kills the guest after the timeout. Cancels a start that "
		   "is under way. The instance stays listed, with its logs, until 'mvm "
		   "rm'.",
	.positionals = NAMES_OR_ALL,
	.options = stop_options,
	.run = stop,
};

const struct command command_rm = {
	.path = "rm",
	.summary = "Remove instances that do not run",
	.details =
		"Removes an instance that you name with everything in its folder. --all keeps an "
		"instance whose folder has files that mvm did not make, or whose record is "
		"damaged.",
	.positionals = NAMES_OR_ALL,
	.options = rm_options,
	.run = rm,
};

const struct command command_kill = {
	.path = "kill",
	.summary = "End VMs at once, or send a signal to their workloads",
	.details = "Without --signal the VMM is killed: nothing is shut down, and no "
		   "volume is copied back. Any signal but KILL goes to the process of "
		   "the template's command, or to the image's own init. The VM goes on "
		   "unless that process ends.",
	.positionals = INSTANCE_NAMES,
	.options = kill_options,
	.examples = "mvm kill web\n"
		    "mvm kill -s HUP web",
	.run = kill_all,
};

const struct command command_rename = {
	.path = "rename",
	.summary = "Give an instance another name",
	.details = "It may run, or have ended. Its logs, its record and its ports stay. The guest "
		   "keeps "
		   "its host name, also when it starts again. An instance that ends with the "
		   "command that started it keeps its name.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE },
			 { .name = "NEW", .help = "its new name", .hint = VALUE_NEW_INSTANCE } },
	.options = json_options,
	.examples = "mvm rename web web-old",
	.run = rename_one,
};

const struct command command_update = {
	.path = "update",
	.summary = "Change how long running instances live",
	.details = "What happens then, stop or suspend, is as 'mvm run --ttl-action' said. A "
		   "restart or a resume begins this time anew.",
	.positionals = INSTANCE_NAMES,
	.options = update_options,
	.examples = "mvm update web --ttl 30m",
	.run = update_all,
};

const struct command command_pause = {
	.path = "pause",
	.summary = "Freeze running instances",
	.positionals = INSTANCE_NAMES,
	.options = json_options,
	.run = pause_all,
};

const struct command command_resume = {
	.path = "resume",
	.summary = "Resume paused and suspended instances",
	.details = "Continues a suspended VM where it stood, in the background. Its clock is set, "
		   "and its connections are reset. When it cannot go on here, because QEMU or the "
		   "CPU is another one, it stays suspended, and 'mvm start' starts it cold.",
	.positionals = INSTANCE_NAMES,
	.options = json_options,
	.run = resume_all,
};
