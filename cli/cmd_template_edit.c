/* SPDX-License-Identifier: Apache-2.0 */
/* template edit */
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "spec_options.h"

/* Keys that can be without a value, named as in template.toml. */
static const char *const unsettable[] = { "boot_args",	"command",	 "data_disk_mib", "env",
					  "health",	"initrd",	 "kernel",	  "network",
					  "on_restore", "root_disk_mib", "snapshot.point" };
#define N_UNSETTABLE (sizeof(unsettable) / sizeof(unsettable[0]))

static int unset(struct cli_context *c, const char *key, struct settings *s)
{
	size_t i = 0;
	while (i < N_UNSETTABLE && !str_eq(key, unsettable[i]))
		i++;
	if (i < N_UNSETTABLE && settings_has(s, key))
		return cli_usage(c, "'%s' is set or unset twice", key);
	if (i < N_UNSETTABLE) {
		settings_add(s, unsettable[i], NULL);
		return 0;
	}
	const char *nearest = str_nearest(key, unsettable, N_UNSETTABLE);
	return cli_usage(c, "--unset: no key '%s' that could be unset%s%s%s", key,
			 nearest ? ", did you mean '" : "", nearest ? nearest : "",
			 nearest ? "'?" : "");
}

static int edit(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	struct settings settings;
	const struct strv *keys = args_list(a, "unset");

	settings_from_args(a, &settings);
	for (size_t i = 0; i < keys->n; i++) {
		int r = unset(c, keys->v[i], &settings);
		if (r < 0)
			return r;
	}
	if (!settings.n)
		return cli_usage(c, "nothing to change: name a setting, as in --mem 2G");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_edit(mvm, args_at(a, 0), settings.v, settings.n, &c->progress,
				      &c->err);
	if (r < 0)
		return cli_judged(c, r);
	const char *word = r ? "updated" : "unchanged";
	if (!c->json) {
		printf("%s %s\n", args_at(a, 0), word);
		return 0;
	}
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "template_id", args_at(a, 0));
	jsonw_string(&j, "result", word);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static const struct option edit_options[] = {
	SPEC_OPTIONS,
	{ .name = "unset",
	  .kind = OPTION_WORDS,
	  .value = "KEY",
	  .help = "reset to its default: boot_args, command, data_disk_mib, env, "
		  "health, initrd, kernel, network, on_restore, root_disk_mib or "
		  "snapshot.point" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_edit = {
	.path = "template edit",
	.summary = "Change some settings of a template",
	.details = "--env adds or replaces single variables. Existing revisions do not "
		   "change: build the template to get a revision with the changes.",
	.examples = "mvm template edit web --mem 1G --cpus 2\n"
		    "mvm template edit web --unset command,env",
	.positionals = { { .name = "ID", .help = "the template", .hint = VALUE_TEMPLATE } },
	.rest = "COMMAND",
	.options = edit_options,
	.run = edit,
};
