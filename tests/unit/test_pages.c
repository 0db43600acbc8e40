/* SPDX-License-Identifier: Apache-2.0 */
/* A clone's own pages: found in its page table, kept in a file, written over another mapping. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/file.h"
#include "scratch.h"
#include "vmm/pages.h"

#define PAGES 1024u
#define SIZE  ((uint64_t)PAGES * PAGES_SIZE)

/* Each page of the snapshot's memory begins with its number. */
static int make_memory(void **state)
{
	int fd = openat(scratch_fd(state), "mem.bin", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
	for (uint32_t i = 0; i < PAGES; i++)
		assert_int_equal(pwrite(fd, &i, sizeof(i), (off_t)i * PAGES_SIZE), sizeof(i));
	return fd;
}

static int new_file(void **state, const char *name)
{
	int fd = openat(scratch_fd(state), name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	return fd;
}

static uint32_t *map(int fd)
{
	void *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_true(at != MAP_FAILED);
	return at;
}

static uint32_t *page_of(uint32_t *at, size_t page)
{
	return at + page * PAGES_SIZE / sizeof(*at);
}

/* Every third page, so that no piece is longer than a page; then a long piece; then one of
 * zeros. */
static bool is_written(size_t page)
{
	return page < 600 ? page % 3 == 0 : page >= 700 && page < 900;
}
#define ZEROS 950u

static void write_own(uint32_t *at)
{
	for (size_t i = 0; i < PAGES; i++) {
		if (is_written(i))
			memset(page_of(at, i), (int)(i % 250) + 1, PAGES_SIZE);
	}
	memset(page_of(at, ZEROS), 0, PAGES_SIZE);
}

static void own_pages_are_written_over_another_mapping(void **state)
{
	AUTO_CLOSE int mem = make_memory(state);
	AUTO_CLOSE int file = new_file(state, "pages.bin");
	AUTO_CLOSE int again = new_file(state, "again.bin");
	struct stat st;
	uint32_t *at = map(mem);
	for (size_t i = 0; i < PAGES; i++)
		(void)*(volatile uint32_t *)page_of(
			at, i); /* reading gives a process no page of its own */
	write_own(at);
	assert_int_equal(pages_save(getpid(), mem, file), 200 + 200 + 1);
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(st.st_size % PAGES_SIZE, 0);
	assert_true((uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size); /* zeros are a hole */
	assert_int_equal(munmap(at, SIZE), 0);

	at = map(mem);
	assert_int_equal(pages_load(getpid(), mem, file), 0);
	for (uint32_t i = 0; i < PAGES; i++) {
		uint32_t expected = is_written(i) ? (i % 250 + 1) * 0x01010101u : i;
		if (i == ZEROS)
			expected = 0;
		assert_int_equal(*page_of(at, i), expected);
	}
	/* a fork of a fork has as many: the chain does not grow */
	assert_int_equal(pages_save(getpid(), mem, again), 200 + 200 + 1);
	struct stat second;
	assert_int_equal(fstat(again, &second), 0);
	assert_int_equal(second.st_size, st.st_size);
	assert_int_equal(munmap(at, SIZE), 0);
}

/* Firecracker maps the memory in two parts, the second below the first. */
static void parts_may_be_mapped_in_any_order(void **state)
{
	AUTO_CLOSE int mem = make_memory(state);
	AUTO_CLOSE int file = new_file(state, "pages.bin");
	const uint64_t half = SIZE / 2;
	uint8_t *low = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(low, MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		uint8_t *at = mmap(low + (i ? 0 : half), half, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_FIXED, mem, (off_t)(i ? half : 0));
		assert_ptr_not_equal(at, MAP_FAILED);
		memset(at + PAGES_SIZE, 1 + i, PAGES_SIZE);
	}
	assert_int_equal(pages_save(getpid(), mem, file), 2);
	assert_int_equal(munmap(low, SIZE), 0);
	uint32_t *at = map(mem);
	assert_int_equal(pages_load(getpid(), mem, file), 0);
	assert_int_equal(*page_of(at, 0), 0);
	assert_int_equal(*page_of(at, 1), 0x01010101);
	assert_int_equal(*page_of(at, PAGES / 2), PAGES / 2);
	assert_int_equal(*page_of(at, PAGES / 2 + 1), 0x02020202);
	assert_int_equal(munmap(at, SIZE), 0);
}

static void own_pages_and_the_memory_become_one_file(void **state)
{
	AUTO_CLOSE int mem = make_memory(state);
	AUTO_CLOSE int file = new_file(state, "pages.bin");
	uint32_t *at = map(mem);
	write_own(at);
	assert_true(pages_save(getpid(), mem, file) > 0);
	assert_int_equal(munmap(at, SIZE), 0);
	assert_int_equal(pages_flatten(file, mem), 0);
	at = map(mem);
	for (uint32_t i = 0; i < PAGES; i++) {
		uint32_t expected = is_written(i) ? (i % 250 + 1) * 0x01010101u : i;
		if (i == ZEROS)
			expected = 0;
		assert_int_equal(*page_of(at, i), expected);
	}
	assert_int_equal(munmap(at, SIZE), 0);
	assert_int_equal(ftruncate(mem, (off_t)SIZE / 2), 0);
	assert_int_equal(pages_flatten(file, mem), -EBADMSG);
}

static void pages_of_another_memory_are_refused(void **state)
{
	AUTO_CLOSE int mem = make_memory(state);
	AUTO_CLOSE int file = new_file(state, "pages.bin");
	uint32_t *at = map(mem);
	write_own(at);
	assert_true(pages_save(getpid(), mem, file) > 0);
	assert_int_equal(ftruncate(mem, (off_t)SIZE / 2), 0);
	assert_int_equal(pages_load(getpid(), mem, file), -EBADMSG);
	assert_int_equal(munmap(at, SIZE), 0);
}

static void a_process_without_the_memory_is_reported(void **state)
{
	AUTO_CLOSE int mem = make_memory(state);
	AUTO_CLOSE int file = new_file(state, "pages.bin");
	assert_int_equal(pages_save(getpid(), mem, file), -ENXIO);
}

static int note_pages(void *arg, int pagemap_fd, const struct pages_mapping *m)
{
	uint64_t *most = arg;
	(void)pagemap_fd;
	*most = m->n_pages > *most ? m->n_pages : *most;
	return 0;
}

/* A VMM that is broken into maps what it wants.  Its terabyte must not be looked through. */
static void a_mapping_ends_with_the_file(void **state)
{
	static const size_t terabyte = (size_t)1 << 40;
	AUTO_CLOSE int mem = make_memory(state);
	AUTO_CLOSE int file = new_file(state, "pages.bin");
	struct stat st;
	uint64_t most = 0;
	assert_int_equal(fstat(mem, &st), 0);
	void *behind = mmap(NULL, terabyte, PROT_READ, MAP_PRIVATE, mem, (off_t)SIZE);
	assert_true(behind != MAP_FAILED);
	assert_int_equal(pages_each_mapping(getpid(), &st, note_pages, &most), -ENXIO);
	void *long_one = mmap(NULL, terabyte, PROT_READ, MAP_PRIVATE, mem, PAGES_SIZE);
	assert_true(long_one != MAP_FAILED);
	assert_int_equal(pages_each_mapping(getpid(), &st, note_pages, &most), 0);
	assert_int_equal(most, PAGES - 1);
	assert_int_equal(pages_save(getpid(), mem, file), 0);
	assert_int_equal(munmap(behind, terabyte), 0);
	assert_int_equal(munmap(long_one, terabyte), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(own_pages_are_written_over_another_mapping),
		test(parts_may_be_mapped_in_any_order),
		test(own_pages_and_the_memory_become_one_file),
		test(pages_of_another_memory_are_refused),
		test(a_process_without_the_memory_is_reported),
		test(a_mapping_ends_with_the_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
