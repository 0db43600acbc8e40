/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/error.h"
#include "scratch.h"
#include "start/host_memory.h"

#define MIB (UINT64_C(1) << 20)

static const char meminfo[] = "MemTotal:        1048576 kB\n"
			      "MemFree:          102400 kB\n"
			      "MemAvailable:     524288 kB\n";

static void put(void **state, const char *name, const char *text)
{
	assert_int_equal(file_create_at(scratch_fd(state), name, text, strlen(text), 0600), 0);
}

static void without_a_cgroup_the_hosts_memory_counts(void **state)
{
	(void)state;
	struct host_memory m;

	assert_int_equal(host_memory_from(meminfo, "/sys/fs/cgroup", NULL, &m), 0);
	assert_int_equal(m.limit_bytes, 1024 * MIB);
	assert_int_equal(m.available_bytes, 512 * MIB);
	assert_false(m.cgroup);
	assert_int_equal(host_memory_from("MemTotal: 1 kB\n", "/x", NULL, &m), -ENODATA);
}

static void the_least_limit_above_a_cgroup_counts(void **state)
{
	struct host_memory m;
	char path[128];

	assert_int_equal(mkdirat(scratch_fd(state), "a", 0700), 0);
	assert_int_equal(mkdirat(scratch_fd(state), "a/b", 0700), 0);
	put(state, "a/memory.max", "268435456\n"); /* 256 MiB */
	put(state, "a/memory.current", "209715200\n");
	put(state, "a/memory.stat", "anon 104857600\nfile 104857600\nfile_mapped 5\n");
	put(state, "a/b/memory.max", "max\n");
	put(state, "a/b/memory.current", "4096\n");
	snprintf(path, sizeof(path), "%s/a/b", scratch_path(state));

	assert_int_equal(host_memory_from(meminfo, scratch_path(state), path, &m), 0);
	assert_int_equal(m.limit_bytes, 256 * MIB);
	assert_int_equal(m.available_bytes, 156 * MIB); /* page cache can be freed */
	assert_true(m.cgroup);
}

static void a_cgroup_limit_over_the_hosts_memory_changes_nothing(void **state)
{
	struct host_memory m;

	put(state, "memory.max", "9999999999999\n");
	put(state, "memory.current", "4096\n");
	assert_int_equal(host_memory_from(meminfo, scratch_path(state), scratch_path(state), &m),
			 0);
	assert_int_equal(m.limit_bytes, 1024 * MIB);
	assert_false(m.cgroup);
}

static void a_guest_larger_than_the_host_is_refused_with_both_sizes(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };

	assert_int_equal(host_memory_check(96, &err), 0);
	assert_int_equal(host_memory_check(UINT32_MAX, &err), -EINVAL);
	assert_non_null(strstr(err.text, "of memory: "));
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

static void too_many_vms_for_memory_are_refused_with_the_number_that_fits(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	const struct host_memory m = { .available_bytes = 400 * MIB, .swap_bytes = 80 * MIB };

	assert_int_equal(host_memory_check_many(&m, 40, 12 * MIB, &err), 0);
	assert_int_equal(host_memory_check_many(&m, 41, 12 * MIB, &err), -ENOMEM);
	assert_string_equal(err.text,
			    "41 VMs do not fit: each takes at least 12 MiB, and the 480 MiB of "
			    "available memory are enough for 40");
	assert_int_equal(host_memory_check_many(&m, 1000, 0, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_many_vms_for_memory_are_refused_with_the_number_that_fits),
		cmocka_unit_test(without_a_cgroup_the_hosts_memory_counts),
		IN_SCRATCH(the_least_limit_above_a_cgroup_counts),
		IN_SCRATCH(a_cgroup_limit_over_the_hosts_memory_changes_nothing),
		cmocka_unit_test(a_guest_larger_than_the_host_is_refused_with_both_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
