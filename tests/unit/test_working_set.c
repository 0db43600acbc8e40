/* SPDX-License-Identifier: Apache-2.0 */
/* The pages that a clone needs: found in a process, written, read back, and never trusted. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/str.h"
#include "scratch.h"
#include "start/working_set.h"

#define PAGES 256u
#define SIZE  ((uint64_t)PAGES * WORKING_SET_PAGE)

static bool has(const struct working_set *s, uint64_t page)
{
	return s->bits[page / 8] >> page % 8 & 1;
}

/* Make a file with data from page 64 to 192 and holes around them. */
static int make_memory(void **state)
{
	int fd = openat(scratch_fd(state), "mem.bin", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char page[WORKING_SET_PAGE];
	memset(page, 'x', sizeof(page));
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
	for (unsigned i = 64; i < 192; i++)
		assert_int_equal(pwrite(fd, page, sizeof(page), (off_t)i * WORKING_SET_PAGE),
				 sizeof(page));
	assert_int_equal(fsync(fd), 0);
	return fd;
}

static void touched_pages_are_recorded_without_holes(void **state)
{
	AUTO_CLOSE int fd = make_memory(state);
	AUTO_DONE(working_set) s = { 0 };
	struct mvm_error err = { 0 };
	volatile char *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_true(at != MAP_FAILED);
	at[3 * WORKING_SET_PAGE] = 1;	/* a hole */
	at[100 * WORKING_SET_PAGE] = 1; /* data */
	assert_int_equal(at[128 * WORKING_SET_PAGE], 'x');
	assert_int_equal(working_set_record(getpid(), fd, &s, &err), 0);
	assert_int_equal(s.n_pages, PAGES);
	assert_false(has(&s, 3));
	assert_true(has(&s, 100));
	assert_true(has(&s, 128));
	assert_false(has(&s, 191)); /* further away than the kernel maps around a fault */
	assert_in_range(s.n_set, 2, 32);
	assert_int_equal(munmap((void *)at, SIZE), 0);
}

static void a_process_that_does_not_map_the_file_is_reported(void **state)
{
	AUTO_CLOSE int fd = make_memory(state);
	AUTO_DONE(working_set) s = { 0 };
	struct mvm_error err = { 0 };
	assert_int_equal(working_set_record(getpid(), fd, &s, &err), -ENXIO);
	assert_non_null(strstr(err.text, "which memory a clone needs"));
	assert_null(s.bits);
}

static void put(uint8_t *bits, uint64_t page)
{
	bits[page / 8] |= (uint8_t)(1u << page % 8);
}

static void a_working_set_is_read_back_as_it_was_written(void **state)
{
	uint8_t bits[PAGES / 8] = { 0 };
	const struct working_set s = { .n_pages = PAGES, .n_set = 2, .bits = bits };
	AUTO_DONE(working_set) back = { 0 };
	AUTO_FREE char *text = NULL;
	struct mvm_error err = { 0 };
	size_t len;
	put(bits, 0);
	put(bits, PAGES - 1);
	assert_int_equal(working_set_save(scratch_fd(state), &s, &err), 0);
	assert_int_equal(file_read_at(scratch_fd(state), WORKING_SET_NAME, 4096, &text, &len), 0);
	assert_int_equal(len, 24 + sizeof(bits));
	assert_memory_equal(text, "MVMWSET1\x00\x10\x00\x00\x00\x00\x00\x00\x00\x01", 18);
	assert_int_equal(working_set_parse(text, len, SIZE, &back, &err), 0);
	assert_int_equal(back.n_pages, PAGES);
	assert_int_equal(back.n_set, 2);
	assert_memory_equal(back.bits, bits, sizeof(bits));
}

static void a_working_set_of_another_memory_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
		uint64_t mem_size;
		const char *says;
	} cases[] = {
		{ "", 0, 8 * 4096, "too short" },
		{ "MVMWSET1", 8, 8 * 4096, "too short" },
		{ "MVMWSET2\0\x10\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\xff", 25, 8 * 4096,
		  "no working set" },
		{ "MVMWSET1\0\x20\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\xff", 25, 8 * 4096,
		  "unknown page size or format" },
		{ "MVMWSET1\0\x10\0\0\1\0\0\0\x08\0\0\0\0\0\0\0\xff", 25, 8 * 4096,
		  "unknown page size or format" },
		{ "MVMWSET1\0\x10\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\xff", 25, 9 * 4096,
		  "another size" },
		{ "MVMWSET1\0\x10\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\xff", 25, 8 * 4096 + 1,
		  "another size" },
		{ "MVMWSET1\0\x10\0\0\0\0\0\0\x08\0\0\0\0\0\0\0", 24, 8 * 4096, "one bit" },
		{ "MVMWSET1\0\x10\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\xff\0", 26, 8 * 4096, "one bit" },
		{ "MVMWSET1\0\x10\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\xff", 25, 7 * 4096, "beyond" },
		{ "MVMWSET1\0\x10\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff", 25, UINT64_MAX,
		  "another size" },
		{ "MVMWSET1\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\x10\0", 24, UINT64_MAX & ~UINT64_C(4095),
		  "another size" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(working_set) s = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(working_set_parse(cases[i].bytes, cases[i].len, cases[i].mem_size,
						   &s, &err),
				 -EBADMSG);
		if (!strstr(err.text, cases[i].says))
			fail_msg("case %zu: %s", i, err.text);
		assert_null(s.bits);
	}
}

static void only_uncached_pages_are_read_ahead(void **state)
{
	AUTO_CLOSE int fd = make_memory(state);
	uint8_t bits[PAGES / 8] = { 0 };
	const struct working_set s = { .n_pages = PAGES, .bits = bits };
	struct mvm_error err = { 0 };
	char page[WORKING_SET_PAGE];

	assert_int_equal(working_set_read_ahead(scratch_fd(state), SIZE), 0); /* no set */
	put(bits, 70);
	put(bits, 80);	/* near enough to be read with the first page */
	put(bits, 180); /* too far */
	assert_int_equal(working_set_save(scratch_fd(state), &s, &err), 0);
	for (unsigned i = 64; i < 192; i++)
		assert_int_equal(pread(fd, page, sizeof(page), (off_t)i * WORKING_SET_PAGE),
				 sizeof(page));
	/* a file system that cannot report its cached pages is asked for all pages */
	uint64_t cached = working_set_read_ahead(scratch_fd(state), SIZE);
	assert_true(cached == 0 || cached == UINT64_C(12) * WORKING_SET_PAGE);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	uint64_t dropped = working_set_read_ahead(scratch_fd(state), SIZE);
	assert_true(dropped == 0 || dropped == UINT64_C(12) * WORKING_SET_PAGE);
	assert_int_equal(working_set_read_ahead(scratch_fd(state), SIZE / 2), 0); /* not its size */
}

#define test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(touched_pages_are_recorded_without_holes),
		test(a_process_that_does_not_map_the_file_is_reported),
		test(a_working_set_is_read_back_as_it_was_written),
		test(a_working_set_of_another_memory_is_refused),
		test(only_uncached_pages_are_read_ahead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
