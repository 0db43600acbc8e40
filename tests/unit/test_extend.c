/* SPDX-License-Identifier: Apache-2.0 */
/* Programs and a library that were compiled at different times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/extend.h"

struct first {
	size_t size;
	const char *name;
};

struct now {
	size_t size;
	const char *name;
	int64_t timeout_ms;
};

struct later {
	size_t size;
	const char *name;
	int64_t timeout_ms;
	uint64_t unheard_of;
};

static int take(struct now *to, const void *from, struct mvm_error *err)
{
	memset(to, 0xff, sizeof(*to));
	return mvm_struct_take(to, sizeof(*to), sizeof(struct first), from, err);
}

static void zero_and_init_are_the_same(void **state)
{
	(void)state;
	const struct now zero = { 0 }, init = { .size = sizeof(init) };
	const void *froms[] = { &zero, &init, NULL };
	for (size_t i = 0; i < 3; i++) {
		struct now to;
		assert_int_equal(take(&to, froms[i], NULL), 0);
		assert_int_equal(to.size, sizeof(to));
		assert_null(to.name);
		assert_int_equal(to.timeout_ms, 0);
	}
}

static void an_older_caller_gets_zeros_for_the_rest(void **state)
{
	(void)state;
	/* bytes after the struct are not read */
	const struct now older = { .size = sizeof(struct first), .name = "a", .timeout_ms = 7 };
	const struct now nameless = { .name = "b", .timeout_ms = 7 };
	struct now to;
	assert_int_equal(take(&to, &older, NULL), 0);
	assert_string_equal(to.name, "a");
	assert_int_equal(to.timeout_ms, 0);
	assert_int_equal(take(&to, &nameless, NULL), 0); /* size 0: the first layout */
	assert_string_equal(to.name, "b");
	assert_int_equal(to.timeout_ms, 0);
}

static void a_newer_callers_unknown_members_may_be_zero(void **state)
{
	(void)state;
	struct later newer = { .size = sizeof(newer), .name = "a", .timeout_ms = 7 };
	struct mvm_error err = { 0 };
	struct now to;
	assert_int_equal(take(&to, &newer, &err), 0);
	assert_int_equal(to.size, sizeof(to));
	assert_int_equal(to.timeout_ms, 7);
	newer.unheard_of = 1;
	assert_int_equal(take(&to, &newer, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "newer libmvm"));
}

static void an_impossible_size_is_refused(void **state)
{
	(void)state;
	static const size_t sizes[] = { 1, sizeof(size_t), sizeof(struct first) - 1,
					STRUCT_SIZE_MAX + 1, SIZE_MAX };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const struct now from = { .size = sizes[i] };
		struct now to;
		assert_int_equal(take(&to, &from, NULL), -EINVAL);
	}
}

static void a_result_goes_no_further_than_its_caller_said(void **state)
{
	(void)state;
	const struct now result = { .size = sizeof(result), .name = "a", .timeout_ms = 7 };
	const size_t stated[] = { 0, 3, SIZE_MAX, sizeof(struct first) };
	for (size_t i = 0; i < sizeof(stated) / sizeof(stated[0]); i++) {
		struct now to = { .size = stated[i], .timeout_ms = 99 };
		mvm_struct_give(&to, sizeof(struct first), &result, sizeof(result));
		assert_int_equal(to.size, stated[i]);
		assert_string_equal(to.name, "a");
		assert_int_equal(to.timeout_ms, 99);
	}
	struct later newer = { .size = sizeof(newer), .unheard_of = 99 };
	mvm_struct_give(&newer, sizeof(struct first), &result, sizeof(result));
	assert_int_equal(newer.size, sizeof(newer));
	assert_int_equal(newer.timeout_ms, 7);
	assert_int_equal(newer.unheard_of, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_and_init_are_the_same),
		cmocka_unit_test(an_older_caller_gets_zeros_for_the_rest),
		cmocka_unit_test(a_newer_callers_unknown_members_may_be_zero),
		cmocka_unit_test(an_impossible_size_is_refused),
		cmocka_unit_test(a_result_goes_no_further_than_its_caller_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
