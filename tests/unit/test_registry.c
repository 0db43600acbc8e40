/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "registry/challenge.h"
#include "registry/client.h"
#include "registry/reply.h"

static void challenges_are_read_in_every_form(void **state)
{
	static const struct {
		const char *header;
		bool basic, bearer;
		const char *realm, *service;
	} cases[] = {
		{ "Bearer realm=\"https://a.example/token\",service=\"a.example\",scope=\"x\"",
		  false, true, "https://a.example/token", "a.example" },
		{ "bearer REALM = \"https://a/t\" , Service=s", false, true, "https://a/t", "s" },
		{ "Basic realm=\"x\"", true, false, "", "" },
		{ "Basic realm=\"x\", Bearer realm=\"https://b/t\"", true, true, "https://b/t",
		  "" },
		{ "Bearer realm=\"https://b/t\", Basic realm=\"x\"", true, true, "https://b/t",
		  "" },
		{ "Negotiate abc==, Bearer realm=\"https://b/t\"", false, true, "https://b/t", "" },
		{ "Bearer realm=\"https://b/t\", Bearer realm=\"https://c/t\"", false, true,
		  "https://b/t", "" },
		{ "Bearer realm=\"a\\\"b\"", false, true, "a\"b", "" },
		{ "Bearer realm=\"a\r\nX: y\"", false, true, "", "" },
		{ "Bearer realm=\"no end", false, true, "", "" },
		{ "Bearer", false, true, "", "" },
		{ "", false, false, "", "" },
		{ ",,, =", false, false, "", "" },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct challenge c = { 0 };
		challenge_add(&c, cases[i].header, strlen(cases[i].header));
		if (c.basic != cases[i].basic || c.bearer != cases[i].bearer)
			fail_msg("'%s'", cases[i].header);
		assert_string_equal(c.realm, cases[i].realm);
		assert_string_equal(c.service, cases[i].service);
	}
}

static void a_header_has_a_name_and_a_value(void **state)
{
	static const struct {
		const char *line, *value; /* NULL: no header of this name */
	} cases[] = {
		{ "Location: /a?b=c\r\n", "/a?b=c" },
		{ "location:/a", "/a" },
		{ "LOCATION: \t a b \r\n", "a b" },
		{ "Location:\r\n", "" },
		{ "Location", NULL },
		{ "Locations: /a\r\n", NULL },
		{ "X-Location: /a\r\n", NULL },
		{ "Location : /a\r\n", NULL },
		{ "", NULL },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		const char *value = NULL;
		size_t len = 0;
		bool found = reply_header(cases[i].line, strlen(cases[i].line), "location", &value,
					  &len);
		if (found != (cases[i].value != NULL))
			fail_msg("'%s'", cases[i].line);
		if (!found)
			continue;
		assert_int_equal(len, strlen(cases[i].value));
		assert_memory_equal(value, cases[i].value, len);
	}
}

static void a_value_has_a_limit(void **state)
{
	char header[2 * CHALLENGE_VALUE_MAX] = "Bearer realm=\"";
	struct challenge c = { 0 };
	(void)state;
	memset(header + strlen(header), 'a', CHALLENGE_VALUE_MAX);
	strcat(header, "\",service=\"s\"");
	challenge_add(&c, header, strlen(header));
	assert_string_equal(c.realm, "");
	assert_string_equal(c.service, "s");
}

static void a_token_cannot_add_a_header(void **state)
{
	static const struct {
		const char *text, *token;
	} cases[] = {
		{ "{\"token\": \"abc.def\"}", "abc.def" },
		{ "{\"access_token\": \"abc\"}", "abc" },
		{ "{\"token\": \"\", \"access_token\": \"abc\"}", "abc" },
		{ "{\"token\": null, \"access_token\": \"abc\"}", "abc" },
		{ "{\"token\": \"a\\r\\nX: y\"}", NULL },
		{ "{\"token\": \"a b\"}", NULL },
		{ "{\"token\": 5}", NULL },
		{ "{}", NULL },
		{ "[]", NULL },
		{ "", NULL },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *token = NULL;
		struct mvm_error err = { 0 };
		int r = reply_token(cases[i].text, strlen(cases[i].text), &token, &err);
		assert_int_equal(r, cases[i].token ? 0 : -EPROTO);
		if (cases[i].token)
			assert_string_equal(token, cases[i].token);
	}
}

static void ranges_are_read_exactly(void **state)
{
	static const struct {
		const char *text;
		int code;
		uint64_t first, total;
	} cases[] = {
		{ "bytes 0-9/10", 0, 0, 10 },	   { "bytes 5-9/*", 0, 5, UINT64_MAX },
		{ "bytes */10", -EINVAL, 0, 0 },   { "bytes 5-9", -EINVAL, 0, 0 },
		{ "bytes -5/10", -EINVAL, 0, 0 },  { "octets 5-9/10", -EINVAL, 0, 0 },
		{ "bytes 5/9-10", -EINVAL, 0, 0 }, { "", -EINVAL, 0, 0 },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		uint64_t first = 0, total = 0;
		assert_int_equal(reply_range(cases[i].text, strlen(cases[i].text), &first, &total),
				 cases[i].code);
		assert_int_equal(first, cases[i].first);
		assert_true(total == cases[i].total);
	}
}

static void the_registrys_words_are_short_and_printable(void **state)
{
	static const char text[] =
		"{\"errors\": [{\"code\": \"DENIED\", \"message\": \"no\\n\\u001b[2J\"}]}";
	char said[REPLY_SAID_SIZE], longer[2000];
	(void)state;
	reply_said(text, strlen(text), said);
	assert_string_equal(said, "DENIED: no ^[[2J");
	reply_said("<html>", 6, said);
	assert_string_equal(said, "");
	reply_said("{\"errors\": []}", 14, said);
	assert_string_equal(said, "");
	strcpy(longer, "{\"errors\": [{\"message\": \"");
	for (int i = 0; i < 400; i++)
		strcat(longer, "\xc3\xa4");
	strcat(longer, "\"}]}");
	reply_said(longer, strlen(longer), said);
	assert_true(strlen(said) < REPLY_SAID_SIZE && strlen(said) > 200);
	assert_int_equal(strlen(said) % 2, 0);
}

static void pauses_grow_and_end(void **state)
{
	(void)state;
	for (unsigned tries = 1; tries < 10; tries++) {
		int64_t until, now = clock_now_ns();
		assert_int_equal(client_pause(tries, 0, &until), 0);
		int64_t most = (int64_t)1 << (tries < 6 ? tries - 1 : 5);
		assert_true(until - now >= most * NS_PER_S / 2);
		assert_true(until - clock_now_ns() <= most * NS_PER_S);
	}
	int64_t until, now = clock_now_ns();
	assert_int_equal(client_pause(1, 7, &until), 0);
	assert_true(until - now >= 7 * NS_PER_S);
	assert_true(until - clock_now_ns() <= 7 * NS_PER_S);
	assert_int_equal(client_pause(1, 3600, &until), -EBUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(challenges_are_read_in_every_form),
		cmocka_unit_test(a_header_has_a_name_and_a_value),
		cmocka_unit_test(a_value_has_a_limit),
		cmocka_unit_test(a_token_cannot_add_a_header),
		cmocka_unit_test(ranges_are_read_exactly),
		cmocka_unit_test(the_registrys_words_are_short_and_printable),
		cmocka_unit_test(pauses_grow_and_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
