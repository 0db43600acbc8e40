/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed files, on a file system that this test plays: ioctl(2) is wrapped, so that fs-verity is
 * there, refused or out of space.  tests/long/test_seals.py has the real one.
 */
#include <inttypes.h>
#include <linux/fsverity.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/seal.h"
#include "store/trust.h"
#include "store_fixture.h"
#include "tick.h"

#define SEALS_MAX 32u
#define BYTES	  (1u << 20)

static struct {
	int refuse;	  /* the errno of each FS_IOC_ENABLE_VERITY; 0: it works */
	bool as_an_owner; /* without root's right to write to files of mode 0444 */
	struct {
		dev_t dev;
		ino_t ino;
		struct mvm_digest digest;
	} v[SEALS_MAX];
	size_t n;
} disk;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

static int set_errno(int error)
{
	errno = error;
	return -1;
}

static size_t find(const struct stat *st)
{
	size_t i = 0;
	while (i < disk.n && (disk.v[i].ino != st->st_ino || disk.v[i].dev != st->st_dev))
		i++;
	return i;
}

static int enable(int fd, const struct stat *st, const struct fsverity_enable_arg *how)
{
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(how->version, 1);
	assert_int_equal(how->hash_algorithm, FS_VERITY_HASH_ALG_SHA256);
	if (disk.refuse)
		return set_errno(disk.refuse);
	if (disk.as_an_owner && !(st->st_mode & S_IWUSR))
		return set_errno(EACCES);
	size_t i = find(st);
	if (i < disk.n)
		return set_errno(EEXIST);
	assert_true(i < SEALS_MAX);
	disk.v[i].dev = st->st_dev;
	disk.v[i].ino = st->st_ino;
	assert_int_equal(sha256_fd(fd, NULL, &disk.v[i].digest, NULL), 0);
	disk.n++;
	return 0;
}

static int measure(const struct stat *st, struct fsverity_digest *ret)
{
	size_t i = find(st);
	if (disk.refuse == ENOTTY || i == disk.n)
		return set_errno(disk.refuse == ENOTTY ? ENOTTY : ENODATA);
	assert_int_equal(ret->digest_size, sizeof(disk.v[i].digest.bytes));
	ret->digest_algorithm = FS_VERITY_HASH_ALG_SHA256;
	memcpy(ret->digest, disk.v[i].digest.bytes, sizeof(disk.v[i].digest.bytes));
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct stat st;
	if (request != FS_IOC_ENABLE_VERITY && request != FS_IOC_MEASURE_VERITY)
		return __real_ioctl(fd, request, arg);
	assert_int_equal(fstat(fd, &st), 0);
	return request == FS_IOC_ENABLE_VERITY ? enable(fd, &st, arg) : measure(&st, arg);
}

static int fresh(void **state)
{
	memset(&disk, 0, sizeof(disk));
	return setup(state);
}

static char *text_of(char letter)
{
	char *text = malloc(BYTES + 1);
	assert_non_null(text);
	memset(text, letter, BYTES);
	text[BYTES] = '\0';
	return text;
}

/* A published revision: its two files share one blob. */
static int make(struct fixture *f, struct checksums *ret_sums)
{
	AUTO_FREE char *text = text_of('a');
	save_spec(f->store, "web");
	assert_int_equal(publish(f->store, "web", "r1", text), 1);
	int dir = store_revision_open(f->store, "web", "r1", NULL);
	assert_true(dir >= 0);
	assert_int_equal(store_checksums_read(dir, ret_sums, NULL), 0);
	return dir;
}

static uint64_t bytes_read(void)
{
	AUTO_FREE char *text = NULL;
	uint64_t n = 0;
	assert_int_equal(file_read_at(AT_FDCWD, "/proc/self/io", 4096, &text, NULL), 0);
	assert_int_equal(sscanf(text, "rchar: %" SCNu64, &n), 1);
	return n;
}

