/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/error.h"
#include "base/visible.h"

static void bad_characters_are_spelled_out(void **state)
{
	(void)state;
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{ "plain\ttext\n", "plain\ttext\n" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x99",
		  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x99" },
		{ "\x1b]0;title\x07", "^[]0;title^G" },
		{ "\x1b[2J\x7f", "^[[2J^?" },
		{ "line\r\n", "line\n" },
		{ "over\rwritten", "over^Mwritten" },
		{ "\x9b"
		  "2J \x90",
		  "<9B>2J <90>" },
		{ "\xc2\x9b"
		  "2J",
		  "<U+009B>2J" },
		{ "\xe2\x80\xaeteg\xe2\x80\xac", "<U+202E>teg<U+202C>" },
		{ "\xe2\x81\xa6\xd8\x9c\xe2\x80\xa8", "<U+2066><U+061C><U+2028>" },
		{ "\xff\xc3(", "<FF><C3>(" },
		{ "cut \xe2\x82", "cut <E2><82>" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(strbuf) out = { 0 };
		size_t len = strlen(cases[i].text);
		assert_int_equal(visible_add(&out, cases[i].text, len, true), len);
		assert_string_equal(out.data, cases[i].shown);
	}
	AUTO_DONE(strbuf) out = { 0 };
	assert_int_equal(visible_add(&out, "a\0b", 3, true), 3);
	assert_string_equal(out.data, "a^@b");
}

static void pieces_show_what_the_whole_shows(void **state)
{
	(void)state;
	static const char text[] =
		"\xe2\x82\xac\r\n\xc2\x9b\xf0\x9f\x90\x99\r.\xe2\x82\x1b[m\xe2\x80\xae";
	AUTO_DONE(strbuf) whole = { 0 };
	AUTO_DONE(strbuf) pieces = { 0 };
	AUTO_DONE(strbuf) left = { 0 };

	assert_int_equal(visible_add(&whole, text, strlen(text), true), strlen(text));
	for (const char *p = text; *p; p++) {
		strbuf_add(&left, p, 1);
		size_t used = visible_add(&pieces, left.data, left.len, !p[1]);
		assert_in_range(left.len - used, 0, 3);
		strbuf_consume(&left, used);
	}
	assert_int_equal(left.len, 0);
	assert_string_equal(pieces.data, whole.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_characters_are_spelled_out),
		cmocka_unit_test(pieces_show_what_the_whole_shows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
