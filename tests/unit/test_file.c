/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "scratch.h"

static void put(int dir, const char *name, const char *text)
{
	assert_int_equal(file_create_at(dir, name, text, strlen(text), 0600), 0);
}

static void assert_holds(int dir, const char *name, const char *text)
{
	AUTO_FREE char *read = NULL;
	assert_int_equal(file_read_at(dir, name, 4096, &read, NULL), 0);
	assert_string_equal(read, text);
}

static size_t count(int dir)
{
	AUTO_DONE(strv) names = { 0 };
	assert_int_equal(dir_list(dir, &names), 0);
	return names.n;
}

static void a_file_is_read_whole_up_to_its_limit(void **state)
{
	int dir = scratch_fd(state);
	AUTO_FREE char *text = NULL;
	size_t len = 0;

	put(dir, "f", "hello");
	assert_int_equal(file_read_at(dir, "f", 4, &text, &len), -EFBIG);
	assert_null(text);
	assert_int_equal(file_read_at(dir, "f", 5, &text, &len), 0);
	assert_string_equal(text, "hello");
	assert_int_equal(len, 5);
}

static void an_empty_file_is_an_empty_text(void **state)
{
	int dir = scratch_fd(state);
	put(dir, "f", "");
	assert_holds(dir, "f", "");
}

static void only_regular_files_are_read(void **state)
{
	int dir = scratch_fd(state);
	AUTO_FREE char *text = NULL;

	assert_int_equal(file_read_at(dir, "none", 10, &text, NULL), -ENOENT);
	assert_int_equal(mkdirat(dir, "d", 0700), 0);
	assert_int_equal(file_read_at(dir, "d", 10, &text, NULL), -EISDIR);
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	assert_int_equal(file_read_at(dir, "fifo", 10, &text, NULL), -EINVAL);
	assert_null(text);
}

static void a_file_below_a_folder_is_read_but_not_through_links(void **state)
{
	int dir = scratch_fd(state);
	AUTO_FREE char *text = NULL;
	size_t len;

	assert_int_equal(mkdirat(dir, "d", 0700), 0);
	AUTO_CLOSE int below = dir_open_at(dir, "d");
	put(below, "f", "hello");
	assert_int_equal(file_read_below(dir, "d/f", 4, &text, &len), -EFBIG);
	assert_int_equal(file_read_below(dir, "d/none", 5, &text, &len), -ENOENT);
	assert_int_equal(file_read_below(dir, "none/f", 5, &text, &len), -ENOENT);
	assert_int_equal(file_read_below(dir, "d", 5, &text, &len), -EISDIR);
	assert_int_equal(file_read_below(below, "../d/f", 5, &text, &len), -EXDEV);
	assert_int_equal(symlinkat("d", dir, "link"), 0);
	assert_int_equal(file_read_below(dir, "link/f", 5, &text, &len), -ELOOP);
	assert_int_equal(symlinkat("f", below, "link"), 0);
	assert_int_equal(file_read_below(dir, "d/link", 5, &text, &len), -ELOOP);
	assert_null(text);
	assert_int_equal(file_read_below(dir, "d/f", 5, &text, &len), 0);
	assert_string_equal(text, "hello");
	assert_int_equal(len, 5);
}

static void files_that_do_not_know_their_size_are_read_whole(void **state)
{
	(void)state;
	AUTO_FREE char *text = NULL;
	size_t len;
	assert_int_equal(file_read_at(AT_FDCWD, "/proc/self/status", 65536, &text, &len), 0);
	assert_true(len > 100);
	assert_non_null(strstr(text, "VmRSS:"));
}

