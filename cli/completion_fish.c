/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "commands.h"
#include "completion.h"
#include "options.h"

static const char prologue[] =
	"# fish completion for mvm, made by 'mvm completion fish'\n"
	"# what the command line so far says: the words of the command, the data\n"
	"function __mvm_scan\n"
	"	set -g __mvm_data \"$MVM_DATA_DIR\"\n"
	"	test -n \"$__mvm_data\"; or set -g __mvm_data ~/.mvm\n"
	"	set -g __mvm_words\n"
	"	set -l before\n"
	"	for word in (commandline -opc)[2..-1]\n"
	"		if test \"$before\" = --data-dir\n"
	"			set -g __mvm_data $word\n"
	"		else if string match -q -- '--data-dir=*' $word\n"
	"			set -g __mvm_data (string replace -- --data-dir= '' $word)\n"
	"		else if not string match -q -- '-*' $word\n"
	"			set -ga __mvm_words $word\n"
	"		end\n"
	"		set before $word\n"
	"	end\n"
	"end\n"
	"function __mvm_names\n"
	"	__mvm_scan\n"
	"	for path in $__mvm_data/$argv[1]/*/\n"
	"		basename $path\n"
	"	end\n"
	"end\n"
	"function __mvm_is\n"
	"	__mvm_scan\n"
	"	test \"$__mvm_words\" = \"$argv\"\n"
	"end\n"
	"function __mvm_in\n"
	"	__mvm_scan\n"
	"	test \"$__mvm_words[1..$(count $argv)]\" = \"$argv\"\n"
	"end\n"
	"complete -c mvm -f\n";

/* The values to offer, as arguments of fish's `complete`. */
static void print_values(FILE *out, enum value_hint hint, const char *choices)
{
	const char *folder = completion_folder(hint);

	if (choices) {
		fputs(" -a '", out);
		print_choices(out, choices);
		fputc('\'', out);
	} else if (folder) {
		fprintf(out, " -a '(__mvm_names %s)'", folder);
	} else if (hint == VALUE_FILE) {
		fputs(" -F", out);
	} else if (hint == VALUE_DIR) {
		fputs(" -a '(__fish_complete_directories)'", out);
	}
}

/* fish's own quoting: a backslash before ' and \. */
static void print_description(FILE *out, const char *text)
{
	fputs(" -d '", out);
	for (; *text; text++)
		fprintf(out, "%s%c", *text == '\'' || *text == '\\' ? "\\" : "", *text);
	fputs("'\n", out);
}

static void print_options(FILE *out, const char *path, const struct option *table)
{
	for (const struct option *o = table; o && o->name; o++) {
		fputs("complete -c mvm", out);
		if (path)
			fprintf(out, " -n '__mvm_in %s'", path);
		fprintf(out, " -l %s", o->name);
		if (o->letter)
			fprintf(out, " -s %c", o->letter);
		if (o->kind != OPTION_FLAG)
			fputs(o->hint == VALUE_FILE ? " -r" : " -x", out); /* -x: no files */
		print_values(out, o->hint, completion_choices(o));
		print_description(out, o->help);
	}
}

/* Offer words behind `mvm COMMAND`, or behind `mvm COMMAND GROUP`. */
static void print_words(FILE *out, const char *command, const char *group)
{
	AUTO_DONE(strv) words = { 0 };

	completion_words(group, &words);
	fprintf(out, "complete -c mvm -n '__mvm_is %s%s%s' -a '", command, group ? " " : "",
		group ? group : "");
	for (size_t i = 0; i < words.n; i++)
		fprintf(out, "%s%s", i ? " " : "", words.v[i]);
	fputs("'\n", out);
}

static void print_commands_words(FILE *out, const char *command)
{
	AUTO_DONE(strv) first = { 0 };

	print_words(out, command, NULL);
	completion_words(NULL, &first);
	for (size_t i = 0; i < first.n; i++) {
		if (command_is_group(first.v[i]))
			print_words(out, command, first.v[i]);
	}
}

static void print_command(FILE *out, const struct command *c)
{
	const char *last = strrchr(c->path, ' ');

	if (last)
		fprintf(out, "complete -c mvm -n '__mvm_is %.*s' -a %s", (int)(last - c->path),
			c->path, last + 1);
	else
		fprintf(out, "complete -c mvm -n '__mvm_is' -a %s", c->path);
	print_description(out, c->summary);
	print_options(out, c->path, c->options);
	for (const struct positional *p = c->positionals; p->name; p++) {
		if (p->hint == VALUE_COMMAND)
			print_commands_words(out, c->path);
		if (!completion_folder(p->hint) && p->hint != VALUE_FILE && p->hint != VALUE_DIR &&
		    !p->choices)
			continue;
		fprintf(out, "complete -c mvm -n '__mvm_in %s'", c->path);
		print_values(out, p->hint, p->choices);
		print_description(out, p->help);
	}
}

void completion_fish(FILE *out)
{
	AUTO_DONE(strv) first = { 0 };

	fputs(prologue, out);
	print_options(out, NULL, global_options);
	completion_words(NULL, &first);
	for (size_t i = 0; i < first.n; i++) {
		if (!command_is_group(first.v[i]))
			continue;
		fprintf(out, "complete -c mvm -n __mvm_is -a %s", first.v[i]);
		print_description(out, "Commands of this kind");
	}
	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++)
			print_command(out, *c);
	}
}
