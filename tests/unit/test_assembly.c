/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "artifact/assembly.h"
#include "artifact/chunk.h"
#include "codec/sha256.h"
#include "scratch.h"

#define KIB   UINT64_C(1024)
#define MIB   (UINT64_C(1) << 20)
#define BLOCK CHUNK_BLOCK

static int file_with(void **state, const char *name, const void *data, size_t len)
{
	int fd = openat(scratch_fd(state), name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, data, len), 0);
	return fd;
}

/* ---- plans ---- */

/* Begin a file with so many chunks to come, each of one block. */
static void add_file(struct chunk_index *x, const char *name, unsigned chunks)
{
	assert_int_equal(chunk_index_add_file(x, name, chunks * (uint64_t)BLOCK), 0);
}

static void add_chunk(struct chunk_index *x, uint32_t packed, uint16_t part, uint8_t digest)
{
	struct index_chunk c = { .blocks = 1, .packed = packed, .part = part };
	c.digest.bytes[0] = 1;
	c.digest.bytes[1] = digest;
	assert_int_equal(chunk_index_add(x, &c), 0);
}

static void add_part(struct chunk_index *x, uint64_t bytes)
{
	const struct mvm_digest digest = { { 0 } };
	assert_int_equal(chunk_index_add_part(x, &digest, bytes), 0);
}

struct plan {
	struct assembly a;
	struct chunk_ranges ranges;
	int fds[INDEX_MAX_FILES];
	int fd;
};

/* All files are wanted, and all chunks are missing. */
static void begin(void **state, struct plan *p, const struct chunk_index *x)
{
	p->fd = file_with(state, "file", "", 0);
	for (size_t i = 0; i < INDEX_MAX_FILES; i++)
		p->fds[i] = p->fd;
	assert_int_equal(assembly_init(&p->a, x, p->fds, NULL), 0);
}

static void make(struct plan *p, size_t most)
{
	chunk_ranges_done(&p->ranges);
	assert_int_equal(assembly_plan(&p->a, most, &p->ranges, NULL), 0);
}

static void end(struct plan *p)
{
	assembly_done(&p->a);
	chunk_ranges_done(&p->ranges);
	close(p->fd);
}

static void assert_range(const struct plan *p, size_t i, uint32_t part, uint64_t from,
			 uint64_t bytes)
{
	const struct chunk_range *r = &p->ranges.v[i];
	assert_true(i < p->ranges.n);
	if (r->part != part || r->from != from || r->bytes != bytes)
		fail_msg("range %zu: %u %ju %ju", i, r->part, (uintmax_t)r->from,
			 (uintmax_t)r->bytes);
}

static void a_short_gap_is_fetched_too(void **state)
{
	static const uint32_t packed[] = { 1000, 64 * KIB, 2000, 64 * KIB + 1, 3000 };
	AUTO_DONE(chunk_index) x = { 0 };
	struct plan p = { 0 };

	add_file(&x, "a", 5);
	for (uint8_t i = 0; i < 5; i++)
		add_chunk(&x, packed[i], 0, i);
	add_part(&x, 200 * KIB);
	begin(state, &p, &x);
	p.a.places[1].is_here = p.a.places[3].is_here = true;
	make(&p, 256);
	assert_int_equal(p.ranges.n, 2);
	assert_range(&p, 0, 0, 0, 3000 + 64 * KIB);
	assert_range(&p, 1, 0, 3001 + 128 * KIB, 3000);
	assert_true(p.ranges.bytes == 6000 + 64 * KIB);
	end(&p);
}

static void what_is_here_is_not_fetched(void **state)
{
	AUTO_DONE(chunk_index) x = { 0 };
	struct plan p = { 0 };

	add_file(&x, "a", 2);
	add_chunk(&x, 1000, 0, 1);
	add_chunk(&x, 1000, 0, 2);
	add_part(&x, 2041);
	begin(state, &p, &x);
	p.a.places[0].is_here = p.a.places[1].is_here = true;
	make(&p, 256);
	assert_int_equal(p.ranges.n, 0);
	assert_int_equal(p.ranges.bytes, 0);
	assert_false(assembly_lacks(&p.a, &x.files[0]));
	end(&p);
}

