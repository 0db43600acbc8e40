/* SPDX-License-Identifier: Apache-2.0 */
/* Sparse files in copies: their holes cost nothing, other tools read them, and a hostile sender's
 * map does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "copy/pack.h"
#include "copy/unpack.h"
#include "scratch.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* A file of 900 GiB with a few words in it, two of them beyond the 8 GiB of ustar. */
#define HUGE_SIZE (900 * GIB)
static const struct {
	uint64_t at;
	const char *text;
} words[] = {
	{ 3, "first" },
	{ 5 * MIB, "2" },
	{ 7 * MIB, "3" },
	{ 9 * MIB, "4" },
	{ 11 * MIB, "5" },
	{ 9 * GIB, "six" },
	{ 800 * GIB + 7, "seven" },
	{ 899 * GIB, "the eighth" },
};

static void make_huge(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_int_equal(
			pwrite(fd, words[i].text, strlen(words[i].text), (off_t)words[i].at),
			strlen(words[i].text));
	assert_int_equal(ftruncate(fd, (off_t)HUGE_SIZE), 0);
	const struct timespec times[2] = { { 1, 2 }, { 1000000000, 123456789 } };
	assert_int_equal(futimens(fd, times), 0);
}

static void assert_huge(int dir_fd, const char *path)
{
	struct stat st;
	AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, HUGE_SIZE);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	assert_true((uint64_t)st.st_blocks * 512 < 2 * MIB);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char have[16] = { 0 };
		size_t len = strlen(words[i].text);
		assert_int_equal(pread(fd, have, len + 1, (off_t)words[i].at), len + 1);
		assert_string_equal(have, words[i].text); /* with a zero after it */
	}
}

static void pack_into(int dir_fd, const char *path, unsigned flags, size_t max,
		      struct strbuf *stream)
{
	AUTO(pack) p = NULL;
	struct mvm_error err = { 0 };
	char chunk[3000];
	ssize_t n;
	assert_int_equal(pack_open(dir_fd, path, path, flags, &p, &err), 0);
	while ((n = pack_read(p, chunk, sizeof(chunk), &err)) > 0) {
		strbuf_add(stream, chunk, (size_t)n);
		assert_true(stream->len < max);
	}
	assert_int_equal(n, 0);
}

static int unpack_from(int dir_fd, const char *path, uint64_t max_bytes, size_t piece,
		       const struct strbuf *stream, struct mvm_error *err)
{
	const struct unpack_options o = { .dir_fd = dir_fd, .path = path, .max_bytes = max_bytes };
	AUTO(unpack) u = NULL;
	int r = unpack_open(&o, &u, err);
	for (size_t at = 0; r == 0 && at < stream->len; at += piece)
		r = unpack_write(u, stream->data + at,
				 stream->len - at < piece ? stream->len - at : piece, err);
	return r < 0 ? r : unpack_finish(u, err);
}

/* Run a tool in the folder.  Returns its status, 127 when the tool is missing. */
static int run_in(int dir_fd, const char *const argv[])
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		if (fchdir(dir_fd) == 0)
			execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool can_be_huge(int dir_fd)
{
	AUTO_CLOSE int fd = openat(dir_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	return fd >= 0 && ftruncate(fd, (off_t)HUGE_SIZE) == 0;
}

static void a_huge_hole_costs_nothing(void **state)
{
	static const size_t pieces[] = { 65536, 511, 1 };
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };

	if (!can_be_huge(s->fd))
		skip(); /* too large for this file system */
	make_huge(s->fd, "f");
	pack_into(s->fd, "f", PACK_HOLES, MIB, &stream);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct mvm_error err = { 0 };
		/* holes do not count against the limit */
		assert_int_equal(unpack_from(s->fd, "copy", MIB, pieces[i], &stream, &err), 0);
		assert_huge(s->fd, "copy");
		assert_int_equal(unlinkat(s->fd, "copy", 0), 0);
	}
}

static void a_reader_that_takes_no_holes_gets_zeros(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	struct stat st;

	AUTO_CLOSE int fd = openat(s->fd, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, MIB), 0);
	pack_into(s->fd, "f", 0, 2 * MIB, &stream);
	assert_true(stream.len > MIB);
	assert_int_equal(unpack_from(s->fd, "copy", 0, 65536, &stream, &err), 0);
	assert_int_equal(fstatat(s->fd, "copy", &st, 0), 0);
	assert_int_equal(st.st_size, MIB);
}

