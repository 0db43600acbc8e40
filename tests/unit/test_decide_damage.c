/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged files of a snapshot are found before anything starts. */
#include <sys/stat.h>

#include "snapshot_world.h"

static void assert_damaged(struct world *w, const char *says)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	assert_int_equal(decide(w, 0, 0, &plan, &err), -EBADMSG);
	if (!strstr(err.text, says))
		fail_msg("'%s' does not say '%s'", err.text, says);
	assert_string_equal(err.reason, "snapshot-damaged");
	assert_string_equal(err.subject, "web");
}

static void cut(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(ftruncate(file, st.st_size - 1), 0);
}

static void lengthen(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(ftruncate(file, st.st_size + 4096), 0);
}

static void flip(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	char byte;
	assert_int_equal(pread(file, &byte, 1, 3), 1);
	byte ^= 4;
	assert_int_equal(pwrite(file, &byte, 1, 3), 1);
}

static void punch(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4), 0);
}

static void take_another(int fd, const char *path)
{
	AUTO_CLOSE int old = openat(fd, path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(old, &st), 0);
	put_file(fd, "another", "another", st.st_size);
	assert_int_equal(renameat(fd, "another", fd, path), 0);
}

static void lose(int fd, const char *path)
{
	assert_int_equal(unlinkat(fd, path, 0), 0);
}

static void make_a_link(int fd, const char *path)
{
	assert_int_equal(renameat(fd, path, fd, "elsewhere"), 0);
	assert_int_equal(symlinkat("elsewhere", fd, path), 0);
}

static void damaged_files_are_found_before_anything_starts(void **state)
{
	static void (*const harms[])(int fd, const char *path) = { cut,	  lengthen,	flip,
								   punch, take_another, lose };
	static const char *const files[] = { "vmstate.bin", "mem.bin", "data.ext4", "root.ext4" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(harms); i++) {
		for (size_t k = 0; k < MVM_ARRAY_SIZE(files); k++) {
			AUTO_DONE(world) w;
			make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
			harms[i](w.snapshot_fd, files[k]);
			assert_damaged(&w, harms[i] == lose ? "missing" : files[k]);
		}
	}
}

static void a_link_is_no_file_of_a_snapshot(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	make_a_link(w.snapshot_fd, "mem.bin");
	assert_damaged(&w, "link");
}

/* nobody writes to it, so reading it must not wait */
static void a_fifo_is_no_file_of_a_snapshot(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	assert_int_equal(unlinkat(w.snapshot_fd, "vmstate.bin", 0), 0);
	assert_int_equal(mkfifoat(w.snapshot_fd, "vmstate.bin", 0600), 0);
	assert_damaged(&w, "vmstate.bin");
}

static void files_of_two_snapshots_do_not_mix(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	assert_int_equal(renameat(w.snapshot_fd, "mem.bin", w.snapshot_fd, "x"), 0);
	assert_int_equal(renameat(w.snapshot_fd, "vmstate.bin", w.snapshot_fd, "mem.bin"), 0);
	assert_int_equal(renameat(w.snapshot_fd, "x", w.snapshot_fd, "vmstate.bin"), 0);
	assert_damaged(&w, "vmstate.bin");
}

static void sizes_that_the_info_does_not_have_are_damage(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	w.revision.rev.snapshot.mem_size_bytes++;
	assert_damaged(&w, "mem.bin");
	w.revision.rev.snapshot.mem_size_bytes--;
	w.revision.rev.snapshot.vmstate_size_bytes--;
	assert_damaged(&w, "vmstate.bin");
}

static void the_same_bytes_in_another_file_are_the_same_memory(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	put_file(w.snapshot_fd, "copy", "memory", MEM_SIZE);
	assert_int_equal(renameat(w.snapshot_fd, "copy", w.snapshot_fd, "mem.bin"), 0);
	assert_restores(&w);
}

#define test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(damaged_files_are_found_before_anything_starts),
		test(a_link_is_no_file_of_a_snapshot),
		test(a_fifo_is_no_file_of_a_snapshot),
		test(files_of_two_snapshots_do_not_mix),
		test(sizes_that_the_info_does_not_have_are_damage),
		test(the_same_bytes_in_another_file_are_the_same_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
