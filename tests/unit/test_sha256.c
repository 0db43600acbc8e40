/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "codec/sha256.h"

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void digests_of_known_texts(void **state)
{
	(void)state;
	/* FIPS 180-4 examples, as published by NIST */
	static const struct {
		const char *text, *hex;
	} cases[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", ABC },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mvm_digest d;
		char hex[DIGEST_HEX_SIZE];
		sha256_buf(cases[i].text, strlen(cases[i].text), &d);
		digest_hex(&d, hex);
		assert_string_equal(hex, cases[i].hex);
	}
}

static void a_file_is_digested_whole_and_its_offset_stays(void **state)
{
	(void)state;
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(fd >= 0);
	char chunk[4096];
	memset(chunk, 'x', sizeof(chunk));
	for (int i = 0; i < 40; i++)
		assert_int_equal(file_write_all(fd, chunk, sizeof(chunk)), 0);
	assert_int_equal(lseek(fd, 100, SEEK_SET), 100);

	struct mvm_digest from_file, from_parts;
	uint64_t bytes = 0;
	assert_int_equal(sha256_fd(fd, NULL, &from_file, &bytes), 0);
	assert_int_equal(bytes, 40 * sizeof(chunk));
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 100);
	close(fd);

	struct sha256 h;
	sha256_init(&h);
	for (int i = 0; i < 40; i++)
		sha256_add(&h, chunk, sizeof(chunk));
	sha256_end(&h, &from_parts);
	assert_true(digest_equal(&from_file, &from_parts));
}

static void holes_count_as_zeros(void **state)
{
	(void)state;
	/* offsets of single bytes of data; -1 ends the list */
	static const struct {
		off_t data[4], size;
	} cases[] = {
		{ { -1 }, 0 },
		{ { -1 }, 1 },
		{ { -1 }, 1 << 20 },
		{ { 0, -1 }, 300000 },
		{ { 299999, -1 }, 300000 },
		{ { 0, 100000, 299999, -1 }, 300000 },
		{ { 65536, -1 }, 3 * 65536 },
		{ { 4096, 131072, -1 }, 131073 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_digest sparse, dense;
		uint64_t bytes = 0;
		AUTO_CLOSE int fd = memfd_create("test", MFD_CLOEXEC);
		AUTO_FREE char *text = calloc(1, (size_t)cases[i].size + 1);
		assert_true(fd >= 0 && text && ftruncate(fd, cases[i].size) == 0);
		for (const off_t *at = cases[i].data; *at >= 0; at++) {
			text[*at] = 'x';
			assert_int_equal(pwrite(fd, "x", 1, *at), 1);
		}
		assert_int_equal(sha256_fd(fd, NULL, &sparse, &bytes), 0);
		assert_int_equal(bytes, cases[i].size);
		sha256_buf(text, (size_t)cases[i].size, &dense);
		assert_true(digest_equal(&sparse, &dense));
	}
}

static void zeros_count_as_holes_in_a_sparse_digest(void **state)
{
	(void)state;
	struct mvm_digest holes, zeros, other;
	char chunk[4096] = { 0 };
	int with_holes = memfd_create("holes", MFD_CLOEXEC);
	int with_zeros = memfd_create("zeros", MFD_CLOEXEC);
	for (int i = 0; i < 64; i++)
		assert_int_equal(file_write_all(with_zeros, chunk, sizeof(chunk)), 0);
	assert_int_equal(ftruncate(with_holes, 64 * 4096), 0);
	memset(chunk, 'x', 100);
	for (int i = 3; i < 64; i += 20) {
		assert_int_equal(pwrite(with_holes, chunk, 100, i * 4096 + 7), 100);
		assert_int_equal(pwrite(with_zeros, chunk, 100, i * 4096 + 7), 100);
	}
	assert_int_equal(sha256_sparse_fd(with_holes, NULL, &holes), 0);
	assert_int_equal(sha256_sparse_fd(with_zeros, NULL, &zeros), 0);
	assert_true(digest_equal(&holes, &zeros));
	/* the same bytes elsewhere, one bit, and the size make a difference */
	assert_int_equal(pwrite(with_zeros, chunk, 1, 17), 1);
	assert_int_equal(sha256_sparse_fd(with_zeros, NULL, &other), 0);
	assert_false(digest_equal(&holes, &other));
	assert_int_equal(ftruncate(with_holes, 63 * 4096 + 512), 0);
	assert_int_equal(sha256_sparse_fd(with_holes, NULL, &other), 0);
	assert_false(digest_equal(&holes, &other));
	/* a terabyte of nothing takes no time */
	assert_int_equal(ftruncate(with_holes, (off_t)1 << 40), 0);
	assert_int_equal(sha256_sparse_fd(with_holes, NULL, &other), 0);
	close(with_holes);
	close(with_zeros);
}

static void a_descriptor_that_cannot_be_read_is_an_error(void **state)
{
	(void)state;
	struct mvm_digest d;
	assert_int_equal(sha256_fd(-1, NULL, &d, NULL), -EBADF);
}

static void only_64_lower_case_hex_digits_are_a_digest(void **state)
{
	(void)state;
	struct mvm_digest d;
	char hex[DIGEST_HEX_SIZE];

	assert_int_equal(digest_parse(ABC, &d), 0);
	digest_hex(&d, hex);
	assert_string_equal(hex, ABC);

	static const char *const bad[] = {
		"",
		"ba",
		ABC "0",
		"BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
		"ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(digest_parse(bad[i], &d), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_of_known_texts),
		cmocka_unit_test(a_file_is_digested_whole_and_its_offset_stays),
		cmocka_unit_test(holes_count_as_zeros),
		cmocka_unit_test(zeros_count_as_holes_in_a_sparse_digest),
		cmocka_unit_test(a_descriptor_that_cannot_be_read_is_an_error),
		cmocka_unit_test(only_64_lower_case_hex_digits_are_a_digest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
