/* SPDX-License-Identifier: Apache-2.0 */
/* template delete */
#include <stdio.h>

#include "confirm.h"
#include "handles.h"
#include "json.h"
#include "options.h"

static int ask(struct cli_context *c, struct mvm *mvm, const char *id)
{
	AUTO_FREE char *question = str_printf("delete template '%s' and all its revisions", id);

	if (!question)
		return -ENOMEM;
	int r = mvm_template_exists(mvm, id, &c->err);
	/* nobody is asked about what is not there: the library then says so */
	return r > 0 ? confirm(c, question) : r;
}

static int delete_template(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	const char *id = args_at(a, 0);

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0 && !args_flag(a, "force"))
		r = ask(c, mvm, id);
	if (r == 0)
		r = mvm_template_delete(mvm, id, &c->progress, &c->err);
	if (r < 0)
		return r;
	if (!c->json) {
		(void)printf("%s deleted\n", id);
		return 0;
	}
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "template_id", id);
	jsonw_string(&j, "result", "deleted");
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static const struct option delete_options[] = {
	{ .name = "force",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "do not ask; needed where there is no terminal" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_delete = {
	.path = "template delete",
	.summary = "Remove a template and all its revisions",
	.details = "Refused while a VM runs from one of them. What other templates share stays; "
		   "'mvm template prune' frees what nothing needs any longer.",
	.positionals = { { .name = "ID", .help = "the template", .hint = VALUE_TEMPLATE } },
	.options = delete_options,
	.run = delete_template,
};
