/* SPDX-License-Identifier: Apache-2.0 */
#include "help.h"

#include <string.h>

#include "base/str.h"
#include "commands.h"
#include "options.h"
#include "text.h"

#define HELP_COLUMN 28

/* "  left            right, wrapped"; the right side starts a line of its own if it must. */
static void print_entry(FILE *out, const char *left, const char *right)
{
	size_t width = 2 + text_width(left);

	fprintf(out, "  %s", left);
	if (width + 2 > HELP_COLUMN) {
		fputc('\n', out);
		width = 0;
	}
	fprintf(out, "%*s", (int)(HELP_COLUMN - width), "");
	print_wrapped(out, right, HELP_COLUMN, HELP_COLUMN);
}

static void print_commands(FILE *out, const struct command_section *s, const char *group)
{
	size_t len = group ? strlen(group) : 0;
	bool titled = false;

	for (const struct command *const *c = s->commands; *c; c++) {
		if (group && (!str_starts((*c)->path, group) || (*c)->path[len] != ' '))
			continue;
		if (!titled)
			fprintf(out, "\n%s:\n", s->title);
		titled = true;
		print_entry(out, (*c)->path, (*c)->summary);
	}
}

static void print_options(FILE *out, const struct option *table)
{
	const char *group = NULL;

	for (const struct option *o = table; o && o->name; o++) {
		AUTO_DONE(strbuf) left = { 0 };
		const char *heading = o->group ? o->group : "Options";

		if (!str_eq(group, heading))
			fprintf(out, "\n%s:\n", heading);
		group = heading;
		if (o->letter)
			strbuf_addf(&left, "-%c, ", o->letter);
		else
			strbuf_adds(&left, "    ");
		strbuf_addf(&left, "--%s%s%s", o->name, o->value ? " " : "",
			    o->value ? o->value : "");
		print_entry(out, left.failed ? o->name : left.data, o->help);
	}
}

void help_all(FILE *out)
{
	fputs("mvm: microVM templates for Linux\n\n"
	      "Usage: mvm [--data-dir DIR] COMMAND ...\n",
	      out);
	for (const struct command_section *s = command_sections; s->title; s++)
		print_commands(out, s, NULL);
	print_options(out, global_options);
	fputs("\n'mvm help COMMAND' tells more about one command.\n\n"
	      "Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 busy, locked or\n"
	      "taken, 5 damaged data, 6 not supported here.\n",
	      out);
}

void help_group(FILE *out, const char *group)
{
	fprintf(out, "Usage: mvm %s COMMAND ...\n", group);
	for (const struct command_section *s = command_sections; s->title; s++)
		print_commands(out, s, group);
	fprintf(out, "\n'mvm help %s COMMAND' tells more about one command.\n", group);
}

static void add_positional(struct strbuf *b, const struct positional *p)
{
	strbuf_addf(b, " %s%s%s%s", p->optional ? "[" : "", p->name, p->many ? " ..." : "",
		    p->optional ? "]" : "");
}

static void print_usage(FILE *out, const struct command *c)
{
	AUTO_DONE(strbuf) b = { 0 };

	if (c->options && c->options->name)
		strbuf_adds(&b, " [options]");
	for (const struct positional *p = c->positionals; p->name; p++)
		add_positional(&b, p);
	if (c->rest)
		strbuf_addf(&b, c->rest_required ? " [--] %s ..." : " [-- %s ...]", c->rest);
	fprintf(out, "Usage: mvm %s%s\n", c->path, b.data && !b.failed ? b.data : "");
}

/* Paragraphs are wrapped; lines that begin with a space are shown as they are. */
static void print_details(FILE *out, const char *text)
{
	while (*text) {
		const char *end = strstr(text, "\n\n");
		size_t len = end ? (size_t)(end - text) : strlen(text);
		AUTO_FREE char *paragraph = strndup(text, len);

		fputc('\n', out);
		if (paragraph && paragraph[0] == ' ')
			fprintf(out, "%s\n", paragraph);
		else if (paragraph)
			print_wrapped(out, paragraph, 0, 0);
		text += len + (end ? 2 : 0);
	}
}

static void print_examples(FILE *out, const char *lines)
{
	fputs("\nExamples:\n", out);
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		fprintf(out, "  %.*s\n", (int)len, lines);
		lines += len + (lines[len] == '\n');
	}
}

void help_command(FILE *out, const struct command *c)
{
	print_usage(out, c);
	fprintf(out, "\n%s.\n", c->summary);
	if (c->details)
		print_details(out, c->details);
	if (c->positionals[0].name)
		fputs("\nArguments:\n", out);
	for (const struct positional *p = c->positionals; p->name; p++)
		print_entry(out, p->name, p->help);
	print_options(out, c->options);
	print_options(out, global_options);
	if (c->examples)
		print_examples(out, c->examples);
}
