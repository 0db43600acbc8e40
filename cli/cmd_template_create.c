/* SPDX-License-Identifier: Apache-2.0 */
/* template create, template create-multi */
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "spec_options.h"

static int read_settings(struct cli_context *c, const struct args *a, struct settings *ret)
{
	settings_from_args(a, ret);
	return settings_has(ret, "flake_ref")
		       ? 0
		       : cli_usage(c, "--flake is missing: where does the image come from?");
}

static void report(const struct cli_context *c, struct jsonw *j, const char *id, int result)
{
	const char *word = result == MVM_APPLY_CREATED ? "created" : "replaced";

	if (!c->json)
		printf("%s %s\n", id, word);
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "template_id", id);
	jsonw_string(j, "result", word);
	jsonw_close(j);
}

static int create(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	struct settings settings;

	int r = read_settings(c, a, &settings);
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	r = mvm_template_create(mvm, args_at(a, 0), settings.v, settings.n, args_flag(a, "force"),
				&c->progress, &c->err);
	if (r < 0)
		return cli_judged(c, r);
	report(c, &j, args_at(a, 0), r);
	return c->json ? jsonw_print(&j, stdout) : 0;
}

/* The ids of all roles, each named once. */
static int collect_ids(struct cli_context *c, const char *base, const struct strv *roles,
		       struct strv *ret)
{
	for (size_t i = 0; i < roles->n; i++) {
		AUTO_FREE char *id = NULL;
		int r = cli_judged(c, mvm_template_role_id(base, roles->v[i], &id, &c->err));
		if (r < 0)
			return r;
		if (strv_has(ret, id))
			return cli_usage(c, "role '%s' is named twice", roles->v[i]);
		strv_add(ret, id);
	}
	return ret->failed ? -ENOMEM : 0;
}

/* Create all or none, as far as mvm can check beforehand. */
static int refuse_existing(struct cli_context *c, struct mvm *mvm, const struct strv *ids)
{
	const char *id = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ids->n; i++) {
		id = ids->v[i];
		r = mvm_template_exists(mvm, id, &c->err);
	}
	if (r > 0) {
		r = cli_error(c, -EEXIST, "template '%s' exists; nothing was created", id);
		snprintf(c->err.hint, sizeof(c->err.hint), "replace those that exist with --force");
	}
	return r;
}

static int create_multi(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(strv) ids = { 0 };
	AUTO_DONE(jsonw) j = { 0 };
	struct settings settings;
	const struct strv *roles = args_list(a, "roles");
	bool force = args_flag(a, "force");

	int r = read_settings(c, a, &settings);
	if (r < 0)
		return r;
	if (args_given(a, "role"))
		return cli_usage(c, "give the roles with --roles");
	if (roles->n == 0)
		return cli_usage(c, "--roles is missing: name the roles, as in --roles web,worker");
	r = collect_ids(c, args_at(a, 0), roles, &ids);
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0 && !force)
		r = refuse_existing(c, mvm, &ids);
	if (r < 0)
		return r;
	size_t common = settings.n;
	jsonw_open(&j, NULL, '[');
	for (size_t i = 0; i < ids.n; i++) {
		settings.n = common;
		settings_add(&settings, "role", roles->v[i]);
		r = mvm_template_create(mvm, ids.v[i], settings.v, settings.n, force, &c->progress,
					&c->err);
		if (r < 0)
			return cli_judged(c, r);
		report(c, &j, ids.v[i], r);
	}
	jsonw_close(&j);
	return c->json ? jsonw_print(&j, stdout) : 0;
}

#define OPTION_FORCE                                                                               \
	{                                                                                          \
		.name = "force", .letter = 'f', .kind = OPTION_FLAG,                               \
		.help = "replace an existing template; its revisions stay"                         \
	}

static const struct option create_options[] = { SPEC_OPTIONS, OPTION_FORCE, OPTION_JSON, { 0 } };

static const struct option multi_options[] = {
	{ .name = "roles",
	  .kind = OPTION_WORDS,
	  .value = "R,...",
	  .help = "make a template BASE-ROLE for each role",
	  .hint = VALUE_ROLE },
	SPEC_OPTIONS,
	OPTION_FORCE,
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_create = {
	.path = "template create",
	.summary = "Create a template, build nothing",
	.details = "Defaults: profile minimal, role worker, 2 CPUs, 1 GiB of memory, "
		   "no data disk. The guest runs COMMAND, or without one the image's "
		   "own command or init. A relative REF counts from the working "
		   "folder. A template.toml has all these settings, and health checks: "
		   "see 'mvm template init' and 'mvm template apply'.",
	.examples = "mvm template create web --flake dir:rootfs --mem 512M -- /bin/httpd -f\n"
		    "mvm template create ci --flake github:me/ci#vm --cpus 4 --mem 2G",
	.positionals = { { .name = "ID", .help = "the new template", .hint = VALUE_NEW_TEMPLATE } },
	.rest = "COMMAND",
	.options = create_options,
	.run = create,
};

const struct command command_template_create_multi = {
	.path = "template create-multi",
	.summary = "Create a template for each of several roles",
	.details = "Takes the options of 'mvm template create'. If one of the "
		   "templates exists, nothing is created, unless you give --force.",
	.examples = "mvm template create-multi shop --roles web,worker --flake . --mem 512M",
	.positionals = { { .name = "BASE",
			   .help = "the beginning of the ids",
			   .hint = VALUE_NEW_TEMPLATE } },
	.rest = "COMMAND",
	.options = multi_options,
	.run = create_multi,
};
