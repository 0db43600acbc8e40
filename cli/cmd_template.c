/* SPDX-License-Identifier: Apache-2.0 */
/* template apply, build */
#include <inttypes.h>
#include <mvm/build.h>
#include <stdio.h>

#include "build_report.h"
#include "handles.h"
#include "json.h"
#include "kernel_offer.h"
#include "options.h"
#include "out.h"
#include "progress.h"

DEFINE_AUTO_DONE(mvm_strings, mvm_strings_done)

static int load_config(struct cli_context *c, const char *path, bool strict,
		       struct mvm_template_config **ret)
{
	AUTO_DONE(mvm_strings) warnings = { 0 };
	int r = mvm_template_config_load(path, strict ? MVM_TEMPLATE_CONFIG_STRICT : 0, ret,
					 &warnings, &c->err);
	for (size_t i = 0; i < warnings.n; i++) {
		AUTO_FREE char *text = str_printf("%s (ignored; --strict refuses it)",
						  warnings.v[i]);
		note(c, text ? text : warnings.v[i]);
	}
	return r < 0 ? r : mvm_template_config_check(*ret, &c->err); /* all, before one is stored */
}

static const char *apply_word(int result)
{
	if (result == MVM_APPLY_CREATED)
		return "created";
	return result == MVM_APPLY_UPDATED ? "updated" : "unchanged";
}

static int apply(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_template_config) config = NULL;
	AUTO_DONE(jsonw) j = { 0 };

	if (!args_given(a, "config") == !args_at(a, 0))
		return cli_usage(c, "name one template.toml, as FILE or with --config");
	const char *path = args_at(a, 0) ? args_at(a, 0) : args_string(a, "config");
	int r = load_config(c, path, args_flag(a, "strict"), &config);
	if (r >= 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '[');
	for (size_t i = 0; i < mvm_template_config_variant_count(config); i++) {
		const struct mvm_template_variant *v = mvm_template_config_variant(config, i);
		r = mvm_template_apply(mvm, config, v, args_flag(a, "no-wait"), &c->progress,
				       &c->err);
		if (r < 0)
			return r;
		if (!c->json)
			printf("%s %s\n", mvm_template_variant_name(v), apply_word(r));
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "template_id", mvm_template_variant_name(v));
		jsonw_string(&j, "result", apply_word(r));
		jsonw_close(&j);
	}
	jsonw_close(&j);
	return c->json ? jsonw_print(&j, stdout) : 0;
}

static int build_variants(struct cli_context *c, const struct args *a, struct mvm *mvm,
			  const struct mvm_build_options *options, struct jsonw *j)
{
	AUTO(mvm_template_config) config = NULL;

	int r = load_config(c, args_string(a, "config"), args_flag(a, "strict"), &config);
	size_t n = r < 0 ? 0 : mvm_template_config_variant_count(config);
	/* all are applied before the first is built: a mistake in one costs no build */
	for (size_t i = 0; r >= 0 && !options->dry_run && i < n; i++)
		r = mvm_template_apply(mvm, config, mvm_template_config_variant(config, i),
				       options->no_wait, &c->progress, &c->err);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		const struct mvm_template_variant *v = mvm_template_config_variant(config, i);
		struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
		r = options->dry_run
			    ? mvm_template_build_variant_plan(mvm, config, v, options, &c->progress,
							      &result, &c->err)
			    : mvm_template_build(mvm, mvm_template_variant_name(v), options,
						 &c->progress, &result, &c->err);
		if (r >= 0)
			build_report(&result, j, c->json);
	}
	return r;
}

static int build_one(struct cli_context *c, const char *id, bool yes, struct mvm *mvm,
		     const struct mvm_build_options *options, struct jsonw *j)
{
	struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
	int r = mvm_template_build(mvm, id, options, &c->progress, &result, &c->err);
	if (r < 0 && !options->dry_run && (r = kernel_offer(c, mvm, yes, r)) > 0)
		r = mvm_template_build(mvm, id, options, &c->progress, &result, &c->err);
	if (r >= 0)
		build_report(&result, j, c->json);
	return r;
}

