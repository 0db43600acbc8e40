/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the supervisor's state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "supervisor/supervise.h"

static bool is_down(enum life_state state)
{
	return state >= LIFE_STOPPED && state <= LIFE_FAILED;
}

/* All states that can be reached from this one. */
static uint32_t reach(enum life_state from)
{
	uint32_t seen = 0;
	for (bool more = true; more;) {
		more = false;
		for (unsigned a = 0; a < LIFE_STATES; a++) {
			for (unsigned b = 0; b < LIFE_STATES; b++) {
				bool here = a == from || seen >> a & 1;
				if (!here || seen >> b & 1 || !life_may_step(a, b))
					continue;
				seen |= 1u << b;
				more = true;
			}
		}
	}
	return seen;
}

static void every_state_is_reached_and_comes_to_an_end(void **state)
{
	(void)state;
	uint32_t all = reach(LIFE_STARTING);
	for (unsigned s = 0; s < LIFE_STATES; s++) {
		assert_non_null(life_name(s));
		if (s != LIFE_STARTING && !(all >> s & 1))
			fail_msg("nothing leads to '%s'", life_name(s));
		bool ends = false;
		for (unsigned to = 0; to < LIFE_STATES; to++)
			ends |= is_down(to) && (s == to || reach(s) >> to & 1);
		if (!ends)
			fail_msg("'%s' never ends", life_name(s));
	}
}

static void a_vmm_may_die_in_every_state_with_a_guest(void **state)
{
	(void)state;
	for (unsigned s = 0; s < LIFE_STATES; s++) {
		bool down = false;
		for (unsigned to = 0; to < LIFE_STATES; to++)
			down |= is_down(to) && life_may_step(s, to);
		if (life_has_guest(s) && !down)
			fail_msg("a VMM that dies in '%s' has no state", life_name(s));
	}
}

static void a_guest_that_is_stopped_is_never_up_again(void **state)
{
	(void)state;
	static const enum life_state ends[] = { LIFE_STOPPING, LIFE_KILLING };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(ends); i++) {
		assert_false(reach(ends[i]) >> LIFE_UP & 1);
		assert_false(reach(ends[i]) >> LIFE_RESTARTING & 1);
	}
	assert_int_equal(reach(LIFE_STOPPED), 0);
}

static void an_illegal_step_is_refused_and_ends_the_vm(void **state)
{
	(void)state;
	const struct supervisor_given given = { 0 };
	struct supervisor s = { .given = &given };
	life_begin(&s);
	assert_string_equal(s.clients.busy, "the VM is still starting");
	life_enter(&s, LIFE_UP);
	assert_null(s.clients.busy);
	life_enter(&s, LIFE_ADOPTING);
	assert_int_equal(s.state, LIFE_UP);
	assert_int_equal(s.end, LIFE_ENDS_BROKEN);
	assert_string_equal(s.clients.busy, "the VM is being stopped");
	life_enter(&s, LIFE_FAILED);
	assert_int_equal(s.state, LIFE_FAILED);
}

static void a_strict_supervisor_aborts_at_an_illegal_step(void **state)
{
	(void)state;
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct supervisor_given given = { .strict = true };
		struct supervisor s = { .given = &given };
		life_enter(&s, LIFE_PAUSED);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void only_the_first_reason_to_end_counts(void **state)
{
	(void)state;
	const struct supervisor_given given = { 0 };
	struct supervisor s = { .given = &given };
	life_begin(&s);
	life_want_end(&s, LIFE_ENDS_EXPIRED);
	life_want_end(&s, LIFE_ENDS_ASKED);
	assert_int_equal(s.end, LIFE_ENDS_EXPIRED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_is_reached_and_comes_to_an_end),
		cmocka_unit_test(a_vmm_may_die_in_every_state_with_a_guest),
		cmocka_unit_test(a_guest_that_is_stopped_is_never_up_again),
		cmocka_unit_test(an_illegal_step_is_refused_and_ends_the_vm),
		cmocka_unit_test(a_strict_supervisor_aborts_at_an_illegal_step),
		cmocka_unit_test(only_the_first_reason_to_end_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
