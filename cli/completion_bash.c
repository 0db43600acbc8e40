/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "commands.h"
#include "completion.h"
#include "options.h"

static const char prologue[] =
	"_mvm_names() {\n"
	"	local path\n"
	"	for path in \"${data:-${MVM_DATA_DIR:-$HOME/.mvm}}/$1/$2\"*; do\n"
	"		[[ -d $path ]] && COMPREPLY+=(\"${path##*/}\")\n"
	"	done\n"
	"}\n"
	"_mvm_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$2\"); }\n"
	"_mvm_files() { mapfile -t COMPREPLY < <(compgen -f -- \"$1\"); }\n"
	"_mvm_dirs() { mapfile -t COMPREPLY < <(compgen -d -- \"$1\"); }\n"
	"# how many arguments stand before this one, behind $1 words of the command's name; what\n"
	"# follows one of the options $2 is its value\n"
	"_mvm_count() {\n"
	"	n=-$1\n"
	"	for ((i = 1; i < COMP_CWORD; i++)); do\n"
	"		case \" $2 --data-dir \" in\n"
	"		*\" ${COMP_WORDS[i]} \"*)\n"
	"			((i++)); [[ ${COMP_WORDS[i]} == = ]] && ((i++)) ;;\n"
	"		*) [[ ${COMP_WORDS[i]} == -* ]] || ((n++)) ;;\n"
	"		esac\n"
	"	done\n"
	"}\n"
	"_mvm() {\n"
	"	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
	"	local i n words=() options data\n"
	"	COMPREPLY=()\n"
	"	for ((i = 1; i < COMP_CWORD; i++)); do\n"
	"		case ${COMP_WORDS[i]} in\n"
	"		--) _mvm_files \"$cur\"; return ;;\n"
	"		--data-dir) ((i++)); data=${COMP_WORDS[i]} ;;\n"
	"		-*) ;;\n"
	"		*) words+=(\"${COMP_WORDS[i]}\") ;;\n"
	"		esac\n"
	"	done\n"
	"	if [[ $prev == --data-dir ]]; then _mvm_dirs \"$cur\"; return; fi\n";

static void print_value(FILE *out, enum value_hint hint, const char *choices)
{
	const char *folder = completion_folder(hint);

	if (choices) {
		fputs("_mvm_words '", out);
		print_choices(out, choices);
		fputs("' \"$cur\"", out);
	} else if (folder) {
		fprintf(out, "_mvm_names %s \"$cur\"", folder);
	} else if (hint == VALUE_FILE) {
		fputs("_mvm_files \"$cur\"", out);
	} else if (hint == VALUE_DIR) {
		fputs("_mvm_dirs \"$cur\"", out);
	} else if (hint == VALUE_COMMAND) {
		fputs("((n < 2)) && _mvm_group \"${words[1]}\"", out);
	} else {
		fputs(":", out);
	}
}

static void print_option_names(FILE *out, const struct option *table, bool with_value)
{
	for (const struct option *o = table; o && o->name; o++) {
		if (with_value && o->kind == OPTION_FLAG)
			continue;
		fprintf(out, " --%s", o->name);
		if (o->letter)
			fprintf(out, " -%c", o->letter);
	}
}

static void print_option_values(FILE *out, const struct option *table)
{
	for (const struct option *o = table; o && o->name; o++) {
		if (o->kind == OPTION_FLAG)
			continue;
		fprintf(out, "		--%s", o->name);
		if (o->letter)
			fprintf(out, " | -%c", o->letter);
		fputs(") ", out);
		print_value(out, o->hint, completion_choices(o));
		fputs("; return ;;\n", out);
	}
}

static void print_command(FILE *out, const struct command *c)
{
	size_t words = 1;
	for (const char *p = c->path; *p; p++)
		words += *p == ' ';

	fprintf(out, "	'%s%s)\n		_mvm_count %zu '", c->path,
		words == 1 ? " '*" : "'", words);
	print_option_names(out, c->options, true);
	fputs("'\n		options='", out);
	print_option_names(out, c->options, false);
	print_option_names(out, global_options, false);
	fputs("'\n		case $prev in\n", out);
	print_option_values(out, c->options);
	fputs("		esac\n", out);
	for (size_t i = 0; c->positionals[i].name; i++) {
		const struct positional *p = &c->positionals[i];
		fprintf(out, "		((n %s %zu)) && ", p->many ? ">=" : "==", i);
		print_value(out, p->hint, p->choices);
		fputc('\n', out);
	}
	fputs("		;;\n", out);
}

static void print_words(FILE *out, const char *group)
{
	AUTO_DONE(strv) words = { 0 };

	completion_words(group, &words);
	fprintf(out, "	'%s') _mvm_words '", group ? group : "");
	for (size_t i = 0; i < words.n; i++)
		fprintf(out, "%s%s", i ? " " : "", words.v[i]);
	fputs("' \"$cur\" ;;\n", out);
}

/* The words that may follow the first word of mvm's commands, and the first words. */
static void print_groups(FILE *out)
{
	AUTO_DONE(strv) first = { 0 };

	fputs("# bash completion for mvm, made by 'mvm completion bash'\n"
	      "_mvm_group() {\n"
	      "	case $1 in\n",
	      out);
	completion_words(NULL, &first);
	for (size_t i = 0; i < first.n; i++) {
		if (command_is_group(first.v[i]))
			print_words(out, first.v[i]);
	}
	print_words(out, NULL);
	fputs("	esac\n"
	      "}\n",
	      out);
}

void completion_bash(FILE *out)
{
	print_groups(out);
	fputs(prologue, out);
	fputs("	case \"${words[0]} ${words[1]}\" in\n", out);
	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++)
			print_command(out, *c);
	}
	fputs("	*) _mvm_group \"${words[0]}\"; return ;;\n"
	      "	esac\n"
	      "	[[ $cur == -* ]] && _mvm_words \"$options\" \"$cur\"\n"
	      "}\n"
	      "complete -o filenames -F _mvm mvm\n",
	      out);
}