static void a_created_file_has_its_mode_and_is_never_replaced(void **state)
{
	int dir = scratch_fd(state);
	struct stat st;

	assert_int_equal(file_create_at(dir, "f", "a", 1, 0444), 0);
	assert_int_equal(fstatat(dir, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(file_create_at(dir, "f", "b", 1, 0444), -EEXIST);
	assert_holds(dir, "f", "a");
}

static void replacing_is_whole_and_leaves_no_temporary(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int tmp = dir_make_at(dir, "tmp");
	struct stat before, after;

	put(dir, "f", "old");
	AUTO_CLOSE int reader = openat(dir, "f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstatat(dir, "f", &before, 0), 0);
	assert_int_equal(file_replace_at(tmp, dir, "f", "new text", 8, 0640), 0);
	assert_holds(dir, "f", "new text");
	assert_int_equal(fstatat(dir, "f", &after, 0), 0);
	assert_int_equal(after.st_mode & 07777, 0640);
	assert_true(before.st_ino != after.st_ino);
	assert_int_equal(count(tmp), 0);

	/* a reader that has the old file open still reads the old bytes */
	AUTO_FREE char *text = NULL;
	assert_int_equal(file_read_fd(reader, 100, &text, NULL), 0);
	assert_string_equal(text, "old");
}

static void replacing_does_not_write_through_a_link(void **state)
{
	int dir = scratch_fd(state);
	put(dir, "precious", "stay");
	assert_int_equal(symlinkat("precious", dir, "f"), 0);
	assert_int_equal(file_replace_at(dir, dir, "f", "x", 1, 0600), 0);
	assert_holds(dir, "precious", "stay");
	assert_holds(dir, "f", "x");
}

static void placing_never_replaces(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int tmp = dir_make_at(dir, "tmp");
	struct stat st;

	assert_int_equal(file_place_at(tmp, dir, "f", "first", 5, 0640), 0);
	assert_int_equal(fstatat(dir, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(symlinkat("nowhere", dir, "link"), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(file_place_at(tmp, dir, i ? "link" : "f", "x", 1, 0600), -EEXIST);
	assert_holds(dir, "f", "first");
	assert_int_equal(count(tmp), 0);
}

static void a_replacement_that_fails_leaves_nothing(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int tmp = dir_make_at(dir, "tmp");

	assert_int_equal(mkdirat(dir, "d", 0700), 0);
	assert_int_equal(file_replace_at(tmp, dir, "d", "x", 1, 0600), -EISDIR);
	assert_int_equal(count(tmp), 0);
	assert_int_equal(link_replace_at(tmp, dir, "d", "x"), -EISDIR);
	assert_int_equal(count(tmp), 0);
}

static void a_link_moves_from_one_target_to_the_next(void **state)
{
	int dir = scratch_fd(state);
	char target[16] = "";

	assert_int_equal(link_replace_at(dir, dir, "current", "artifacts/1"), 0);
	assert_int_equal(link_replace_at(dir, dir, "current", "artifacts/2"), 0);
	assert_int_equal(readlinkat(dir, "current", target, sizeof(target)), 11);
	assert_memory_equal(target, "artifacts/2", 11);
	assert_int_equal(count(dir), 1);
}

static void folders_are_opened_but_not_through_links(void **state)
{
	int dir = scratch_fd(state);
	struct stat st;

	AUTO_CLOSE int made = dir_make_at(dir, "d");
	assert_true(made >= 0);
	AUTO_CLOSE int again = dir_make_at(dir, "d");
	assert_true(again >= 0);
	assert_int_equal(fstat(made, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(symlinkat("d", dir, "link"), 0);
	assert_int_equal(dir_open_at(dir, "link"), -ENOTDIR);
	assert_int_equal(dir_make_at(dir, "link"), -ENOTDIR);
	put(dir, "file", "");
	assert_int_equal(dir_make_at(dir, "file"), -ENOTDIR);
	assert_int_equal(dir_open_at(dir, "none"), -ENOENT);
}

static void unique_folders_differ(void **state)
{
	int dir = scratch_fd(state);
	char a[64], b[64];
	AUTO_CLOSE int fd_a = dir_make_unique_at(dir, "stage.", a);
	AUTO_CLOSE int fd_b = dir_make_unique_at(dir, "stage.", b);
	assert_true(fd_a >= 0 && fd_b >= 0);
	assert_int_equal(strlen(a), 6 + 16);
	assert_memory_equal(a, "stage.", 6);
	assert_string_not_equal(a, b);
}

static void a_path_is_made_with_all_its_parents(void **state)
{
	AUTO_FREE char *deep = str_printf("%s/a/b//c/", scratch_path(state));
	AUTO_FREE char *file = str_printf("%s/file", scratch_path(state));
	AUTO_FREE char *below = str_printf("%s/file/x", scratch_path(state));

	assert_int_equal(dir_make_path(deep), 0);
	assert_int_equal(dir_make_path(deep), 0);
	assert_int_equal(access(deep, F_OK), 0);
	put(scratch_fd(state), "file", "");
	assert_int_equal(dir_make_path(file), -ENOTDIR);
	assert_int_equal(dir_make_path(below), -ENOTDIR);
	assert_int_equal(dir_make_path(""), -ENOENT);
}

static void names_are_listed_in_byte_order(void **state)
{
	int dir = scratch_fd(state);
	AUTO_DONE(strv) names = { 0 };

	put(dir, "b", "");
	put(dir, "B", "");
	put(dir, ".a", "");
	assert_int_equal(dir_list(dir, &names), 0);
	assert_int_equal(names.n, 3);
	assert_string_equal(names.v[0], ".a");
	assert_string_equal(names.v[1], "B");
	assert_string_equal(names.v[2], "b");
	assert_int_equal(count(dir), 3); /* a second listing starts at the beginning again */
}

static void removing_a_tree_does_not_follow_links(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int keep = dir_make_at(dir, "keep");
	AUTO_CLOSE int tree = dir_make_at(dir, "tree");
	AUTO_CLOSE int deep = dir_make_at(tree, "deep");

	put(keep, "precious", "stay");
	put(deep, "f", "");
	assert_int_equal(symlinkat("../../keep", deep, "link"), 0);
	assert_int_equal(symlinkat("../keep/precious", tree, "link"), 0);
	assert_int_equal(symlinkat("keep", dir, "top"), 0);

	assert_int_equal(tree_remove_at(dir, "tree"), 0);
	assert_int_equal(tree_remove_at(dir, "top"), 0);
	assert_int_equal(tree_remove_at(dir, "never there"), 0);
	assert_holds(keep, "precious", "stay");
	assert_int_equal(count(dir), 1);
}

static void folders_that_lack_permissions_are_removed_as_far_as_allowed(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int tree = dir_make_at(dir, "tree");

	assert_int_equal(file_create_at(tree, "f", "", 0, 0444), 0);
	assert_int_equal(fchmod(tree, 0500), 0);
	int r = tree_remove_at(dir, "tree");
	if (geteuid() == 0)
		assert_int_equal(r, 0);
	else
		assert_int_equal(r, -EACCES);
	fchmod(tree, 0700); /* so that the scratch folder can be removed */
}

static void a_copy_keeps_holes_and_bytes(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int from = openat(dir, "from", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_CLOSE int to = openat(dir, "to", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;
	char buf[4] = "";

	assert_int_equal(pwrite(from, "abc", 3, 1 << 20), 3);
	assert_int_equal(pwrite(from, "xyz", 3, 5 << 20), 3);
	assert_int_equal(ftruncate(from, 64 << 20), 0);
	assert_true(file_copy_fd(from, to) >= 0);
	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, 64 << 20);
	assert_true(st.st_blocks * 512 < 1 << 20);
	assert_int_equal(pread(to, buf, 3, 1 << 20), 3);
	assert_string_equal(buf, "abc");
	assert_int_equal(pread(to, buf, 3, 5 << 20), 3);
	assert_string_equal(buf, "xyz");
	assert_int_equal(pread(to, buf, 1, 0), 1);
	assert_int_equal(buf[0], 0);
}

static void a_copy_is_made_in_parts(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int from = openat(dir, "from", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_CLOSE int to = openat(dir, "to", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct file_copying c = { 0 };
	char buf[8] = "";
	int r;

	assert_int_equal(pwrite(from, "abcdefg", 7, 1 << 20), 7);
	assert_int_equal(ftruncate(from, 2 << 20), 0);
	c.begun = true; /* no reflink */
	c.size = 2 << 20;
	for (unsigned i = 0; (r = file_copy_some(&c, from, to, 1000)) > 0; i++)
		assert_true(i < 2000);
	assert_int_equal(r, 0);
	assert_int_equal(pread(to, buf, 7, 1 << 20), 7);
	assert_string_equal(buf, "abcdefg");
}

static void a_copy_replaces_earlier_contents(void **state)
{
	int dir = scratch_fd(state);
	char page[8192];

	memset(page, 'x', sizeof(page));
	assert_int_equal(file_create_at(dir, "to", page, sizeof(page), 0600), 0);
	AUTO_CLOSE int from = openat(dir, "from", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_CLOSE int to = openat(dir, "to", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(from, "end", 3, 1 << 16), 3); /* after a hole */
	assert_true(file_copy_fd(from, to) >= 0);
	assert_int_equal(pread(to, page, sizeof(page), 0), sizeof(page));
	assert_int_equal(page[0], 0);
	assert_memory_equal(page, page + 1, sizeof(page) - 1);
}

static void a_copy_goes_between_file_systems(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int from = memfd_create("from", MFD_CLOEXEC);
	AUTO_CLOSE int to = openat(dir, "to", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(from >= 0);
	assert_int_equal(file_write_all(from, "hello", 5), 0);
	assert_true(file_copy_fd(from, to) >= 0);
	assert_holds(dir, "to", "hello");
}

static void writing_to_a_full_disk_fails(void **state)
{
	(void)state;
	AUTO_CLOSE int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	if (full < 0) {
		print_message("no /dev/full here\n");
		skip();
	}
	assert_int_equal(file_write_all(full, "x", 1), -ENOSPC);
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

static void a_random_uuid_is_of_version_4(void **state)
{
	(void)state;
	char id[UUID_SIZE], other[UUID_SIZE];
	random_uuid(id);
	random_uuid(other);
	assert_string_not_equal(id, other);
	for (size_t i = 0; i < UUID_SIZE - 1; i++) {
		const char *may = "0123456789abcdef";
		if (i == 8 || i == 13 || i == 18 || i == 23)
			may = "-";
		else if (i == 14)
			may = "4";
		else if (i == 19)
			may = "89ab";
		assert_non_null(strchr(may, id[i]));
	}
	assert_int_equal(strlen(id), UUID_SIZE - 1);
}

static void a_range_ends_where_the_file_does(void **state)
{
	char got[8] = "";
	(void)state;
	AUTO_CLOSE int fd = memfd_create("range", MFD_CLOEXEC);
	assert_int_equal(file_write_all(fd, "0123456789", 10), 0);
	assert_int_equal(file_read_range(fd, got, 4, 3), 4);
	assert_memory_equal(got, "3456", 4);
	assert_int_equal(file_read_range(fd, got, sizeof(got), 8), 2);
	assert_memory_equal(got, "89", 2);
	assert_int_equal(file_read_range(fd, got, sizeof(got), 10), 0);
	assert_int_equal(file_read_range(-1, got, sizeof(got), 0), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_file_is_read_whole_up_to_its_limit),
		T(an_empty_file_is_an_empty_text),
		T(only_regular_files_are_read),
		T(a_file_below_a_folder_is_read_but_not_through_links),
		T(files_that_do_not_know_their_size_are_read_whole),
		T(a_created_file_has_its_mode_and_is_never_replaced),
		T(replacing_is_whole_and_leaves_no_temporary),
		T(replacing_does_not_write_through_a_link),
		T(placing_never_replaces),
		T(a_replacement_that_fails_leaves_nothing),
		T(a_link_moves_from_one_target_to_the_next),
		T(folders_are_opened_but_not_through_links),
		T(unique_folders_differ),
		T(a_path_is_made_with_all_its_parents),
		T(names_are_listed_in_byte_order),
		T(removing_a_tree_does_not_follow_links),
		T(folders_that_lack_permissions_are_removed_as_far_as_allowed),
		cmocka_unit_test(a_random_uuid_is_of_version_4),
		cmocka_unit_test(a_range_ends_where_the_file_does),
		T(a_copy_keeps_holes_and_bytes),
		T(a_copy_is_made_in_parts),
		T(a_copy_replaces_earlier_contents),
		T(a_copy_goes_between_file_systems),
		T(writing_to_a_full_disk_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