/* Check, and return how many files were read; -1: damaged. */
static int files_read(struct fixture *f, int dir, const struct checksums *sums)
{
	const struct trust how = { .store = f->store, .id = "web" };
	uint64_t before = bytes_read();
	int r = store_trust(dir, sums, &how, NULL);
	assert_true(r == 0 || r == -EBADMSG);
	return r < 0 ? -1 : (int)((bytes_read() - before) / BYTES);
}

/* Let the times of an unsealed file settle, so that it is remembered. */
static void settle(void)
{
	const struct timespec tick = { .tv_nsec = 30 * 1000 * 1000 };
	assert_int_equal(nanosleep(&tick, NULL), 0);
}

static void link_and_unlink(int dir)
{
	wait_for_tick(dir);
	assert_int_equal(linkat(dir, "vmlinux", dir, "another", 0), 0);
	assert_int_equal(unlinkat(dir, "another", 0), 0);
}

static void without_fs_verity_files_are_known_by_their_identity(void **state)
{
	static const int errors[] = { ENOTTY, EOPNOTSUPP, EINVAL, ENOSPC, ETXTBSY, EBUSY, EPERM };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(errors); i++) {
		struct fixture *f = *state;
		AUTO_DONE(checksums) sums = { 0 };
		disk.refuse = errors[i];
		AUTO_CLOSE int dir = make(f, &sums);
		assert_int_equal(seal_file(dir, "vmlinux"), 0);
		settle();
		assert_int_equal(files_read(f, dir, &sums), 2);
		assert_int_equal(files_read(f, dir, &sums), 0);
		assert_false(store_trust_sealed(dir, &sums, "vmlinux"));
		link_and_unlink(dir);
		assert_int_equal(files_read(f, dir, &sums), 2);
		teardown(state);
		fresh(state);
	}
}

static void a_published_revision_is_sealed_and_read_once(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);

	assert_int_equal(disk.n, 1); /* one blob */
	assert_false(store_trust_sealed(dir, &sums, "vmlinux"));
	assert_int_equal(files_read(f, dir, &sums), 2);
	assert_true(store_trust_sealed(dir, &sums, "vmlinux"));
	assert_true(store_trust_sealed(dir, &sums, "rootfs.ext4"));
	assert_false(store_trust_sealed(dir, &sums, "no-such"));
	assert_int_equal(files_read(f, dir, &sums), 0);
	/* what changes the identity of an unsealed file does not matter */
	link_and_unlink(dir);
	assert_int_equal(files_read(f, dir, &sums), 0);
	assert_null(store_trust_changed(dir, &sums));
}

