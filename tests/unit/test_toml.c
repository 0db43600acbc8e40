/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "codec/toml.h"

static void values_keep_their_types_lines_and_order(void **state)
{
	(void)state;
	static const char text[] = "z = \"text\"\n"
				   "a = -5\n"
				   "f = 1.5\n"
				   "b = true\n"
				   "l = [1, 2]\n"
				   "[t]\n"
				   "x.y = 'in'\n"
				   "[[v]]\n"
				   "[[v]]\n"
				   "k = 1\n";
	AUTO(toml_value) root = NULL;
	assert_int_equal(toml_parse(text, strlen(text), "t.toml", &root, NULL), 0);

	static const struct {
		const char *key;
		enum toml_type type;
		unsigned line;
	} members[] = {
		{ "z", TOML_STRING, 1 },  { "a", TOML_INTEGER, 2 }, { "f", TOML_FLOAT, 3 },
		{ "b", TOML_BOOLEAN, 4 }, { "l", TOML_ARRAY, 5 },   { "t", TOML_TABLE, 6 },
		{ "v", TOML_ARRAY, 8 },
	};
	assert_int_equal(root->n_children, MVM_ARRAY_SIZE(members));
	for (size_t i = 0; i < MVM_ARRAY_SIZE(members); i++) {
		assert_string_equal(root->children[i].key, members[i].key);
		assert_int_equal(root->children[i].type, members[i].type);
		assert_int_equal(root->children[i].line, members[i].line);
	}
	assert_string_equal(toml_get(root, "z")->string, "text");
	assert_int_equal(toml_get(root, "a")->integer, -5);
	assert_true(toml_get(root, "f")->real == 1.5);
	assert_true(toml_get(root, "b")->boolean);
	assert_int_equal(toml_get(root, "l")->children[1].integer, 2);
	assert_string_equal(toml_get(toml_get(toml_get(root, "t"), "x"), "y")->string, "in");
	assert_int_equal(toml_get(root, "v")->n_children, 2);
	assert_int_equal(toml_get(root, "v")->children[1].line, 9);
	assert_null(toml_get(root, "nothing"));
}

static void times_are_spelled_as_rfc_3339_has_it(void **state)
{
	(void)state;
	static const struct {
		const char *text, *spelled;
		enum toml_type type;
	} cases[] = {
		{ "1979-05-27T07:32:00Z", "1979-05-27T07:32:00Z", TOML_OFFSET_DATE_TIME },
		{ "1979-05-27 00:32:00.500-07:30", "1979-05-27T00:32:00.5-07:30",
		  TOML_OFFSET_DATE_TIME },
		{ "1979-05-27T07:32:00", "1979-05-27T07:32:00", TOML_LOCAL_DATE_TIME },
		{ "1979-05-27", "1979-05-27", TOML_LOCAL_DATE },
		{ "07:32:00", "07:32:00", TOML_LOCAL_TIME },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO(toml_value) root = NULL;
		AUTO_FREE char *text = str_printf("t = %s", cases[i].text);
		assert_int_equal(toml_parse(text, strlen(text), "t.toml", &root, NULL), 0);
		assert_int_equal(root->children[0].type, cases[i].type);
		assert_string_equal(root->children[0].string, cases[i].spelled);
	}
}

static void bad_documents_name_the_line(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned line;
	} cases[] = {
		{ "a", 1 },
		{ "a = 1\na = 2", 2 },
		{ "[\n", 1 },
		{ "a = \"x", 1 },
		{ "\n\na = 1 2", 3 },
		{ "a = \xff", 1 },
		{ "a = [1,\n2", 2 },
		{ "[a]\n[a]", 2 },
		{ "a = 99999999999999999999", 1 },
		{ "a = 2021-02-30", 1 },
		{ "a.\xd0\x9e = 1", 1 },
		{ "a = 1 \xd0\x9e", 1 },
		{ "a = 1 \xc2\xa0", 1 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		AUTO(toml_value) root = NULL;
		AUTO_FREE char *prefix = str_printf("t.toml:%u: ", cases[i].line);
		assert_int_equal(
			toml_parse(cases[i].text, strlen(cases[i].text), "t.toml", &root, &err),
			-EINVAL);
		assert_null(root);
		if (!str_starts(err.text, prefix))
			fail_msg("%s: %s", cases[i].text, err.text);
	}
}

