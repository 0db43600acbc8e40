/* SPDX-License-Identifier: Apache-2.0 */
/* template prune */
#include <stdio.h>

#include "base/parse.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "text.h"
#include "when.h"

struct pruning {
	struct cli_context *c;
	struct jsonw json;
	size_t rows;
	int failed; /* of the output */
};

/* How many revisions are kept before they are printed. */
#define ROWS_MAX 1000

static void add(void *arg, const struct mvm_pruned_revision *x)
{
	struct pruning *p = arg;
	struct jsonw *j = &p->json;
	char built[WHEN_SIZE];

	when_text(x->built_at, built);
	if (!p->c->json) {
		printf("%s@%s  built %s\n", x->template_id, x->revision, built);
		return;
	}
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "template_id", x->template_id);
	jsonw_string(j, "revision_hash", x->revision);
	jsonw_string(j, "built_at", x->built_at ? built : NULL);
	jsonw_u64(j, "disk_bytes", x->disk_bytes);
	jsonw_close(j);
	if (++p->rows % ROWS_MAX == 0 && p->failed == 0)
		p->failed = jsonw_flush(j, stdout);
}

static int print_json(struct jsonw *j, const struct mvm_prune_result *p)
{
	jsonw_close(j);
	jsonw_u64(j, "in_use", p->n_in_use);
	jsonw_u64(j, "cached_builds", p->n_cached);
	jsonw_u64(j, "blobs", p->n_blobs);
	jsonw_u64(j, "freed_bytes", p->freed_bytes);
	jsonw_close(j);
	return jsonw_print(j, stdout);
}

static int print_sums(const struct mvm_prune_result *p, bool dry_run)
{
	char bytes[24];

	str_bytes(p->freed_bytes, bytes, sizeof(bytes));
	printf("%s %zu revision%s, %zu cached build%s, %zu file%s: %s\n",
	       dry_run ? "would remove" : "removed", p->n_revisions, plural(p->n_revisions),
	       p->n_cached, plural(p->n_cached), p->n_blobs, plural(p->n_blobs), bytes);
	if (p->n_in_use)
		printf("in use by VMs, so kept: %zu\n", p->n_in_use);
	return 0;
}

static int run_prune(struct cli_context *c, const struct mvm_prune_options *options)
{
	AUTO(mvm) mvm = NULL;
	struct mvm_prune_result result = MVM_PRUNE_RESULT_INIT;
	struct pruning p = { .c = c };

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&p.json, NULL, '{');
	jsonw_bool(&p.json, "dry_run", options->dry_run);
	jsonw_open(&p.json, "revisions", '[');
	r = mvm_template_prune(mvm, options, add, &p, &c->progress, &result, &c->err);
	if (r == 0)
		r = p.failed;
	if (r == 0)
		r = c->json ? print_json(&p.json, &result) : print_sums(&result, options->dry_run);
	jsonw_done(&p.json);
	return r;
}

static int prune(struct cli_context *c, const struct args *a)
{
	const char *age = args_string(a, "older-than");
	const uint32_t keep = args_u32(a, "keep", MVM_PRUNE_KEEP);
	struct mvm_prune_options options = {
		.size = sizeof(options),
		.id = args_at(a, 0),
		.keep = &keep,
		.dry_run = args_flag(a, "dry-run"),
		.max_bytes = (uint64_t)args_u32(a, "max-bytes", 0) << 20,
	};

	if (age && parse_age_s(age, &options.older_than_s) < 0)
		return cli_usage(
			c, "option '--older-than': '%s' is not an age such as 12h, 30d or 4w", age);
	return run_prune(c, &options);
}

static const struct option prune_options[] = {
	{ .name = "keep",
	  .letter = 'k',
	  .kind = OPTION_U32,
	  .value = "N",
	  .help = "keep the N newest revisions of each template (3)" },
	{ .name = "older-than",
	  .kind = OPTION_STRING,
	  .value = "AGE",
	  .help = "remove only revisions built longer ago: 12h, 30d, 4w" },
	{ .name = "max-bytes",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .help = "remove only as many, the oldest first, as it takes until all "
		  "revisions together have at most SIZE on disk: 500M, 20G",
	  .min = 1 },
	{ .name = "dry-run",
	  .letter = 'n',
	  .kind = OPTION_FLAG,
	  .help = "say what would be removed, but change nothing" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_prune = {
	.path = "template prune",
	.summary = "Remove old revisions, and files that nothing needs any longer",
	.details = "Keeps the current revision and revisions that VMs run from. Then "
		   "removes cached builds that no revision uses any longer, and files "
		   "that nothing names.",
	.examples = "mvm template prune --dry-run\n"
		    "mvm template prune --keep 1 --older-than 30d\n"
		    "mvm template prune --keep 1 --max-bytes 20G",
	.positionals = { { .name = "ID",
			   .help = "only this template's revisions",
			   .optional = true,
			   .hint = VALUE_TEMPLATE } },
	.options = prune_options,
	.run = prune,
};