static void its_owner_seals_a_read_only_blob_and_leaves_it_read_only(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	struct stat st;
	disk.as_an_owner = true;
	AUTO_CLOSE int dir = make(f, &sums);
	assert_int_equal(disk.n, 1);
	assert_int_equal(fstatat(dir, "vmlinux", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
}

static void only_regular_files_are_sealed(void **state)
{
	struct fixture *f = *state;
	int root = store_root(f->store);
	assert_int_equal(seal_file(root, "no-such"), -ENOENT);
	assert_int_equal(seal_file(root, "."), 0);
	assert_int_equal(mkfifoat(root, "fifo", 0600), 0);
	assert_int_equal(seal_file(root, "fifo"), 0);
	assert_int_equal(symlinkat("fifo", root, "link"), 0);
	assert_int_equal(seal_file(root, "link"), -ELOOP);
	put_file(root, "file", "text");
	assert_int_equal(seal_file(root, "file"), 1);
	assert_int_equal(seal_file(root, "file"), 1);
}

static void replace(int dir, const char *name, char letter, bool sealed)
{
	AUTO_FREE char *text = text_of(letter);
	struct stat st;
	assert_int_equal(fstatat(dir, name, &st, 0), 0);
	if (st.st_nlink == 1 && find(&st) < disk.n) /* another file may get its inode */
		disk.v[find(&st)] = disk.v[--disk.n];
	assert_int_equal(unlinkat(dir, name, 0), 0);
	put_file(dir, name, text);
	if (sealed)
		assert_int_equal(seal_file(dir, name), 1);
}

static void a_file_in_a_sealed_ones_place_is_found(void **state)
{
	for (int sealed = 0; sealed < 2; sealed++) {
		struct fixture *f = *state;
		AUTO_DONE(checksums) sums = { 0 };
		AUTO_CLOSE int dir = make(f, &sums);
		assert_int_equal(files_read(f, dir, &sums), 2);
		replace(dir, "rootfs.ext4", 'b', sealed);
		assert_string_equal(store_trust_changed(dir, &sums), "rootfs.ext4");
		assert_int_equal(files_read(f, dir, &sums), -1);
		assert_int_equal(files_read(f, dir, &sums), -1);
		teardown(state);
		fresh(state);
	}
}

static void the_same_bytes_sealed_again_need_no_reading(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir = make(f, &sums);
	assert_int_equal(files_read(f, dir, &sums), 2);
	replace(dir, "vmlinux", 'a', true);
	assert_int_equal(files_read(f, dir, &sums), 0);
	/* a copy of the data folder has no seals */
	replace(dir, "vmlinux", 'a', false);
	settle();
	assert_int_equal(files_read(f, dir, &sums), 1);
	assert_int_equal(files_read(f, dir, &sums), 0);
}

static void a_seal_is_no_proof_of_a_digest_that_nobody_has_read(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_CLOSE int dir = make(f, &sums);
	/* staged again before any start has read it: no line goes on */
	assert_int_equal(store_stage_revision(f->store, "web", "r1", &st, NULL), 0);
	assert_int_equal(store_checksums_write(st.fd, "web", "r1", NULL, 0, NULL, NULL), 0);
	store_trust_stage(dir, st.fd, "snapshot/");
	assert_int_equal(faccessat(st.fd, STORE_VERIFIED, F_OK, 0), -1);
}

static void lines_about_sealed_files_go_on_to_the_next_folder(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_DONE(checksums) staged = { 0 };
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_FREE char *text = text_of('m');
	AUTO_CLOSE int dir = make(f, &sums);
	assert_int_equal(files_read(f, dir, &sums), 2);

	assert_int_equal(store_stage_revision(f->store, "web", "r1", &st, NULL), 0);
	AUTO_CLOSE int snapshot = dir_make_at(st.fd, "snapshot");
	put_file(snapshot, "mem.bin", text);
	put_file(snapshot, "working-set.bin", "unsealed");
	assert_int_equal(seal_file(snapshot, "mem.bin"), 1);
	assert_int_equal(store_checksums_write(st.fd, "web", "r1", NULL, 0, NULL, NULL), 0);
	store_trust_stage(dir, st.fd, "snapshot/");
	assert_int_equal(store_checksums_read(st.fd, &staged, NULL), 0);
	assert_true(store_trust_sealed(st.fd, &staged, "vmlinux"));
	assert_true(store_trust_sealed(st.fd, &staged, "rootfs.ext4"));
	assert_true(store_trust_sealed(st.fd, &staged, "snapshot/mem.bin"));
	assert_false(store_trust_sealed(st.fd, &staged, "snapshot/working-set.bin"));
	assert_int_equal(files_read(f, st.fd, &staged), 0);
	store_distrust(st.fd);
	assert_false(store_trust_sealed(st.fd, &staged, "snapshot/mem.bin"));
}

#undef T
#define T(test) cmocka_unit_test_setup_teardown(test, fresh, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_fs_verity_files_are_known_by_their_identity),
		T(a_published_revision_is_sealed_and_read_once),
		T(its_owner_seals_a_read_only_blob_and_leaves_it_read_only),
		T(only_regular_files_are_sealed),
		T(a_file_in_a_sealed_ones_place_is_found),
		T(the_same_bytes_sealed_again_need_no_reading),
		T(a_seal_is_no_proof_of_a_digest_that_nobody_has_read),
		T(lines_about_sealed_files_go_on_to_the_next_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
