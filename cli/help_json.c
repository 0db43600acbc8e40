/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "commands.h"
#include "help.h"
#include "json.h"
#include "options.h"

static void add_choices(struct jsonw *j, const char *key, const char *choices)
{
	if (!choices)
		return;
	jsonw_open(j, key, '[');
	while (*choices) {
		size_t n = strcspn(choices, "|");
		AUTO_FREE char *word = strndup(choices, n);
		if (!word)
			j->text.failed = true;
		else
			jsonw_string(j, NULL, word);
		choices += n + (choices[n] == '|');
	}
	jsonw_close(j);
}

static const char *kind_name(enum option_kind kind)
{
	static const char *const names[] = {
		[OPTION_FLAG] = "flag",		[OPTION_STRING] = "string",
		[OPTION_U32] = "integer",	[OPTION_SIZE] = "size_mib",
		[OPTION_DURATION] = "duration", [OPTION_CHOICE] = "choice",
		[OPTION_LIST] = "list",		[OPTION_WORDS] = "comma_list",
	};
	return names[kind];
}

static const char *hint_name(enum value_hint hint)
{
	static const char *const names[] = {
		[VALUE_ANY] = NULL,
		[VALUE_FILE] = "file",
		[VALUE_DIR] = "directory",
		[VALUE_TEMPLATE] = "template",
		[VALUE_REFERENCE] = "template",
		[VALUE_RUNNABLE] = "template",
		[VALUE_INSTANCE] = "instance",
		[VALUE_KERNEL] = "kernel",
		[VALUE_VOLUME] = "volume",
		[VALUE_COMMAND] = "command",
		[VALUE_NEW_TEMPLATE] = NULL,
		[VALUE_NEW_INSTANCE] = NULL,
		[VALUE_NEW_KERNEL] = NULL,
		[VALUE_NEW_KEY] = NULL,
		[VALUE_NEW_TOKEN] = NULL,
		[VALUE_ROLE] = NULL,
		[VALUE_REVISION] = NULL,
		[VALUE_HOSTNAME] = NULL,
		[VALUE_REMOTE] = NULL,
		[VALUE_REGISTRY] = NULL,
		[VALUE_SCOPE] = NULL,
	};
	return names[hint];
}

static void add_options(struct jsonw *j, const char *key, const struct option *table)
{
	jsonw_open(j, key, '[');
	for (const struct option *o = table; o && o->name; o++) {
		char letter[2] = { o->letter, '\0' };

		jsonw_open(j, NULL, '{');
		jsonw_string(j, "name", o->name);
		if (o->letter)
			jsonw_string(j, "letter", letter);
		jsonw_string(j, "kind", kind_name(o->kind));
		if (o->value)
			jsonw_string(j, "value", o->value);
		if (o->hint)
			jsonw_string(j, "completes", hint_name(o->hint));
		add_choices(j, "choices", o->choices);
		add_choices(j, "offers", o->offers);
		jsonw_string(j, "help", o->help);
		jsonw_string(j, "group", o->group ? o->group : "Options");
		jsonw_close(j);
	}
	jsonw_close(j);
}

static void add_positionals(struct jsonw *j, const struct positional *p)
{
	jsonw_open(j, "arguments", '[');
	for (; p->name; p++) {
		jsonw_open(j, NULL, '{');
		jsonw_string(j, "name", p->name);
		jsonw_bool(j, "optional", p->optional);
		jsonw_bool(j, "many", p->many);
		if (p->hint)
			jsonw_string(j, "completes", hint_name(p->hint));
		add_choices(j, "choices", p->choices);
		jsonw_string(j, "help", p->help);
		jsonw_close(j);
	}
	jsonw_close(j);
}

static void add_command(struct jsonw *j, const char *section, const struct command *c)
{
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "name", c->path);
	jsonw_string(j, "section", section);
	jsonw_string(j, "summary", c->summary);
	jsonw_string(j, "details", c->details);
	jsonw_string(j, "examples", c->examples);
	add_positionals(j, c->positionals);
	jsonw_string(j, "rest", c->rest);
	jsonw_bool(j, "rest_required", c->rest_required);
	add_options(j, "options", c->options);
	jsonw_close(j);
}

int help_json(FILE *out, const char *path)
{
	AUTO_DONE(jsonw) j = { 0 };
	size_t len = strlen(path);

	jsonw_open(&j, NULL, '{');
	jsonw_open(&j, "commands", '[');
	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++) {
			char after = str_starts((*c)->path, path) ? (*c)->path[len] : 'x';
			if (len == 0 || after == '\0' || after == ' ')
				add_command(&j, s->title, *c);
		}
	}
	jsonw_close(&j);
	add_options(&j, "global_options", global_options);
	jsonw_close(&j);
	return jsonw_print(&j, out);
}
