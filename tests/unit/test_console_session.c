/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of browsers with mvmd's console. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "console/session.h"

#define NOW (100 * NS_PER_S)

static int open_table(void **state)
{
	*state = console_sessions_new();
	return *state ? 0 : -1;
}

static int close_table(void **state)
{
	console_sessions_free(*state);
	return 0;
}

static void cookie_and_key_are_both_needed(void **state)
{
	char cookie[SESSION_ID_SIZE], key[SESSION_ID_SIZE];
	console_session_open(*state, "secret", NOW, cookie, key);

	assert_string_equal(console_session_token(*state, cookie, key, NOW), "secret");
	assert_null(console_session_token(*state, cookie, NULL, NOW));
	assert_null(console_session_token(*state, NULL, key, NOW));
	assert_null(console_session_token(*state, key, cookie, NOW));
	assert_null(console_session_token(*state, cookie, cookie, NOW));
	assert_null(console_session_token(*state, "", "", NOW));
}

static void one_sessions_key_is_not_good_for_another(void **state)
{
	char cookies[2][SESSION_ID_SIZE], keys[2][SESSION_ID_SIZE];
	console_session_open(*state, "one", NOW, cookies[0], keys[0]);
	console_session_open(*state, "two", NOW, cookies[1], keys[1]);

	assert_string_equal(console_session_token(*state, cookies[1], keys[1], NOW), "two");
	assert_null(console_session_token(*state, cookies[0], keys[1], NOW));
}

static void a_session_ends(void **state)
{
	char cookie[SESSION_ID_SIZE], key[SESSION_ID_SIZE];
	int64_t last = NOW + SESSION_HOURS * 3600 * NS_PER_S;
	console_session_open(*state, "secret", NOW, cookie, key);

	assert_non_null(console_session_token(*state, cookie, key, last));
	assert_null(console_session_token(*state, cookie, key, last + 1));
	console_session_close(*state, cookie, "no such key");
	assert_non_null(console_session_token(*state, cookie, key, NOW));
	console_session_close(*state, cookie, key);
	assert_null(console_session_token(*state, cookie, key, NOW));
}

static void one_too_many_ends_the_oldest(void **state)
{
	static char cookies[SESSIONS_MAX + 1][SESSION_ID_SIZE],
		keys[SESSIONS_MAX + 1][SESSION_ID_SIZE];
	for (size_t i = 0; i <= SESSIONS_MAX; i++)
		console_session_open(*state, "secret", NOW + (int64_t)i, cookies[i], keys[i]);

	assert_null(console_session_token(*state, cookies[0], keys[0], NOW));
	for (size_t i = 1; i <= SESSIONS_MAX; i++)
		assert_non_null(console_session_token(*state, cookies[i], keys[i], NOW));
}

static void one_who_signs_in_again_and_again_ends_nobody_elses_session(void **state)
{
	char cookie[SESSION_ID_SIZE], key[SESSION_ID_SIZE], last_cookie[SESSION_ID_SIZE],
		last_key[SESSION_ID_SIZE];
	console_session_open(*state, "admin", NOW, cookie, key);
	for (size_t i = 0; i < 2 * SESSIONS_MAX; i++)
		console_session_open(*state, "read", NOW + 1 + (int64_t)i, last_cookie, last_key);

	assert_string_equal(console_session_token(*state, cookie, key, NOW), "admin");
	assert_non_null(console_session_token(*state, last_cookie, last_key, NOW));
}

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void a_cookie_is_found_by_its_whole_name(void **state)
{
	static const struct {
		const char *header;
		bool found;
	} cases[] = {
		{ "mvm=" ID, true },
		{ "a=b; mvm=" ID "; c=d", true },
		{ "mvm=x; mvm=" ID, true },
		{ "a;mvm=" ID, true },
		{ NULL, false },
		{ "", false },
		{ "; ;", false },
		{ "xmvm=" ID, false },
		{ "a=mvm=" ID, false },
		{ "mvm=" ID "0", false },
		{ "mvm=0123", false },
		{ "mvm", false },
		{ "mvm" ID "=", false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char id[SESSION_ID_SIZE] = "";
		const char *found = console_session_cookie(cases[i].header, "mvm", id);
		assert_int_equal(found != NULL, cases[i].found);
		assert_string_equal(id, cases[i].found ? ID : "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cookie_and_key_are_both_needed, open_table,
						close_table),
		cmocka_unit_test_setup_teardown(one_sessions_key_is_not_good_for_another,
						open_table, close_table),
		cmocka_unit_test_setup_teardown(a_session_ends, open_table, close_table),
		cmocka_unit_test_setup_teardown(one_too_many_ends_the_oldest, open_table,
						close_table),
		cmocka_unit_test_setup_teardown(
			one_who_signs_in_again_and_again_ends_nobody_elses_session, open_table,
			close_table),
		cmocka_unit_test(a_cookie_is_found_by_its_whole_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