static void other_tools_read_it(void **state)
{
	static const char *const tools[][6] = {
		{ "tar", "--warning=no-timestamp", "-xf", "s.tar", "-C", "o" },
		{ "bsdtar", "-x", "-f", "s.tar", "-C", "o" },
	};
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	char name[200] = "t/";

	if (!can_be_huge(s->fd))
		skip(); /* too large for this file system */
	assert_int_equal(mkdirat(s->fd, "t", 0755), 0);
	make_huge(s->fd, "t/short");
	memset(name + 2, 'n', 150); /* too long for the header's field */
	make_huge(s->fd, name);
	AUTO_CLOSE int fd = openat(s->fd, "t/z", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "hi", 2), 2);
	pack_into(s->fd, "t", PACK_HOLES, 3 * MIB, &stream);
	assert_int_equal(file_create_at(s->fd, "s.tar", stream.data, stream.len, 0600), 0);
	for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
		const char *argv[7] = { 0 };
		AUTO_FREE char *text = NULL;
		memcpy(argv, tools[i], sizeof(tools[i]));
		assert_int_equal(mkdirat(s->fd, "o", 0755), 0);
		int status = run_in(s->fd, argv);
		if (i > 0 && status == 127) {
			print_message("%s is not here\n", argv[0]);
		} else {
			AUTO_CLOSE int out = dir_open_at(s->fd, "o");
			assert_int_equal(status, 0);
			assert_huge(out, "t/short");
			assert_huge(out, name);
			assert_int_equal(file_read_at(out, "t/z", 9, &text, NULL), 0);
			assert_string_equal(text, "hi");
		}
		assert_int_equal(tree_remove_at(s->fd, "o"), 0);
	}
}

static void assert_same(int a, int b, off_t size)
{
	static char have[100000], want[100000];
	for (off_t at = 0; at < size; at += (off_t)sizeof(have)) {
		ssize_t n = pread(b, want, sizeof(want), at);
		assert_int_equal(pread(a, have, sizeof(have), at), n);
		assert_memory_equal(have, want, (size_t)n);
	}
	assert_int_equal(lseek(a, 0, SEEK_END), size);
}

static void maps_of_gnu_tar_are_read(void **state)
{
	static const char *const forms[] = { "--format=gnu", "--sparse-version=0.0",
					     "--sparse-version=0.1", "--sparse-version=1.0" };
	struct scratch *s = *state;

	AUTO_CLOSE int fd = openat(s->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (size_t i = 0; i < 30; i++)
		assert_int_equal(pwrite(fd, "word", 4, (off_t)(i * 100000 + i)), 4);
	assert_int_equal(ftruncate(fd, 20 * MIB), 0);
	AUTO_CLOSE int hole = openat(s->fd, "hole", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(hole, 3 * MIB), 0);
	static const struct {
		const char *name;
		off_t size;
	} files[] = { { "f", 20 * MIB }, { "hole", 3 * MIB } };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(forms) * MVM_ARRAY_SIZE(files); i++) {
		const char *form = forms[i / 2], *name = files[i % 2].name;
		const char *format = form == forms[0] ? form : "--format=posix";
		const char *const pack[] = { "tar", format, form, "-Scf", "t", name, NULL };
		struct mvm_error err = { 0 };
		AUTO_DONE(strbuf) stream = { 0 };
		assert_int_equal(run_in(s->fd, pack), 0);
		assert_int_equal(file_read_at(s->fd, "t", MIB, &stream.data, &stream.len), 0);
		int r = unpack_from(s->fd, "copy", 0, 1000, &stream, &err);
		if (r < 0)
			fail_msg("%s: %s", form, err.text);
		AUTO_CLOSE int copy = openat(s->fd, "copy", O_RDONLY | O_CLOEXEC);
		assert_same(copy, i % 2 ? hole : fd, files[i % 2].size);
		assert_int_equal(unlinkat(s->fd, "copy", 0), 0);
	}
}

/* Read a damaged archive: change `from`, which is in it, to `to`, which is as long. */
static void expect_damage(struct scratch *s, const char *form, const char *from, const char *to,
			  const char *says)
{
	const char *const pack[] = { "tar", "--format=posix", form, "-Scf", "t", "f", NULL };
	struct mvm_error err = { 0 };
	AUTO_DONE(strbuf) stream = { 0 };
	assert_int_equal(run_in(s->fd, pack), 0);
	assert_int_equal(file_read_at(s->fd, "t", MIB, &stream.data, &stream.len), 0);
	char *at = memmem(stream.data, stream.len, from, strlen(from));
	assert_non_null(at);
	memcpy(at, to, strlen(to));
	assert_int_equal(unpack_from(s->fd, "copy", 0, 1000, &stream, &err), -EBADMSG);
	if (!strstr(err.text, says))
		fail_msg("%s", err.text);
}

