/* SPDX-License-Identifier: Apache-2.0 */
/* A public function that succeeds leaves its caller's struct mvm_error alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include <mvm/instance.h>
#include <mvm/store.h>

#include "instance/instance.h"
#include "scratch.h"

static struct mvm *open_data(void **state)
{
	char path[96];
	struct mvm *mvm = NULL;
	struct mvm_error err;
	snprintf(path, sizeof(path), "%s/data", scratch_path(state));
	if (mvm_open(path, &mvm, &err) < 0)
		fail_msg("%s", err.text);
	return mvm;
}

static void assert_no_error(const struct mvm_error *err)
{
	static const struct mvm_error none;
	if (err->code || err->text[0])
		fail_msg("%d: %s", err->code, err->text);
	assert_memory_equal(err, &none, sizeof(none));
}

static void templates_that_are_new_or_not_built(void **state)
{
	static const char *const source[] = { "dir:/tmp" };
	const struct mvm_template_setting setting = { .key = "flake_ref",
						      .values = source,
						      .n_values = 1 };
	struct mvm_template_details *details = NULL;
	struct mvm_error err = { 0 };
	char path[128];
	struct mvm *mvm = open_data(state);

	assert_int_equal(mvm_template_create(mvm, "web", &setting, 1, false, NULL, &err),
			 MVM_APPLY_CREATED);
	assert_no_error(&err);
	assert_int_equal(mvm_template_details(mvm, "web", NULL, &details, &err), 0);
	assert_no_error(&err);
	mvm_template_details_free(details);

	/* force replaces a damaged spec */
	snprintf(path, sizeof(path), "%s/data/templates/web/template.json", scratch_path(state));
	assert_int_equal(truncate(path, 1), 0);
	assert_int_equal(mvm_template_create(mvm, "web", &setting, 1, true, NULL, &err),
			 MVM_APPLY_UPDATED);
	assert_no_error(&err);

	/* these failures are handed on */
	assert_int_equal(truncate(path, 1), 0);
	assert_int_equal(mvm_template_details(mvm, "web", NULL, &details, &err), -EBADMSG);
	assert_int_equal(err.code, -EBADMSG);
	assert_int_equal(mvm_template_details(mvm, "web@x", NULL, &details, &err), err.code);
	mvm_close(mvm);
}

/* A handle whose supervisor has gone. */
static struct mvm_instance *orphan(void)
{
	struct mvm_instance *i = calloc(1, sizeof(*i));
	int fds[2];
	assert_non_null(i);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	close(fds[1]);
	assert_int_equal(control_init(&i->control, fds[0]), 0);
	return i;
}

static void waiting_for_a_vm_that_has_ended(void **state)
{
	struct mvm_error err = { 0 };
	int status = 0;
	(void)state;
	struct mvm_instance *i = orphan();
	assert_int_equal(mvm_instance_finish(i, 1000, NULL, &err), 0);
	assert_no_error(&err);
	mvm_instance_close(i);
	i = orphan();
	assert_int_equal(mvm_instance_wait(i, NULL, &status, &err), 0);
	assert_no_error(&err);
	assert_int_equal(status, -1);
	mvm_instance_close(i);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(templates_that_are_new_or_not_built),
		TEST(waiting_for_a_vm_that_has_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
