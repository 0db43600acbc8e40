/* SPDX-License-Identifier: Apache-2.0 */
/* template verify */
#include <mvm/artifact.h>
#include <stdio.h>

#include "base/error.h"
#include "handles.h"
#include "json.h"
#include "names.h"
#include "options.h"
#include "out.h"
#include "text.h"

DEFINE_AUTO(mvm_signature_info, mvm_signature_info_free)

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

/* ---- in a registry ---- */

static int print_signed(struct cli_context *c, const struct mvm_signature_info *s)
{
	AUTO_DONE(jsonw) j = { 0 };

	if (!c->json) {
		if (!s->key)
			return 0; /* the error says it */
		printf("%s@%s\n", s->repository, s->digest);
		printf("signed by %s, %s, trusted for %s\n", s->key, s->fingerprint,
		       s->scope ? s->scope : "everything");
		if (s->has_snapshot)
			puts("its snapshot starts VMs here, if it fits this host");
		return 0;
	}
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "repository", s->repository);
	jsonw_string(&j, "digest", s->digest);
	jsonw_bool(&j, "has_snapshot", s->has_snapshot);
	jsonw_string(&j, "key", s->key);
	jsonw_string(&j, "signed_by", s->fingerprint);
	jsonw_string(&j, "for", s->scope);
	jsonw_u64(&j, "trusted_keys", s->n_keys);
	jsonw_u64(&j, "signatures", s->n_signatures);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* Nobody trusted has signed it: say why, and how a pull would treat it. */
static int not_signed(struct cli_context *c, const struct mvm_signature_info *s)
{
	int r = cli_error(c, -EACCES,
			  "no key that you trust has signed %s@%s: %zu key%s count%s for this "
			  "repository, and it has %zu signature%s",
			  s->repository, s->digest, s->n_keys, plural(s->n_keys),
			  s->n_keys == 1 ? "s" : "", s->n_signatures, plural(s->n_signatures));
	return mvm_error_hint(
		&c->err, r, "%sto trust its signer's key: mvm key trust FILE.pub --for '%s'",
		s->has_snapshot ? "a pull takes the image, and its snapshot starts no "
				  "VM; "
				: "a pull takes it all the same; ",
		s->repository);
}

static int verify_remote(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_signature_info) found = NULL;
	const char *ref = args_string(a, "remote");

	if (a->n_positionals > 0)
		return cli_usage(c, "--remote takes one HOST/NAME[:TAG][@DIGEST], and no template");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0)
		r = mvm_template_verify_remote(mvm, ref, &c->progress, &found, &c->err);
	if (r < 0)
		return r;
	int printed = print_signed(c, found);
	return printed < 0 || r > 0 ? printed : not_signed(c, found);
}

static int verify(struct cli_context *c, const struct args *a)
{
	if (args_given(a, "remote"))
		return verify_remote(c, a);

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

static const struct option verify_options[] = {
	{ .name = "remote",
	  .kind = OPTION_STRING,
	  .value = "REF",
	  .help = "say who has signed what this reference names in a registry",
	  .hint = VALUE_REMOTE },
	OPTION_JSON,
	{ 0 },
};

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
	.options = verify_options,
	.run = verify,
};
