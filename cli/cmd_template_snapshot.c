/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/build.h>
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "snapshot_steps.h"

static int print_json(const struct mvm_build_result *b, const char *word)
{
	AUTO_DONE(jsonw) j = { 0 };
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "template_id", b->template_id);
	jsonw_string(&j, "revision_hash", b->revision);
	jsonw_string(&j, "result", word);
	jsonw_bool(&j, "has_snapshot", b->has_snapshot);
	jsonw_u64(&j, "snapshot_mem_bytes", b->snapshot_mem_bytes);
	jsonw_u64(&j, "snapshot_disk_bytes", b->snapshot_disk_bytes);
	jsonw_u64(&j, "snapshot_ns", (uint64_t)b->snapshot_ns);
	snapshot_steps_json(&j, b);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
	const struct mvm_snapshot_options options = {
		.size = sizeof(options),
		.remove = args_flag(a, "rm"),
		.no_wait = args_flag(a, "no-wait"),
		.backend = args_string(a, "backend"),
	};
	char disk[24];

	if (options.remove && options.backend)
		return cli_usage(c, "--backend is for making a snapshot, --rm removes it");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_snapshot(mvm, args_at(a, 0), &options, &c->progress, &result,
					  &c->err);
	if (r < 0)
		return r;
	const char *word = r ? "removed" : "unchanged";
	if (!options.remove)
		word = "made";
	if (c->json)
		return print_json(&result, word);
	printf("%s@%s  ", result.template_id, result.revision);
	str_bytes(result.snapshot_disk_bytes, disk, sizeof(disk));
	if (options.remove)
		puts(r ? "snapshot removed" : "has no snapshot");
	else
		printf("new snapshot (%s on disk)\n", disk);
	return 0;
}

static const struct option options[] = {
	{ .name = "rm", .kind = OPTION_FLAG, .help = "remove the snapshot; the image stays" },
	{ .name = "backend",
	  .kind = OPTION_CHOICE,
	  .value = "NAME",
	  .choices = BACKENDS,
	  .help = "the VMM that makes the snapshot" },
	OPTION_NO_WAIT,
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_snapshot = {
	.path = "template snapshot",
	.summary = "Make or remove a revision's snapshot, without a build",
	.details = "Boots the revision, captures it once its health check holds, "
		   "restores a clone as a test, and replaces the revision's snapshot. "
		   "Nothing is built. VMs that run from the old snapshot go on. With "
		   "--rm the revision loses its snapshot, and boots.",
	.examples = "mvm template snapshot http-worker\n"
		    "mvm template snapshot http-worker@3f2a --rm",
	.positionals = { { .name = "ID[@REV]",
			   .help = "a template's current revision, or another one",
			   .hint = VALUE_REFERENCE } },
	.options = options,
	.run = run,
};
