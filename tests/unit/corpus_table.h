/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CORPUS_TABLE_H
#define TESTS_CORPUS_TABLE_H

/* A fuzz corpus with an expected result for each input, and an input for each expected result. */

#include "image_util.h"

#include "base/str.h"

/* One input and its result. */
struct expected {
	const char *name;
	int code;	  /* 0, or a negative errno */
	const char *says; /* part of the error's text, or of a success's text */
};

/* tests/fuzz/corpus/<target>. */
static inline int open_corpus(const char *target)
{
	AUTO_FREE char *path = str_printf("%s/../fuzz/corpus/%s", getenv("MVM_TEST_UNIT_DIR"),
					  target);
	assert_non_null(path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Runs an input, and returns the code.  text: NUL-terminated; ret_shown: a success as text. */
typedef int (*run_input)(const char *text, size_t len, struct strbuf *ret_shown,
			 struct mvm_error *err);

static inline void check_corpus(const char *target, const struct expected *table, size_t n,
				run_input run)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int dir_fd = open_corpus(target);
	size_t wrong = 0;

	assert_int_equal(dir_list(dir_fd, &names), 0);
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *text = NULL;
		AUTO_DONE(strbuf) shown = { 0 };
		struct mvm_error err = { 0 };
		size_t len;
		assert_true(strv_has(&names, table[i].name));
		assert_int_equal(file_read_at(dir_fd, table[i].name, 16 << 20, &text, &len), 0);
		int r = run(text, len, &shown, &err);
		const char *text_shown = shown.data ? shown.data : "";
		const char *got = r < 0 ? err.text : text_shown;
		bool same = r < 0 ? strstr(got, table[i].says) != NULL
				  : strcmp(got, table[i].says) == 0;
		if (r == table[i].code && same)
			continue;
		print_error("%s: %d '%s', expected %d '%s'\n", table[i].name, r, got, table[i].code,
			    table[i].says);
		wrong++;
	}
	assert_int_equal(wrong, 0);
	assert_int_equal(names.n, n); /* every input has its line */
}

#endif