/* A request is for one blob. */
static void ranges_end_with_their_blob(void **state)
{
	AUTO_DONE(chunk_index) x = { 0 };
	struct plan p = { 0 };

	add_file(&x, "a", 3);
	add_chunk(&x, 1000, 0, 1);
	add_chunk(&x, 500, 1, 2);
	add_chunk(&x, 500, 1, 3);
	add_part(&x, 1025);
	add_part(&x, 1033);
	add_file(&x, "b", 1);
	add_chunk(&x, 700, 0, 4);
	add_part(&x, 725);
	begin(state, &p, &x);
	make(&p, 256);
	assert_int_equal(p.ranges.n, 3);
	assert_range(&p, 0, 0, 0, 1000);
	assert_range(&p, 1, 1, 0, 1000);
	assert_range(&p, 2, 2, 0, 700);
	/* they lie one after another in a packed file, with the tables of frames */
	assert_true(p.ranges.v[1].packed_at == 1025 && p.ranges.v[2].packed_at == 1025 + 1033);
	assert_true(p.a.packed_bytes == 1025 + 1033 + 725);
	end(&p);
}

static void a_chunk_is_fetched_once(void **state)
{
	AUTO_DONE(chunk_index) x = { 0 };
	struct plan p = { 0 };

	add_file(&x, "a", 3);
	add_chunk(&x, 100 * KIB, 0, 1);
	add_chunk(&x, 100 * KIB, 0, 2);
	add_chunk(&x, 100 * KIB, 0, 1);
	add_part(&x, 300 * KIB);
	begin(state, &p, &x);
	make(&p, 256);
	assert_int_equal(p.ranges.n, 1);
	assert_range(&p, 0, 0, 0, 200 * KIB);
	end(&p);
}

static void a_long_range_is_split(void **state)
{
	AUTO_DONE(chunk_index) x = { 0 };
	struct plan p = { 0 };
	uint64_t bytes = 0;

	add_file(&x, "a", 100);
	for (uint8_t i = 0; i < 100; i++)
		add_chunk(&x, MIB - 100, 0, i);
	add_part(&x, 100 * MIB);
	begin(state, &p, &x);
	make(&p, 256);
	assert_int_equal(p.ranges.n, 7);
	for (size_t i = 0; i < p.ranges.n; i++) {
		assert_true(p.ranges.v[i].bytes <= ASSEMBLY_RANGE_BYTES);
		assert_true(p.ranges.v[i].from == bytes);
		bytes += p.ranges.v[i].bytes;
	}
	assert_true(bytes == p.ranges.bytes && bytes == 100 * (MIB - 100));
	/* but there is a limit to their number */
	make(&p, 2);
	assert_int_equal(p.ranges.n, 2);
	for (uint32_t k = 0; k < 100; k += 2)
		p.a.places[k].is_here = true;
	make(&p, 256);
	assert_int_equal(p.ranges.n, 50);
	make(&p, 10);
	assert_in_range(p.ranges.n, 1, 10);
	end(&p);
}

/* ---- files ---- */

/* Bytes that look random and are the same everywhere. */
static void fill(uint8_t *to, size_t len, uint64_t x)
{
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		to[i] = (uint8_t)(x >> 24);
	}
}

static int sink_begin(void *arg, struct mvm_error *err)
{
	(void)arg;
	(void)err;
	return 0;
}

static int sink_write(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	(void)err;
	return file_write_all(*(int *)arg, data, len);
}

static int sink_end(void *arg, const struct mvm_digest *digest, uint64_t bytes,
		    struct mvm_error *err)
{
	(void)arg;
	(void)digest;
	(void)bytes;
	(void)err;
	return 0;
}

#define FILE_BYTES (6 * MIB - 77)

struct packed {
	uint8_t data[6 * MIB];
	struct chunk_index x;
	int fd;	  /* the file */
	int blob; /* its blobs, one after another: a packed file */
	struct assembly a;
	int fds[INDEX_MAX_FILES];
};

