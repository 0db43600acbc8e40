/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a supervisor and the steps between them, with a scripted VMM and agent. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/file.h"
#include "store/revision.h"
#include "supervisor_world.h"

static void assert_record(struct world *x, enum record_state state, unsigned exit_code)
{
	AUTO_DONE(record) r = { 0 };
	load_record(x, &r);
	assert_string_equal(record_state_name(r.state), record_state_name(state));
	assert_int_equal(r.exit_code, exit_code);
}

/* Wait for a state that the supervisor enters by itself once it has noticed a death. */
static void await_state(struct world *x, enum record_state state)
{
	for (bool there = false; !there;) {
		AUTO_DONE(record) r = { 0 };
		inspect(x, &r);
		there = r.state == state;
	}
}

/* ---- stop ---- */

static void a_stop_shuts_the_guest_down(void **state)
{
	struct world *x = *state;
	struct control c;
	start_up(x);
	expect_state(x, RECORD_RUNNING);
	connect_client(x, &c);
	stop_vm(x, &c);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "started", "booted in"), 1);
	assert_int_equal(events(x, "stopped", NULL), 1);
	assert_int_equal(events(x, "failed", NULL), 0);
}

static void a_guest_that_does_not_stop_is_killed(void **state)
{
	struct world *x = *state;
	struct control c;
	start_up(x);
	connect_client(x, &c);
	uint32_t stop = begin_stop(&c, 20);
	expect_killed(x);
	assert_int_equal(wait_reply(&c, stop, NULL), 0);
	control_done(&c);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 137);
	assert_int_equal(events(x, "stopped", NULL), 1);
}

static void a_stop_during_the_start_ends_it(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c;
	launch(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	connect_client(x, &c);
	assert_int_equal(ask(&c, CALL_PAUSE, &err), -EBUSY);
	assert_string_equal(err.text, "the VM is still starting");
	uint32_t stop = begin_stop(&c, 10000);
	expect_killed(x);
	assert_int_equal(start_status(x, &err), -ECANCELED);
	assert_string_equal(err.text, "it was stopped before it was up");
	assert_int_equal(wait_reply(&c, stop, NULL), 0);
	control_done(&c);
	expect_end(x, 1);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "stopped", NULL), 1);
}

static void a_pause_during_a_stop_is_refused(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c, other;
	start_up(x);
	connect_client(x, &c);
	connect_client(x, &other);
	uint32_t stop = begin_stop(&c, 10000);
	uint32_t call = expect_call(x, CALL_SHUTDOWN);
	assert_int_equal(ask(&other, CALL_PAUSE, &err), -EBUSY);
	assert_string_equal(err.text, "the VM is being stopped");
	answer_call(x, call, 0, NULL);
	power_off(x);
	assert_int_equal(wait_reply(&c, stop, NULL), 0);
	control_done(&c);
	control_done(&other);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
}

static void a_stop_during_a_pause_waits_for_the_pause(void **state)
{
	struct world *x = *state;
	struct control c, other;
	start_up(x);
	connect_client(x, &c);
	connect_client(x, &other);
	uint32_t pausing = begin_call(&c, CALL_PAUSE);
	expect_step(x, VMM_STEP_PAUSE);
	uint32_t stop = begin_stop(&other, 10000);
	go_on(x);
	assert_int_equal(wait_reply(&c, pausing, NULL), 0);
	expect_step(x, VMM_STEP_RESUME); /* a paused guest cannot shut down */
	go_on(x);
	shut_down(x);
	assert_int_equal(wait_reply(&other, stop, NULL), 0);
	control_done(&c);
	control_done(&other);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "paused", NULL), 1);
}

static void stop_with_no_time_kills_a_vmm_during_a_pause(void **state)
{
	struct world *x = *state;
	struct control c, other;
	start_up(x);
	connect_client(x, &c);
	connect_client(x, &other);
	uint32_t pausing = begin_call(&c, CALL_PAUSE);
	expect_step(x, VMM_STEP_PAUSE);
	uint32_t stop = begin_stop(&other, 0);
	expect_killed(x);
	assert_int_equal(wait_reply(&c, pausing, NULL), -EREMOTEIO);
	assert_int_equal(wait_reply(&other, stop, NULL), 0);
	control_done(&c);
	control_done(&other);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 137);
	assert_int_equal(events(x, "paused", NULL), 0);
}

