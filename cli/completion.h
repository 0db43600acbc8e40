/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_COMPLETION_H
#define CLI_COMPLETION_H

/* Shell completions, generated from the command tables; names of templates, VMs and kernels are
 * the names of folders in the data folder, so completing starts no program. */

#include <stdio.h>

#include "base/str.h"
#include "command.h"

void completion_bash(FILE *out);
void completion_zsh(FILE *out);
void completion_fish(FILE *out);

/* The subfolder of the data folder with such names, "templates"; NULL for other kinds of values. */
const char *completion_folder(enum value_hint hint);

/* The first words of all commands, or what may follow one of them; each once. */
void completion_words(const char *group, struct strv *ret);

/* The words to offer for an option's value, "a|b|c"; or NULL. */
const char *completion_choices(const struct option *o);

/* "a|b|c" as "a b c". */
void print_choices(FILE *out, const char *choices);

/* The inside of a shell's '...', with a backslash before each character of `escape`. */
void print_quoted(FILE *out, const char *s, const char *escape);

#endif
