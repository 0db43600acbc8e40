/* SPDX-License-Identifier: Apache-2.0 */
/* Folders that the agent creates if the image lacks them. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/str.h"
#include "folders.h"
#include "scratch.h"

static int make_in(void **state, const char *path)
{
	AUTO_FREE char *whole = str_printf("%s/%s", scratch_path(state), path);
	assert_non_null(whole);
	return folders_make(whole);
}

static void assert_folder(void **state, const char *path)
{
	struct stat st;
	assert_int_equal(fstatat(scratch_fd(state), path, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISDIR(st.st_mode));
}

static void folders_are_made_with_those_above(void **state)
{
	assert_int_equal(make_in(state, "a//b/./c/"), 0);
	assert_folder(state, "a/b/c");
	assert_int_equal(make_in(state, "a/b/c"), 0); /* it exists already */
	assert_int_equal(make_in(state, "a/../d"), 0);
	assert_folder(state, "d");
	assert_int_equal(folders_make("/"), 0);
}

static void targets_of_dangling_links_are_made(void **state)
{
	int fd = scratch_fd(state);
	AUTO_FREE char *absolute = str_printf("%s/srv/x", scratch_path(state));
	assert_int_equal(symlinkat(absolute, fd, "app"), 0);
	assert_int_equal(symlinkat("app/../y", fd, "relative"), 0);

	assert_int_equal(make_in(state, "app/work"), 0);
	assert_folder(state, "srv/x/work");
	assert_int_equal(make_in(state, "relative/z"), 0);
	assert_folder(state, "srv/y/z");
}

static void errors_tell_why_a_folder_cannot_be_made(void **state)
{
	int fd = scratch_fd(state);
	assert_int_equal(file_create_at(fd, "file", "", 0, 0644), 0);
	assert_int_equal(symlinkat("file", fd, "to-file"), 0);

	assert_int_equal(make_in(state, "file"), -ENOTDIR);
	assert_int_equal(make_in(state, "file/below"), -ENOTDIR);
	assert_int_equal(make_in(state, "to-file"), -ENOTDIR);
}

static void a_link_that_leads_in_a_circle_becomes_a_folder(void **state)
{
	int fd = scratch_fd(state);
	AUTO_FREE char *back = str_printf("%s/run", scratch_path(state));
	assert_int_equal(mkdirat(fd, "var", 0755), 0);
	assert_int_equal(symlinkat("var/run", fd, "run"), 0);
	assert_int_equal(symlinkat(back, fd, "var/run"), 0);
	assert_int_equal(symlinkat("longer/x", fd, "longer"), 0);

	assert_int_equal(make_in(state, "run/mvm"), 0);
	assert_folder(state, "run/mvm");
	assert_folder(state, "var/run/mvm"); /* the other link leads here now */
	assert_int_equal(make_in(state, "longer"), 0);
	assert_folder(state, "longer");
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SCRATCH(folders_are_made_with_those_above),
		WITH_SCRATCH(targets_of_dangling_links_are_made),
		WITH_SCRATCH(errors_tell_why_a_folder_cannot_be_made),
		WITH_SCRATCH(a_link_that_leads_in_a_circle_becomes_a_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
