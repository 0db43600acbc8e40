/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Files in serde/ that the Rust program wrote: <name>.pretty.json and <name>.compact.json come from
 * serde_json's to_string_pretty and to_string of the seed's own types, -old lacks members of later
 * versions, and <name>.written.json is our form of the same values.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "model/model_json.h"

static char *file(const char *name, const char *form, size_t *ret_len)
{
	const char *dir = getenv("MVM_TEST_UNIT_DIR");
	char *text = NULL;
	AUTO_FREE char *path = str_printf("%s/serde/%s.%s.json", dir ? dir : ".", name, form);
	int r = file_read_at(AT_FDCWD, path, 65536, &text, ret_len);
	if (r < 0)
		fail_msg("%s: %s", path, strerror(-r));
	return text;
}

static int spec_again(const char *text, size_t len, char **ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) v = { 0 };
	int r = mvm_template_spec_parse(text, len, "spec", &v, err);
	return r < 0 ? r : mvm_template_spec_format(&v, ret, err);
}

static int revision_again(const char *text, size_t len, char **ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) v = { 0 };
	int r = mvm_template_revision_parse(text, len, "revision", &v, err);
	return r < 0 ? r : mvm_template_revision_format(&v, ret, err);
}

static int snapshot_again(const char *text, size_t len, char **ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_snapshot_info) v = { 0 };
	int r = mvm_snapshot_info_parse(text, len, "snapshot", &v, err);
	return r < 0 ? r : mvm_snapshot_info_format(&v, ret, err);
}

static int kind_again(const char *text, size_t len, char **ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_kind) v = { 0 };
	int r = mvm_template_kind_parse(text, len, "kind", &v, err);
	return r < 0 ? r : mvm_template_kind_format(&v, ret, err);
}

static const struct {
	const char *name, *form, *written;
	int (*again)(const char *text, size_t len, char **ret, struct mvm_error *err);
} cases[] = {
	{ "spec", "pretty", "spec", spec_again },
	{ "spec", "compact", "spec", spec_again },
	{ "spec-old", "compact", "spec", spec_again },
	{ "revision", "pretty", "revision", revision_again },
	{ "revision", "compact", "revision", revision_again },
	{ "revision-old", "compact", "revision-old", revision_again },
	{ "revision-snapshot", "pretty", "revision-snapshot", revision_again },
	{ "revision-snapshot", "compact", "revision-snapshot", revision_again },
	{ "snapshot", "pretty", "snapshot", snapshot_again },
	{ "snapshot", "compact", "snapshot", snapshot_again },
	{ "kind-image", "pretty", "kind-image", kind_again },
	{ "kind-image", "compact", "kind-image", kind_again },
	{ "kind-snapshot", "pretty", "kind-snapshot", kind_again },
	{ "kind-snapshot", "compact", "kind-snapshot", kind_again },
};

static void rewritten_as(size_t i, const char *form)
{
	struct mvm_error err = { 0 };
	AUTO_FREE char *ours = NULL;
	size_t len, expected_len;
	AUTO_FREE char *text = file(form ? cases[i].written : cases[i].name,
				    form ? form : cases[i].form, &len);
	AUTO_FREE char *expected = file(cases[i].written, "written", &expected_len);

	if (cases[i].again(text, len, &ours, &err) < 0)
		fail_msg("%s.%s: %s", cases[i].name, cases[i].form, err.text);
	assert_string_equal(ours, expected);
}

static void files_of_the_rust_program_load_and_keep_their_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++)
		rewritten_as(i, NULL);
}

static void our_files_are_rewritten_unchanged(void **state)
{
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++)
		rewritten_as(i, "written");
}

/* Values with the same name have the same type, including null, and we add no names. */
static void same_shape(const char *where, json_t *theirs, json_t *ours)
{
	const char *key;
	json_t *value;

	json_object_foreach(ours, key, value)
	{
		json_t *other = json_object_get(theirs, key);
		if (!other || json_typeof(other) != json_typeof(value))
			fail_msg("%s: %s differs", where, key);
		if (json_is_object(value))
			same_shape(where, other, value);
	}
	json_object_foreach(theirs, key, value)
	{
		if (!json_object_get(ours, key) && !json_is_null(value))
			fail_msg("%s: %s is missing", where, key);
	}
}

static void our_files_have_the_names_and_types_of_theirs(void **state)
{
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		size_t len;
		AUTO_FREE char *theirs_text = file(cases[i].name, cases[i].form, &len);
		AUTO_FREE char *ours_text = file(cases[i].written, "written", &len);
		AUTO_JSON json_t *theirs = json_loads(theirs_text, JSON_DECODE_ANY, NULL);
		AUTO_JSON json_t *ours = json_loads(ours_text, JSON_DECODE_ANY, NULL);
		assert_non_null(theirs);
		assert_non_null(ours);
		assert_int_equal(json_typeof(theirs), json_typeof(ours));
		if (strstr(cases[i].name, "-old"))
			continue; /* these differ by members that were added later */
		same_shape(cases[i].name, theirs, ours);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_of_the_rust_program_load_and_keep_their_values),
		cmocka_unit_test(our_files_are_rewritten_unchanged),
		cmocka_unit_test(our_files_have_the_names_and_types_of_theirs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
