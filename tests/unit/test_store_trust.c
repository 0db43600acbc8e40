/* SPDX-License-Identifier: Apache-2.0 */
/* Checks find files that differ from checksums.json, and read sound files only once. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "store/trust.h"
#include "store_fixture.h"

#define BYTES (1u << 20) /* of each of the three files */

/* Make a revision of three files that are old enough to be remembered. */
static int make(struct fixture *f, struct checksums *ret_sums)
{
	static char text[BYTES];
	static const char *const names[] = { "vmlinux", "rootfs.ext4", "snapshot/mem.bin" };
	const struct timespec tick = { .tv_nsec = 30 * 1000 * 1000 };

	save_spec(f->store, "web");
	assert_int_equal(publish(f->store, "web", "r1", "text"), 1);
	int dir = store_revision_open(f->store, "web", "r1", NULL);
	assert_true(dir >= 0);
	assert_int_equal(mkdirat(dir, "snapshot", 0700), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		memset(text, 'a' + (int)i, sizeof(text));
		unlinkat(dir, names[i], 0);
		assert_int_equal(file_create_at(dir, names[i], text, sizeof(text), 0644), 0);
	}
	assert_int_equal(unlinkat(dir, "checksums.json", 0), 0);
	assert_int_equal(store_checksums_write(dir, "web", "r1", NULL, 0, NULL, NULL), 0);
	assert_int_equal(store_checksums_read(dir, ret_sums, NULL), 0);
	assert_int_equal(nanosleep(&tick, NULL), 0);
	return dir;
}

static int64_t wall_ns; /* the time that checks see; 0: the real one */

int64_t __real_clock_wall_ns(void);
int64_t __wrap_clock_wall_ns(void);
int64_t __wrap_clock_wall_ns(void)
{
	return wall_ns ? wall_ns : __real_clock_wall_ns();
}

static uint64_t bytes_read(void)
{
	AUTO_FREE char *text = NULL;
	uint64_t n = 0;
	assert_int_equal(file_read_at(AT_FDCWD, "/proc/self/io", 4096, &text, NULL), 0);
	assert_int_equal(sscanf(text, "rchar: %" SCNu64, &n), 1);
	return n;
}

/* Check, and return the number of large files that were read; -1: damaged. */
static int files_read(struct fixture *f, int dir, const struct checksums *sums, bool all,
		      struct mvm_error *err)
{
	const struct trust how = { .store = f->store, .id = "web", .all = all };
	uint64_t before = bytes_read();
	int r = store_trust(dir, sums, &how, err);
	assert_true(r == 0 || r == -EBADMSG);
	return r < 0 ? -1 : (int)((bytes_read() - before) / BYTES);
}

static void assert_checks(struct fixture *f, int dir, const struct checksums *sums, int n)
{
	assert_int_equal(files_read(f, dir, sums, false, NULL), n);
}

static void flip(int dir, const char *name)
{
	char byte;
	AUTO_CLOSE int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, 4711), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 4711), 1);
}

static void sound_files_are_read_once(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);
	assert_checks(f, dir, &sums, 2);
	assert_checks(f, dir, &sums, 0);
	assert_int_equal(files_read(f, dir, &sums, true, NULL), 3); /* the snapshot's as well */
	assert_checks(f, dir, &sums, 0);
}

static void only_files_that_look_changed_are_read_again(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);
	struct stat st;
	assert_checks(f, dir, &sums, 2);
	/* another template takes the blob, too */
	assert_int_equal(linkat(dir, "vmlinux", dir, "another", 0), 0);
	assert_int_equal(unlinkat(dir, "another", 0), 0);
	assert_int_equal(fstatat(dir, "vmlinux", &st, 0), 0);
	wall_ns = st.st_ctim.tv_sec * NS_PER_S + st.st_ctim.tv_nsec;
	assert_checks(f, dir, &sums, 1); /* too new to be remembered */
	wall_ns += 30 * NS_PER_MS;
	assert_checks(f, dir, &sums, 1);
	assert_checks(f, dir, &sums, 0);
	wall_ns = 0;
}

/* What another template's build does to a blob, while this file is read. */
static int link_meanwhile(void *arg, const struct mvm_progress_event *event)
{
	int dir = *(int *)arg;
	if (event->kind == MVM_PROGRESS_BEGIN) {
		assert_int_equal(linkat(dir, "vmlinux", dir, "another", 0), 0);
		assert_int_equal(unlinkat(dir, "another", 0), 0);
	}
	return 0;
}