static int build(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	const struct mvm_build_options options = {
		.size = sizeof(options),
		.snapshot = args_flag(a, "snapshot"),
		.force = args_flag(a, "force"),
		.no_wait = args_flag(a, "no-wait"),
		.dry_run = args_flag(a, "dry-run"),
		.backend = args_string(a, "backend"),
		.max_image_bytes = (uint64_t)args_u32(a, "max-image-size", 0) << 20,
		.allow_pre_build = args_flag(a, "allow-pre-build"),
		.update_hash = args_flag(a, "update-hash"),
	};

	if (!args_given(a, "config") == !args_at(a, 0))
		return cli_usage(c, "name either a template or a --config file");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '[');
	r = args_at(a, 0) ? build_one(c, args_at(a, 0), args_flag(a, "yes"), mvm, &options, &j)
			  : build_variants(c, a, mvm, &options, &j);
	if (r < 0)
		return r;
	jsonw_close(&j);
	return c->json ? jsonw_print(&j, stdout) : 0;
}

#define OPTION_CONFIG(text)                                                                        \
	{                                                                                          \
		.name = "config", .letter = 'c', .kind = OPTION_STRING, .value = "FILE",           \
		.help = (text), .hint = VALUE_FILE                                                 \
	}

#define OPTION_STRICT                                                                              \
	{                                                                                          \
		.name = "strict", .kind = OPTION_FLAG,                                             \
		.help = "unknown keys in the config are errors"                                    \
	}

static const struct option apply_options[] = {
	OPTION_CONFIG("the template.toml, instead of FILE"),
	{ .name = "no-wait",
	  .kind = OPTION_FLAG,
	  .help = "fail if a template that would change is being built" },
	OPTION_STRICT,
	OPTION_JSON,
	{ 0 },
};

static const struct option build_options[] = {
	OPTION_CONFIG("apply this template.toml, then build all its variants"),
	{ .name = "snapshot",
	  .letter = 's',
	  .kind = OPTION_FLAG,
	  .help = "also boot it, wait until it is healthy and capture its memory" },
	{ .name = "force",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "build again even if nothing has changed" },
	{ .name = "update-hash",
	  .kind = OPTION_FLAG,
	  .help = "write the right hashes, as Nix finds them, into flake.nix" },
	{ .name = "allow-pre-build",
	  .kind = OPTION_FLAG,
	  .help = "first run pre-build.sh beside flake.nix; such a build is never "
		  "cached" },
	{ .name = "dry-run",
	  .letter = 'n',
	  .kind = OPTION_FLAG,
	  .help = "say what would happen and why, but change nothing" },
	{ .name = "no-wait",
	  .kind = OPTION_FLAG,
	  .help = "fail if the template is being built already" },
	{ .name = "backend",
	  .kind = OPTION_CHOICE,
	  .value = "NAME",
	  .choices = BACKENDS,
	  .help = "the VMM that makes the snapshot" },
	{ .name = "max-image-size",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .help = "how much tar files and layers may unpack to (default: 256 times "
		  "their size, but at least 1G and at most 64G)",
	  .min = 1 },
	OPTION_YES,
	OPTION_STRICT,
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_apply = {
	.path = "template apply",
	.summary = "Create or update the templates of a config, build nothing",
	.examples = "mvm template apply -c template.toml",
	.positionals = { { .name = "FILE",
			   .help = "a template.toml",
			   .optional = true,
			   .hint = VALUE_FILE } },
	.options = apply_options,
	.run = apply,
};

const struct command command_template_build = {
	.path = "template build",
	.summary = "Build a template's revision, and its snapshot",
	.details = "The same inputs give the same revision, so building again is quick and changes "
		   "nothing. With --snapshot the revision is booted, captured once its health "
		   "check holds, and tested by restoring a clone before the snapshot is published; "
		   "'mvm run' then starts from it in milliseconds.",
	.examples = "mvm template build --config template.toml --snapshot\n"
		    "mvm template build http-worker --force",
	.positionals = { { .name = "ID",
			   .help = "a template that exists",
			   .optional = true,
			   .hint = VALUE_TEMPLATE } },
	.options = build_options,
	.run = build,
};
