/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <mvm/paths.h>

static void assert_path(char *path, const char *expected)
{
	assert_string_equal(path, expected);
	free(path);
}

static void the_data_folder_is_the_argument_or_the_variable_or_in_home(void **state)
{
	(void)state;
	assert_int_equal(setenv("HOME", "/home/u", 1), 0);
	assert_int_equal(setenv("MVM_DATA_DIR", "/data", 1), 0);
	assert_path(mvm_data_dir("/arg"), "/arg");
	assert_path(mvm_data_dir(NULL), "/data");
	assert_path(mvm_data_dir(""), "/data");
	assert_path(mvm_templates_base_dir(NULL), "/data/templates");
	assert_int_equal(setenv("MVM_DATA_DIR", "", 1), 0);
	assert_path(mvm_data_dir(NULL), "/home/u/.mvm");
	assert_int_equal(unsetenv("MVM_DATA_DIR"), 0);
	assert_path(mvm_data_dir(NULL), "/home/u/.mvm");
	assert_path(mvm_template_dir(NULL, "web"), "/home/u/.mvm/templates/web");
}

static void without_an_absolute_home_there_is_no_path(void **state)
{
	static const char *const homes[] = { NULL, "", "home" };
	(void)state;
	assert_int_equal(unsetenv("MVM_DATA_DIR"), 0);
	for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
		assert_int_equal(homes[i] ? setenv("HOME", homes[i], 1) : unsetenv("HOME"), 0);
		errno = 0;
		assert_null(mvm_data_dir(NULL));
		assert_int_equal(errno, ENOENT);
		assert_null(mvm_templates_base_dir(NULL));
		assert_null(mvm_template_snapshot_dir(NULL, "web", "r1"));
		assert_path(mvm_data_dir("/arg"), "/arg");
	}
}

static void every_path_has_its_documented_form(void **state)
{
	(void)state;
	assert_path(mvm_templates_base_dir("/d"), "/d/templates");
	assert_path(mvm_template_dir("/d", "web"), "/d/templates/web");
	assert_path(mvm_template_spec_path("/d", "web"), "/d/templates/web/template.json");
	assert_path(mvm_template_artifacts_dir("/d", "web"), "/d/templates/web/artifacts");
	assert_path(mvm_template_revision_dir("/d", "web", "r1"), "/d/templates/web/artifacts/r1");
	assert_path(mvm_template_current_symlink("/d", "web"), "/d/templates/web/current");
}

static void template_snapshot_dir_format(void **state)
{
	(void)state;
	assert_path(mvm_template_snapshot_dir("/d", "my-tmpl", "abc123"),
		    "/d/templates/my-tmpl/artifacts/abc123/snapshot");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_data_folder_is_the_argument_or_the_variable_or_in_home),
		cmocka_unit_test(without_an_absolute_home_there_is_no_path),
		cmocka_unit_test(every_path_has_its_documented_form),
		cmocka_unit_test(template_snapshot_dir_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