static int write_meanwhile(void *arg, const struct mvm_progress_event *event)
{
	int dir = *(int *)arg;
	AUTO_CLOSE int fd = openat(dir, "vmlinux", O_RDWR | O_CLOEXEC);
	if (event->kind == MVM_PROGRESS_BEGIN)
		assert_int_equal(pwrite(fd, "", 1, 4711), 1); /* a zero, as before */
	return 0;
}

static void a_link_made_while_a_file_is_read_is_no_damage(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 }, larger = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);
	AUTO_CLOSE int fd = openat(dir, "vmlinux", O_RDWR | O_TRUNC | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 64 << 20), 0); /* reports progress */
	assert_int_equal(unlinkat(dir, "checksums.json", 0), 0);
	assert_int_equal(store_checksums_write(dir, "web", "r1", NULL, 0, NULL, NULL), 0);
	assert_int_equal(store_checksums_read(dir, &larger, NULL), 0);

	struct mvm_progress progress = { .fn = link_meanwhile, .arg = &dir };
	const struct trust how = { .store = f->store, .id = "web", .progress = &progress };
	for (int i = 0; i < 2; i++)
		assert_int_equal(store_trust(dir, &larger, &how, NULL), 0);
	progress.fn = write_meanwhile;
	assert_int_equal(store_trust(dir, &larger, &how, NULL), -EBADMSG);
}

static void cut(int dir, const char *name)
{
	AUTO_CLOSE int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 100), 0);
}

static void lose(int dir, const char *name)
{
	assert_int_equal(unlinkat(dir, name, 0), 0);
}

static void link_away(int dir, const char *name)
{
	assert_int_equal(renameat(dir, name, dir, "snapshot/elsewhere"), 0);
	assert_int_equal(symlinkat("snapshot/elsewhere", dir, name), 0);
}

static void replace(int dir, const char *name)
{
	static char text[BYTES] = "another";
	assert_int_equal(unlinkat(dir, name, 0), 0);
	assert_int_equal(file_create_at(dir, name, text, sizeof(text), 0644), 0);
}

/* Change a file and restore its times. */
static void flip_quietly(int dir, const char *name)
{
	struct stat st;
	assert_int_equal(fstatat(dir, name, &st, 0), 0);
	flip(dir, name);
	const struct timespec times[] = { st.st_atim, st.st_mtim };
	assert_int_equal(utimensat(dir, name, times, 0), 0);
}

static void edited_files_are_found_each_time(void **state)
{
	struct fixture *f = *state;
	static void (*const harms[])(
		int dir, const char *name) = { flip, cut, lose, link_away, replace, flip_quietly };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(harms); i++) {
		AUTO_DONE(checksums) sums = { 0 };
		struct mvm_error err = { 0 };
		AUTO_CLOSE int dir = make(f, &sums);
		assert_checks(f, dir, &sums, 2);
		harms[i](dir, "rootfs.ext4");
		for (int k = 0; k < 2; k++) {
			assert_int_equal(files_read(f, dir, &sums, false, &err), -1);
			assert_non_null(strstr(err.text, "'rootfs.ext4'"));
		}
		teardown(state);
		setup(state);
		f = *state;
	}
}

/* `template info` reports this without reading the files. */
static void an_edited_file_is_told_by_its_times(void **state)
{
	struct fixture *f = *state;
	static void (*const harms[])(int dir, const char *name) = { flip, cut, replace };
	for (size_t i = 0; i < 2 * MVM_ARRAY_SIZE(harms); i++) {
		AUTO_DONE(checksums) sums = { 0 };
		AUTO_CLOSE int dir = make(f, &sums);
		assert_null(store_trust_changed(dir, &sums));
		if (i % 2)
			assert_checks(f, dir, &sums, 2);
		assert_null(store_trust_changed(dir, &sums));
		assert_int_equal(linkat(dir, "rootfs.ext4", dir, "snapshot/link", 0), 0);
		assert_null(store_trust_changed(dir, &sums));
		harms[i / 2](dir, "rootfs.ext4");
		assert_string_equal(store_trust_changed(dir, &sums), "rootfs.ext4");
		teardown(state);
		setup(state);
		f = *state;
	}
}

/* An older file that replaces the checked file has another inode. */
static void a_replaced_file_is_told_by_its_inode(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);
	static const struct timespec long_ago[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	assert_checks(f, dir, &sums, 2);
	replace(dir, "vmlinux");
	assert_int_equal(utimensat(dir, "vmlinux", long_ago, 0), 0);
	assert_string_equal(store_trust_changed(dir, &sums), "vmlinux");
}

