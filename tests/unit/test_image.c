/* SPDX-License-Identifier: Apache-2.0 */
#include "image_util.h"

#include <stdlib.h>

#include "codec/sha256.h"
#include "image/image.h"

/* Make a small root filesystem.  Variants differ only in properties that must not matter. */
static void make_source(const char *name, int variant)
{
	static const char zeros[100000];
	struct timespec times[2] = { { .tv_sec = 1000 + variant }, { .tv_sec = 2000 + variant } };
	mode_t w = variant ? 022 : 0;
	char path[64];

	put_folder(name, variant ? 0777 : 0700);
	int top = work_fd;
	work_fd = dir_open_at(top, name);
	put_folder("etc", 0755 | w);
	put_folder("tmp", 01777);
	put_folder("bin", 0755);
	put_text("etc/hostname", "mvm\n", 0644 | w);
	put_text("bin/tool", "#!/bin/sh\n", 0755 | w);
	assert_int_equal(symlinkat("../bin/tool", work_fd, "etc/link"), 0);
	for (int i = 0; i < 40; i++) {
		int n = variant ? 39 - i : i; /* the order of creation */
		snprintf(path, sizeof(path), "etc/file%02d", n);
		put_text(path, path, 0644);
	}
	if (variant) { /* the same zeros, as a hole */
		AUTO_CLOSE int fd = open_image("zeros");
		assert_int_equal(fchmod(fd, 0644), 0);
		assert_int_equal(ftruncate(fd, sizeof(zeros)), 0);
		assert_int_equal(linkat(work_fd, "etc/file00", work_fd, "etc/same", 0), 0);
	} else {
		put_file("zeros", zeros, sizeof(zeros), 0644);
		put_text("etc/same", "etc/file00", 0644);
	}
	assert_int_equal(utimensat(work_fd, "etc/hostname", times, 0), 0);
	assert_int_equal(utimensat(work_fd, "etc", times, 0), 0);
	if (variant && geteuid() == 0)
		assert_int_equal(fchownat(work_fd, "etc/hostname", 1234, 5678, 0), 0);
	close(work_fd);
	work_fd = top;
}

static int build(const char *source, const char *image, uint64_t size, struct mvm_digest *lock,
		 struct mvm_error *err)
{
	AUTO_CLOSE int dir = dir_open_at(work_fd, source);
	AUTO_CLOSE int fd = open_image(image);
	assert_true(dir >= 0);
	return image_from_dir(dir, source, fd, &(struct image_options){ .size_bytes = size }, lock,
			      err);
}

static void the_same_folder_elsewhere_gives_the_same_bytes(void **state)
{
	(void)state;
	struct mvm_digest a, b, c;

	make_source("one", 0);
	mode_t mask = umask(077);
	make_source("two", 1);
	umask(mask);
	assert_int_equal(build("one", "one.img", 0, &a, NULL), 0);
	assert_int_equal(build("two", "two.img", 0, &b, NULL), 0);
	assert_true(digest_equal(&a, &b));
	assert_same_files("one.img", "two.img");
	assert_clean("one.img");

	AUTO_CLOSE int dir = dir_open_at(work_fd, "two");
	assert_int_equal(image_lock_dir(dir, "two", NULL, &c, NULL), 0);
	assert_true(digest_equal(&a, &c));
}

