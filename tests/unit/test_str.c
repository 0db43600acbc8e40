/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

static void text_grows_and_is_handed_over(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) b = { 0 };
	for (int i = 0; i < 1000; i++)
		strbuf_addf(&b, "%d,", i);
	strbuf_adds(&b, "end");
	strbuf_add(&b, "\0x", 2);
	assert_int_equal(b.len, 3890 + 3 + 2);
	assert_memory_equal(b.data, "0,1,2,", 6);

	AUTO_FREE char *text = strbuf_take(&b);
	assert_non_null(text);
	assert_int_equal(strlen(text), 3893);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
}

static void an_empty_text_is_taken_as_an_empty_string(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) b = { 0 };
	AUTO_FREE char *text = strbuf_take(&b);
	assert_string_equal(text, "");
}

static void consuming_drops_from_the_front(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) b = { 0 };
	strbuf_consume(&b, 0);
	strbuf_adds(&b, "hello world");
	strbuf_consume(&b, 6);
	assert_string_equal(b.data, "world");
	strbuf_consume(&b, 5);
	assert_string_equal(b.data, "");
	assert_int_equal(b.len, 0);
}

static void a_length_that_overflows_is_remembered_as_failure(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) b = { 0 };
	strbuf_adds(&b, "x");
	strbuf_add(&b, "y", SIZE_MAX - 1);
	assert_true(b.failed);
	strbuf_adds(&b, "ignored");
	assert_int_equal(b.len, 1);
	assert_null(strbuf_take(&b));
}

static void a_list_is_an_argument_vector(void **state)
{
	(void)state;
	AUTO_DONE(strv) l = { 0 };
	strv_add(&l, "b");
	strv_addn(&l, "abc", 1);
	strv_addf(&l, "%c%d", 'c', 1);
	assert_int_equal(l.n, 3);
	assert_null(l.v[3]);
	strv_sort(&l);
	assert_string_equal(l.v[0], "a");
	assert_string_equal(l.v[1], "b");
	assert_string_equal(l.v[2], "c1");
	assert_true(strv_has(&l, "b"));
	assert_false(strv_has(&l, "d"));
	assert_false(l.failed);
}

static void an_empty_list_can_be_sorted_and_searched(void **state)
{
	(void)state;
	AUTO_DONE(strv) l = { 0 };
	strv_sort(&l);
	assert_false(strv_has(&l, "a"));
}

static void null_strings_compare_and_copy_safely(void **state)
{
	(void)state;
	bool failed = false;
	assert_true(str_eq(NULL, NULL));
	assert_false(str_eq(NULL, ""));
	assert_false(str_eq("a", NULL));
	assert_true(str_eq("a", "a"));
	assert_null(str_dup(NULL, &failed));
	assert_false(failed);
	assert_true(str_empty(NULL));
	assert_true(str_empty(""));
	assert_true(str_starts("abc", "ab"));
	assert_false(str_starts("a", "ab"));
}

static void the_nearest_word_is_suggested(void **state)
{
	(void)state;
	static const char *const words[] = { "build", "list", "info", "rollback", "prune" };
	static const struct {
		const char *word, *nearest;
	} cases[] = {
		{ "biuld", "build" },
		{ "lst", "list" },
		{ "rolback", "rollback" },
		{ "prnue", "prune" },
		{ "zzzz", NULL },
		{ "", NULL },
		{ "x", NULL },
		{ "inof", "info" }, /* two exchanged */
		{ "foo", NULL },
		{ "a-word-that-is-far-too-long-for-anybody-to-have-meant-one-of-these-words",
		  NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		const char *nearest = str_nearest(cases[i].word, words, MVM_ARRAY_SIZE(words));
		if (!str_eq(nearest, cases[i].nearest))
			fail_msg("nearest to '%s' is '%s'", cases[i].word,
				 nearest ? nearest : "(none)");
	}
	assert_null(str_nearest("build", NULL, 0));
}

static void bytes_are_written_as_hex(void **state)
{
	(void)state;
	char hex[9];
	str_hex("\x00\x7f\xff\x1a", 4, hex);
	assert_string_equal(hex, "007fff1a");
	str_hex("", 0, hex);
	assert_string_equal(hex, "");
}

static void amounts_are_short_and_binary(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ UINT64_C(256) << 20, "256 MiB" },
		{ UINT64_C(3) << 29, "1.5 GiB" },
		{ (UINT64_C(200) << 20) + 5000, "200 MiB" },
		{ UINT64_MAX, "15.9 EiB" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		char text[32];
		str_bytes(cases[i].bytes, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
}

/* The sanitizers tell of a byte that is read behind a string's end. */
static void a_character_is_sought_within_its_string(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t len;
	} cases[] = {
		{ "", 0 },
		{ "a", 1 },
		{ "\xc3\xa4", 2 },
		{ "\xc3", 0 },
		{ "\xe2\x82\xac", 3 },
		{ "\xe2\x82", 0 },
		{ "\xf0\x9f", 0 },
		{ "\xff", 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *exact = strdup(cases[i].text);
		assert_non_null(exact);
		assert_int_equal(str_utf8_len(exact), cases[i].len);
	}
}

static void secrets_are_compared_to_their_last_byte(void **state)
{
	(void)state;
	assert_true(str_eq_secret("", "", 0));
	assert_true(str_eq_secret("a\0b", "a\0b", 3));
	assert_false(str_eq_secret("a\0b", "a\0c", 3));
	assert_false(str_eq_secret("ab", "bb", 2));
	/* differences that would cancel each other out in a sum or an exclusive or */
	assert_false(str_eq_secret("ab", "ba", 2));
}

/* Its time must not tell where the first difference is.  So it reads all bytes, also after one:
 * here the second page of either is missing. */
static void secrets_are_read_whole_whatever_differs(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *a = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *b = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	(void)state;
	assert_true(a != MAP_FAILED && b != MAP_FAILED);
	a[0] = 1;
	assert_false(str_eq_secret(a, b, 2 * page));
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* a sanitizer's would report it */
		mprotect(a + page, page, PROT_NONE);
		mprotect(b + page, page, PROT_NONE);
		_exit(str_eq_secret(a, b, 2 * page));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	munmap(a, 2 * page);
	munmap(b, 2 * page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_grows_and_is_handed_over),
		cmocka_unit_test(an_empty_text_is_taken_as_an_empty_string),
		cmocka_unit_test(consuming_drops_from_the_front),
		cmocka_unit_test(a_length_that_overflows_is_remembered_as_failure),
		cmocka_unit_test(a_list_is_an_argument_vector),
		cmocka_unit_test(an_empty_list_can_be_sorted_and_searched),
		cmocka_unit_test(null_strings_compare_and_copy_safely),
		cmocka_unit_test(the_nearest_word_is_suggested),
		cmocka_unit_test(bytes_are_written_as_hex),
		cmocka_unit_test(amounts_are_short_and_binary),
		cmocka_unit_test(a_character_is_sought_within_its_string),
		cmocka_unit_test(secrets_are_compared_to_their_last_byte),
		cmocka_unit_test(secrets_are_read_whole_whatever_differs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