static void a_damaged_map_in_pax_form_is_refused(void **state)
{
	static const char no_sense[] = "a sparse file's map makes no sense";
	struct scratch *s = *state;
	AUTO_CLOSE int fd = openat(s->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(fd, "word", 4, 1048576), 4);
	assert_int_equal(ftruncate(fd, 20 * MIB), 0);
	expect_damage(s, "--sparse-version=0.0", "sparse.offset=1", "sparse.offset=x", no_sense);
	expect_damage(s, "--sparse-version=0.0", "sparse.numbytes", "sparse.nothing_", no_sense);
	expect_damage(s, "--sparse-version=0.0", "sparse.size=20", "sparse.size=00", no_sense);
	expect_damage(s, "--sparse-version=0.1", "map=1048576,4", "map=1048576,,", no_sense);
	expect_damage(s, "--sparse-version=0.1", "map=1048576,4", "map=1048576.4", no_sense);
	expect_damage(s, "--sparse-version=1.0", "\n1048576\n", "\n1048576 ", no_sense);
	expect_damage(s, "--sparse-version=1.0", "\n20971520\n", "\n99999999\n", no_sense);
	expect_damage(s, "--sparse-version=1.0", "sparse.major=1", "sparse.major=2",
		      "in a form that mvm does not know");
}

static void too_many_holes_are_filled_from_the_smallest(void **state)
{
	/* places of data, in units of 64 KiB: six pieces with holes of 1, 3, 8, 2, 9 and 4 */
	static const unsigned places[] = { 1, 5, 14, 17, 27 };
	struct scratch *s = *state;
	AUTO_DONE(tar_map) all = { 0 }, some = { 0 };
	const uint64_t unit = TAR_HOLE_MIN, size = 32 * unit;

	AUTO_CLOSE int fd = openat(s->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_FREE char *data = malloc(unit);
	assert_non_null(data);
	memset(data, 'x', unit);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		assert_int_equal(pwrite(fd, data, unit, (off_t)(places[i] * unit)), unit);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(tar_map_scan(fd, size, TAR_EXTENTS_MAX, &all), 0);
	assert_int_equal(all.n, 6);
	assert_int_equal(all.stored, 5 * unit);
	assert_int_equal(all.v[5].at, size);
	assert_int_equal(all.v[5].len, 0);
	assert_int_equal(tar_map_scan(fd, size, 4, &some), 0);
	assert_true(some.n <= 4);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		bool found = false; /* the sender must not drop this piece */
		for (size_t k = 0; k < some.n; k++)
			found |= some.v[k].at <= places[i] * unit &&
				 some.v[k].at + some.v[k].len >= (places[i] + 1) * unit;
		assert_true(found);
	}
}

/* Append one sparse entry with the given map. */
static void put_map(struct strbuf *to, uint64_t size, const struct tar_extent *v, size_t n,
		    uint64_t stored)
{
	struct tar_extent copy[40];
	memcpy(copy, v, n * sizeof(*v));
	const struct tar_map map = { .v = copy, .n = n, .stored = stored };
	const struct tar_entry e = {
		.type = TAR_FILE, .path = "f", .target = "", .mode = 0644, .size = size, .map = &map
	};
	tar_write_header(to, &e);
	for (uint64_t i = 0; i < stored && i < 4096; i++)
		strbuf_adds(to, "d");
	tar_write_padding(to, stored);
	tar_write_end(to);
}

