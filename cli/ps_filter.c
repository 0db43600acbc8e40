/* SPDX-License-Identifier: Apache-2.0 */
#include "ps_filter.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "options.h"

enum key {
	KEY_NAME,
	KEY_STATE,
	KEY_HEALTH,
	KEY_TEMPLATE,
	KEY_EXITED,
	KEY_LABEL,
	KEYS,
};

static const struct {
	const char *word;
	enum key key;
	const char *values; /* the few that there are; NULL: any */
} words[] = {
	{ "name", KEY_NAME, NULL },	    { "state", KEY_STATE, PS_STATES },
	{ "status", KEY_STATE, PS_STATES }, { "health", KEY_HEALTH, PS_HEALTH },
	{ "template", KEY_TEMPLATE, NULL }, { "exited", KEY_EXITED, NULL },
	{ "label", KEY_LABEL, NULL },
};

static bool has_label(const struct mvm_instance_info *info, const char *wanted)
{
	size_t len = strlen(wanted);
	bool whole = strchr(wanted, '=');
	for (const char *const *l = info->labels; *l; l++) {
		if (str_starts(*l, wanted) && (*l)[len] == (whole ? '\0' : '='))
			return true;
	}
	return false;
}

static bool has_exited(const struct mvm_instance_info *info, const char *status)
{
	uint64_t n;
	return info->state == MVM_INSTANCE_EXITED && parse_u64(status, 0, UINT8_MAX, &n) == 0 &&
	       info->exit_code == (int)n;
}

static bool matches(const struct mvm_instance_info *info, enum key key, const char *value)
{
	switch (key) {
	case KEY_NAME:
		return strstr(info->name, value) != NULL;
	case KEY_STATE:
		return str_eq(mvm_instance_state_name(info->state), value);
	case KEY_HEALTH:
		return str_eq(info->health, value);
	case KEY_TEMPLATE:
		return str_eq(info->template_id, value);
	case KEY_EXITED:
		return has_exited(info, value);
	case KEY_LABEL:
		return has_label(info, value);
	case KEYS:
		break;
	}
	return false;
}

/* The place in words[] of "KEY=VALUE", or -1. */
static int word_of(const char *filter)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(words); i++) {
		size_t len = strlen(words[i].word);
		if (str_starts(filter, words[i].word) && filter[len] == '=')
			return (int)i;
	}
	return -1;
}

static int check_value(struct cli_context *c, int i, const char *value)
{
	uint64_t n;
	if (words[i].values && !choices_have(words[i].values, value)) {
		char known[128];
		say_choices(words[i].values, known, sizeof(known));
		return cli_usage(c, "option '--filter': %s '%s' is not %s", words[i].word, value,
				 known);
	}
	if (words[i].key == KEY_EXITED && parse_u64(value, 0, UINT8_MAX, &n) < 0)
		return cli_usage(c, "option '--filter': exited '%s' is no status from 0 to 255",
				 value);
	if (words[i].key == KEY_LABEL && mvm_label_check(value, &c->err) < 0) {
		c->usage = true;
		return mvm_error_context(&c->err, c->err.code, "option '--filter'");
	}
	return 0;
}

int ps_passes(struct cli_context *c, const struct strv *filters,
	      const struct mvm_instance_info *info)
{
	bool wanted[KEYS] = { false }, met[KEYS] = { false };

	for (size_t i = 0; i < filters->n; i++) {
		const char *filter = filters->v[i];
		int word = word_of(filter);
		if (word < 0)
			return cli_usage(c,
					 "option '--filter': '%s' is not name, state, health, "
					 "template, exited or label, '=' and a value",
					 filter);
		const char *value = strchr(filter, '=') + 1;
		int r = check_value(c, word, value);
		if (r < 0)
			return r;
		enum key key = words[word].key;
		bool match = !info || matches(info, key, value);
		bool all = key == KEY_LABEL && wanted[key];
		met[key] = all ? met[key] && match : met[key] || match;
		wanted[key] = true;
	}
	for (size_t i = 0; i < KEYS; i++) {
		if (wanted[i] && !met[i])
			return 0;
	}
	return 1;
}
