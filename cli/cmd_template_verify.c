/* SPDX-License-Identifier: Apache-2.0 */
/* template verify */
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "text.h"

static int print_json(const struct mvm_verify_result *v)
{
	AUTO_DONE(jsonw) j = { 0 };

	jsonw_open(&j, NULL, '{');
	jsonw_u64(&j, "templates", v->n_templates);
	jsonw_u64(&j, "revisions", v->n_revisions);
	jsonw_u64(&j, "files", v->n_files);
	jsonw_u64(&j, "bytes", v->bytes);
	jsonw_open(&j, "problems", '[');
	for (size_t i = 0; i < v->n_problems; i++) {
		const struct mvm_verify_problem *p = v->problems[i];
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "template_id", p->template_id);
		jsonw_string(&j, "revision_hash", p->revision);
		jsonw_string(&j, "file", p->file);
		jsonw_string(&j, "message", p->text);
		jsonw_close(&j);
	}
	jsonw_close(&j);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int print_text_result(const struct mvm_verify_result *v)
{
	AUTO_DONE(table) t = { .columns = 3 };
	char bytes[24];

	str_bytes(v->bytes, bytes, sizeof(bytes));
	if (v->n_problems == 0) {
		printf("%zu revision%s of %zu template%s, %zu file%s, %s: all sound\n",
		       v->n_revisions, plural(v->n_revisions), v->n_templates,
		       plural(v->n_templates), v->n_files, plural(v->n_files), bytes);
		return 0;
	}
	table_row(&t, "TEMPLATE", "REVISION", "PROBLEM");
	for (size_t i = 0; i < v->n_problems; i++) {
		const struct mvm_verify_problem *p = v->problems[i];
		table_row(&t, p->template_id, p->revision ? p->revision : "-", p->text);
	}
	return table_print(&t, stdout);
}

static int verify(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_verify_result) v = NULL;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	r = mvm_template_verify(mvm, args_at(a, 0), &c->progress, &v, &c->err);
	if (!v)
		return r;
	int printed = c->json ? print_json(v) : print_text_result(v);
	return r < 0 ? r : printed;
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_template_verify = {
	.path = "template verify",
	.summary = "Check templates and revisions against their checksums",
	.details = "Reads every file, shared files once, and lists all damage. The "
		   "exit status is 5 if there is any.",
	.examples = "mvm template verify\n"
		    "mvm template verify web",
	.positionals = { { .name = "ID[@REV]",
			   .help = "a template or one of its revisions (default: everything)",
			   .optional = true,
			   .hint = VALUE_REFERENCE } },
	.options = json_options,
	.run = verify,
};