static void a_signal_stops_the_guest(void **state)
{
	struct world *x = *state;
	start_up(x);
	assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	shut_down(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "stopped", NULL), 1);
}

static void the_time_to_live_stops_the_guest(void **state)
{
	struct world *x = *state;
	x->record.ttl_ms = 5;
	start_up(x);
	shut_down(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "stopped", "its time to live is over"), 1);
}

/* ---- restart ---- */

static void on_failure_stops_after_its_limit_of_restarts(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) r = { 0 };
	x->record.restart = RECORD_RESTART_ON_FAILURE;
	x->record.restart_max = 2;
	start_up(x);
	for (int i = 0; i < 2; i++) {
		kill_guest(x);
		boot_again(x);
	}
	kill_guest(x);
	expect_end(x, 0);
	load_record(x, &r);
	assert_int_equal(r.state, RECORD_FAILED);
	assert_int_equal(r.restarts, 2);
	assert_string_equal(r.error, "the VMM was killed by signal 9");
	assert_int_equal(events(x, "restarting", NULL), 2);
	assert_int_equal(events(x, "started", NULL), 3);
	assert_int_equal(events(x, "failed", NULL), 1);
}

static void on_failure_does_not_restart_a_guest_that_powered_off(void **state)
{
	struct world *x = *state;
	x->record.restart = RECORD_RESTART_ON_FAILURE;
	start_up(x);
	power_off(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "exited", NULL), 1);
	assert_int_equal(events(x, "restarting", NULL), 0);
}

static void always_restarts_a_guest_that_powered_off(void **state)
{
	struct world *x = *state;
	x->record.restart = RECORD_RESTART_ALWAYS;
	start_up(x);
	power_off(x);
	boot_again(x);
	kill_guest(x);
	boot_again(x);
	assert_int_equal(events(x, "restarting", "the guest ended by itself"), 1);
	assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	shut_down(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
}

static void a_restart_that_fails_is_tried_again(void **state)
{
	struct world *x = *state;
	x->record.restart = RECORD_RESTART_ALWAYS;
	start_up(x);
	kill_guest(x);
	expect_spawn(x);
	fail_step(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	kill_guest(x);
	boot_again(x);
	assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	shut_down(x);
	expect_end(x, 0);
	assert_int_equal(events(x, "restarting", NULL), 3);
}

static void nothing_is_restarted_from_an_edited_file(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) r = { 0 };
	x->record.restart = RECORD_RESTART_ON_FAILURE;
	x->record.restart_max = 2;
	start_up(x);
	assert_int_equal(unlinkat(x->revision_fd, "checksums.json", 0), 0);
	assert_int_equal(file_create_at(x->revision_fd, "vmlinux", "built", 5, 0600), 0);
	assert_int_equal(store_checksums_write(x->revision_fd, "web", "rev", NULL, 0, NULL, NULL),
			 0);
	assert_int_equal(unlinkat(x->revision_fd, "vmlinux", 0), 0);
	assert_int_equal(file_create_at(x->revision_fd, "vmlinux", "other", 5, 0600), 0);
	kill_guest(x);
	expect_end(x, 0);
	load_record(x, &r);
	assert_int_equal(r.state, RECORD_FAILED);
	assert_non_null(strstr(r.error, "'vmlinux' is damaged"));
}

static void a_stop_ends_the_pause_before_a_restart(void **state)
{
	/* all but STOP and WAIT may be tried again */
	static const unsigned calls[] = { CALL_PAUSE,  CALL_RESUME,    CALL_EXEC, CALL_PUT,
					  CALL_SIGNAL, CALL_PROCESSES, CALL_PING };
	struct world *x = *state;
	struct control c;
	struct mvm_error err;
	x->record.restart = RECORD_RESTART_ALWAYS;
	x->restart_pause_ms = 3600000;
	start_up(x);
	connect_client(x, &c);
	uint32_t wait = begin_call(&c, CALL_WAIT);
	kill_guest(x);
	await_state(x, RECORD_STARTING);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(calls); i++) {
		assert_int_equal(ask(&x->leash, calls[i], &err), -EBUSY);
		assert_string_equal(err.text, "the VM is being started again");
	}
	assert_int_equal(wait_reply(&x->leash, begin_stop(&x->leash, 10000), NULL), 0);
	assert_int_equal(wait_reply(&c, wait, NULL), 0);
	control_done(&c);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "stopped", NULL), 1);
}

