/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <ctype.h>
#include <errno.h>
#include <mvm/key.h>
#include <mvm/registry.h>
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

static int check_revision(struct cli_context *c, const char *name)
{
	if (mvm_revision_valid(name))
		return 0;
	return cli_usage(c, "'%.80s' is no valid revision: use 1 to 64 of a-z 0-9", name);
}

/* "ID", or "ID@REVISION", of which the beginning is enough. */
static int check_template(struct cli_context *c, const char *ref, bool may_name_revision)
{
	const char *at = may_name_revision ? strchr(ref, '@') : NULL;
	AUTO_FREE char *id = at ? strndup(ref, (size_t)(at - ref)) : strdup(ref);

	if (!id)
		return -ENOMEM;
	if (!mvm_template_id_valid(id))
		return cli_usage(c, "'%.80s' is no valid template name: " ID_RULE, id);
	return at ? check_revision(c, at + 1) : 0;
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

static int check_role(struct cli_context *c, const char *kind, const char *name)
{
	if (mvm_role_valid(name))
		return 0;
	return cli_usage(
		c,
		"'%.80s' is no valid %s: use 1 to 63 of A-Z a-z 0-9 . _ -, starting with a "
		"letter or digit",
		name, kind);
}

static int checked(struct cli_context *c, int r)
{
	if (cli_judged(c, r) == -EINVAL)
		c->err.hint[0] = '\0'; /* the command's help has the form */
	return r;
}

bool names_artifact(const char *value)
{
	const size_t name_len = strcspn(value, "@");
	return (isalnum((unsigned char)value[0]) || value[0] == '[') &&
	       memchr(value, '/', name_len);
}

int check_name(struct cli_context *c, enum value_hint hint, const char *value, const char *what)
{
	switch (hint) {
	case VALUE_INSTANCE:
	case VALUE_NEW_INSTANCE:
		return check_instance(c, value);
	case VALUE_TEMPLATE:
	case VALUE_NEW_TEMPLATE:
	case VALUE_REFERENCE:
		return check_template(c, value, hint == VALUE_REFERENCE);
	case VALUE_RUNNABLE:
		return names_artifact(value) ? checked(c, mvm_remote_check(value, &c->err))
					     : check_template(c, value, true);
	case VALUE_REMOTE:
		return checked(c, mvm_remote_check(value, &c->err));
	case VALUE_REGISTRY:
		return checked(c, mvm_registry_check(value, &c->err));
	case VALUE_SCOPE:
		return checked(c, mvm_key_scope_check(value, &c->err));
	case VALUE_HOSTNAME:
		return check_hostname(c, value);
	case VALUE_KERNEL:
	case VALUE_NEW_KERNEL:
		return check_role(c, "kernel name", value);
	case VALUE_NEW_KEY:
		return check_role(c, "key name", value);
	case VALUE_NEW_TOKEN:
		return check_role(c, "token name", value);
	case VALUE_VOLUME:
		return check_role(c, "volume name", value);
	case VALUE_ROLE:
		return check_role(c, "role", value);
	case VALUE_REVISION:
		return check_revision(c, value);
	case VALUE_FILE: /* an empty value comes from a variable that was never set */
	case VALUE_DIR:
		if (*value)
			return 0;
		return cli_usage(c, "%s needs the name of a %s", what,
				 hint == VALUE_DIR ? "folder" : "file");
	case VALUE_ANY:
	case VALUE_COMMAND:
		break;
	}
	return 0;
}

static int check_option(struct cli_context *c, const struct arg_value *v)
{
	AUTO_FREE char *what = str_printf("option '--%s'", v->option->name);
	int r = what ? 0 : -ENOMEM;

	if (r == 0 && v->string && v->list.n == 0)
		r = check_name(c, v->option->hint, v->string, what);
	for (size_t i = 0; r == 0 && i < v->list.n; i++)
		r = check_name(c, v->option->hint, v->list.v[i], what);
	return r;
}

int check_names(struct cli_context *c, const struct args *a)
{
	const struct positional *p = a->command->positionals;
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->n_positionals; i++) {
		r = check_name(c, p->hint, a->positionals[i], p->name);
		p += !p->many;
	}
	for (size_t i = 0; r == 0 && i < a->n_values; i++)
		r = check_option(c, &a->values[i]);
	return r;
}
