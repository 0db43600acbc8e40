/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "options.h"

static const struct option options[] = {
	{ .name = "force", .letter = 'f', .kind = OPTION_FLAG, .help = "x" },
	{ .name = "interactive", .letter = 'i', .kind = OPTION_FLAG, .help = "x" },
	{ .name = "tty", .letter = 't', .kind = OPTION_FLAG, .help = "x" },
	{ .name = "name", .letter = 'n', .kind = OPTION_STRING, .value = "NAME", .help = "x" },
	{ .name = "cpus", .kind = OPTION_U32, .value = "N", .help = "x", .min = 1, .max = 32 },
	{ .name = "mem", .kind = OPTION_SIZE, .value = "SIZE", .help = "x", .min = 96 },
	{ .name = "wait", .kind = OPTION_DURATION, .value = "TIME", .help = "x" },
	{ .name = "preset", .kind = OPTION_CHOICE, .value = "P", .help = "x", .choices = "a|bb|c" },
	{ .name = "env", .letter = 'e', .kind = OPTION_LIST, .value = "K=V", .help = "x" },
	{ .name = "roles", .kind = OPTION_WORDS, .value = "R", .help = "x" },
	{ 0 },
};

static const struct command two = {
	.path = "two",
	.positionals = { { .name = "SRC", .help = "from" },
			 { .name = "DST", .help = "to", .optional = true } },
	.options = options,
};

static const struct command many = {
	.path = "many",
	.positionals = { { .name = "ID", .help = "what", .many = true } },
	.options = options,
};

static const struct command exec = {
	.path = "exec",
	.positionals = { { .name = "VM", .help = "where" } },
	.rest = "COMMAND",
	.rest_required = true,
	.options = options,
};

static const struct command maybe = {
	.path = "maybe",
	.positionals = { { .name = "VM", .help = "where" } },
	.rest = "COMMAND",
	.options = options,
};

static const struct command run = {
	.path = "run",
	.rest = "COMMAND",
	.stray = "a template is named with --template",
	.options = options,
};

#define ARGV_MAX 32

/* Split "a b c" into an argument vector, whose text lives in buf. */
static void split(const char *line, char *buf, size_t size, char *argv[ARGV_MAX])
{
	size_t n = 0;
	snprintf(buf, size, "%s", line);
	for (char *save = NULL, *word = strtok_r(buf, " ", &save); word;
	     word = strtok_r(NULL, " ", &save)) {
		assert_true(n < ARGV_MAX - 1);
		argv[n++] = word;
	}
	argv[n] = NULL;
}

static void options_and_positionals_mix_in_every_spelling(void **state)
{
	(void)state;
	static const char *const lines[] = {
		"src dst -f -i -t --name web --cpus 4 -e A=1 -e B=2",
		"-fit src --name=web dst --cpus=4 --env A=1 --env=B=2",
		"-f -itn web src -eA=1 --cpus 4 dst -eB=2",
		"--name old --name web -fit -nweb --cpus 1 --cpus 4 src -e A=1 -e B=2 -- dst",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		AUTO_DONE(args) a = { 0 };
		struct mvm_error err = { 0 };
		char buf[256], *argv[ARGV_MAX];

		split(lines[i], buf, sizeof(buf), argv);
		if (args_parse(&two, argv, 0, &a, &err) < 0)
			fail_msg("'%s': %s", lines[i], err.text);
		assert_true(args_flag(&a, "force") && args_flag(&a, "interactive"));
		assert_true(args_flag(&a, "tty"));
		assert_string_equal(args_string(&a, "name"), "web");
		assert_int_equal(args_u32(&a, "cpus", 9), 4);
		assert_int_equal(args_list(&a, "env")->n, 2);
		assert_string_equal(args_list(&a, "env")->v[1], "B=2");
		assert_string_equal(args_at(&a, 0), "src");
		assert_string_equal(args_at(&a, 1), "dst");
		assert_null(args_at(&a, 2));
		assert_null(a.rest);
	}
}

static void missing_options_have_their_defaults(void **state)
{
	(void)state;
	AUTO_DONE(args) a = { 0 };
	struct mvm_error err = { 0 };
	char *argv[] = { strdup("-"), NULL };

	assert_true(args_parse(&two, argv, 0, &a, &err) >= 0);
	assert_string_equal(args_at(&a, 0), "-"); /* a single dash is an argument */
	assert_false(args_flag(&a, "force"));
	assert_null(args_string(&a, "name"));
	assert_null(args_string(&a, "preset"));
	assert_int_equal(args_u32(&a, "mem", 1024), 1024);
	assert_int_equal(args_ms(&a, "wait", 7), 7);
	assert_int_equal(args_list(&a, "roles")->n, 0);
	free(argv[0]);
}

static void values_are_converted(void **state)
{
	(void)state;
	AUTO_DONE(args) a = { 0 };
	struct mvm_error err = { 0 };
	char buf[256], *argv[ARGV_MAX];

	split("x --mem 1.5G --wait 2m --preset bb --roles a,b --roles c,,", buf, sizeof(buf), argv);
	assert_true(args_parse(&two, argv, 0, &a, &err) >= 0);
	assert_int_equal(args_u32(&a, "mem", 0), 1536);
	assert_int_equal(args_ms(&a, "wait", 0), 120000);
	assert_string_equal(args_string(&a, "preset"), "bb");
	assert_int_equal(args_list(&a, "roles")->n, 3);
	assert_string_equal(args_list(&a, "roles")->v[2], "c");
}

