/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

const struct option global_options[] = {
	{ .name = "data-dir",
	  .kind = OPTION_STRING,
	  .value = "DIR",
	  .help = "the folder of templates and VMs, instead of $MVM_DATA_DIR or "
		  "~/.mvm",
	  .group = "Every command",
	  .hint = VALUE_DIR },
	{ .name = "help",
	  .letter = 'h',
	  .kind = OPTION_FLAG,
	  .help = "show this help",
	  .group = "Every command" },
	{ 0 },
};

static int bad(struct mvm_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int bad(struct mvm_error *err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap); /* a cut sentence is still one */
	va_end(ap);
	err->code = -EINVAL;
	return -EINVAL;
}

static int out_of_memory(struct mvm_error *err)
{
	bad(err, "out of memory");
	err->code = -ENOMEM;
	return -ENOMEM;
}

static size_t table_len(const struct option *table)
{
	size_t n = 0;
	while (table && table[n].name)
		n++;
	return n;
}

static bool choices_have_start(const char *choices, const char *word, size_t len)
{
	while (*choices) {
		size_t n = strcspn(choices, "|");
		if (n == len && memcmp(choices, word, n) == 0)
			return true;
		choices += n + (choices[n] == '|');
	}
	return false;
}

bool choices_have(const char *choices, const char *word)
{
	return choices_have_start(choices, word, strlen(word));
}

void say_choices(const char *choices, char *ret, size_t ret_size)
{
	size_t used = 0;
	ret[0] = '\0';
	while (*choices && used < ret_size) {
		size_t n = strcspn(choices, "|");
		const char *rest = choices + n + (choices[n] == '|');
		const char *between = *rest ? ", " : " or ";
		if (used == 0)
			between = "";
		used += (size_t)snprintf(ret + used, ret_size - used, "%s%.*s", between, (int)n,
					 choices);
		choices = rest;
	}
}

static struct arg_value *by_name(const struct args *a, const char *name, size_t len)
{
	for (size_t i = 0; i < a->n_values; i++) {
		const char *known = a->values[i].option->name;
		if (strlen(known) == len && memcmp(known, name, len) == 0)
			return &a->values[i];
	}
	return NULL;
}

static struct arg_value *by_letter(const struct args *a, char letter)
{
	for (size_t i = 0; i < a->n_values; i++) {
		if (a->values[i].option->letter == letter)
			return &a->values[i];
	}
	return NULL;
}

static int unknown_option(const struct args *a, const char *name, size_t len, struct mvm_error *err)
{
	char word[64];
	const char *names[64];
	size_t n = 0;

	snprintf(word, sizeof(word), "%.*s", (int)len, name);
	for (; n < a->n_values && n < sizeof(names) / sizeof(names[0]); n++)
		names[n] = a->values[n].option->name;
	const char *nearest = str_nearest(word, names, n);
	if (nearest)
		return bad(err, "unknown option '--%s', did you mean '--%s'?", word, nearest);
	return bad(err, "unknown option '--%s'", word);
}

static int bad_number(const struct option *o, const char *text, int r, struct mvm_error *err)
{
	uint32_t max = o->max ? o->max : UINT32_MAX;
	const char *unit = o->kind == OPTION_SIZE ? " MiB" : "";
	const char *what = o->kind == OPTION_SIZE ? "a size in whole MiB such as 512M or 2G"
						  : "a whole number";

	if (r == -ERANGE)
		return bad(err, "option '--%s': '%s' is not between %u and %u%s", o->name, text,
			   o->min, max, unit);
	return bad(err, "option '--%s': '%s' is not %s", o->name, text, what);
}

static int set_number(struct arg_value *v, const char *text, struct mvm_error *err)
{
	const struct option *o = v->option;
	uint32_t max = o->max ? o->max : UINT32_MAX, mib = 0;
	uint64_t n = 0;
	int r;

	if (o->kind == OPTION_SIZE) {
		r = parse_size_mib(text, max, &mib);
		n = mib;
		if (r == 0 && n < o->min)
			r = -ERANGE;
	} else {
		r = parse_u64(text, o->min, max, &n);
	}
	if (r < 0)
		return bad_number(o, text, r, err);
	v->u32 = (uint32_t)n;
	return 0;
}

/* false: there is none. */
static bool add_words(struct strv *list, const char *text)
{
	bool any = false;
	while (*text) {
		size_t n = strcspn(text, ",");
		if (n)
			strv_addn(list, text, n);
		any |= n > 0;
		text += n + (text[n] == ',');
	}
	return any;
}

