/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "codec/json.h"

static json_t *must_read(const char *text)
{
	json_t *doc = NULL;
	assert_int_equal(json_read(text, strlen(text), "f.json", &doc, NULL), 0);
	return doc;
}

static void texts_that_are_not_strict_json_are_damaged(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"{",
		"{} x",
		"{\"a\":1,\"a\":2}",
		"[NaN]",
		"[Infinity]",
		"[01]",
		"{\"a\":\"\\u0000\"}",
		"{\"\\u0000\":1}",
		"[\"\xff\"]",
		"['a']",
		"[1,]",
		"[99999999999999999999]",
		"// comment\n{}",
		"\"text\"",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++) {
		struct mvm_error err = { 0 };
		json_t *doc = NULL;
		assert_int_equal(json_read(bad[i], strlen(bad[i]), "f.json", &doc, &err), -EBADMSG);
		assert_null(doc);
		assert_true(str_starts(err.text, "f.json:1: "));
	}
}

static void deep_and_large_texts_are_refused(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	json_t *doc = NULL;
	char deep[200];

	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	assert_int_equal(json_read(deep, sizeof(deep), "f.json", &doc, &err), -EBADMSG);
	assert_string_equal(err.text, "f.json: nested deeper than 64 levels");
	assert_int_equal(json_read(deep, JSON_MAX_BYTES + 1, "f.json", &doc, &err), -EFBIG);
}

static void errors_name_the_file_and_the_key_path(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	AUTO_JSON json_t *doc = must_read(
		"{\"a\":{\"b\":{\"n\":300,\"s\":1,\"t\":\"yesterday\"}},\"l\":[\"x\",2]}");
	struct json_at root, a, b;
	uint64_t n = 7;
	int64_t t = 7;
	AUTO_FREE char *s = NULL;
	AUTO_DONE(strv) list = { 0 };

	json_root(&root, "f.json", doc);
	assert_int_equal(json_get_object(&root, "a", JSON_REQUIRED, &a, &err), 1);
	assert_int_equal(json_get_object(&a, "b", JSON_REQUIRED, &b, &err), 1);

	assert_int_equal(json_get_u64(&b, "n", 0, 255, JSON_REQUIRED, &n, &err), -EBADMSG);
	assert_string_equal(err.text, "f.json: a.b.n: expected a whole number from 0 to 255");
	assert_int_equal(n, 7);
	assert_int_equal(json_get_string(&b, "s", JSON_REQUIRED, &s, &err), -EBADMSG);
	assert_string_equal(err.text, "f.json: a.b.s: expected a string, not a number");
	assert_int_equal(json_get_string(&b, "x", JSON_REQUIRED, &s, &err), -EBADMSG);
	assert_string_equal(err.text, "f.json: a.b.x: is missing");
	assert_int_equal(json_get_time(&b, "t", JSON_REQUIRED, &t, &err), -EBADMSG);
	assert_string_equal(err.text, "f.json: a.b.t: 'yesterday' is no RFC 3339 time");
	assert_int_equal(json_get_strings(&root, "l", JSON_REQUIRED, &list, &err), -EBADMSG);
	assert_string_equal(err.text, "f.json: l[1]: expected a string, not a number");
	assert_int_equal(json_get_object(&root, "l", JSON_OPTIONAL, &a, &err), -EBADMSG);
	assert_string_equal(err.text, "f.json: l: expected an object, not an array");
}

static void a_missing_optional_member_leaves_the_result_alone(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	AUTO_JSON json_t *doc = must_read("{\"null\":null}");
	struct json_at root, o;
	uint64_t n = 7;

	json_root(&root, "f.json", doc);
	assert_int_equal(json_get_u64(&root, "gone", 0, 9, JSON_OPTIONAL, &n, &err), 0);
	assert_int_equal(n, 7);
	assert_int_equal(json_get_object(&root, "null", JSON_NULLABLE, &o, &err), 0);
	assert_int_equal(json_get_object(&root, "null", JSON_OPTIONAL, &o, &err), -EBADMSG);
}

static void fractions_are_not_whole_numbers(void **state)
{
	(void)state;
	static const char *const bad[] = { "2.5", "-1", "-1.0", "1e19", "\"2\"", "true", "null" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++) {
		AUTO_FREE char *text = str_printf("{\"n\":%s}", bad[i]);
		AUTO_JSON json_t *doc = must_read(text);
		struct json_at root;
		uint64_t n = 7;
		json_root(&root, "f.json", doc);
		assert_int_equal(json_get_u64(&root, "n", 0, JSON_U64_MAX, JSON_REQUIRED, &n, NULL),
				 -EBADMSG);
		assert_int_equal(n, 7);
	}
}