static void the_rest_is_left_alone(void **state)
{
	(void)state;
	AUTO_DONE(args) a = { 0 };
	struct mvm_error err = { 0 };
	char buf[256], *argv[ARGV_MAX];

	split("-it vm -- ls --force -- x", buf, sizeof(buf), argv);
	assert_true(args_parse(&exec, argv, 0, &a, &err) >= 0);
	assert_int_equal(a.n_rest, 4);
	assert_string_equal(a.rest[0], "ls");
	assert_string_equal(a.rest[2], "--");
	assert_null(a.rest[4]);
	assert_false(args_flag(&a, "force"));
	assert_int_equal(a.n_positionals, 1);
}

static void a_command_that_must_follow_needs_no_dashes(void **state)
{
	(void)state;
	static const struct {
		const char *line, *first;
		size_t n;
		bool interactive;
	} cases[] = {
		{ "vm ls -l --force -- x", "ls", 5, false },
		{ "-i vm ls -i", "ls", 2, true },
		{ "vm -i ls", "ls", 1, true },
		{ "vm -i -- -ls", "-ls", 1, true },
		{ "vm -- -i", "-i", 1, false },
		{ "-- vm ls -i", "ls", 2, false },
		{ "-i -- vm -- -i", "--", 2, true },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(args) a = { 0 };
		struct mvm_error err = { 0 };
		char buf[256], *argv[ARGV_MAX];

		split(cases[i].line, buf, sizeof(buf), argv);
		assert_true(args_parse(&exec, argv, 0, &a, &err) >= 0);
		assert_int_equal(a.n_rest, cases[i].n);
		assert_string_equal(a.rest[0], cases[i].first);
		assert_string_equal(a.positionals[0], "vm");
		assert_int_equal(args_flag(&a, "interactive"), cases[i].interactive);
		assert_false(args_flag(&a, "force"));
	}
}

static void parsing_can_stop_at_the_first_word(void **state)
{
	(void)state;
	AUTO_DONE(args) a = { 0 };
	struct mvm_error err = { 0 };
	char buf[256], *argv[ARGV_MAX];

	split("--data-dir /x -f template list --no-such", buf, sizeof(buf), argv);
	assert_int_equal(args_parse(&two, argv, ARGS_STOP_AT_WORD, &a, &err), 3);
	assert_string_equal(args_string(&a, "data-dir"), "/x");
}

static void help_needs_no_arguments(void **state)
{
	(void)state;
	AUTO_DONE(args) a = { 0 };
	struct mvm_error err = { 0 };
	char buf[256], *argv[ARGV_MAX];

	split("--help", buf, sizeof(buf), argv);
	assert_true(args_parse(&exec, argv, 0, &a, &err) >= 0);
	assert_true(args_flag(&a, "help"));
}

static void mistakes_are_described_in_a_sentence(void **state)
{
	(void)state;
	static const struct {
		const struct command *command;
		const char *line, *says;
	} cases[] = {
		{ &two, "", "SRC is missing: from" },
		{ &two, "a b c", "'c' is one argument too many" },
		{ &many, "", "ID is missing: what" },
		{ &exec, "vm", "COMMAND is missing" },
		{ &exec, "vm --", "COMMAND is missing" },
		{ &exec, "-- vm", "COMMAND is missing" },
		{ &maybe, "vm ls -- x", "'ls' is one argument too many" },
		{ &maybe, "vm ls",
		  "'ls' is one argument too many: COMMAND is written behind '--'" },
		{ &run, "web",
		  "'web' is one argument too many: a template is named with "
		  "--template; COMMAND is written behind '--'" },
		{ &two, "x --forse", "unknown option '--forse', did you mean '--force'?" },
		{ &two, "x --qqqqqqq", "unknown option '--qqqqqqq'" },
		{ &two, "x -fx", "unknown option '-x' in '-fx'" },
		{ &two, "x --name", "option '--name' needs a value, NAME" },
		{ &two, "x -fn", "option '--name' needs a value, NAME" },
		{ &two, "x --force=1", "option '--force' takes no value" },
		{ &two, "x --cpus 0", "option '--cpus': '0' is not between 1 and 32" },
		{ &two, "x --cpus 33", "option '--cpus': '33' is not between 1 and 32" },
		{ &two, "x --cpus two", "option '--cpus': 'two' is not a whole number" },
		{ &two, "x --mem 64M",
		  "option '--mem': '64M' is not between 96 and 4294967295 MiB" },
		{ &two, "x --mem 64X",
		  "option '--mem': '64X' is not a size in whole MiB such as 512M or 2G" },
		{ &two, "x --wait soon",
		  "option '--wait': 'soon' is not a time such as 90s or 5m" },
		{ &two, "x --wait 30d", "option '--wait': '30d' is not a time such as 90s or 5m" },
		{ &two, "x --wait 720h",
		  "option '--wait': '720h' is longer than 596h, the most there is" },
		{ &two, "x --preset b", "option '--preset': 'b' is not a, bb or c" },
		{ &two, "x --roles ,", "option '--roles' names nothing" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(args) a = { 0 };
		struct mvm_error err = { 0 };
		char buf[256], *argv[ARGV_MAX];

		split(cases[i].line, buf, sizeof(buf), argv);
		assert_int_equal(args_parse(cases[i].command, argv, 0, &a, &err), -EINVAL);
		assert_int_equal(err.code, -EINVAL);
		assert_string_equal(err.text, cases[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_positionals_mix_in_every_spelling),
		cmocka_unit_test(missing_options_have_their_defaults),
		cmocka_unit_test(values_are_converted),
		cmocka_unit_test(the_rest_is_left_alone),
		cmocka_unit_test(a_command_that_must_follow_needs_no_dashes),
		cmocka_unit_test(parsing_can_stop_at_the_first_word),
		cmocka_unit_test(help_needs_no_arguments),
		cmocka_unit_test(mistakes_are_described_in_a_sentence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
