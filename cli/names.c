/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <errno.h>
#include <mvm/template.h>
#include <string.h>

#include "base/parse.h"
#include "base/str.h"

#define ID_RULE "use 1 to 63 of a-z 0-9 - _, starting with a letter or digit"

static int check_instance(struct cli_context *c, const char *name)
{
	if (mvm_template_id_valid(name)) /* the same rule */
		return 0;
	return cli_usage(c, "'%.80s' is no valid instance name: " ID_RULE, name);
}

/* "ID" or "ID@REVISION"; of a revision the beginning is enough. */
static int check_template(struct cli_context *c, const char *ref, bool is_new)
{
	const char *at = is_new ? NULL : strchr(ref, '@');
	AUTO_FREE char *id = at ? strndup(ref, (size_t)(at - ref)) : strdup(ref);

	if (!id)
		return -ENOMEM;
	if (!mvm_template_id_valid(id))
		return cli_usage(c, "'%.80s' is no valid template name: " ID_RULE, id);
	if (at && !mvm_revision_valid(at + 1))
		return cli_usage(c, "'%.80s' is no valid revision: use 1 to 64 of a-z 0-9", at + 1);
	return 0;
}

static int check_hostname(struct cli_context *c, const char *name)
{
	if (parse_hostname_ok(name))
		return 0;
	return cli_usage(c,
			 "'%.80s' is no host name: use 1 to %u of letters, digits, - and single "
			 "dots between them",
			 name, HOSTNAME_LEN_MAX);
}

static int check(struct cli_context *c, enum value_hint hint, const char *value)
{
	switch (hint) {
	case VALUE_INSTANCE:
	case VALUE_NEW_INSTANCE:
		return check_instance(c, value);
	case VALUE_TEMPLATE:
	case VALUE_NEW_TEMPLATE:
		return check_template(c, value, hint == VALUE_NEW_TEMPLATE);
	case VALUE_HOSTNAME:
		return check_hostname(c, value);
	default:
		return 0;
	}
}

int check_names(struct cli_context *c, const struct args *a)
{
	const struct positional *p = a->command->positionals;
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->n_positionals; i++) {
		r = check(c, p->hint, a->positionals[i]);
		p += !p->many;
	}
	for (size_t i = 0; r == 0 && i < a->n_values; i++) {
		const struct arg_value *v = &a->values[i];
		if (v->given && v->string)
			r = check(c, v->option->hint, v->string);
	}
	return r;
}