static void a_stop_during_a_restart_kills_its_vmm(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.restart = RECORD_RESTART_ALWAYS;
	start_up(x);
	kill_guest(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	assert_record(x, RECORD_STARTING, 0);
	connect_client(x, &c);
	uint32_t stop = begin_stop(&c, 10000);
	expect_killed(x);
	assert_int_equal(wait_reply(&c, stop, NULL), 0);
	control_done(&c);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
}

/* ---- the workload ---- */

static void a_vm_follows_its_workload(void **state)
{
	struct world *x = *state;
	set_command(x);
	start_up(x);
	end_workload(x, 3);
	shut_down(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 3);
	assert_int_equal(events(x, "exited", "its workload ended with exit status 3"), 1);
}

static void a_workload_that_failed_is_restarted(void **state)
{
	struct world *x = *state;
	set_command(x);
	x->record.restart = RECORD_RESTART_ON_FAILURE;
	start_up(x);
	end_workload(x, 3);
	shut_down(x);
	boot_again(x);
	end_workload(x, 0);
	shut_down(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "restarting", "its workload ended with exit status 3"), 1);
}

static void a_stop_is_answered_while_the_vm_follows_its_workload(void **state)
{
	struct world *x = *state;
	struct control c;
	set_command(x);
	x->record.restart = RECORD_RESTART_ALWAYS;
	start_up(x);
	connect_client(x, &c);
	end_workload(x, 3);
	expect_call(x, CALL_SHUTDOWN);
	uint32_t stop = begin_stop(&c, 0); /* takes away the guest's ten seconds */
	expect_killed(x);
	assert_int_equal(wait_reply(&c, stop, NULL), 0);
	control_done(&c);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 3);
	assert_int_equal(events(x, "restarting", NULL), 0);
}

/* ---- health, and a guest that breaks the protocol ---- */

static void set_health(struct world *x)
{
	struct mvm_health *h = &x->revision.run.health;
	h->set = true;
	h->kind = MVM_HEALTH_TCP;
	h->tcp = 80;
	h->interval_ms = 1;
	h->retries = 2;
}

static void answer_check(struct world *x, int status)
{
	answer_call(x, expect_call(x, CALL_HEALTH), status, "port 80 refuses");
}

/* Boot, and let the workload end while the start waits for its health. */
static void boot_and_end_early(struct world *x, uint64_t exit_code)
{
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	say_hello(x);
	answer_call(x, expect_call(x, CALL_CONFIGURE), 0, NULL);
	answer_call(x, expect_call(x, CALL_HEALTH), ESRCH, "the workload has ended");
	end_workload(x, exit_code);
	shut_down(x);
}

static void a_workload_that_ends_before_it_is_healthy_gives_its_status(void **state)
{
	struct world *x = *state;
	set_command(x);
	set_health(x);
	x->record.restart = RECORD_RESTART_ON_FAILURE;
	launch(x);
	boot_and_end_early(x, 3);
	assert_int_equal(start_status(x, NULL), 0);
	boot_and_end_early(x, 0); /* so it is not restarted */
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
	assert_int_equal(events(x, "restarting", "its workload ended with exit status 3"), 1);
	assert_int_equal(events(x, "exited", "its workload ended with exit status 0"), 1);
	assert_int_equal(events(x, "healthy", NULL), 0);
}

