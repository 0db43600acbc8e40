/* SPDX-License-Identifier: Apache-2.0 */
/* template edit */
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "spec_options.h"

/* Keys that can be without a value, named as in template.toml. */
static const struct {
	const char *key;
	unsigned field;
} unsettable[] = {
	{ "boot_args", MVM_FIELD_BOOT_ARGS },
	{ "command", MVM_FIELD_COMMAND },
	{ "data_disk_mib", MVM_FIELD_DATA_DISK_MIB },
	{ "env", MVM_FIELD_ENV },
	{ "health", MVM_FIELD_HEALTH },
	{ "initrd", MVM_FIELD_INITRD },
	{ "kernel", MVM_FIELD_KERNEL },
	{ "network", MVM_FIELD_NETWORK },
	{ "on_restore", MVM_FIELD_ON_RESTORE },
};
#define N_UNSETTABLE (sizeof(unsettable) / sizeof(unsettable[0]))

static int unset_field(struct cli_context *c, const char *key, unsigned *ret)
{
	const char *names[N_UNSETTABLE];
	for (size_t i = 0; i < N_UNSETTABLE; i++) {
		names[i] = unsettable[i].key;
		if (str_eq(key, unsettable[i].key)) {
			*ret = unsettable[i].field;
			return 0;
		}
	}
	const char *nearest = str_nearest(key, names, N_UNSETTABLE);
	return cli_usage(c, "--unset: no key '%s' that could be unset%s%s%s", key,
			 nearest ? ", did you mean '" : "", nearest ? nearest : "",
			 nearest ? "'?" : "");
}

static int edit(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	struct mvm_template_spec values;
	unsigned fields = spec_from_args(a, &values);
	const struct strv *unset = args_list(a, "unset");

	for (size_t i = 0; i < unset->n; i++) {
		unsigned field = 0;
		int r = unset_field(c, unset->v[i], &field);
		if (r < 0)
			return r;
		if (fields & field)
			return cli_usage(c, "'%s' is set or unset twice", unset->v[i]);
		fields |= field; /* with the empty value that it has in `values` */
	}
	if (!fields)
		return cli_usage(c, "nothing to change: name what, as in --mem 2G");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_edit(mvm, args_at(a, 0), &values, fields, &c->progress, &c->err);
	if (r < 0)
		return r;
	const char *word = r ? "updated" : "unchanged";
	if (!c->json) {
		(void)printf("%s %s\n", args_at(a, 0), word);
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
	  .help = "back to its default: boot_args, command, data_disk_mib, env, health, initrd, "
		  "kernel, network or on_restore" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_edit = {
	.path = "template edit",
	.summary = "Change a template; what is not named stays",
	.details = "--env adds or replaces single variables. Revisions that exist stay as they "
		   "are: build the template to get one with the changes.",
	.examples = "mvm template edit web --mem 1G --cpus 2\n"
		    "mvm template edit web --unset command,env",
	.positionals = { { .name = "ID", .help = "the template", .hint = VALUE_TEMPLATE } },
	.rest = "COMMAND",
	.options = edit_options,
	.run = edit,
};