static void whole_numbers_may_be_written_as_reals(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t n;
	} good[] = { { "2.0", 2 }, { "1e2", 100 }, { "0.0", 0 }, { "1e18", 1000000000000000000 } };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(good); i++) {
		AUTO_FREE char *text = str_printf("{\"n\":%s}", good[i].text);
		AUTO_JSON json_t *doc = must_read(text);
		struct json_at root;
		uint64_t n = 7;
		json_root(&root, "f.json", doc);
		assert_int_equal(json_get_u64(&root, "n", 0, JSON_U64_MAX, JSON_REQUIRED, &n, NULL),
				 1);
		assert_int_equal(n, good[i].n);
	}
}

static void pairs_keep_their_order_and_refuse_odd_names(void **state)
{
	(void)state;
	AUTO_JSON json_t *doc = must_read("{\"p\":{\"z\":\"1\",\"a\":\"x=y\"},\"q\":{\"\":\"\"}}");
	struct json_at root;
	AUTO_DONE(strv) pairs = { 0 };

	json_root(&root, "f.json", doc);
	assert_int_equal(json_get_pairs(&root, "p", JSON_REQUIRED, &pairs, NULL), 1);
	assert_int_equal(pairs.n, 2);
	assert_string_equal(pairs.v[0], "z=1");
	assert_string_equal(pairs.v[1], "a=x=y");
	assert_int_equal(json_get_pairs(&root, "q", JSON_REQUIRED, &pairs, NULL), -EBADMSG);
}

static void files_are_pretty_and_hashed_text_is_sorted(void **state)
{
	(void)state;
	static const char *const words[] = { "x", "y" };
	static const struct {
		enum json_text_form form;
		const char *text;
	} cases[] = {
		{ JSON_TEXT_PRETTY, "{\n  \"z\": 1,\n  \"a\": [\n    \"x\",\n    \"y\"\n  ],\n"
				    "  \"t\": \"1970-01-01T00:00:00Z\",\n  \"new\": true\n}\n" },
		{ JSON_TEXT_SORTED,
		  "{\"a\":[\"x\",\"y\"],\"new\":true,\"t\":\"1970-01-01T00:00:00Z\",\"z\":1}" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_JSON json_t *others = must_read("{\"z\":9,\"new\":true}");
		struct json_out out = { 0 };
		AUTO_FREE char *text = NULL;
		json_t *o = json_new(&out);
		json_put_u64(&out, o, "z", 1);
		json_put_strings(&out, o, "a", (char *const *)words, 2);
		json_put_time(&out, o, "t", 0);
		json_put_others(&out, o, others);
		assert_int_equal(json_out_text(&out, o, cases[i].form, &text, NULL), 0);
		assert_string_equal(text, cases[i].text);
	}
}

static void text_that_is_not_utf8_cannot_be_written(void **state)
{
	(void)state;
	struct json_out out = { 0 };
	AUTO_FREE char *text = NULL;
	json_t *o = json_new(&out);
	json_put_string(&out, o, "bad", "\xff");
	assert_true(json_out_text(&out, o, JSON_TEXT_PRETTY, &text, NULL) < 0);
	assert_null(text);
}

static void unknown_members_are_collected(void **state)
{
	(void)state;
	static const char *const known[] = { "a", "b" };
	AUTO_JSON json_t *doc = must_read("{\"x\":1,\"a\":2,\"y\":{\"k\":3}}");
	AUTO_JSON json_t *others = NULL;
	struct json_at root;

	json_root(&root, "f.json", doc);
	assert_int_equal(json_unknown(&root, known, 2, &others, NULL), 0);
	assert_int_equal(json_object_size(others), 2);
	assert_non_null(json_object_get(others, "y"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_that_are_not_strict_json_are_damaged),
		cmocka_unit_test(deep_and_large_texts_are_refused),
		cmocka_unit_test(errors_name_the_file_and_the_key_path),
		cmocka_unit_test(a_missing_optional_member_leaves_the_result_alone),
		cmocka_unit_test(fractions_are_not_whole_numbers),
		cmocka_unit_test(whole_numbers_may_be_written_as_reals),
		cmocka_unit_test(pairs_keep_their_order_and_refuse_odd_names),
		cmocka_unit_test(files_are_pretty_and_hashed_text_is_sorted),
		cmocka_unit_test(text_that_is_not_utf8_cannot_be_written),
		cmocka_unit_test(unknown_members_are_collected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