static void a_vm_that_stays_fails_when_its_workload_ends_before_it_is_healthy(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	set_command(x);
	set_health(x);
	x->record.keep_running = true;
	launch(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	say_hello(x);
	answer_call(x, expect_call(x, CALL_CONFIGURE), 0, NULL);
	answer_call(x, expect_call(x, CALL_HEALTH), ESRCH, "the workload has ended");
	assert_int_equal(start_status(x, &err), -EREMOTEIO);
	expect_end(x, 1);
	assert_record(x, RECORD_FAILED, 0);
}

static void one_failed_check_is_not_unhealthy(void **state)
{
	struct world *x = *state;
	set_health(x);
	start_up(x);
	answer_check(x, ECONNREFUSED);
	answer_check(x, 0);
	answer_check(x, ECONNREFUSED);
	expect_call(x, CALL_HEALTH);
	assert_int_equal(events(x, "unhealthy", NULL), 0);
	assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	shut_down(x);
	expect_end(x, 0);
}

static void health_turns_unhealthy_and_back(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) r = { 0 };
	set_health(x);
	start_up(x);
	answer_check(x, ECONNREFUSED);
	answer_check(x, ECONNREFUSED);
	uint32_t call = expect_call(x, CALL_HEALTH);
	assert_int_equal(events(x, "unhealthy", "port 80 refuses"), 1);
	inspect(x, &r);
	assert_int_equal(r.health, RECORD_HEALTH_UNHEALTHY);
	assert_string_equal(r.health_message, "port 80 refuses");
	answer_call(x, call, 0, NULL);
	expect_call(x, CALL_HEALTH);
	assert_int_equal(events(x, "healthy", NULL), 2); /* at the start, and now */
	assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	shut_down(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 0);
}

static void a_guest_that_breaks_the_protocol_can_still_be_stopped(void **state)
{
	struct world *x = *state;
	AUTO_DONE(strbuf) none = { 0 };
	struct mvm_error err = { 0 };
	struct control c;
	start_up(x);
	connect_client(x, &c);
	uint32_t ping = begin_call(&c, CALL_PING);
	expect_call(x, CALL_PING);
	say(x, FRAME_HELLO, 0, &none); /* a second HELLO */
	assert_int_equal(wait_reply(&c, ping, &err), -EPROTO);
	assert_int_equal(ask(&c, CALL_PING, &err), -EPROTO);
	assert_non_null(strstr(err.text, "the guest broke the agent protocol"));
	expect_state(x, RECORD_RUNNING);
	assert_int_equal(wait_reply(&c, begin_stop(&c, 10000), NULL), 0);
	control_done(&c);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, 137);
}

static void a_guest_that_breaks_the_protocol_does_not_start(void **state)
{
	struct world *x = *state;
	AUTO_DONE(strbuf) none = { 0 };
	struct mvm_error err = { 0 };
	launch(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	say(x, FRAME_HELLO, 0, &none); /* without PROTOCOL */
	assert_int_equal(start_status(x, &err), -EREMOTEIO);
	assert_non_null(strstr(err.text, "the agent's greeting makes no sense"));
	expect_end(x, 1);
	assert_record(x, RECORD_FAILED, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_stop_shuts_the_guest_down),
		TEST(a_guest_that_does_not_stop_is_killed),
		TEST(a_stop_during_the_start_ends_it),
		TEST(a_pause_during_a_stop_is_refused),
		TEST(a_stop_during_a_pause_waits_for_the_pause),
		TEST(stop_with_no_time_kills_a_vmm_during_a_pause),
		TEST(a_signal_stops_the_guest),
		TEST(the_time_to_live_stops_the_guest),
		TEST(on_failure_stops_after_its_limit_of_restarts),
		TEST(on_failure_does_not_restart_a_guest_that_powered_off),
		TEST(always_restarts_a_guest_that_powered_off),
		TEST(a_restart_that_fails_is_tried_again),
		TEST(nothing_is_restarted_from_an_edited_file),
		TEST(a_stop_ends_the_pause_before_a_restart),
		TEST(a_stop_during_a_restart_kills_its_vmm),
		TEST(a_vm_follows_its_workload),
		TEST(a_workload_that_failed_is_restarted),
		TEST(a_stop_is_answered_while_the_vm_follows_its_workload),
		TEST(a_workload_that_ends_before_it_is_healthy_gives_its_status),
		TEST(a_vm_that_stays_fails_when_its_workload_ends_before_it_is_healthy),
		TEST(one_failed_check_is_not_unhealthy),
		TEST(health_turns_unhealthy_and_back),
		TEST(a_guest_that_breaks_the_protocol_can_still_be_stopped),
		TEST(a_guest_that_breaks_the_protocol_does_not_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
