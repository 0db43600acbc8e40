/* SPDX-License-Identifier: Apache-2.0 */
/* The repositories that a key is trusted for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "store/keys.h"

static void a_scope_is_compared_part_by_part(void **state)
{
	static const struct {
		const char *scope, *repository;
		bool covers;
	} cases[] = {
		{ "", "reg.example/team/web", true },
		{ "", NULL, true },
		{ "**", NULL, false },
		{ "reg.example/team/web", "reg.example/team/web", true },
		{ "reg.example/team/web", "reg.example/team/web2", false },
		{ "reg.example/team/web", "reg.example/team/web/x", false },
		{ "reg.example/team/web", "reg.example/team", false },
		{ "reg.example/team/*", "reg.example/team/web", true },
		{ "reg.example/team/*", "reg.example/team", false },
		{ "reg.example/team/*", "reg.example/team/web/api", false },
		{ "reg.example/*", "reg.example/team/web", false },
		{ "*/team/web", "evil.example/x/reg.example/team/web", false },
		{ "reg.example/*-web", "reg.example/a/b-web", false },
		{ "reg.example/team-?/[wx]eb", "reg.example/team-a/web", true },
		{ "reg.example?team/web", "reg.example/team/web", false },
		{ "reg.example[/]team", "reg.example/team", false },
		{ "reg.example:5000/*", "reg.example:5000/web", true },
		{ "[::1]:5000/*", "[::1]:5000/web", true },
		{ "[2001:DB8::1]/web", "[2001:db8::1]/web", true },
		{ "[::1]:*/**", "[::1]:5000/team/web", true },
		{ "[::1]/**", "[::1]:5000/web", false },
		{ "[::1]/**", "1/web", false },
		{ "[::2]/**", "[::1]/web", false },
		{ "[a-z]eg.example/web", "reg.example/web", true },
		{ "reg.example/**", "reg.example/team", true },
		{ "reg.example/**", "reg.example/team/web/api", true },
		{ "reg.example/**", "reg.example", false },
		{ "reg.example/**", "reg.example.evil/team", false },
		{ "reg.example/**/web", "reg.example/team/web", true },
		{ "reg.example/**/web", "reg.example/team/web/web", true },
		{ "reg.example/**/web", "reg.example/web", false },
		{ "reg.example/**/web", "reg.example/team/web/api", false },
		{ "**/a/**/b", "x/a/c/a/b", true },
		{ "**/a/**/b", "x/a/b", false },
		{ "**", "reg.example/team/web", true },
		{ "reg.example/team/", "reg.example/team/web", false },
		{ "reg.example/team**", "reg.example/team/web", false }, /* no part of its own */
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct key_info key = { 0 };
		snprintf(key.scope, sizeof(key.scope), "%s", cases[i].scope);
		if (key_covers(&key, cases[i].repository) != cases[i].covers)
			fail_msg("'%s' and '%s'", cases[i].scope, cases[i].repository);
	}
}

/* A registry chooses the name's length, and gets no time for it. */
static void a_long_name_takes_no_time(void **state)
{
	struct key_info key = { .scope = "**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b" };
	char name[8001] = "";
	(void)state;
	for (size_t i = 0; i + 1 < sizeof(name); i++)
		name[i] = i % 2 ? '/' : 'a';
	assert_false(key_covers(&key, name));
	memset(name, 'a', 300);
	assert_false(key_covers(&key, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_scope_is_compared_part_by_part),
		cmocka_unit_test(a_long_name_takes_no_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
