/* SPDX-License-Identifier: Apache-2.0 */
/* A paused VM, and its end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "watched_life.h"

/* The supervisor kills the VMM and then answers the client's STOP. */
static void expect_killed_by_stop(struct world *x, struct control *c, uint32_t stop)
{
	AUTO_DONE(record) r = { 0 };
	expect_killed(x);
	assert_int_equal(wait_reply(c, stop, NULL), 0);
	control_done(c);
	expect_end(x, 0);
	load_record(x, &r);
	assert_string_equal(record_state_name(r.state), record_state_name(RECORD_EXITED));
	assert_int_equal(r.exit_code, 137);
}

static void a_pause_and_a_resume_show_in_the_record(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c;
	start_up(x);
	connect_client(x, &c);
	pause_vm(x, &c);
	expect_state(x, RECORD_PAUSED);
	assert_int_equal(ask(&c, CALL_PAUSE, &err), -EBUSY);
	assert_int_equal(ask(&c, CALL_PING, &err), -EBUSY);
	assert_non_null(strstr(err.text, "the VM is paused"));
	uint32_t call = begin_call(&c, CALL_RESUME);
	expect_step(x, VMM_STEP_RESUME);
	fail_step(x);
	assert_int_equal(wait_reply(&c, call, NULL), -EREMOTEIO);
	expect_state(x, RECORD_PAUSED);
	call = begin_call(&c, CALL_RESUME);
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	assert_int_equal(wait_reply(&c, call, NULL), 0);
	expect_state(x, RECORD_RUNNING);
	assert_int_equal(ask(&c, CALL_RESUME, &err), -EBUSY);
	stop_vm(x, &c);
	assert_int_equal(events(x, "paused", NULL), 1);
	assert_int_equal(events(x, "resumed", NULL), 1);
}

/* Start and pause a VM, and let the client call STOP.  Returns that call. */
static uint32_t stop_paused(struct world *x, struct control *c, uint64_t timeout_ms)
{
	start_up(x);
	connect_client(x, c);
	pause_vm(x, c);
	return begin_stop(c, timeout_ms);
}

static void a_paused_guest_that_does_not_stop_is_killed(void **state)
{
	struct world *x = *state;
	struct control c;
	uint32_t stop = stop_paused(x, &c, 200);
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	expect_call(x, CALL_SHUTDOWN);
	watched_pass(x, 200);
	expect_killed_by_stop(x, &c, stop);
	assert_int_equal(events(x, "resumed", NULL), 1);
}

static void a_paused_guest_that_does_not_resume_is_killed(void **state)
{
	struct world *x = *state;
	struct control c;
	uint32_t stop = stop_paused(x, &c, 10000);
	expect_step(x, VMM_STEP_RESUME);
	fail_step(x);
	expect_killed_by_stop(x, &c, stop);
	assert_int_equal(events(x, "stopped", NULL), 1);
}

static void stop_with_no_time_kills_a_paused_vmm(void **state)
{
	struct world *x = *state;
	struct control c;
	uint32_t stop = stop_paused(x, &c, 0);
	expect_killed_by_stop(x, &c, stop);
	assert_int_equal(events(x, "resumed", NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watched_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_pause_and_a_resume_show_in_the_record),
		TEST(a_paused_guest_that_does_not_stop_is_killed),
		TEST(a_paused_guest_that_does_not_resume_is_killed),
		TEST(stop_with_no_time_kills_a_paused_vmm),
	};
	if (!watched_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
