/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that are an init, and so become PID 1 of the guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "init.h"
#include "scratch.h"

static bool is_init(const char *program, const char *arg)
{
	AUTO_DONE(strv) args = { 0 };
	strv_add(&args, program);
	if (arg)
		strv_add(&args, arg);
	assert_false(args.failed);
	return init_is_command(&args);
}

static void the_name_of_an_init_counts(void **state)
{
	(void)state;
	static const char *const inits[] = {
		"/sbin/init",	  "/init",     "/etc/init", "/lib/systemd/systemd",
		"/usr/sbin/init", "/bin/init", "init",	    "/usr/lib/systemd/systemd",
	};
	static const char *const others[] = {
		"/app/init", "/bin/busybox", "/sbin/initctl", "sh", "/usr/bin/tini", "", "/", "x/",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(inits); i++) {
		assert_true(is_init(inits[i], NULL));
		assert_true(is_init(inits[i], "--log-level=debug"));
	}
	for (size_t i = 0; i < MVM_ARRAY_SIZE(others); i++)
		assert_false(is_init(others[i], NULL));
	assert_false(init_is_command(&(struct strv){ 0 }));
}

static void busyboxs_applet_is_an_init(void **state)
{
	(void)state;
	assert_true(is_init("/bin/busybox", "init"));
	assert_true(is_init("busybox", "init"));
	assert_false(is_init("/bin/busybox", "httpd"));
	assert_false(is_init("/bin/other", "init"));
}

static void a_link_to_an_init_is_one(void **state)
{
	int fd = scratch_fd(state);
	AUTO_FREE char *boot = str_printf("%s/boot", scratch_path(state));
	AUTO_FREE char *start = str_printf("%s/start", scratch_path(state));
	AUTO_FREE char *loop = str_printf("%s/loop", scratch_path(state));
	AUTO_FREE char *folder = str_printf("%s/folder/init", scratch_path(state));
	AUTO_FREE char *init = str_printf("%s/init", scratch_path(state));
	assert_int_equal(symlinkat("/lib/systemd/systemd", fd, "start"), 0);
	assert_int_equal(symlinkat("start", fd, "boot"), 0);
	assert_int_equal(symlinkat("loop", fd, "loop"), 0);
	assert_int_equal(symlinkat("/etc", fd, "folder"), 0);
	assert_int_equal(symlinkat("busybox", fd, "init"), 0);

	assert_true(is_init(start, NULL));
	assert_true(is_init(boot, NULL));
	assert_true(is_init(folder, NULL)); /* its folder is a link */
	assert_false(is_init(loop, NULL));
	assert_false(is_init(init, NULL)); /* an init's name in another folder */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_name_of_an_init_counts),
		cmocka_unit_test(busyboxs_applet_is_an_init),
		cmocka_unit_test_setup_teardown(a_link_to_an_init_is_one, scratch_setup,
						scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