static void pack(void **state, struct packed *p, uint64_t seed)
{
	const struct blob_sink sink = { .begin = sink_begin,
					.write = sink_write,
					.end = sink_end,
					.arg = &p->blob,
					.part_bytes = MIB };
	fill(p->data, sizeof(p->data), seed);
	memset(p->data + 3 * MIB, 0, MIB);
	p->x = (struct chunk_index){ 0 };
	p->fd = file_with(state, "file", p->data, FILE_BYTES);
	p->blob = file_with(state, "blob", "", 0);
	assert_int_equal(pack_file("file", p->fd, &sink, &p->x, NULL, NULL), 0);
	assert_true(p->x.n_parts > 3);
	memset(p->fds, -1, sizeof(p->fds));
	p->fds[0] = file_with(state, "made", "", 0);
	assert_int_equal(assembly_init(&p->a, &p->x, p->fds, NULL), 0);
}

static void unpack_done(struct packed *p)
{
	assembly_done(&p->a);
	chunk_index_done(&p->x);
	close(p->fd);
	close(p->blob);
	close(p->fds[0]);
}

static void assert_whole(struct packed *p)
{
	static uint8_t made[6 * MIB];

	assert_int_equal(p->a.n_missing, 0);
	assert_int_equal(assembly_check(&p->a, 0, NULL, NULL), 0);
	assert_int_equal(pread(p->fds[0], made, sizeof(made), 0), FILE_BYTES);
	assert_memory_equal(made, p->data, FILE_BYTES);
	assert_true(lseek(p->fds[0], 3 * MIB, SEEK_HOLE) == 3 * MIB);
}

static void a_packed_file_gives_all_chunks(void **state)
{
	static struct packed p;

	pack(state, &p, 1);
	assert_int_equal(assembly_take_packed(&p.a, p.blob, NULL, NULL), 0);
	assert_whole(&p);
	unpack_done(&p);
}

static void a_damaged_frame_is_still_missing(void **state)
{
	struct mvm_error err = { 0 };
	static struct packed p;

	pack(state, &p, 2);
	const uint64_t at = p.a.places[5].packed_at + 50;
	assert_int_equal(pwrite(p.blob, "damage", 6, (off_t)at), 6);
	assert_int_equal(assembly_take_packed(&p.a, p.blob, NULL, NULL), 0);
	assert_int_equal(p.a.n_missing, 1);
	assert_true(!p.a.places[5].is_here && assembly_lacks(&p.a, &p.x.files[0]));
	assert_int_equal(assembly_check(&p.a, 0, NULL, &err), -EBADMSG);
	assert_string_equal(err.text, "'file' is damaged: it does not have its digest");
	unpack_done(&p);
}

/* A local file that is alike, and moved by some blocks. */
static void a_local_file_gives_what_it_has(void **state)
{
	static uint8_t other[6 * MIB + 3 * BLOCK];
	AUTO_DONE(chunk_index) list = { 0 }, again = { 0 };
	AUTO_FREE uint8_t *text = NULL;
	static struct packed p;
	uint64_t taken = 0;
	size_t len;

	pack(state, &p, 3);
	fill(other, 3 * BLOCK, 99);
	memcpy(other + 3 * BLOCK, p.data, FILE_BYTES);
	memset(other + 2 * MIB, 'x', 100);
	AUTO_CLOSE int fd = file_with(state, "other", other, FILE_BYTES + 3 * BLOCK);
	assert_int_equal(chunks_of_file("other", fd, &list, NULL, NULL), 0);
	assert_int_equal(assembly_take_file(&p.a, fd, &list, &list.files[0], NULL, &taken, NULL),
			 0);
	assert_in_range(p.a.n_missing, 1, 6);
	assert_true(taken > 3 * MIB);
	/* such a list is an index that can be kept */
	assert_int_equal(chunk_index_format(&list, &text, &len, NULL), 0);
	assert_int_equal(chunk_index_parse(text, len, &again, NULL), 0);
	assert_int_equal(again.n_chunks, list.n_chunks);
	assert_int_equal(assembly_take_packed(&p.a, p.blob, NULL, NULL), 0);
	assert_whole(&p);
	unpack_done(&p);
}