static void an_invalid_map_is_damage(void **state)
{
	static const struct {
		uint64_t size;
		struct tar_extent v[6];
		size_t n;
		uint64_t stored;
	} cases[] = {
		{ 100, { { 0, 10 }, { 5, 10 } }, 2, 20 },    /* they overlap */
		{ 100, { { 50, 10 }, { 0, 10 } }, 2, 20 },   /* they descend */
		{ 100, { { 50, 51 } }, 1, 51 },		     /* beyond the file */
		{ 100, { { 101, 0 } }, 1, 0 },		     /* likewise */
		{ 100, { { 10, UINT64_MAX >> 9 } }, 1, 20 }, /* far beyond */
		{ UINT64_MAX >> 1, { { UINT64_MAX >> 1, 10 } }, 1, 10 },
		{ 100, { { 0, 10 } }, 1, 20 }, /* more data than the map has room for */
		{ 100, { { 0, 10 } }, 1, 5 },  /* less data */
		{ 100, { { 0, 1 }, { 2, 1 }, { 4, 1 }, { 6, 1 }, { 8, 1 }, { 8, 1 } }, 6, 6 },
		{ UINT64_MAX, { { 0, 10 } }, 1, 10 },
	};
	struct scratch *s = *state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(strbuf) stream = { 0 };
		AUTO_DONE(strv) names = { 0 };
		struct mvm_error err = { 0 };
		put_map(&stream, cases[i].size, cases[i].v, cases[i].n, cases[i].stored);
		assert_int_equal(unpack_from(s->fd, "c", 0, 100, &stream, &err), -EBADMSG);
		assert_int_equal(dir_list(s->fd, &names), 0);
		assert_int_equal(names.n, 0);
	}
}

static void a_map_with_gaps_is_damage(void **state)
{
	struct scratch *s = *state;
	for (int i = 0; i < 2; i++) {
		static const struct tar_extent v[] = { { 0, 1 }, { 2, 1 }, { 4, 1 },
						       { 6, 1 }, { 8, 1 }, { 10, 1 } };
		AUTO_DONE(strbuf) stream = { 0 };
		struct mvm_error err = { 0 };
		put_map(&stream, 100, v, 6, 6);
		if (i == 0) /* the map's block begins with an unused place */
			memset(stream.data + TAR_BLOCK, 0, 24);
		else /* the map ends early, but announces another block */
			stream.data[TAR_BLOCK + 504] = 1;
		assert_int_equal(unpack_from(s->fd, "c", 0, 100, &stream, &err), -EBADMSG);
	}
}

static void a_map_without_end_is_refused(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	static const struct tar_extent v[] = { { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } };
	char block[TAR_BLOCK] = { 0 };

	put_map(&stream, 100, v, 5, 0);
	stream.len = TAR_BLOCK;
	for (int i = 0; i < 21; i++)
		memcpy(block + (size_t)i * 24, "00000000000\00000000000000", 24);
	block[504] = 1;
	for (unsigned i = 0; i < TAR_EXTENTS_MAX / 21 + 1; i++)
		strbuf_add(&stream, block, sizeof(block));
	assert_int_equal(unpack_from(s->fd, "c", 0, 65536, &stream, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "too many pieces"));
}

static void data_count_against_the_limit_and_holes_do_not(void **state)
{
	static const struct tar_extent v[] = { { 0, 600 }, { 9 * MIB, 600 } };
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	put_map(&stream, 10 * MIB, v, 2, 1200);
	assert_int_equal(unpack_from(s->fd, "c", 1199, 100, &stream, &err), -EFBIG);
	assert_non_null(strstr(err.text, "has 1200 bytes"));
	assert_int_equal(unpack_from(s->fd, "c", 1200, 100, &stream, &err), 0);
}

static void an_impossible_size_is_reported(void **state)
{
	static const struct tar_extent v[] = { { 0, 1 } };
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	AUTO_DONE(strv) names = { 0 };
	struct mvm_error err = { 0 };
	AUTO_CLOSE int fd = openat(s->fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	if (fd >= 0 && ftruncate(fd, INT64_MAX) == 0)
		skip(); /* this file system can have such a file */
	put_map(&stream, INT64_MAX, v, 1, 1);
	assert_int_equal(unpack_from(s->fd, "c", 0, 100, &stream, &err), -EFBIG);
	assert_non_null(strstr(err.text, "cannot make 'f': File too large"));
	assert_int_equal(dir_list(s->fd, &names), 0);
	assert_int_equal(names.n, 0);
}

#define SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH(a_huge_hole_costs_nothing),
		SCRATCH(a_reader_that_takes_no_holes_gets_zeros),
		SCRATCH(other_tools_read_it),
		SCRATCH(maps_of_gnu_tar_are_read),
		SCRATCH(a_damaged_map_in_pax_form_is_refused),
		SCRATCH(too_many_holes_are_filled_from_the_smallest),
		SCRATCH(an_invalid_map_is_damage),
		SCRATCH(a_map_with_gaps_is_damage),
		SCRATCH(a_map_without_end_is_refused),
		SCRATCH(data_count_against_the_limit_and_holes_do_not),
		SCRATCH(an_impossible_size_is_reported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