static void damage_that_looks_unchanged_is_found_by_reading_all(void **state)
{
	struct fixture *f = *state;
	char hex[DIGEST_HEX_SIZE];
	struct stat st;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);
	flip(dir, "vmlinux"); /* like a disk fault: the file looks unchanged */
	assert_int_equal(fstatat(dir, "vmlinux", &st, 0), 0);
	AUTO_FREE char *identity = file_identity(&st);
	digest_hex(checksums_find(&sums, "vmlinux"), hex);
	AUTO_FREE char *line = str_printf("%s %s vmlinux\n", identity, hex);
	put_file(dir, STORE_VERIFIED, line);
	assert_checks(f, dir, &sums, 1); /* reads the other file */
	assert_int_equal(files_read(f, dir, &sums, true, NULL), -1);
	assert_checks(f, dir, &sums, -1); /* still damaged */
}

static void a_damaged_memory_is_no_memory(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int dir = make(f, &sums);
	assert_checks(f, dir, &sums, 2);
	assert_int_equal(file_read_at(dir, STORE_VERIFIED, 65536, &text, NULL), 0);
	/* a line that only ends like the right one, truncated lines, other text */
	AUTO_FREE char *longer = str_printf("1%s", text);
	AUTO_FREE char *shorter = strndup(text, strlen(text) / 2 - 1);
	const char *const texts[] = { "", "\n\n", "nonsense", longer, shorter };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(texts); i++) {
		assert_int_equal(unlinkat(dir, STORE_VERIFIED, 0), 0);
		put_file(dir, STORE_VERIFIED, texts[i]);
		int n = files_read(f, dir, &sums, false, NULL);
		assert_true(n >= 1);
		assert_checks(f, dir, &sums, 0);
	}
}

static void one_file_alone_is_checked_and_remembered_beside_the_others(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);
	const struct trust memory = { .store = f->store, .only = "snapshot/mem.bin" };
	const struct trust no_such = { .store = f->store, .only = "snapshot/data.ext4" };
	assert_checks(f, dir, &sums, 2);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t before = bytes_read();
		assert_int_equal(store_trust(dir, &sums, &memory, NULL), 0);
		assert_int_equal((bytes_read() - before) / BYTES, i == 0);
	}
	assert_checks(f, dir, &sums, 0);
	flip(dir, "snapshot/mem.bin");
	assert_int_equal(store_trust(dir, &sums, &memory, NULL), -EBADMSG);
	assert_int_equal(store_trust(dir, &sums, &no_such, NULL), -EBADMSG);
}

static void only_the_stores_owner_remembers(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	if (geteuid() != 0)
		skip(); /* only root can give a folder away */
	AUTO_CLOSE int dir = make(f, &sums);
	assert_int_equal(fchown(dir, 65534, 65534), 0);
	assert_checks(f, dir, &sums, 2);
	assert_int_equal(faccessat(dir, STORE_VERIFIED, F_OK, 0), -1);
	assert_int_equal(fchown(dir, 0, 0), 0);
}

static void a_revision_with_a_memory_is_sound_and_can_be_staged_again(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_CLOSE int dir = make(f, &sums);
	assert_checks(f, dir, &sums, 2);
	assert_int_equal(faccessat(dir, STORE_VERIFIED, F_OK, 0), 0);
	assert_int_equal(store_revision_is_pure(dir), 1);
	assert_int_equal(store_revision_verify(dir, NULL, NULL), 0);
	assert_int_equal(store_stage_revision(f->store, "web", "r1", &st, NULL), 0);
	assert_int_equal(faccessat(st.fd, STORE_VERIFIED, F_OK, 0), -1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sound_files_are_read_once),
		T(only_files_that_look_changed_are_read_again),
		T(a_link_made_while_a_file_is_read_is_no_damage),
		T(edited_files_are_found_each_time),
		T(an_edited_file_is_told_by_its_times),
		T(a_replaced_file_is_told_by_its_inode),
		T(damage_that_looks_unchanged_is_found_by_reading_all),
		T(a_damaged_memory_is_no_memory),
		T(one_file_alone_is_checked_and_remembered_beside_the_others),
		T(only_the_stores_owner_remembers),
		T(a_revision_with_a_memory_is_sound_and_can_be_staged_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