static int set_value(struct arg_value *v, const char *text, struct mvm_error *err)
{
	const struct option *o = v->option;
	char known[256];
	int r = 0;

	switch (o->kind) {
	case OPTION_FLAG:
		return bad(err, "option '--%s' takes no value", o->name);
	case OPTION_STRING:
		break;
	case OPTION_U32:
	case OPTION_SIZE:
		r = set_number(v, text, err);
		break;
	case OPTION_DURATION:
		r = parse_duration_ms(text, INT32_MAX, &v->ms);
		if (r < 0)
			r = bad(err, "option '--%s': '%s' is %s", o->name, text,
				r == -ERANGE ? "longer than 596h, the most there is"
					     : "not a time such as 90s or 5m");
		break;
	case OPTION_CHOICE:
		if (choices_have_start(o->choices, text,
				       o->open ? strcspn(text, ":") : strlen(text)))
			break;
		say_choices(o->choices, known, sizeof(known));
		r = bad(err, "option '--%s': '%s' is not %s", o->name, text, known);
		break;
	case OPTION_LIST:
		strv_add(&v->list, text);
		break;
	case OPTION_WORDS:
		if (!add_words(&v->list, text))
			r = bad(err, "option '--%s' names nothing", o->name);
		break;
	}
	if (v->list.failed)
		return out_of_memory(err);
	if (r < 0)
		return r;
	v->given = true;
	v->string = text;
	return 0;
}

static int needs_value(const struct option *o, struct mvm_error *err)
{
	return bad(err, "option '--%s' needs a value, %s", o->name, o->value);
}

/* --name, --name=value or --name value.  Returns how many arguments it took. */
static int parse_long(const struct args *a, char *const *argv, struct mvm_error *err)
{
	const char *name = argv[0] + 2;
	size_t len = strcspn(name, "=");
	struct arg_value *v = by_name(a, name, len);

	if (!v)
		return unknown_option(a, name, len, err);
	if (name[len] == '=') {
		int r = set_value(v, name + len + 1, err);
		return r < 0 ? r : 1;
	}
	if (v->option->kind == OPTION_FLAG) {
		v->given = true;
		return 1;
	}
	if (!argv[1])
		return needs_value(v->option, err);
	int r = set_value(v, argv[1], err);
	return r < 0 ? r : 2;
}

/* -a, -abc, -ovalue or -o value.  Returns how many arguments it took. */
static int parse_short(const struct args *a, char *const *argv, struct mvm_error *err)
{
	for (const char *letter = argv[0] + 1; *letter; letter++) {
		struct arg_value *v = by_letter(a, *letter);
		if (!v)
			return bad(err, "unknown option '-%c' in '%s'", *letter, argv[0]);
		if (v->option->kind == OPTION_FLAG) {
			v->given = true;
			continue;
		}
		const char *value = letter[1] ? letter + 1 : argv[1];
		if (!value)
			return needs_value(v->option, err);
		int r = set_value(v, value, err);
		if (r < 0)
			return r;
		return letter[1] ? 1 : 2;
	}
	return 1;
}

static int check_positionals(const struct args *a, struct mvm_error *err)
{
	const struct positional *p = a->command->positionals;
	const char *stray = a->command->stray;
	const char *rest = a->n_rest == 0 ? a->command->rest : NULL; /* forgotten, most likely */
	char known[256];
	size_t i = 0;

	for (; p->name; p++) {
		if (i == a->n_positionals && !p->optional)
			return bad(err, "%s is missing: %s", p->name, p->help);
		for (; i < a->n_positionals; i++) {
			if (p->choices && !choices_have(p->choices, a->positionals[i])) {
				say_choices(p->choices, known, sizeof(known));
				return bad(err, "'%s' is not %s", a->positionals[i], known);
			}
			if (!p->many) {
				i++;
				break;
			}
		}
	}
	if (i < a->n_positionals)
		return bad(err, "'%s' is one argument too many%s%s%s%s%s", a->positionals[i],
			   stray || rest ? ": " : "", stray ? stray : "", stray && rest ? "; " : "",
			   rest ? rest : "", rest ? " is written behind '--'" : "");
	if (a->command->rest_required && a->n_rest == 0)
		return bad(err, "%s is missing", a->command->rest);
	return 0;
}