static void nul_bytes_do_not_shorten_keys(void **state)
{
	(void)state;
	static const char text[] = "\"vcpus\\u0000x\" = \"a\\u0000b\"";
	AUTO(toml_value) root = NULL;
	assert_int_equal(toml_parse(text, strlen(text), "t.toml", &root, NULL), 0);
	assert_null(toml_get(root, "vcpus"));
	assert_int_equal(root->children[0].string_len, 3);
}

static char *repeat(const char *head, const char *unit, size_t n)
{
	AUTO_DONE(strbuf) b = { 0 };
	strbuf_adds(&b, head);
	for (size_t i = 0; i < n; i++)
		strbuf_adds(&b, unit);
	return strbuf_take(&b);
}

static void texts_over_a_limit_are_refused_before_they_are_parsed(void **state)
{
	(void)state;
	static const struct {
		const char *head, *unit;
		size_t n;
		int code;
		const char *says;
	} cases[] = {
		{ "#", "x", 10000001, -EFBIG, "t.toml: larger than 10 MB" },
		{ "\na", ".a", 3000000, -EFBIG, "t.toml:2: a key has more than 32 parts" },
		{ "[a", " . \"a.b\"", 40, -EFBIG, "t.toml:1: a key has more than 32 parts" },
		{ "a=[", "1,", 500001, -EFBIG, "t.toml:1: more than 500000 values" },
		{ "a=", "[", 1000, -EINVAL, NULL },
		{ "a=", "{a=", 1000, -EINVAL, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		AUTO(toml_value) root = NULL;
		AUTO_FREE char *text = repeat(cases[i].head, cases[i].unit, cases[i].n);
		assert_int_equal(toml_parse(text, strlen(text), "t.toml", &root, &err),
				 cases[i].code);
		if (cases[i].says)
			assert_string_equal(err.text, cases[i].says);
	}
}

static void dots_in_strings_and_comments_are_no_key_parts(void **state)
{
	(void)state;
	static const char *const heads[] = { "a = \"\"\"\n\\\"\"\"\\", "a = '''", "# " };
	static const char *const tails[] = { "\"\"\"", "'''", "" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(heads); i++) {
		AUTO(toml_value) root = NULL;
		AUTO_FREE char *start = str_printf("%s%s", heads[i], i == 0 ? "\n" : "");
		AUTO_FREE char *text = repeat(start, ".", 100);
		AUTO_FREE char *all = str_printf("%s%s\nb = 1.5\n", text, tails[i]);
		struct mvm_error err = { 0 };
		int r = toml_parse(all, strlen(all), "t.toml", &root, &err);
		if (r < 0)
			fail_msg("%s", err.text);
	}
}

static void letters_of_all_scripts_may_follow_a_line_ending_backslash(void **state)
{
	(void)state;
	static const char text[] = "a = \"\"\"\\\n  \xd0\x9e\xd1\x9e\"\"\"";
	AUTO(toml_value) root = NULL;
	assert_int_equal(toml_parse(text, strlen(text), "t.toml", &root, NULL), 0);
	assert_string_equal(root->children[0].string, "\xd0\x9e\xd1\x9e");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_keep_their_types_lines_and_order),
		cmocka_unit_test(times_are_spelled_as_rfc_3339_has_it),
		cmocka_unit_test(bad_documents_name_the_line),
		cmocka_unit_test(letters_of_all_scripts_may_follow_a_line_ending_backslash),
		cmocka_unit_test(nul_bytes_do_not_shorten_keys),
		cmocka_unit_test(texts_over_a_limit_are_refused_before_they_are_parsed),
		cmocka_unit_test(dots_in_strings_and_comments_are_no_key_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
