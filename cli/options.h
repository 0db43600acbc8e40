/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

/*
 * The command line, parsed by a command's table.
 *
 * Options and positionals mix freely; `--opt value`, `--opt=value`, `-o value`, `-ovalue` and
 * bundled flags (`-it`) mean the same; `--` ends the options.  So does the word behind the last
 * positional where a command must follow: `exec NAME ls -l` is `exec NAME -- ls -l`, and so is
 * `exec -- NAME ls -l`.  Of an option
 * given twice the last counts, except for lists.  Values are checked here, so that commands get
 * what is valid.
 *
 * Commands ask by name.  A name that is not in the table, or asked as the wrong kind, is a bug
 * and asserted.
 */

#include "base/str.h"
#include "command.h"

struct arg_value {
	const struct option *option;
	bool given;
	const char *string; /* as written; borrowed from argv */
	uint32_t u32;
	int64_t ms;
	struct strv list;
};

struct args {
	const struct command *command;
	struct arg_value *values; /* the command's options, then the global ones */
	size_t n_values;
	const char **positionals; /* NULL-terminated */
	size_t n_positionals;
	char *const *rest; /* what follows `--`, NULL-terminated; NULL when there was no `--` */
	size_t n_rest;
};

/* Options that every command has: --data-dir and --help. */
extern const struct option global_options[];

enum args_parse_flags {
	ARGS_STOP_AT_WORD = 1u << 0, /* leave the first positional and all behind it */
};

/*
 * Parse.
 *
 *   argv  NULL-terminated, without the program's and command's name; borrowed until args_done()
 *   ret   filled as far as it went also on failure; give it back with args_done()
 *
 * Returns the number of arguments used, -EINVAL (err says what and the nearest known word) or
 * -ENOMEM.  With --help missing positionals are no error.
 */
int args_parse(const struct command *command, char *const *argv, unsigned flags, struct args *ret,
	       struct mvm_error *err);
void args_done(struct args *a);
DEFINE_AUTO_DONE(args, args_done)

bool args_given(const struct args *a, const char *name);
bool args_flag(const struct args *a, const char *name);

/* OPTION_STRING and OPTION_CHOICE; NULL when not given. */
const char *args_string(const struct args *a, const char *name);

/* OPTION_U32, and OPTION_SIZE in MiB; fallback when not given. */
uint32_t args_u32(const struct args *a, const char *name, uint32_t fallback);

/* OPTION_DURATION. */
int64_t args_ms(const struct args *a, const char *name, int64_t fallback);
/* A time to wait, for the library, to which 0 is none: 0 when not given, 1 ms for a time of 0,
 * which does not wait. */
int64_t args_limit_ms(const struct args *a, const char *name);

/* OPTION_LIST and OPTION_WORDS; empty when not given. */
const struct strv *args_list(const struct args *a, const char *name);

/* The i-th positional, or NULL. */
const char *args_at(const struct args *a, size_t i);

/* Is word one of "a|b|c"? */
bool choices_have(const char *choices, const char *word);

/* "a, b or c" of them, for a message; cut at ret_size. */
void say_choices(const char *choices, char *ret, size_t ret_size);

#endif
