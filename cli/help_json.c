/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "commands.h"
#include "help.h"
#include "json.h"
#include "options.h"

static void add_choices(struct json *j, const char *choices)
{
	if (!choices)
		return;
	json_open(j, "choices", '[');
	while (*choices) {
		size_t n = strcspn(choices, "|");
		AUTO_FREE char *word = strndup(choices, n);
		if (!word)
			j->text.failed = true;
		else
			json_string(j, NULL, word);
		choices += n + (choices[n] == '|');
	}
	json_close(j);
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
		[VALUE_INSTANCE] = "instance",
		[VALUE_KERNEL] = "kernel",
	};
	return names[hint];
}

static void add_options(struct json *j, const char *key, const struct option *table)
{
	json_open(j, key, '[');
	for (const struct option *o = table; o && o->name; o++) {
		char letter[2] = { o->letter, '\0' };

		json_open(j, NULL, '{');
		json_string(j, "name", o->name);
		if (o->letter)
			json_string(j, "letter", letter);
		json_string(j, "kind", kind_name(o->kind));
		if (o->value)
			json_string(j, "value", o->value);
		if (o->hint)
			json_string(j, "completes", hint_name(o->hint));
		add_choices(j, o->choices);
		json_string(j, "help", o->help);
		json_string(j, "group", o->group ? o->group : "Options");
		json_close(j);
	}
	json_close(j);
}

static void add_positionals(struct json *j, const struct positional *p)
{
	json_open(j, "arguments", '[');
	for (; p->name; p++) {
		json_open(j, NULL, '{');
		json_string(j, "name", p->name);
		json_bool(j, "optional", p->optional);
		json_bool(j, "many", p->many);
		if (p->hint)
			json_string(j, "completes", hint_name(p->hint));
		add_choices(j, p->choices);
		json_string(j, "help", p->help);
		json_close(j);
	}
	json_close(j);
}

static void add_command(struct json *j, const char *section, const struct command *c)
{
	json_open(j, NULL, '{');
	json_string(j, "name", c->path);
	json_string(j, "section", section);
	json_string(j, "summary", c->summary);
	json_string(j, "details", c->details);
	json_string(j, "examples", c->examples);
	add_positionals(j, c->positionals);
	json_string(j, "rest", c->rest);
	json_bool(j, "rest_required", c->rest_required);
	add_options(j, "options", c->options);
	json_close(j);
}

int help_json(FILE *out)
{
	AUTO_DONE(json) j = { 0 };

	json_open(&j, NULL, '{');
	json_open(&j, "commands", '[');
	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++)
			add_command(&j, s->title, *c);
	}
	json_close(&j);
	add_options(&j, "global_options", global_options);
	json_close(&j);
	return json_print(&j, out);
}
