/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hostload.h"
#include "scratch.h"
#include "vmm/oom.h"

static void a_cgroup_counts_its_own_kills(void **state)
{
	(void)state;
	assert_int_equal(oom_kills_in("low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\n"), 3);
	assert_int_equal(oom_kills_in("oom_kill 1\noom_group_kill 5\n"), 1);
	assert_int_equal(oom_kills_in("oom 2\noom_kill_disable 9\n"), 0);
	assert_int_equal(oom_kills_in(""), 0);
}

static void a_kill_in_its_cgroup_is_reported_as_certain(void **state)
{
	const char *text = "max 12\noom 1\noom_kill 1\n";
	const struct oom_watch unknown = { 0 };
	char says[OOM_TEXT_SIZE];
	assert_int_equal(
		file_create_at(scratch_fd(state), "memory.events", text, strlen(text), 0600), 0);
	oom_describe(&unknown, scratch_path(state), says);
	assert_non_null(
		strstr(says, " by the kernel: it reached the memory limit of its cgroup '"));
	assert_non_null(strstr(says, "give the VM more memory"));
}

static void a_kill_on_the_host_is_reported_as_probable(void **state)
{
	struct oom_watch w;
	char says[OOM_TEXT_SIZE];
	(void)state;
	oom_begin(&w);
	if (!w.known) {
		print_message("skipped: this kernel does not count\n");
		skip();
	}
	oom_describe(&w, NULL, says);
	uint64_t now;
	assert_true(hostload_oom_kills(&now));
	if (now == w.host)
		assert_string_equal(says, "");
	w.host--; /* as if a process had been killed since */
	oom_describe(&w, "/no/such/cgroup", says);
	assert_non_null(strstr(says, ", probably by the kernel: memory ran out"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cgroup_counts_its_own_kills),
		cmocka_unit_test_setup_teardown(a_kill_in_its_cgroup_is_reported_as_certain,
						scratch_setup, scratch_teardown),
		cmocka_unit_test(a_kill_on_the_host_is_reported_as_probable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