static void owners_and_modes_are_those_of_an_image(void **state)
{
	(void)state;
	static const struct {
		const char *command, *says;
	} cases[] = {
		{ "stat /", "Mode:  0755" },
		{ "stat /tmp", "Mode:  01777" },
		{ "stat /etc", "Mode:  0755" },
		{ "stat /etc/hostname", "User:     0   Group:     0" },
		{ "stat /bin/tool", "Mode:  0755" },
		{ "cat /bin/tool", "#!/bin/sh" },
		{ "stat /etc/link", "Fast link dest: \"../bin/tool\"" },
		{ "stat /etc/hostname", "mtime: 0x00000000" },
	};

	make_source("modes", 1);
	assert_int_equal(build("modes", "modes.img", 0, NULL, NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *out = debugfs("modes.img", cases[i].command);
		if (!strstr(out, cases[i].says))
			print_error("%s: '%s' not in:\n%s\n", cases[i].command, cases[i].says, out);
		assert_non_null(strstr(out, cases[i].says));
	}
}

static void the_lock_covers_paths_modes_contents_and_targets(void **state)
{
	(void)state;
	struct mvm_digest before, after;

	make_source("locked", 0);
	AUTO_CLOSE int dir = dir_open_at(work_fd, "locked");
	assert_int_equal(image_lock_dir(dir, "locked", NULL, &before, NULL), 0);

	assert_int_equal(fchmodat(dir, "etc/hostname", 0600, 0), 0);
	assert_int_equal(image_lock_dir(dir, "locked", NULL, &after, NULL), 0);
	assert_false(digest_equal(&before, &after));
	assert_int_equal(fchmodat(dir, "etc/hostname", 0644, 0), 0);

	assert_int_equal(renameat(dir, "etc/hostname", dir, "etc/hostnamf"), 0);
	assert_int_equal(image_lock_dir(dir, "locked", NULL, &after, NULL), 0);
	assert_false(digest_equal(&before, &after));
	assert_int_equal(renameat(dir, "etc/hostnamf", dir, "etc/hostname"), 0);

	assert_int_equal(unlinkat(dir, "etc/link", 0), 0);
	assert_int_equal(symlinkat("../bin/tooL", dir, "etc/link"), 0);
	assert_int_equal(image_lock_dir(dir, "locked", NULL, &after, NULL), 0);
	assert_false(digest_equal(&before, &after));
	assert_int_equal(unlinkat(dir, "etc/link", 0), 0);
	assert_int_equal(symlinkat("../bin/tool", dir, "etc/link"), 0);

	put_text("locked/etc/hostname", "mvn\n", 0644);
	assert_int_equal(image_lock_dir(dir, "locked", NULL, &after, NULL), 0);
	assert_false(digest_equal(&before, &after));
	put_text("locked/etc/hostname", "mvm\n", 0644);
	assert_int_equal(image_lock_dir(dir, "locked", NULL, &after, NULL), 0);
	assert_true(digest_equal(&before, &after));
}

static void a_file_that_no_image_can_hold_is_named(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };

	put_folder("odd", 0755);
	put_folder("odd/run", 0755);
	assert_int_equal(mkfifoat(work_fd, "odd/run/pipe", 0600), 0);
	assert_int_equal(build("odd", "odd.img", 0, NULL, &err), -EINVAL);
	assert_string_equal(err.text,
			    "'odd/run/pipe' is a fifo: an image is made from files, folders and "
			    "symbolic links only");
	assert_int_equal(mknodat(work_fd, "odd/a", S_IFSOCK | 0600, 0), 0);
	assert_int_equal(build("odd", "odd.img", 0, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'odd/a' is a socket"));
}

static void the_epoch_sets_every_time(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };

	make_source("epoch", 0);
	assert_int_equal(setenv("SOURCE_DATE_EPOCH", "1700000000", 1), 0);
	assert_int_equal(build("epoch", "epoch.img", 0, NULL, NULL), 0);
	AUTO_FREE char *out = debugfs("epoch.img", "stat /etc/hostname");
	assert_non_null(strstr(out, "mtime: 0x6553f100"));
	assert_int_equal(setenv("SOURCE_DATE_EPOCH", "yesterday", 1), 0);
	assert_int_equal(build("epoch", "epoch.img", 0, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "SOURCE_DATE_EPOCH is 'yesterday'"));
	assert_int_equal(unsetenv("SOURCE_DATE_EPOCH"), 0);
}

static void an_empty_disk_has_its_label(void **state)
{
	(void)state;
	AUTO_CLOSE int fd = open_image("data.img"), again = open_image("again.img");

	assert_int_equal(image_format_empty(fd, 64 << 20, "mvm-data", NULL), 0);
	assert_int_equal(image_format_empty(again, 64 << 20, "mvm-data", NULL), 0);
	assert_clean("data.img");
	assert_same_files("data.img", "again.img");
	AUTO_FREE char *out = debugfs("data.img", "stats");
	assert_non_null(strstr(out, "mvm-data"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_folder_elsewhere_gives_the_same_bytes),
		cmocka_unit_test(owners_and_modes_are_those_of_an_image),
		cmocka_unit_test(the_lock_covers_paths_modes_contents_and_targets),
		cmocka_unit_test(a_file_that_no_image_can_hold_is_named),
		cmocka_unit_test(the_epoch_sets_every_time),
		cmocka_unit_test(an_empty_disk_has_its_label),
	};
	unsetenv("SOURCE_DATE_EPOCH"); /* cannot fail for this name */
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}
