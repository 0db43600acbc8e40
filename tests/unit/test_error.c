/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"

static void an_error_holds_its_code_and_sentence(void **state)
{
	(void)state;
	struct mvm_error err = { .hint = "old" };
	assert_int_equal(mvm_error_set(&err, -ENOENT, "no template '%s'", "web"), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.text, "no template 'web'");
	assert_string_equal(err.hint, "");
}

static void context_goes_in_front_but_code_and_hint_stay(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	int r = mvm_error_set(&err, -EBUSY, "locked");
	r = mvm_error_hint(&err, r, "wait for '%s'", "web-1");
	r = mvm_error_context(&err, r, "template '%s'", "web");
	assert_int_equal(r, -EBUSY);
	assert_string_equal(err.text, "template 'web': locked");
	assert_string_equal(err.hint, "wait for 'web-1'");
}

static void the_same_context_is_not_added_twice(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	int r = mvm_error_set(&err, -ENOENT, "template 'web' has not been built");

	mvm_error_context(&err, r, "template '%s'", "web");
	assert_string_equal(err.text, "template 'web' has not been built");
	mvm_error_set(&err, r, "layer 12: cut off");
	mvm_error_context(&err, r, "layer %d", 12);
	assert_string_equal(err.text, "layer 12: cut off");
	mvm_error_context(&err, r, "layer %d", 1);
	assert_string_equal(err.text, "layer 1: layer 12: cut off");

	mvm_error_set(&err, -EIO, "template 'a': 'vmlinux' is damaged");
	mvm_error_context(&err, -EIO, "making the snapshot");
	mvm_error_context(&err, -EIO, "template '%s'", "a");
	assert_string_equal(err.text, "making the snapshot: template 'a': 'vmlinux' is damaged");
}

static void the_causes_reason_stays_where_another_is_only_likely(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	int r = mvm_error_set(&err, -EIO, "did not start");

	r = mvm_error_reason_unless(&err, r, "start-failed", "web-1");
	assert_string_equal(err.reason, "start-failed");
	r = mvm_error_reason(&err, r, "guest-memory-full", NULL);
	mvm_error_reason_unless(&err, r, "start-failed", "web-1");
	assert_string_equal(err.reason, "guest-memory-full");
	assert_string_equal(err.subject, "");
	mvm_error_subject(&err, r, "web-1");
	mvm_error_subject(&err, r, "web-2");
	assert_string_equal(err.subject, "web-1");
}

static void a_subject_is_whole_or_missing(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	char path[200] = "";
	int r = mvm_error_set(&err, -EPERM, "refused");

	mvm_error_subject(&err, r, "of no reason");
	assert_string_equal(err.subject, "");
	memset(path, 'x', sizeof(err.subject));
	mvm_error_reason(&err, r, "data-folder-open", path);
	assert_string_equal(err.subject, "");
	path[sizeof(err.subject) - 1] = '\0';
	mvm_error_reason(&err, r, "data-folder-open", path);
	assert_string_equal(err.subject, path);
}

static void text_added_at_the_end_keeps_the_rest(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	int r = mvm_error_set(&err, -EIO, "lost");

	r = mvm_error_reason(&err, r, "volumes-not-back", "web");
	assert_int_equal(mvm_error_more(&err, r, "; the VM %s", "is removed"), -EIO);
	assert_string_equal(err.text, "lost; the VM is removed");
	assert_string_equal(err.reason, "volumes-not-back");
	assert_string_equal(err.subject, "web");
}

static void the_error_argument_may_be_null(void **state)
{
	(void)state;
	assert_int_equal(mvm_error_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(mvm_error_context(NULL, -EIO, "x"), -EIO);
	assert_int_equal(mvm_error_hint(NULL, -EIO, "x"), -EIO);
	assert_int_equal(mvm_error_more(NULL, -EIO, "x"), -EIO);
	assert_int_equal(mvm_error_reason(NULL, -EIO, "x", "y"), -EIO);
	assert_int_equal(mvm_error_reason_unless(NULL, -EIO, "x", "y"), -EIO);
	assert_int_equal(mvm_error_subject(NULL, -EIO, "x"), -EIO);
	assert_int_equal(mvm_error_oom(NULL), -ENOMEM);
}

static void a_long_sentence_is_cut_and_ends(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	char text[3000];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';

	mvm_error_set(&err, -EIO, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	mvm_error_context(&err, -EIO, "reading");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_memory_equal(err.text, "reading: xxx", 12);
	mvm_error_context(&err, -EIO, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void exit_statuses_are_the_documented_ones(void **state)
{
	(void)state;
	static const struct {
		int code, status;
	} cases[] = {
		{ 0, 0 },	    { 7, 0 },		{ -EIO, 1 },	{ -EINVAL, 1 },
		{ -ENOENT, 3 },	    { -EBUSY, 4 },	{ -EAGAIN, 4 }, { -EBADMSG, 5 },
		{ -EEXIST, 4 },	    { -ENOMEM, 1 },	{ -EPROTO, 1 }, { -ENOSPC, 1 },
		{ -EOPNOTSUPP, 6 }, { -EADDRINUSE, 4 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++)
		assert_int_equal(mvm_error_exit_status(cases[i].code), cases[i].status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_holds_its_code_and_sentence),
		cmocka_unit_test(context_goes_in_front_but_code_and_hint_stay),
		cmocka_unit_test(the_same_context_is_not_added_twice),
		cmocka_unit_test(the_causes_reason_stays_where_another_is_only_likely),
		cmocka_unit_test(a_subject_is_whole_or_missing),
		cmocka_unit_test(text_added_at_the_end_keeps_the_rest),
		cmocka_unit_test(the_error_argument_may_be_null),
		cmocka_unit_test(a_long_sentence_is_cut_and_ends),
		cmocka_unit_test(exit_statuses_are_the_documented_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
