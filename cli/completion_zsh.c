/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "commands.h"
#include "completion.h"
#include "options.h"

static const char prologue[] =
	"#compdef mvm\n"
	"# zsh completion for mvm, made by 'mvm completion zsh'\n"
	"_mvm_names() {\n"
	"	local -a names\n"
	"	local dir=${opt_args[--data-dir]:-$data}\n"
	"	names=(\"${dir:-${MVM_DATA_DIR:-$HOME/.mvm}}\"/$1/*(N/:t))\n"
	"	compadd -a names\n"
	"}\n"
	"_mvm_command() {\n"
	"	local -a commands\n"
	"	commands=(\n";

/* The function or the words by which _arguments completes a value. */
static void print_action(FILE *out, enum value_hint hint, const char *choices)
{
	const char *folder = completion_folder(hint);

	if (choices) {
		fputc('(', out);
		print_choices(out, choices);
		fputc(')', out);
	} else if (folder) {
		fprintf(out, "{_mvm_names %s}", folder);
	} else if (hint == VALUE_FILE) {
		fputs("_files", out);
	} else if (hint == VALUE_DIR) {
		fputs("_files -/", out);
	} else if (hint == VALUE_COMMAND) {
		fputs("{((CURRENT == 2)) && _mvm_command || "
		      "((CURRENT == 3)) && _mvm_group $words[2]}",
		      out);
	}
}

static void print_option(FILE *out, const struct option *o, bool letter)
{
	bool many = o->kind == OPTION_LIST || o->kind == OPTION_WORDS;
	const char *joined = letter ? "+" : "=";

	if (o->kind == OPTION_FLAG)
		joined = "";
	fputs(" \\\n			'", out);
	if (many)
		fputc('*', out);
	if (letter)
		fprintf(out, "-%c%s[", o->letter, joined);
	else
		fprintf(out, "--%s%s[", o->name, joined);
	print_quoted(out, o->help, "[]:\\");
	fputc(']', out);
	if (o->kind != OPTION_FLAG) {
		fputc(':', out);
		print_quoted(out, o->value, "[]:\\");
		fputc(':', out);
		print_action(out, o->hint, completion_choices(o));
	}
	fputc('\'', out);
}

static void print_options(FILE *out, const struct option *table)
{
	for (const struct option *o = table; o && o->name; o++) {
		print_option(out, o, false);
		if (o->letter)
			print_option(out, o, true);
	}
}

static void print_command(FILE *out, const struct command *c)
{
	size_t words = 1;
	for (const char *p = c->path; *p; p++)
		words += *p == ' ';

	fprintf(out, "	'%s%s)\n", c->path, words == 1 ? " '*" : "'");
	fprintf(out, "		shift %zu words; ((CURRENT -= %zu))\n", words, words);
	fputs("		_arguments -s -S", out);
	print_options(out, c->options);
	print_options(out, global_options);
	for (size_t i = 0; c->positionals[i].name; i++) {
		const struct positional *p = &c->positionals[i];
		fputs(" \\\n			'", out);
		if (p->many)
			fputc('*', out);
		else
			fprintf(out, "%zu", i + 1);
		fputc(':', out);
		print_quoted(out, p->help, "[]:\\");
		fputc(':', out);
		print_action(out, p->hint, p->choices);
		fputc('\'', out);
	}
	fputs(" ;;\n", out);
}

static void print_group(FILE *out, const char *group)
{
	AUTO_DONE(strv) words = { 0 };

	completion_words(group, &words);
	fprintf(out, "	%s) compadd", group);
	for (size_t i = 0; i < words.n; i++)
		fprintf(out, " %s", words.v[i]);
	fputs(" ;;\n", out);
}

void completion_zsh(FILE *out)
{
	AUTO_DONE(strv) first = { 0 };

	completion_words(NULL, &first);
	fputs(prologue, out);
	for (size_t i = 0; i < first.n; i++) {
		const char *word[] = { first.v[i], NULL };
		size_t used;
		const struct command *c = command_find(word, &used);

		fprintf(out, "		'%s:", word[0]);
		print_quoted(out, c ? c->summary : "Commands of this kind", ":\\");
		fputs("'\n", out);
	}
	fputs("	)\n	_describe command commands\n}\n"
	      "_mvm_group() {\n"
	      "	case $1 in\n",
	      out);
	for (size_t i = 0; i < first.n; i++) {
		if (command_is_group(first.v[i]))
			print_group(out, first.v[i]);
	}
	fputs("	esac\n}\n"
	      "_mvm() {\n"
	      "	local data\n"
	      "	local -A opt_args\n"
	      "	while [[ $words[2] == --data-dir ]] && ((CURRENT > 3)); do\n"
	      "		data=$words[3] words=($words[1] \"${(@)words[4,-1]}\")\n"
	      "		((CURRENT -= 2))\n"
	      "	done\n"
	      "	if [[ $words[2] == --data-dir ]]; then _files -/; return; fi\n"
	      "	if ((CURRENT == 2)); then _mvm_command; return; fi\n"
	      "	case \"$words[2] $words[3]\" in\n",
	      out);
	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++)
			print_command(out, *c);
	}
	fputs("	*) ((CURRENT == 3)) && _mvm_group $words[2] ;;\n"
	      "	esac\n}\n"
	      "if [[ $funcstack[1] == _mvm ]]; then _mvm \"$@\"; else compdef _mvm mvm; fi\n",
	      out);
}