static void a_list_that_lies_gives_nothing_wrong(void **state)
{
	static struct packed p;
	uint64_t taken = 0;

	pack(state, &p, 4);
	AUTO_CLOSE int fd = file_with(state, "other", p.data + BLOCK, FILE_BYTES - BLOCK);
	assert_int_equal(assembly_take_file(&p.a, fd, &p.x, &p.x.files[0], NULL, &taken, NULL), 0);
	assert_int_equal(taken, 0);
	assert_int_equal(p.a.n_missing, p.a.n_sorted);
	assert_int_equal(assembly_take_packed(&p.a, p.blob, NULL, NULL), 0);
	assert_whole(&p);
	unpack_done(&p);
}

/* ---- files that are used while they come ---- */

/* Bytes of the file, in pages, that on_put() has named. */
static void note_put(void *arg, uint32_t file, uint64_t offset, uint64_t bytes)
{
	uint64_t *sum = arg;
	assert_int_equal(file, 0);
	assert_int_equal(offset % BLOCK, 0);
	*sum += bytes;
}

static void only_what_was_called_for_is_planned(void **state)
{
	AUTO_DONE(chunk_ranges) ranges = { 0 };
	static struct packed p;
	uint64_t sum = 0;

	pack(state, &p, 5);
	p.a.on_put = note_put;
	p.a.arg = &sum;
	assembly_put_off(&p.a, true);
	assert_int_equal(assembly_plan(&p.a, 256, &ranges, NULL), 0);
	assert_int_equal(ranges.n, 0);
	assert_int_equal(assembly_take_packed(&p.a, p.blob, NULL, NULL), 0);
	assert_int_equal(p.a.n_missing, p.a.n_sorted);
	chunk_ranges_done(&ranges);
	/* one byte of a chunk is the chunk; a hole is nothing */
	const uint64_t second = p.a.places[1].offset;
	assert_int_equal(assembly_call_for(&p.a, 0, second - 1, 2), 2);
	assert_int_equal(assembly_call_for(&p.a, 0, 3 * MIB, MIB), 0);
	assert_int_equal(assembly_plan(&p.a, 256, &ranges, NULL), 0);
	assert_int_equal(ranges.n, 1);
	assert_int_equal(ranges.v[0].bytes, p.x.chunks[0].packed + p.x.chunks[1].packed);
	assert_int_equal(assembly_take_range(&p.a, p.blob, &ranges.v[0], NULL), 0);
	assert_int_equal(p.a.n_sorted - p.a.n_missing, 2);
	assert_true(sum == p.a.places[2].offset);
	assembly_put_off(&p.a, false);
	assert_int_equal(assembly_take_packed(&p.a, p.blob, NULL, NULL), 0);
	assert_true(sum == FILE_BYTES - MIB);
	assert_whole(&p);
	unpack_done(&p);
}

static void the_first_ranges_are_short(void **state)
{
	AUTO_DONE(chunk_ranges) ranges = { 0 };
	static struct packed p;

	pack(state, &p, 6);
	assert_int_equal(assembly_plan_first(&p.a, 2, 700 * KIB, &ranges, NULL), 0);
	assert_int_equal(ranges.n, 2);
	assert_true(ranges.v[0].bytes <= 1100 * KIB && ranges.v[0].from == 0);
	unpack_done(&p);
}

static void a_range_tells_of_damage(void **state)
{
	AUTO_DONE(chunk_ranges) ranges = { 0 };
	static struct packed p;

	pack(state, &p, 7);
	assert_int_equal(pwrite(p.blob, "damage", 6, (off_t)p.a.places[0].packed_at + 50), 6);
	assert_int_equal(assembly_plan_first(&p.a, 1, MIB, &ranges, NULL), 0);
	assert_int_equal(assembly_take_range(&p.a, p.blob, &ranges.v[0], NULL), 1);
	assert_false(p.a.places[0].is_here);
	unpack_done(&p);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_short_gap_is_fetched_too),
		TEST(what_is_here_is_not_fetched),
		TEST(ranges_end_with_their_blob),
		TEST(a_chunk_is_fetched_once),
		TEST(a_long_range_is_split),
		TEST(a_packed_file_gives_all_chunks),
		TEST(a_damaged_frame_is_still_missing),
		TEST(a_local_file_gives_what_it_has),
		TEST(a_list_that_lies_gives_nothing_wrong),
		TEST(only_what_was_called_for_is_planned),
		TEST(the_first_ranges_are_short),
		TEST(a_range_tells_of_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
