/* SPDX-License-Identifier: Apache-2.0 */
/* Labels as a user gives them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "model/label.h"
#include "model/strings.h"

static void a_key_is_a_word_and_a_value_is_text(void **state)
{
	(void)state;
	static const char *const good[] = {
		"a", "a=", "a=b=c", "com.example/tier_1-x=y", "K=\xc3\xbc", "k= a, b ", "7=8"
	};
	static const char *const bad[] = { "",	     "=x",	   "a b=c",	".a=b",
					   "-a",     "a:b",	   "a=\x1b[1m", "a=b\nc",
					   "a=\x7f", "a=\xc2\x9b", "a=\xff",	"\xc3\xbc=a" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(good); i++)
		assert_int_equal(label_check(good[i], NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++) {
		struct mvm_error err = { 0 };
		if (label_check(bad[i], &err) != -EINVAL || !strstr(err.text, "label"))
			fail_msg("'%s': %s", bad[i], err.text);
	}
}

static void each_key_is_there_once_with_its_last_value(void **state)
{
	(void)state;
	static const char *const list[] = { "a=1", "b", "a=2", "ab=3", "b=x=y", NULL };
	AUTO_DONE(mvm_strings) made = { 0 };
	assert_int_equal(labels_make(list, &made, NULL), 0);
	assert_int_equal(made.n, 3);
	assert_string_equal(made.v[0], "a=2");
	assert_string_equal(made.v[1], "ab=3");
	assert_string_equal(made.v[2], "b=x=y");
	assert_int_equal(labels_make(NULL, &made, NULL), 0);
	assert_int_equal(made.n, 0);
	static const char *const alone[] = { "b", NULL };
	assert_int_equal(labels_make(alone, &made, NULL), 0);
	assert_string_equal(made.v[0], "b=");
}

static void their_number_and_length_are_bounded(void **state)
{
	(void)state;
	AUTO_DONE(mvm_strings) made = { 0 };
	char texts[LABELS_MAX + 1][16], key[LABEL_KEY_MAX + 2] = { 0 };
	static char value[LABELS_BYTES_MAX + 2] = "k=";
	const char *list[LABELS_MAX + 2] = { NULL };
	for (size_t i = 0; i <= LABELS_MAX; i++) {
		snprintf(texts[i], sizeof(texts[i]), "k%zu=v", i);
		list[i] = texts[i];
	}
	assert_int_equal(labels_make(list, &made, NULL), -E2BIG);
	list[LABELS_MAX] = NULL;
	assert_int_equal(labels_make(list, &made, NULL), 0);
	assert_int_equal(made.n, LABELS_MAX);

	memset(key, 'k', LABEL_KEY_MAX + 1);
	assert_int_equal(label_check(key, NULL), -EINVAL);
	key[LABEL_KEY_MAX] = '\0';
	assert_int_equal(label_check(key, NULL), 0);

	memset(value + 2, 'v', LABELS_BYTES_MAX - 2);
	const char *one[] = { value, NULL };
	assert_int_equal(labels_make(one, &made, NULL), 0);
	value[LABELS_BYTES_MAX] = 'v';
	assert_int_equal(labels_make(one, &made, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_a_word_and_a_value_is_text),
		cmocka_unit_test(each_key_is_there_once_with_its_last_value),
		cmocka_unit_test(their_number_and_length_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
