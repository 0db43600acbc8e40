/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The time to live, and the time that nobody may use a VM.  The supervisor's clock stands still
 * (watched_life.h), so a limit is reached when the test says so, however busy the machine is.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/wait.h"
#include "watched_life.h"

#define SHORT_MS 30 /* no test lasts 5 s, after which the guest's health is checked */

static void assert_state(struct world *x, enum record_state state)
{
	AUTO_DONE(record) r = { 0 };
	load_record(x, &r);
	assert_string_equal(record_state_name(r.state), record_state_name(state));
}

/* The guest is asked nothing but to set its clock. */
static void expect_no_call(struct world *x)
{
	struct frame f;
	uint64_t call = 0;
	watched_sync(x);
	while (channel_receive(&x->guest, &f) > 0) {
		assert_int_equal(f.type, FRAME_CALL);
		wire_find_u64(f.payload, f.len, FIELD_CALL, UINT64_MAX, &call);
		assert_int_equal(call, CALL_CLOCK);
		answer_call(x, f.stream, 0, NULL);
	}
}

/* Reach a limit, before which nothing happens. */
static void reach_limit(struct world *x, int64_t ms)
{
	AUTO_DONE(record) r = { 0 };
	inspect(x, &r); /* the step before is over */
	watched_pass(x, ms - 1);
	expect_no_call(x);
	watched_pass(x, 1);
}

/* Suspend the VM, to its last file. */
static void finish_suspend(struct world *x, const char *why)
{
	freeze_clone(x);
	go_on(x);
	expect_end(x, 0);
	assert_state(x, RECORD_SUSPENDED);
	assert_int_equal(events(x, "suspended", why), 1);
}

static void the_time_to_live_can_suspend(void **state)
{
	struct world *x = *state;
	x->record.ttl_ms = SHORT_MS;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	start_clone(x);
	reach_limit(x, SHORT_MS);
	finish_suspend(x, "its time to live is over");
}

static void a_vm_that_nobody_uses_is_suspended(void **state)
{
	struct world *x = *state;
	x->record.on_idle_ms = SHORT_MS;
	x->record.on_idle_action = RECORD_THEN_SUSPEND;
	start_clone(x);
	reach_limit(x, SHORT_MS);
	finish_suspend(x, "nobody has used it for 0 s");
}

static void a_vm_that_nobody_uses_is_stopped(void **state)
{
	struct world *x = *state;
	x->record.on_idle_ms = SHORT_MS;
	start_up(x);
	reach_limit(x, SHORT_MS);
	shut_down(x);
	expect_end(x, 0);
	assert_state(x, RECORD_EXITED);
	assert_int_equal(events(x, "stopped", "nobody has used it"), 1);
}

/* The guest's frames pass a process of the VMM's. */
static void await_end(struct control *c)
{
	struct frame f = { 0 };
	int r = 0;
	while (r >= 0 && f.type != FRAME_END) {
		wait_readable(c->channel.fd, -1, DEADLINE_NONE);
		r = channel_receive(&c->channel, &f);
	}
	assert_true(r > 0);
}

static void a_command_keeps_a_vm_in_use(void **state)
{
	struct world *x = *state;
	AUTO_DONE(strbuf) end = { 0 };
	struct control c;
	x->record.on_idle_ms = 200;
	start_up(x);
	connect_client(x, &c);
	uint32_t call = begin_call(&c, CALL_EXEC);
	uint32_t stream = expect_call(x, CALL_EXEC);
	answer_call(x, stream, 0, NULL);
	assert_int_equal(wait_reply(&c, call, NULL), 0);
	watched_pass(x, 500);
	expect_no_call(x);
	wire_put_u64(&end, FIELD_EXIT_CODE, 0);
	say(x, FRAME_END, stream, &end);
	await_end(&c);
	reach_limit(x, 200); /* since the command's end */
	shut_down(x);
	expect_end(x, 0);
	control_done(&c);
}

static void a_vm_in_use_is_suspended_later(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.ttl_ms = 200;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	start_clone(x);
	connect_client(x, &c);
	begin_call(&c, CALL_EXEC);
	answer_call(x, expect_call(x, CALL_EXEC), 0, NULL);
	watched_pass_to(x, 200, "not-suspended");
	assert_state(x, RECORD_RUNNING);
	assert_int_equal(events(x, "not-suspended", "its time to live is over, but"), 1);
	assert_int_equal(events(x, "not-suspended", "clients run commands"), 1);
	begin_stop(&c, 0);
	expect_end(x, 0);
	assert_state(x, RECORD_EXITED);
	assert_int_equal(events(x, "stopped", "its time"), 0);
	control_done(&c);
}

