/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/wire.h"

static void fields_come_back_as_they_were_put(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) b = { 0 };
	struct wire_field f;
	uint64_t number;

	wire_put_u64(&b, 7, UINT64_C(0x1122334455667788));
	wire_put_str(&b, 300, "text");
	wire_put_str(&b, 301, NULL);
	wire_put_bytes(&b, 7, "", 0);

	struct wire_reader r = { (const uint8_t *)b.data, b.len };
	assert_int_equal(wire_next(&r, &f), 1);
	assert_int_equal(f.tag, 7);
	assert_int_equal(wire_get_u64(&f, &number), 0);
	assert_true(number == UINT64_C(0x1122334455667788));
	assert_int_equal(wire_next(&r, &f), 1);
	assert_int_equal(f.tag, 300);
	AUTO_FREE char *text = NULL;
	assert_int_equal(wire_get_str(&f, &text), 0);
	assert_string_equal(text, "text");
	assert_int_equal(wire_next(&r, &f), 1);
	assert_int_equal(f.len, 0);
	assert_int_equal(wire_next(&r, &f), 0);
}

static void the_layout_is_little_endian_and_fixed(void **state)
{
	(void)state;
	static const uint8_t expected[] = { 0x02, 0x01, 8,    0,    0,	  0,	0x88,
					    0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11 };
	AUTO_DONE(strbuf) b = { 0 };
	wire_put_u64(&b, 0x0102, UINT64_C(0x1122334455667788));
	assert_int_equal(b.len, sizeof(expected));
	assert_memory_equal(b.data, expected, sizeof(expected));
}

static void damaged_payloads_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint8_t bytes[16];
		size_t len;
		int expected;
	} cases[] = {
		{ { 0 }, 0, 0 },
		{ { 1 }, 1, -EPROTO },
		{ { 1, 0, 0, 0, 0 }, 5, -EPROTO },
		{ { 1, 0, 0, 0, 0, 0 }, 6, 1 },
		{ { 1, 0, 1, 0, 0, 0 }, 6, -EPROTO },
		{ { 1, 0, 0xff, 0xff, 0xff, 0xff, 0 }, 7, -EPROTO },
		{ { 1, 0, 2, 0, 0, 0, 'x', 'y' }, 8, 1 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wire_reader r = { cases[i].bytes, cases[i].len };
		struct wire_field f;
		assert_int_equal(wire_next(&r, &f), cases[i].expected);
	}
}

static void values_of_the_wrong_shape_are_refused(void **state)
{
	(void)state;
	uint64_t number = 5;
	char *text = NULL;
	struct wire_field seven = { 1, 7, (const uint8_t *)"1234567" };
	struct wire_field with_nul = { 1, 3, (const uint8_t *)"a\0b" };

	assert_int_equal(wire_get_u64(&seven, &number), -EPROTO);
	assert_true(number == 5);
	assert_int_equal(wire_get_str(&with_nul, &text), -EPROTO);
	assert_null(text);
}

static void find_returns_the_first_of_a_tag(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) b = { 0 };
	struct wire_field f;
	wire_put_str(&b, 1, "one");
	wire_put_str(&b, 2, "two");
	wire_put_str(&b, 2, "three");

	assert_int_equal(wire_find(b.data, b.len, 2, &f), 1);
	assert_memory_equal(f.data, "two", 3);
	assert_int_equal(wire_find(b.data, b.len, 9, &f), 0);
	assert_int_equal(wire_find(b.data, b.len - 1, 9, &f), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_come_back_as_they_were_put),
		cmocka_unit_test(the_layout_is_little_endian_and_fixed),
		cmocka_unit_test(damaged_payloads_are_refused),
		cmocka_unit_test(values_of_the_wrong_shape_are_refused),
		cmocka_unit_test(find_returns_the_first_of_a_tag),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
