/* SPDX-License-Identifier: Apache-2.0 */
/* template delete */
#include <stdio.h>

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

/* Goes on after a failure; the last one is the result. */
static int delete_templates(struct cli_context *c, const struct args *a)
{
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
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_delete = {
	.path = "template delete",
	.summary = "Remove templates and all their revisions",
	.details = "Refused while a VM runs from one of them. Files that other "
		   "templates share stay; 'mvm template prune' removes files that "
		   "nothing needs any longer.",
	.positionals = { { .name = "ID",
			   .help = "the templates",
			   .many = true,
			   .hint = VALUE_TEMPLATE } },
	.options = delete_options,
	.run = delete_templates,
};
