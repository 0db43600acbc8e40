/* SPDX-License-Identifier: Apache-2.0 */
#include "model/name.h"

#include <errno.h>
#include <mvm/template.h>
#include <string.h>

#include "model/template.h"

#define DIGITS "0123456789"
#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

struct rule {
	const char *what;
	size_t max;
	const char *first, *rest; /* allowed characters */
	const char *words;
};

#define ID_RULE                                                                                    \
	63, LOWER DIGITS, LOWER DIGITS "-_",                                                       \
		"use 1 to 63 of a-z 0-9 - _, starting with a letter or digit"
#define ROLE_RULE                                                                                  \
	63, UPPER LOWER DIGITS, UPPER LOWER DIGITS "._-",                                          \
		"use 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit"

static const struct rule rules[] = {
	[NAME_TEMPLATE] = { "template name", ID_RULE },
	[NAME_INSTANCE] = { "instance name", ID_RULE },
	[NAME_ROLE] = { "role", ROLE_RULE },
	[NAME_PROFILE] = { "profile", ROLE_RULE },
	[NAME_KERNEL] = { "kernel name", ROLE_RULE },
	[NAME_VOLUME] = { "volume name", ROLE_RULE },
	[NAME_KEY] = { "key name", ROLE_RULE },
	[NAME_TOKEN] = { "token name", ROLE_RULE },
	[NAME_REVISION] = { "revision", 64, LOWER DIGITS, LOWER DIGITS, "use 1 to 64 of a-z 0-9" },
};

bool name_valid(enum name_kind kind, const char *s)
{
	const struct rule *rule = &rules[kind];
	size_t len = s ? strnlen(s, rule->max + 1) : 0;

	return len > 0 && len <= rule->max && strchr(rule->first, s[0]) &&
	       strspn(s, rule->rest) == len;
}

int name_check(enum name_kind kind, const char *s, struct mvm_error *err)
{
	if (name_valid(kind, s))
		return 0;
	return mvm_error_set(err, -EINVAL, "'%.80s' is no valid %s: %s", s ? s : "",
			     rules[kind].what, rules[kind].words);
}

const char *name_rule(enum name_kind kind)
{
	return rules[kind].words;
}

bool mvm_template_id_valid(const char *s)
{
	return name_valid(NAME_TEMPLATE, s);
}

bool mvm_role_valid(const char *s)
{
	return name_valid(NAME_ROLE, s);
}

bool mvm_revision_valid(const char *s)
{
	return name_valid(NAME_REVISION, s);
}

bool mvm_artifact_name_valid(const char *s)
{
	return s && *s && !strchr(s, '/') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}
