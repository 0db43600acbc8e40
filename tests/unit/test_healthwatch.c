/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "supervisor/healthwatch.h"

static void a_slow_host_excuses_a_guest_for_a_while(void **state)
{
	(void)state;
	const struct hostload idle = { .has_pressure = true, .cpu = 10 };
	const struct hostload busy = { .has_pressure = true, .cpu = 97 };
	struct healthwatch w = { 0 };
	assert_false(healthwatch_excuses(&w, 0, &idle));
	for (int i = 0; i < 5; i++)
		assert_true(healthwatch_excuses(&w, 0, &busy));
	assert_false(healthwatch_excuses(&w, 0, &idle));
	assert_true(healthwatch_excuses(&w, 0, &busy));
	assert_false(healthwatch_excuses(&w, 0, &busy)); /* a dead guest is noticed anyway */
}

static void our_own_late_timer_excuses_a_guest(void **state)
{
	(void)state;
	const struct hostload unknown = { 0 };
	struct healthwatch w = { 0 };
	assert_false(healthwatch_excuses(&w, NS_PER_S / 2, &unknown));
	assert_true(healthwatch_excuses(&w, 2 * NS_PER_S, &unknown));
}

static void a_first_check_waits_while_processes_wait_for_a_cpu(void **state)
{
	(void)state;
	struct hostload now = { .has_pressure = true };
	struct healthwatch w = { .state = RECORD_HEALTH_STARTING, .at_start.has_pressure = true };
	int64_t now_ns = 5 * NS_PER_S;

	assert_false(healthwatch_puts_off(&w, &now, now_ns)); /* an idle host */
	for (int i = 0; i < 3; i++, now_ns += 5 * NS_PER_S) {
		now.cpu_waited_us += 5000000;
		assert_true(healthwatch_puts_off(&w, &now, now_ns));
		assert_false(healthwatch_puts_off(&w, &now, now_ns + 5 * NS_PER_S));
	}
	now.cpu_waited_us += 5000000;
	assert_false(healthwatch_puts_off(&w, &now, now_ns)); /* not for ever */
	w.put_off = 0;
	assert_true(healthwatch_puts_off(&w, &now, now_ns));
	w.put_off = 0;
	w.asked_ns = 1; /* later checks do not wait */
	now.cpu_waited_us += 5000000;
	assert_false(healthwatch_puts_off(&w, &now, now_ns + 5 * NS_PER_S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_host_excuses_a_guest_for_a_while),
		cmocka_unit_test(a_first_check_waits_while_processes_wait_for_a_cpu),
		cmocka_unit_test(our_own_late_timer_excuses_a_guest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
