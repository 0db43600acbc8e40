/* SPDX-License-Identifier: Apache-2.0 */
/* template delete, rm */
#include <stdio.h>
#include <string.h>

#include "confirm.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"

static int ask(struct cli_context *c, struct mvm *mvm, const char *id)
{
	AUTO_FREE char *question = str_printf("delete template '%s' and all its revisions", id);

	if (!question)
		return -ENOMEM;
	int r = mvm_template_exists(mvm, id, &c->err);
	/* do not ask about a missing template: the library reports it */
	return r > 0 ? confirm(c, question) : r;
}

static int delete_one(struct cli_context *c, struct mvm *mvm, const struct args *a, const char *id)
{
	int r = args_flag(a, "force") ? 0 : ask(c, mvm, id);
	return r == 0 ? mvm_template_delete(mvm, id, &c->progress, &c->err) : r;
}

static void report(const struct cli_context *c, struct jsonw *j, const char *id)
{
	if (!c->json)
		printf("%s deleted\n", id);
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "template_id", id);
	jsonw_string(j, "result", "deleted");
	jsonw_close(j);
}

/* ---- in a registry ---- */

/* A repository alone would mean its tag "latest", which is too much of a guess here. */
static bool names_one(const char *ref)
{
	const char *slash = strrchr(ref, '/');
	return slash && strpbrk(slash, ":@");
}

/* Finds the digest before it asks, so that exactly the manifest that the user agreed to goes. */
static int delete_remote(struct cli_context *c, const struct args *a)
{
	const char *ref = args_string(a, "remote");
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_remote_tag_list) found = { 0 };
	AUTO_DONE(jsonw) j = { 0 };

	if (a->n_positionals > 0 || !names_one(ref))
		return cli_usage(c, "--remote takes one HOST/NAME:TAG or HOST/NAME@DIGEST, and no "
				    "template");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0)
		r = mvm_remote_list(mvm, ref, &c->progress, &found.v, &found.n, &c->err);
	if (r < 0)
		return r;
	const char *digest = found.v[0]->digest;
	const char *end = strpbrk(strrchr(ref, '/'), ":@");
	AUTO_FREE char *exact = str_printf("%.*s@%s", (int)(end - ref), ref, digest);
	AUTO_FREE char *question = str_printf("delete %s and every tag that names it",
					      exact ? exact : "");
	if (!exact || !question)
		return -ENOMEM;
	r = args_flag(a, "force") ? 0 : confirm(c, question);
	if (r == 0)
		r = mvm_remote_delete(mvm, exact, &c->progress, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "reference", exact);
	jsonw_string(&j, "result", "deleted");
	jsonw_close(&j);
	if (c->json)
		return jsonw_print(&j, stdout);
	printf("%s deleted\n", exact);
	return 0;
}

/* Goes on after a failure; the last one is the result. */
static int delete_templates(struct cli_context *c, const struct args *a)
{
	if (args_given(a, "remote"))
		return delete_remote(c, a);
	if (a->n_positionals == 0)
		return cli_usage(c, "name a template, or --remote REF");

	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	bool several = a->n_positionals > 1;
	int result = mvm_open(c->data_dir, &mvm, &c->err);

	if (result < 0)
		return result;
	if (several)
		jsonw_open(&j, NULL, '[');
	for (size_t i = 0; i < a->n_positionals; i++) {
		const struct mvm_error before = c->err;
		int r = delete_one(c, mvm, a, args_at(a, i));
		if (r >= 0) {
			report(c, &j, args_at(a, i));
			continue;
		}
		if (result < 0) {
			const struct mvm_error now = c->err;
			c->err = before;
			show_error(c, NULL);
			c->err = now;
		}
		result = r;
	}
	if (several)
		jsonw_close(&j);
	int r = c->json && (several || result == 0) ? jsonw_print(&j, stdout) : 0;
	return result < 0 ? result : r;
}

static const struct option delete_options[] = {
	{ .name = "force",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "do not ask; needed without a terminal" },
	{ .name = "remote",
	  .kind = OPTION_STRING,
	  .value = "REF",
	  .help = "delete from a registry: HOST/NAME:TAG or HOST/NAME@DIGEST",
	  .hint = VALUE_REMOTE },
	OPTION_JSON,
	{ 0 },
};

#define DELETE_DETAILS                                                                             \
	"Refused while a VM runs from one of them. Files that other templates share stay; 'mvm "   \
	"template prune' removes files that nothing needs any longer.\n\nWith --remote the "       \
	"manifest that REF names now goes from its registry, by its digest: with all its tags, "   \
	"and with its signatures. The registry frees the room when it collects its garbage. "      \
	"Many registries delete nothing unless their operator allows it."
#define DELETE_POSITIONALS                                                                         \
	{                                                                                          \
		{                                                                                  \
			.name = "ID", .help = "the templates", .optional = true, .many = true,     \
			.hint = VALUE_TEMPLATE                                                     \
		}                                                                                  \
	}

const struct command command_template_delete = {
	.path = "template delete",
	.summary = "Remove templates and all their revisions",
	.details = DELETE_DETAILS,
	.examples = "mvm template delete web\n"
		    "mvm template delete --remote reg.example/team/web:v1",
	.positionals = DELETE_POSITIONALS,
	.options = delete_options,
	.run = delete_templates,
};

const struct command command_template_rm = {
	.path = "template rm",
	.summary = "The same as 'template delete'",
	.details = DELETE_DETAILS,
	.positionals = DELETE_POSITIONALS,
	.options = delete_options,
	.run = delete_templates,
};
