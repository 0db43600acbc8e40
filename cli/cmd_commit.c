/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/build.h>
#include <stdio.h>

#include "build_report.h"
#include "handles.h"
#include "json.h"
#include "options.h"

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
	const struct mvm_commit_options options = {
		.size = sizeof(options),
		.snapshot = args_flag(a, "snapshot"),
		.no_wait = args_flag(a, "no-wait"),
		.backend = args_string(a, "backend"),
		.max_bytes = (uint64_t)args_u32(a, "max-size", 0) << 20,
	};

	if (options.backend && !options.snapshot)
		return cli_usage(c, "--backend is for --snapshot");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_commit(mvm, args_at(a, 0), args_at(a, 1), &options, &c->progress,
					&result, &c->err);
	if (r < 0)
		return r;
	build_report(&result, &j, c->json);
	return c->json ? jsonw_print(&j, stdout) : 0;
}

static const struct option options[] = {
	{ .name = "snapshot",
	  .letter = 's',
	  .kind = OPTION_FLAG,
	  .help = "keep its memory, too, as the revision's snapshot; where that cannot be, "
		  "boot the revision for one" },
	{ .name = "backend",
	  .kind = OPTION_CHOICE,
	  .value = "NAME",
	  .choices = BACKENDS,
	  .help = "the VMM that makes the snapshot" },
	{ .name = "max-size",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .min = 1,
	  .help = "refuse a root of more than this (64G)" },
	OPTION_NO_WAIT,
	OPTION_JSON,
	{ 0 },
};

const struct command command_commit = {
	.path = "commit",
	.summary = "Make a revision of a running VM's files",
	.details = "The files of the VM's root become the current revision of TEMPLATE, which "
		   "is made if there is none of that name. Its processes are frozen while mvm "
		   "reads the files, and then run on. Volumes, the data disk and what mvm "
		   "itself writes into guests, such as the machine-id, do not become part of "
		   "it. A suspended VM is resumed for this, and suspended again.\n\nWith "
		   "--snapshot, VMs of the revision go on where this one was, each "
		   "with an identity of its own. All that is in its memory is in theirs: "
		   "variables, keys, sessions.\n\nThe next 'mvm template build' makes a revision "
		   "from the "
		   "template's source again. A template that 'mvm commit' has made has no "
		   "other source than its current revision.",
	.examples = "mvm commit http-1 http-worker\n"
		    "mvm commit http-1 http-patched --snapshot",
	.positionals = { { .name = "NAME", .help = "a running VM", .hint = VALUE_INSTANCE },
			 { .name = "TEMPLATE",
			   .help = "a template, or the name of a new one",
			   .hint = VALUE_TEMPLATE } },
	.options = options,
	.run = run,
};
