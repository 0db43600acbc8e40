/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/error.h"
#include "hints.h"

static void assert_hint(const struct mvm_error *err, const char *wanted)
{
	char hint[HINT_SIZE];
	hint_of(err, hint);
	assert_string_equal(hint, wanted);
}

static void a_hint_has_the_subject(void **state)
{
	(void)state;
	struct mvm_error err = { .reason = "vm-paused", .subject = "web" };
	assert_hint(&err, "resume it with 'mvm resume web'");
}

static void a_hint_without_its_subject_is_another_or_none(void **state)
{
	(void)state;
	struct mvm_error err = { .reason = "vm-paused" };
	assert_hint(&err, "");
	err = (struct mvm_error){ .reason = "image-too-large" };
	assert_hint(&err, "if you trust the image, --max-image-size allows more");
}

static void a_folder_is_quoted_for_a_shell(void **state)
{
	(void)state;
	struct mvm_error err = { .reason = "data-folder-place", .subject = "/srv/a-b_1.c" };
	assert_hint(&err, "name a folder below it, as in --data-dir /srv/a-b_1.c/mvm");
	err = (struct mvm_error){ .reason = "data-folder-place", .subject = "/x y/it's; $(id)" };
	assert_hint(&err, "name a folder below it, as in --data-dir '/x y/it'\\''s; $(id)'/mvm");
	err = (struct mvm_error){ .reason = "data-folder-place", .subject = "/" };
	assert_hint(&err, "name a folder below it, as in --data-dir /mvm");
}

/* Half a command may be worse than no command. */
static void a_hint_that_does_not_fit_is_none(void **state)
{
	(void)state;
	struct mvm_error err = { .reason = "data-folder-marker" };
	memset(err.subject, '\'', sizeof(err.subject) - 1);
	assert_hint(&err, "");
}

static void the_librarys_hint_wins_over_the_reasons(void **state)
{
	(void)state;
	struct mvm_error err = { .reason = "backend-unusable", .hint = "apt-get install qemu" };
	assert_hint(&err, "apt-get install qemu");
	err.hint[0] = '\0';
	assert_hint(&err, "'mvm doctor' says what is missing");
}

static void no_or_an_unknown_reason_has_no_hint(void **state)
{
	(void)state;
	assert_hint(&(struct mvm_error){ .code = -1 }, "");
	assert_hint(&(struct mvm_error){ .reason = "of-a-newer-library", .subject = "x" }, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hint_has_the_subject),
		cmocka_unit_test(a_hint_without_its_subject_is_another_or_none),
		cmocka_unit_test(a_folder_is_quoted_for_a_shell),
		cmocka_unit_test(a_hint_that_does_not_fit_is_none),
		cmocka_unit_test(the_librarys_hint_wins_over_the_reasons),
		cmocka_unit_test(no_or_an_unknown_reason_has_no_hint),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
