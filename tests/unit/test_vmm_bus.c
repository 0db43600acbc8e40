/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "scratch.h"
#include "vmm/bus.h"

static void memory_that_is_no_file_explains_nothing(void **state)
{
	char says[BUS_TEXT_SIZE];
	(void)state;
	bus_describe(-1, says);
	assert_string_equal(says, "");
}

static void a_fault_of_a_disk_is_not_told_as_a_full_tmpfs(void **state)
{
	char says[BUS_TEXT_SIZE];
	AUTO_CLOSE int fd = dir_open_at(AT_FDCWD, "/proc");
	(void)state;
	bus_describe(fd, says);
	assert_non_null(strstr(says, ": a page of its memory could not be read"));
}

static void a_full_tmpfs_is_named(void **state)
{
	char says[BUS_TEXT_SIZE];
	if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", scratch_path(state), "tmpfs", 0, "size=64k") < 0) {
		print_message("skipped: no mounts here\n");
		skip();
	}
	AUTO_CLOSE int fd = dir_open_at(AT_FDCWD, scratch_path(state));
	bus_describe(fd, says);
	assert_int_equal(umount2(scratch_path(state), MNT_DETACH), 0);
	assert_non_null(strstr(says, ": the data folder is a tmpfs and full"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_is_no_file_explains_nothing),
		cmocka_unit_test(a_fault_of_a_disk_is_not_told_as_a_full_tmpfs),
		cmocka_unit_test_setup_teardown(a_full_tmpfs_is_named, scratch_setup,
						scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
