/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "supervisor/lastwords.h"

/* Write n lines of ten bytes, "console 7\n", the last without its newline as in logfile_tail(). */
static void lines(char *to, const char *what, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		to += sprintf(to, "%s %u%s", what, i % 10, i + 1 < n ? "\n" : "");
}

static void words_come_before_the_reason(void **state)
{
	static const struct {
		const char *console, *workload, *text;
	} cases[] = {
		{ "", "", "it failed" },
		{ "one\ntwo", "", "the guest's console ended with:\none\ntwo\nit failed" },
		{ "", "words", "the workload's output ended with:\nwords\nit failed" },
		{ "one", "words",
		  "the workload's output ended with:\nwords\n"
		  "the guest's console ended with:\none\nit failed" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mvm_error err = { .text = "it failed" };
		last_words(&err, cases[i].console, cases[i].workload);
		assert_string_equal(err.text, cases[i].text);
	}
}

static void a_long_console_leaves_the_workload_its_words(void **state)
{
	struct mvm_error err = { .text = "the workload has ended with exit status 3" };
	char console[1024];
	(void)state;
	lines(console, "console", 70);
	last_words(&err, console, "cannot open /etc/app.conf");
	assert_non_null(strstr(err.text, "ended with:\ncannot open /etc/app.conf\n"));
	assert_non_null(strstr(err.text, "ended with:\nconsole "));
	assert_non_null(strstr(err.text, "console 9\nthe workload has ended with exit status 3"));
}

static void two_long_ones_share_the_room(void **state)
{
	struct mvm_error err = { .text = "it failed" };
	char console[1024], workload[1024];
	(void)state;
	lines(console, "console", 90);
	lines(workload, "words_x", 90);
	last_words(&err, console, workload);
	assert_non_null(strstr(err.text, "ended with:\nwords_x "));
	assert_non_null(strstr(err.text, "words_x 9\nthe guest's console ended with:\nconsole "));
	assert_non_null(strstr(err.text, "console 9\nit failed"));
	assert_true(strlen(err.text) > 700 && strlen(err.text) < sizeof(err.text) - 190);
}

static void one_long_line_is_cut_at_its_beginning(void **state)
{
	struct mvm_error err = { .text = "it failed" };
	char line[1001] = { 0 };
	(void)state;
	memset(line, 'x', 1000);
	memcpy(line + 996, "last", 4);
	last_words(&err, "", line);
	assert_non_null(strstr(err.text, "xxxlast\nit failed"));
	assert_non_null(strstr(err.text, "ended with:\nxxx"));
}

static void a_long_reason_stays_whole(void **state)
{
	for (size_t len = 700; len < MVM_ERROR_TEXT_SIZE; len++) {
		struct mvm_error err = { 0 };
		char words[1024];
		(void)state;
		memset(err.text, 'r', len);
		lines(words, "words_x", 70);
		last_words(&err, words, words);
		assert_true(strlen(err.text) >= len);
		assert_int_equal(strspn(err.text + strlen(err.text) - len, "r"), len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_come_before_the_reason),
		cmocka_unit_test(a_long_console_leaves_the_workload_its_words),
		cmocka_unit_test(two_long_ones_share_the_room),
		cmocka_unit_test(one_long_line_is_cut_at_its_beginning),
		cmocka_unit_test(a_long_reason_stays_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
