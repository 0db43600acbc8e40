/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"

static void numbers_are_taken_whole_or_not_at_all(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t min, max;
		int r;
		uint64_t value;
	} cases[] = {
		{ "0", 0, 10, 0, 0 },
		{ "007", 0, 10, 0, 7 },
		{ "10", 0, 10, 0, 10 },
		{ "11", 0, 10, -ERANGE, 0 },
		{ "1", 2, 10, -ERANGE, 0 },
		{ "", 0, 10, -EINVAL, 0 },
		{ " 1", 0, 10, -EINVAL, 0 },
		{ "1 ", 0, 10, -EINVAL, 0 },
		{ "+1", 0, 10, -EINVAL, 0 },
		{ "-1", 0, 10, -EINVAL, 0 },
		{ "0x1", 0, 10, -EINVAL, 0 },
		{ "1.0", 0, 10, -EINVAL, 0 },
		{ "18446744073709551614", 0, UINT64_MAX, 0, UINT64_MAX - 1 },
		{ "18446744073709551616", 0, UINT64_MAX, -ERANGE, 0 },
		{ "99999999999999999999999999", 0, UINT64_MAX, -ERANGE, 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		uint64_t value = 4711;
		int r = parse_u64(cases[i].text, cases[i].min, cases[i].max, &value);
		if (r != cases[i].r || value != (r == 0 ? cases[i].value : 4711))
			fail_msg("'%s' gives %d, %ju", cases[i].text, r, (uintmax_t)value);
	}
}

static void the_largest_number_is_a_number(void **state)
{
	(void)state;
	uint64_t value = 0;
	assert_int_equal(parse_u64("18446744073709551615", 0, UINT64_MAX, &value), 0);
	assert_true(value == UINT64_MAX);
}

static void sizes_are_whole_mebibytes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int r;
		uint32_t mib;
	} cases[] = {
		{ "512", 0, 512 },
		{ "512M", 0, 512 },
		{ "512m", 0, 512 },
		{ "512MiB", 0, 512 },
		{ "512MB", 0, 512 },
		{ "2G", 0, 2048 },
		{ "1.5GiB", 0, 1536 },
		{ "0.5g", 0, 512 },
		{ "2048K", 0, 2 },
		{ "1T", 0, 1048576 },
		{ "1.5", -EINVAL, 0 },
		{ "1.5M", -EINVAL, 0 },
		{ "1025K", -EINVAL, 0 },
		{ "0.3G", -EINVAL, 0 },
		{ "0", -ERANGE, 0 },
		{ "512K", -ERANGE, 0 },
		{ "1048577", -ERANGE, 0 },
		{ "2T", -ERANGE, 0 },
		{ "99999999999999999999T", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "M", -EINVAL, 0 },
		{ "1 M", -EINVAL, 0 },
		{ "1X", -EINVAL, 0 },
		{ "1Mi", -EINVAL, 0 },
		{ "1.G", -EINVAL, 0 },
		{ ".5G", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "1.0000001G", -EINVAL, 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		uint32_t mib = 4711;
		int r = parse_size_mib(cases[i].text, 1048576, &mib);
		if (r != cases[i].r || mib != (r == 0 ? cases[i].mib : 4711))
			fail_msg("'%s' gives %d, %u", cases[i].text, r, mib);
	}
}

static void a_size_limit_beyond_32_bits_does_not_wrap(void **state)
{
	(void)state;
	uint32_t mib = 4711;
	assert_int_equal(parse_size_mib("4194304G", UINT32_MAX, &mib), -ERANGE);
	assert_int_equal(parse_size_mib("4294967295", UINT32_MAX, &mib), 0);
	assert_true(mib == UINT32_MAX);
	assert_int_equal(parse_size_mib("4096T", UINT64_MAX, &mib), -ERANGE);
}

static void durations_are_seconds_or_say_their_unit(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int r;
		int64_t ms;
	} cases[] = {
		{ "90", 0, 90000 },   { "90s", 0, 90000 },
		{ "250ms", 0, 250 },  { "5m", 0, 300000 },
		{ "1h", 0, 3600000 }, { "0", 0, 0 },
		{ "2h", -ERANGE, 0 }, { "99999999999999999999h", -ERANGE, 0 },
		{ "", -EINVAL, 0 },   { "s", -EINVAL, 0 },
		{ "1S", -EINVAL, 0 }, { "1.5s", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 }, { "1d", -EINVAL, 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		int64_t ms = 4711;
		int r = parse_duration_ms(cases[i].text, 3600000, &ms);
		if (r != cases[i].r || ms != (r == 0 ? cases[i].ms : 4711))
			fail_msg("'%s' gives %d, %jd", cases[i].text, r, (intmax_t)ms);
	}
}

static void a_host_name_is_labels_with_single_dots(void **state)
{
	(void)state;
	static const char *const good[] = { "a", "0", "A-1.example.org", "web-1" };
	static const char *const bad[] = { "",	 ".",	 "a.",	 ".a",	"a..b", "-a",
					   "a-", "a.-b", "a-.b", "a_b", "a b",	"\xc3\xa4" };
	char longest[HOSTNAME_LEN_MAX + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(parse_hostname_ok(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(parse_hostname_ok(bad[i]));
	memset(longest, 'a', sizeof(longest));
	longest[HOSTNAME_LEN_MAX] = '\0';
	assert_true(parse_hostname_ok(longest));
	longest[HOSTNAME_LEN_MAX] = 'a';
	longest[HOSTNAME_LEN_MAX + 1] = '\0';
	assert_false(parse_hostname_ok(longest));
}

static void ages_need_their_unit(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int r;
		int64_t seconds;
	} cases[] = {
		{ "45s", 0, 45 },
		{ "90m", 0, 5400 },
		{ "12h", 0, 43200 },
		{ "30d", 0, 2592000 },
		{ "4w", 0, 2419200 },
		{ "30", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "d", -EINVAL, 0 },
		{ "1.5d", -EINVAL, 0 },
		{ "-1d", -EINVAL, 0 },
		{ "1dd", -EINVAL, 0 },
		{ "1y", -EINVAL, 0 },
		{ "0d", -ERANGE, 0 },
		{ "36601d", -ERANGE, 0 },
		{ "99999999999999999999s", -ERANGE, 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		int64_t seconds = 4711;
		int r = parse_age_s(cases[i].text, &seconds);
		if (r != cases[i].r || seconds != (r == 0 ? cases[i].seconds : 4711))
			fail_msg("'%s' gives %d, %jd", cases[i].text, r, (intmax_t)seconds);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_taken_whole_or_not_at_all),
		cmocka_unit_test(the_largest_number_is_a_number),
		cmocka_unit_test(sizes_are_whole_mebibytes),
		cmocka_unit_test(a_size_limit_beyond_32_bits_does_not_wrap),
		cmocka_unit_test(durations_are_seconds_or_say_their_unit),
		cmocka_unit_test(ages_need_their_unit),
		cmocka_unit_test(a_host_name_is_labels_with_single_dots),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
