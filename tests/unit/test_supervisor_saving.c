/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that do not answer while their state is kept for a fork or a suspend. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/own.h"
#include "supervisor_world.h"

#define SHORT_MS    200
#define PATIENCE_MS 60000

/* The guest that was kept waiting runs on, and a stop is as always. */
static void expect_up(struct world *x, struct control *c)
{
	AUTO_DONE(record) r = { 0 };
	inspect(x, &r);
	assert_string_equal(record_state_name(r.state), record_state_name(RECORD_RUNNING));
	uint32_t stop = begin_stop(c, 10000);
	shut_down(x);
	assert_int_equal(wait_reply(c, stop, NULL), 0);
	control_done(c);
	expect_end(x, 0);
}

static void a_guest_that_does_not_thaw_in_time_runs_on(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c;
	x->freeze_ms = SHORT_MS;
	start_clone(x);
	connect_client(x, &c);
	uint32_t call = begin_call(&c, CALL_FORK);
	freeze_clone(x);
	fail_step(x);
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	uint32_t thaw = expect_call(x, CALL_THAW);
	assert_true(wait_reply(&c, call, &err) < 0);
	answer_nonce(x, thaw); /* late */
	expect_up(x, &c);
}

static void a_guest_that_may_freeze_later_is_thawed(void **state)
{
	static const unsigned calls[] = { CALL_FORK, CALL_SUSPEND };
	struct world *x = *state;
	struct control c;
	x->freeze_ms = SHORT_MS;
	start_clone(x);
	connect_client(x, &c);
	for (size_t i = 0; i < 2; i++) {
		struct mvm_error err = { 0 };
		uint32_t call = begin_call(&c, calls[i]);
		uint32_t freeze = expect_call(x, CALL_FREEZE);
		assert_int_equal(control_wait_reply(&c, call, NULL, clock_deadline_ns(PATIENCE_MS),
						    NULL, &err),
				 -ETIMEDOUT);
		assert_non_null(strstr(err.text, "freezing the guest: no answer"));
		answer_nonce(x, freeze); /* late */
		answer_nonce(x, expect_call(x, CALL_THAW));
	}
	expect_up(x, &c);
}

static void a_guest_whose_answer_is_no_use_is_thawed(void **state)
{
	static const unsigned calls[] = { CALL_FORK, CALL_SUSPEND };
	struct world *x = *state;
	struct control c;
	start_clone(x);
	connect_client(x, &c);
	for (size_t i = 0; i < 2; i++) {
		struct mvm_error err = { 0 };
		uint32_t call = begin_call(&c, calls[i]);
		answer_call(x, expect_call(x, CALL_FREEZE), 0, ""); /* without its nonce */
		answer_nonce(x, expect_call(x, CALL_THAW));
		assert_true(wait_reply(&c, call, &err) < 0);
		assert_non_null(strstr(err.text, "nonce"));
	}
	expect_up(x, &c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_guest_that_does_not_thaw_in_time_runs_on),
		TEST(a_guest_that_may_freeze_later_is_thawed),
		TEST(a_guest_whose_answer_is_no_use_is_thawed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
