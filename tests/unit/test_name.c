/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/template.h"

#include "model/name.h"

#define TEN    "abcdefghij"
#define SIXTY  TEN TEN TEN TEN TEN TEN
#define MAX_63 SIXTY "abc"

static void names_follow_their_rules(void **state)
{
	(void)state;
	static const struct {
		enum name_kind kind;
		const char *name;
		bool valid;
	} cases[] = {
		{ NAME_TEMPLATE, "web", true },
		{ NAME_TEMPLATE, "0-a_b", true },
		{ NAME_TEMPLATE, MAX_63, true },
		{ NAME_TEMPLATE, MAX_63 "d", false },
		{ NAME_TEMPLATE, "", false },
		{ NAME_TEMPLATE, "Web", false },
		{ NAME_TEMPLATE, "-web", false },
		{ NAME_TEMPLATE, "_web", false },
		{ NAME_TEMPLATE, "a.b", false },
		{ NAME_TEMPLATE, "a/b", false },
		{ NAME_TEMPLATE, "..", false },
		{ NAME_TEMPLATE, "a\n", false },
		{ NAME_TEMPLATE, "\xc3\xa4", false },
		{ NAME_INSTANCE, "vm-1", true },
		{ NAME_ROLE, "Worker.v1_x-y", true },
		{ NAME_ROLE, ".hidden", false },
		{ NAME_ROLE, "..", false },
		{ NAME_PROFILE, "minimal", true },
		{ NAME_PROFILE, "a b", false },
		{ NAME_KERNEL, "debian-6.1", true },
		{ NAME_REVISION, "abc123", true },
		{ NAME_REVISION, SIXTY "0123", true },
		{ NAME_REVISION, SIXTY "01234", false },
		{ NAME_REVISION, "ABC", false },
		{ NAME_REVISION, "a-b", false },
		{ NAME_REVISION, NULL, false },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		if (name_valid(cases[i].kind, cases[i].name) != cases[i].valid)
			fail_msg("'%s'", cases[i].name);
	}
}

static void the_error_for_a_bad_name_states_the_rule(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	assert_int_equal(name_check(NAME_TEMPLATE, "A", &err), -EINVAL);
	assert_string_equal(err.text, "'A' is no valid template name: use 1 to 63 of a-z 0-9 - _, "
				      "starting with a letter or digit");
	assert_int_equal(name_check(NAME_TEMPLATE, "a", &err), 0);
}

static void artifact_names_stay_in_their_folder(void **state)
{
	(void)state;
	assert_true(mvm_artifact_name_valid("rootfs.ext4"));
	static const char *const bad[] = { "", ".", "..", "a/b", "/etc/passwd", NULL };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++)
		assert_false(mvm_artifact_name_valid(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_follow_their_rules),
		cmocka_unit_test(the_error_for_a_bad_name_states_the_rule),
		cmocka_unit_test(artifact_names_stay_in_their_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