static int args_init(struct args *a, const struct command *command, char *const *argv)
{
	size_t n_own = table_len(command->options), n_global = table_len(global_options);
	size_t argc = 0;

	while (argv[argc])
		argc++;
	*a = (struct args){ .command = command };
	a->values = calloc(n_own + n_global + 1, sizeof(*a->values)); /* never 0 */
	a->positionals = calloc(argc + 1, sizeof(*a->positionals));
	if (!a->values || !a->positionals)
		return -ENOMEM;
	a->n_values = n_own + n_global;
	for (size_t i = 0; i < a->n_values; i++)
		a->values[i].option = i < n_own ? &command->options[i] : &global_options[i - n_own];
	return 0;
}

static size_t positionals_len(const struct command *command)
{
	size_t n = 0;
	while (command->positionals[n].name)
		n++;
	return n;
}

/* Take the words behind `--`: they are the command's rest, or else more positionals.
 * `exec -- NAME ls` is `exec NAME -- ls`, as with container tools. */
static void take_rest(struct args *a, char *const *argv)
{
	size_t first = a->command->rest_required ? positionals_len(a->command) : 0;
	while (*argv && a->n_positionals < first)
		a->positionals[a->n_positionals++] = *argv++;
	if (a->command->rest)
		a->rest = argv;
	for (; *argv; argv++) {
		if (a->command->rest)
			a->n_rest++;
		else
			a->positionals[a->n_positionals++] = *argv;
	}
}

/* Does a word here begin a command that needs no `--` before it? */
static bool rest_begins(const struct args *a)
{
	return a->command->rest_required && a->n_positionals == positionals_len(a->command);
}

int args_parse(const struct command *command, char *const *argv, unsigned flags, struct args *ret,
	       struct mvm_error *err)
{
	int i = 0;

	if (args_init(ret, command, argv) < 0)
		return out_of_memory(err);
	while (argv[i]) {
		int used = 1;
		if (strcmp(argv[i], "--") == 0) {
			take_rest(ret, argv + i + 1);
			break;
		}
		if (str_starts(argv[i], "--"))
			used = parse_long(ret, argv + i, err);
		else if (argv[i][0] == '-' && argv[i][1])
			used = parse_short(ret, argv + i, err);
		else if (flags & ARGS_STOP_AT_WORD)
			return i;
		else if (rest_begins(ret)) {
			take_rest(ret, argv + i);
			break;
		} else
			ret->positionals[ret->n_positionals++] = argv[i];
		if (used < 0)
			return used;
		i += used;
	}
	if (args_flag(ret, "help") || (flags & ARGS_STOP_AT_WORD))
		return i;
	int r = check_positionals(ret, err);
	return r < 0 ? r : i;
}

void args_done(struct args *a)
{
	for (size_t i = 0; i < a->n_values; i++)
		strv_done(&a->values[i].list);
	free(a->values);
	free(a->positionals);
	*a = (struct args){ 0 };
}

static const struct arg_value *get(const struct args *a, const char *name)
{
	const struct arg_value *v = by_name(a, name, strlen(name));
	assert(v);
	return v;
}

bool args_given(const struct args *a, const char *name)
{
	return get(a, name)->given;
}

bool args_flag(const struct args *a, const char *name)
{
	const struct arg_value *v = get(a, name);
	assert(v->option->kind == OPTION_FLAG);
	return v->given;
}

const char *args_string(const struct args *a, const char *name)
{
	const struct arg_value *v = get(a, name);
	assert(v->option->kind == OPTION_STRING || v->option->kind == OPTION_CHOICE);
	return v->string;
}

uint32_t args_u32(const struct args *a, const char *name, uint32_t fallback)
{
	const struct arg_value *v = get(a, name);
	assert(v->option->kind == OPTION_U32 || v->option->kind == OPTION_SIZE);
	return v->given ? v->u32 : fallback;
}

int64_t args_ms(const struct args *a, const char *name, int64_t fallback)
{
	const struct arg_value *v = get(a, name);
	assert(v->option->kind == OPTION_DURATION);
	return v->given ? v->ms : fallback;
}

int64_t args_limit_ms(const struct args *a, const char *name)
{
	int64_t ms = args_ms(a, name, 0);
	return args_given(a, name) && ms == 0 ? 1 : ms;
}

const struct strv *args_list(const struct args *a, const char *name)
{
	const struct arg_value *v = get(a, name);
	assert(v->option->kind == OPTION_LIST || v->option->kind == OPTION_WORDS);
	return &v->list;
}

const char *args_at(const struct args *a, size_t i)
{
	return i < a->n_positionals ? a->positionals[i] : NULL;
}
