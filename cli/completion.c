/* SPDX-License-Identifier: Apache-2.0 */
#include "completion.h"

#include <string.h>

#include "base/str.h"
#include "commands.h"

const char *completion_folder(enum value_hint hint)
{
	switch (hint) {
	case VALUE_TEMPLATE:
	case VALUE_REFERENCE:
	case VALUE_RUNNABLE:
		return "templates";
	case VALUE_INSTANCE:
		return "instances";
	case VALUE_KERNEL:
		return "kernels";
	case VALUE_VOLUME:
		return "volumes";
	case VALUE_ANY:
	case VALUE_FILE:
	case VALUE_DIR:
	case VALUE_COMMAND:
	case VALUE_NEW_TEMPLATE:
	case VALUE_NEW_INSTANCE:
	case VALUE_NEW_KERNEL:
	case VALUE_NEW_KEY:
	case VALUE_NEW_TOKEN:
	case VALUE_ROLE:
	case VALUE_REVISION:
	case VALUE_HOSTNAME:
	case VALUE_REMOTE:
	case VALUE_REGISTRY:
	case VALUE_SCOPE:
		break;
	}
	return NULL;
}

void completion_words(const char *group, struct strv *ret)
{
	size_t skip = group ? strlen(group) + 1 : 0;

	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++) {
			const char *path = (*c)->path;
			if (group && (!str_starts(path, group) || path[skip - 1] != ' '))
				continue;
			AUTO_FREE char *word = strndup(path + skip, strcspn(path + skip, " "));
			if (!word)
				ret->failed = true;
			else if (!strv_has(ret, word))
				strv_add(ret, word);
		}
	}
}

const char *completion_choices(const struct option *o)
{
	return o->choices ? o->choices : o->offers;
}

void print_choices(FILE *out, const char *choices)
{
	for (; *choices; choices++)
		fputc(*choices == '|' ? ' ' : *choices, out);
}

void print_quoted(FILE *out, const char *s, const char *escape)
{
	for (; *s; s++) {
		if (*s == '\'')
			fputs("'\\''", out);
		else if (strchr(escape, *s))
			fprintf(out, "\\%c", *s);
		else
			fputc(*s, out);
	}
}