static void a_vm_that_cannot_be_suspended_is_stopped(void **state)
{
	struct world *x = *state;
	x->record.ttl_ms = SHORT_MS;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	start_up(x);
	reach_limit(x, SHORT_MS);
	shut_down(x);
	expect_end(x, 0);
	assert_state(x, RECORD_EXITED);
	assert_int_equal(events(x, "stopped", "it could not be suspended: it has booted"), 1);
}

static void a_paused_vm_is_suspended(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.ttl_ms = 200;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	start_clone(x);
	connect_client(x, &c);
	pause_vm(x, &c);
	control_done(&c);
	reach_limit(x, 200);
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	finish_suspend(x, "its time to live is over");
}

static void two_limits_may_be_reached_at_once(void **state)
{
	struct world *x = *state;
	x->record.ttl_ms = 100;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	x->record.on_idle_ms = 200;
	x->record.on_idle_action = RECORD_THEN_SUSPEND;
	start_clone(x);
	reach_limit(x, 100);
	uint32_t freeze = expect_call(x, CALL_FREEZE);
	watched_pass(x, 100);
	watched_sync(x);
	answer_call(x, freeze, EBUSY, NULL);
	finish_suspend(x, "nobody has used it");
}

static void a_paused_vm_that_cannot_be_suspended_is_shut_down(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.ttl_ms = 300;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	start_up(x);
	connect_client(x, &c);
	pause_vm(x, &c);
	control_done(&c);
	reach_limit(x, 300);
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	shut_down(x);
	expect_end(x, 0);
	assert_int_equal(events(x, "stopped", "it could not be suspended: it has booted"), 1);
}

static void a_paused_vm_in_use_stays_paused(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.ttl_ms = 300;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	start_clone(x);
	connect_client(x, &c);
	begin_call(&c, CALL_EXEC);
	answer_call(x, expect_call(x, CALL_EXEC), 0, NULL);
	pause_vm(x, &c);
	watched_pass_to(x, 300, "not-suspended");
	assert_state(x, RECORD_PAUSED);
	assert_int_equal(events(x, "not-suspended", "clients run commands"), 1);
	assert_int_equal(events(x, "resumed", ""), 0); /* not even for a moment */
	control_done(&c);
}

static void a_paused_vm_that_does_not_freeze_is_paused_again(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.ttl_ms = 300;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	start_clone(x);
	connect_client(x, &c);
	pause_vm(x, &c);
	reach_limit(x, 300);
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	answer_call(x, expect_call(x, CALL_FREEZE), EBUSY, NULL);
	expect_step(x, VMM_STEP_PAUSE);
	go_on(x);
	expect_state(x, RECORD_PAUSED);
	control_done(&c);
}

static void set_time_to_live(struct world *x, struct control *c, uint64_t ms)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(record) r = { 0 };
	uint32_t stream;
	wire_put_u64(&args, FIELD_TIMEOUT_MS, ms);
	assert_int_equal(control_send_call(c, CALL_TTL, &args, &stream, NULL), 0);
	assert_int_equal(wait_reply(c, stream, NULL), 0);
	load_record(x, &r);
	assert_int_equal(r.ttl_ms, ms);
	assert_int_equal(r.expires_at != NULL, ms > 0);
}

static void a_time_to_live_can_be_prolonged_and_shortened(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.ttl_ms = 1000;
	start_up(x);
	connect_client(x, &c);
	set_time_to_live(x, &c, 2000);
	watched_pass(x, 1999);
	expect_no_call(x);
	set_time_to_live(x, &c, 0);
	watched_pass(x, 1000);
	expect_no_call(x);
	set_time_to_live(x, &c, SHORT_MS);
	control_done(&c);
	reach_limit(x, SHORT_MS);
	shut_down(x);
	expect_end(x, 0);
	assert_int_equal(events(x, "ttl", "2 s from now on"), 1);
	assert_int_equal(events(x, "ttl", "no end"), 1);
	assert_int_equal(events(x, "stopped", "its time to live is over"), 1);
}

static void a_new_time_to_live_takes_a_suspend_back(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) r = { 0 };
	struct control c;
	x->record.ttl_ms = 100;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	x->suspend_again_ms = 1000;
	start_clone(x);
	reach_limit(x, 100);
	answer_call(x, expect_call(x, CALL_FREEZE), EBUSY, NULL); /* so it is to be tried again */
	watched_pass_to(x, 0, "not-suspended");
	connect_client(x, &c);
	set_time_to_live(x, &c, 2000);
	watched_pass(x, 1999);
	expect_no_call(x);
	inspect(x, &r);
	assert_int_equal(r.state, RECORD_RUNNING);
	assert_null(r.suspend_problem);
	stop_vm(x, &c);
	assert_int_equal(events(x, "stopped", "its time"), 0);
}

