/* SPDX-License-Identifier: Apache-2.0 */
/* The commands about instances that exist: ps, inspect, stop, rm, pause, resume. */
#include <inttypes.h>
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"

static void format_forwards(const struct mvm_instance_info *info, struct strbuf *b)
{
	for (size_t i = 0; i < info->n_forwards; i++) {
		const struct mvm_forward *f = &info->forwards[i];
		strbuf_addf(b, "%s%s:%u->%u%s", i ? ", " : "", f->host_address, f->host_port,
			    f->guest_port, f->udp ? "/udp" : "");
	}
}

static int print_ps_json(const struct mvm_instance_info_list *list)
{
	int r = 0;
	(void)fputs("[", stdout); /* main looks at the stream's errors */
	for (size_t i = 0; i < list->n && r == 0; i++) {
		(void)fputs(i ? ",\n" : "\n", stdout);
		r = json_show(list->v[i]->json, stdout);
	}
	(void)fputs("]\n", stdout);
	return r;
}

static int ps(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_instance_info_list) list = { 0 };
	AUTO_DONE(table) t = { .columns = 8 };
	(void)a;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0 && mvm_instance_settle(mvm, &c->progress, &c->err) < 0)
		note(c, c->err.text); /* what is there can be shown all the same */
	if (r == 0)
		r = mvm_instance_list(mvm, &list.v, &list.n, &c->err);
	if (r < 0)
		return r;
	if (c->json)
		return print_ps_json(&list);
	table_row(&t, "NAME", "TEMPLATE", "STATE", "HEALTH", "START", "STARTED", "MEMORY", "PORTS");
	for (size_t i = 0; i < list.n; i++) {
		const struct mvm_instance_info *info = list.v[i];
		AUTO_DONE(strbuf) forwards = { 0 };
		char start[48], memory[32];
		format_forwards(info, &forwards);
		if (info->start_ns)
			(void)snprintf(start, sizeof(start), "%s, %" PRId64 " ms",
				       info->from_pool	? "pool"
				       : info->restored ? "restored"
							: "booted",
				       info->start_ns / 1000000);
		else
			(void)snprintf(start, sizeof(start), "-");
		if (info->vmm_pid > 0)
			str_bytes(info->memory_private_bytes, memory, sizeof(memory));
		else
			(void)snprintf(memory, sizeof(memory), "-");
		table_row(&t, info->name, info->template_id, mvm_instance_state_name(info->state),
			  str_eq(info->health, "none") ? "-" : info->health, start,
			  info->started_at ? info->started_at : "-", memory, forwards.data);
	}
	return table_print(&t, stdout);
}

static int inspect(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance_info) info = NULL;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_inspect(mvm, args_at(a, 0), &info, &c->err);
	return r == 0 ? json_show(info->json, stdout) : r;
}

/* Do the same to every name; go on after a failure, and report the last one. */
static int for_each(struct cli_context *c, const struct args *a,
		    int (*fn)(struct mvm *mvm, const char *name, const struct args *a,
			      struct mvm_error *err))
{
	AUTO(mvm) mvm = NULL;
	int result = mvm_open(c->data_dir, &mvm, &c->err);
	if (result < 0)
		return result;
	for (size_t i = 0; i < a->n_positionals; i++) {
		struct mvm_error err = { 0 };
		int r = fn(mvm, args_at(a, i), a, &err);
		if (r >= 0) {
			if (!c->json)
				(void)puts(args_at(a, i)); /* main looks at the stream's errors */
			continue;
		}
		if (result < 0)
			(void)show_error(c, NULL); /* the one before */
		c->err = err;
		result = r;
	}
	return result;
}

static int stop_one(struct mvm *mvm, const char *name, const struct args *a, struct mvm_error *err)
{
	return mvm_instance_stop(mvm, name, args_ms(a, "timeout", 10000), err);
}

static int stop(struct cli_context *c, const struct args *a)
{
	return for_each(c, a, stop_one);
}

static int rm_one(struct mvm *mvm, const char *name, const struct args *a, struct mvm_error *err)
{
	return mvm_instance_remove(mvm, name, args_flag(a, "force"), err);
}

static int rm(struct cli_context *c, const struct args *a)
{
	return for_each(c, a, rm_one);
}

static int pause_one(struct mvm *mvm, const char *name, const struct args *a, struct mvm_error *err)
{
	(void)a;
	return mvm_instance_pause(mvm, name, err);
}

static int pause_all(struct cli_context *c, const struct args *a)
{
	return for_each(c, a, pause_one);
}

static int resume_one(struct mvm *mvm, const char *name, const struct args *a,
		      struct mvm_error *err)
{
	(void)a;
	return mvm_instance_resume(mvm, name, err);
}

static int resume_all(struct cli_context *c, const struct args *a)
{
	return for_each(c, a, resume_one);
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

static const struct option stop_options[] = {
	{ .name = "timeout",
	  .letter = 't',
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "how long the guest may take before it is killed (10s)" },
	{ 0 },
};

static const struct option rm_options[] = {
	{ .name = "force", .letter = 'f', .kind = OPTION_FLAG, .help = "kill it if it runs" },
	{ 0 },
};

#define NAMES                                                                                      \
	{                                                                                          \
		{                                                                                  \
			.name = "NAME", .help = "the instances", .many = true,                     \
			.hint = VALUE_INSTANCE                                                     \
		}                                                                                  \
	}

const struct command command_ps = {
	.path = "ps",
	.summary = "List instances",
	.details = "MEMORY is what an instance's VMM has for itself; 'mvm stats' shows more.",
	.options = json_options,
	.run = ps,
};

const struct command command_inspect = {
	.path = "inspect",
	.summary = "Show everything about an instance, as JSON",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = json_options,
	.run = inspect,
};

const struct command command_stop = {
	.path = "stop",
	.summary = "Shut instances down",
	.details =
		"Asks the guest to power off, or presses its power button where it has no agent; "
		"kills it when it has not by the timeout. The "
		"instance stays listed, with its logs, until 'mvm rm'.",
	.positionals = NAMES,
	.options = stop_options,
	.run = stop,
};

const struct command command_rm = {
	.path = "rm",
	.summary = "Remove instances that do not run",
	.positionals = NAMES,
	.options = rm_options,
	.run = rm,
};

const struct command command_pause = {
	.path = "pause",
	.summary = "Freeze running instances",
	.positionals = NAMES,
	.run = pause_all,
};

const struct command command_resume = {
	.path = "resume",
	.summary = "Let paused instances go on",
	.positionals = NAMES,
	.run = resume_all,
};
