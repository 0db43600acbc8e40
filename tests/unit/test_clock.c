/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

static void times_are_written_as_utc(void **state)
{
	(void)state;
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ 1740787200, "2025-03-01T00:00:00Z" },
		{ 951782399, "2000-02-28T23:59:59Z" },
		{ -1, "1969-12-31T23:59:59Z" },
		{ INT64_C(253402300799), "9999-12-31T23:59:59Z" },
		{ INT64_MAX, "9999-12-31T23:59:59Z" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		char text[RFC3339_SIZE];
		clock_format(cases[i].seconds, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void a_time_before_year_0_is_still_a_valid_text(void **state)
{
	(void)state;
	char text[RFC3339_SIZE];
	int64_t seconds;
	clock_format(INT64_MIN, text);
	assert_int_equal(clock_parse(text, &seconds), 0);
	clock_format(INT64_C(-99999999999), text);
	assert_int_equal(clock_parse(text, &seconds), 0);
}

static void times_are_read_with_offsets_and_fractions(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t seconds;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2025-03-01t00:00:00z", 1740787200 },
		{ "2025-03-01T02:00:00+02:00", 1740787200 },
		{ "2025-02-28T19:30:00-04:30", 1740787200 },
		{ "2025-03-01T00:00:00.123456789Z", 1740787200 },
		{ "2024-02-29T00:00:00Z", 1709164800 },
		{ "2016-12-31T23:59:60Z", 1483228800 },
		{ "1969-12-31T23:59:59Z", -1 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		int64_t seconds = 4711;
		if (clock_parse(cases[i].text, &seconds) != 0 || seconds != cases[i].seconds)
			fail_msg("'%s' gives %jd", cases[i].text, (intmax_t)seconds);
	}
}

static void invalid_times_are_refused(void **state)
{
	(void)state;
	static const char *const cases[] = {
		"",
		"2025",
		"2025-03-01",
		"2025-03-01T00:00:00",
		"2025-03-01 00:00:00Z",
		"2025-3-01T00:00:00Z",
		"2025-13-01T00:00:00Z",
		"2025-00-01T00:00:00Z",
		"2025-02-29T00:00:00Z",
		"2025-02-31T00:00:60Z",
		"2025-04-31T00:00:00Z",
		"2025-03-01T24:00:00Z",
		"2025-03-01T00:60:00Z",
		"2025-03-01T00:00:61Z",
		"2025-03-01T00:00:00.Z",
		"2025-03-01T00:00:00+2:00",
		"2025-03-01T00:00:00+24:00",
		"2025-03-01T00:00:00Zx",
		" 2025-03-01T00:00:00Z",
		"-025-03-01T00:00:00Z",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		int64_t seconds = 4711;
		if (clock_parse(cases[i], &seconds) != -EINVAL || seconds != 4711)
			fail_msg("'%s' was taken as a time", cases[i]);
	}
}

static void deadlines_count_down_to_zero_and_never_below(void **state)
{
	(void)state;
	assert_int_equal(clock_remaining_ms(DEADLINE_NONE), -1);
	assert_int_equal(clock_remaining_ms(0), 0);
	assert_int_equal(clock_remaining_ms(clock_now_ns() - NS_PER_S), 0);
	assert_true(clock_remaining_ms(clock_now_ns() + 1) <= 1);
	assert_in_range(clock_remaining_ms(clock_deadline_ns(3600000)), 3000000, 3600000);
	assert_int_equal(clock_remaining_ms(DEADLINE_NONE - 1), INT32_MAX);
}

static void a_negative_or_endless_timeout_is_no_deadline(void **state)
{
	(void)state;
	assert_true(clock_deadline_ns(-1) == DEADLINE_NONE);
	assert_true(clock_deadline_ns(INT64_MAX) == DEADLINE_NONE);
	assert_true(clock_deadline_ns(0) <= clock_now_ns());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_written_as_utc),
		cmocka_unit_test(a_time_before_year_0_is_still_a_valid_text),
		cmocka_unit_test(times_are_read_with_offsets_and_fractions),
		cmocka_unit_test(invalid_times_are_refused),
		cmocka_unit_test(deadlines_count_down_to_zero_and_never_below),
		cmocka_unit_test(a_negative_or_endless_timeout_is_no_deadline),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