/* Nor does a guest that freezes for nobody run for ever. */
static void a_vm_that_never_freezes_is_stopped(void **state)
{
	struct world *x = *state;
	x->record.ttl_ms = SHORT_MS;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	x->suspend_again_ms = 1;
	start_clone(x);
	for (int i = 0; i < 30; i++) {
		reach_limit(x, i == 0 ? SHORT_MS : 1);
		answer_call(x, expect_call(x, CALL_FREEZE), EBUSY, "not now");
	}
	shut_down(x);
	expect_end(x, 0);
	assert_state(x, RECORD_EXITED);
	assert_int_equal(events(x, "not-suspended", "not now"), 1);
	assert_int_equal(events(x, "stopped", "could not be suspended: freezing the guest"), 1);
}

/* Let a suspend fail ten times, for want of this. */
static void fail_to_suspend(struct world *x, int error)
{
	x->record.ttl_ms = SHORT_MS;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	x->suspend_again_ms = 2;
	scripted_vmm_save_fails = error;
	start_clone(x);
	scripted_vmm_save_fails = 0;
	for (int i = 0; i < 10; i++) {
		int64_t pause_ms = i < 7 ? 1 << i
					 : 128; /* 2, 4, 8 ... 128 ms, and that twice more */
		reach_limit(x, i == 0 ? SHORT_MS : pause_ms);
		freeze_clone(x);
		go_on(x);
		expect_step(x, VMM_STEP_RESUME);
		go_on(x);
		answer_nonce(x, expect_call(x, CALL_THAW));
	}
}

static void on_a_full_disk_a_vm_runs_on_after_ten_tries(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) r = { 0 };
	struct control c;
	fail_to_suspend(x, ENOSPC);
	connect_client(x, &c);
	inspect(x, &r);
	assert_int_equal(r.state, RECORD_RUNNING);
	assert_non_null(strstr(r.suspend_problem, "no room to keep"));
	assert_int_equal(events(x, "not-suspended", "it cannot be suspended yet: no room"), 1);
	assert_int_equal(events(x, "not-suspended", "runs on: no room to keep"), 1);
	watched_pass(x, 3000);
	expect_no_call(x); /* it is not tried again */
	stop_vm(x, &c);
}

static void a_vm_whose_state_cannot_be_kept_is_stopped_after_ten_tries(void **state)
{
	struct world *x = *state;
	fail_to_suspend(x, EIO);
	shut_down(x);
	expect_end(x, 0);
	assert_int_equal(events(x, "stopped", "it could not be suspended: as the test says"), 1);
}

static void a_guest_that_keeps_a_gone_clients_command_is_stopped(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.ttl_ms = 200;
	x->record.ttl_action = RECORD_THEN_SUSPEND;
	x->suspend_again_ms = 1;
	start_clone(x);
	connect_client(x, &c);
	begin_call(&c, CALL_EXEC);
	answer_call(x, expect_call(x, CALL_EXEC), 0, NULL);
	control_done(&c); /* and the guest does not answer the RESET */
	watched_pass(x, 200);
	for (int i = 0; i < 30; i++)
		watched_pass(x, 1);
	shut_down(x);
	expect_end(x, 0);
	assert_int_equal(events(x, "stopped", "could not be suspended"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watched_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_time_to_live_can_suspend),
		TEST(a_vm_that_nobody_uses_is_suspended),
		TEST(a_vm_that_nobody_uses_is_stopped),
		TEST(a_command_keeps_a_vm_in_use),
		TEST(a_vm_in_use_is_suspended_later),
		TEST(a_vm_that_cannot_be_suspended_is_stopped),
		TEST(a_paused_vm_is_suspended),
		TEST(two_limits_may_be_reached_at_once),
		TEST(a_paused_vm_that_cannot_be_suspended_is_shut_down),
		TEST(a_paused_vm_in_use_stays_paused),
		TEST(a_paused_vm_that_does_not_freeze_is_paused_again),
		TEST(a_time_to_live_can_be_prolonged_and_shortened),
		TEST(a_new_time_to_live_takes_a_suspend_back),
		TEST(a_vm_that_never_freezes_is_stopped),
		TEST(on_a_full_disk_a_vm_runs_on_after_ten_tries),
		TEST(a_vm_whose_state_cannot_be_kept_is_stopped_after_ten_tries),
		TEST(a_guest_that_keeps_a_gone_clients_command_is_stopped),
	};
	if (!watched_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
