/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hostload.h"
#include "scratch.h"

#define PSI(some, full)                                                                            \
	"some avg10=" some " avg60=1.00 avg300=2.00 total=3\n"                                     \
	"full avg10=" full " avg60=4.00 avg300=5.00 total=6\n"

static void put(int dir_fd, const char *name, const char *text)
{
	assert_int_equal(file_create_at(dir_fd, name, text, strlen(text), 0600), 0);
}

static void read_at(int proc_fd, unsigned cpus, struct hostload *ret)
{
	struct hostload_files files;
	hostload_open(proc_fd, cpus, &files);
	hostload_read_files(&files, ret);
	hostload_files_done(&files);
}

static void pressure_is_read_and_told(void **state)
{
	struct scratch *s = *state;
	struct hostload h;
	char text[HOSTLOAD_TEXT_SIZE];
	assert_int_equal(mkdirat(s->fd, "pressure", 0700), 0);
	put(s->fd, "pressure/cpu", PSI("93.18", "0.00"));
	put(s->fd, "pressure/memory", PSI("4.51", "2.25"));
	put(s->fd, "pressure/io", PSI("50.00", "12.50"));
	put(s->fd, "loadavg", "7.00 4.12 2.25 3/200 4711\n");
	read_at(s->fd, 2, &h);
	assert_true(h.has_pressure && hostload_is_slow(&h));
	assert_true(h.cpu == 93.18 && h.memory == 4.51 && h.io == 50);
	assert_true(h.memory_full == 2.25 && h.io_full == 12.5 && h.load_per_cpu == 3.5);
	hostload_describe(&h, text);
	assert_string_equal(text,
			    "processes wait for a CPU 93 %, for memory 5 %, for the disk 50 % "
			    "of the time");
}

static void without_pressure_the_load_decides(void **state)
{
	struct scratch *s = *state;
	struct hostload h;
	char text[HOSTLOAD_TEXT_SIZE];
	put(s->fd, "loadavg", "6.40 1.00 1.00 1/100 42\n");
	read_at(s->fd, 2, &h);
	assert_true(!h.has_pressure && hostload_is_slow(&h));
	assert_int_equal(hostload_starts_at_once(&h, 2), 2);
	hostload_describe(&h, text);
	assert_string_equal(text, "3.2 processes run or wait for each CPU");
	read_at(s->fd, 8, &h);
	assert_false(hostload_is_slow(&h));
	assert_int_equal(hostload_starts_at_once(&h, 8), 16);
	read_at(-1, 2, &h); /* no /proc at all */
	assert_false(hostload_is_slow(&h));
}

static void fewer_vms_start_at_once_on_a_busy_host(void **state)
{
	(void)state;
	static const struct {
		struct hostload h;
		bool slow;
		unsigned at_once;
	} cases[] = {
		{ { .has_pressure = true, .cpu = 20 }, false, 8 },
		{ { .has_pressure = true, .cpu = 85 }, true, 4 },
		{ { .has_pressure = true, .memory = 15 }, false, 1 },
		{ { .has_pressure = true, .memory = 60, .memory_full = 40 }, true, 1 },
		{ { .has_pressure = true, .io_full = 40 }, true, 8 },
		{ { .has_pressure = true, .load_per_cpu = 9 }, false, 8 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		assert_int_equal(hostload_is_slow(&cases[i].h), cases[i].slow);
		assert_int_equal(hostload_starts_at_once(&cases[i].h, 4), cases[i].at_once);
	}
}

static void open_files_are_read_anew(void **state)
{
	struct scratch *s = *state;
	struct hostload_files files;
	struct hostload before, now;

	assert_int_equal(mkdirat(s->fd, "pressure", 0700), 0);
	put(s->fd, "pressure/cpu", "some avg10=1.00 avg60=1.00 avg300=1.00 total=1000000\n");
	put(s->fd, "pressure/memory", PSI("0.00", "0.00"));
	put(s->fd, "pressure/io", PSI("0.00", "0.00"));
	hostload_open(s->fd, 2, &files);
	hostload_read_files(&files, &before);
	AUTO_CLOSE int fd = openat(s->fd, "pressure/cpu", O_WRONLY | O_CLOEXEC);
	static const char later[] = "some avg10=9.00 avg60=1.00 avg300=1.00 total=5000000\n";
	assert_int_equal(write(fd, later, strlen(later)), strlen(later));
	hostload_read_files(&files, &now);
	assert_true(now.cpu == 9);
	assert_true(hostload_was_busy(&before, &now, 5 * NS_PER_S));
	assert_false(hostload_was_busy(&before, &now, 6 * NS_PER_S));
	now.has_pressure = false; /* then nobody knows */
	assert_false(hostload_was_busy(&before, &now, 5 * NS_PER_S));
	hostload_files_done(&files);
}

static void this_host_counts_cpus(void **state)
{
	struct hostload h;
	(void)state;
	assert_true(hostload_cpus() >= 1);
	hostload_read(&h);
	assert_true(h.load_per_cpu >= 0);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(pressure_is_read_and_told),
		IN_SCRATCH(without_pressure_the_load_decides),
		IN_SCRATCH(open_files_are_read_anew),
		cmocka_unit_test(fewer_vms_start_at_once_on_a_busy_host),
		cmocka_unit_test(this_host_counts_cpus),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
