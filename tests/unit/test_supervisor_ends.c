/* SPDX-License-Identifier: Apache-2.0 */
/* Supervisors of pools, supervisors whose starter ends, and VMMs that die in each state. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/own.h"
#include "instance/events.h"
#include "instance/handover.h"
#include "supervisor_world.h"

static void assert_record(struct world *x, enum record_state state, const char *error)
{
	AUTO_DONE(record) r = { 0 };
	load_record(x, &r);
	assert_string_equal(record_state_name(r.state), record_state_name(state));
	assert_true(error ? r.error && strstr(r.error, error) : !r.error);
}

static void hang_up(struct world *x)
{
	control_done(&x->leash);
}

/* ---- the leash ---- */

static void an_attached_vm_ends_with_its_starter(void **state)
{
	struct world *x = *state;
	x->record.attached = true;
	start_up(x);
	hang_up(x);
	expect_killed(x);
	expect_end(x, 0);
	assert_false(has_folder(x, "web-1"));
	assert_int_equal(events(x, "removed", NULL), 1);
}

/* As process 1 of a container the starter takes the supervisor along when it ends. */
static void a_stop_by_the_starter_is_answered_when_the_vm_is_removed(void **state)
{
	struct world *x = *state;
	x->record.attached = true;
	start_up(x);
	assert_int_equal(wait_reply(&x->leash, begin_stop(&x->leash, 0), NULL), 0);
	assert_false(has_folder(x, "web-1"));
	expect_end(x, 0);
}

static void a_vm_ends_with_a_starter_that_has_not_told_its_name(void **state)
{
	struct world *x = *state;
	x->record.held = true;
	start_up(x);
	hang_up(x);
	expect_killed(x);
	expect_end(x, 0);
	assert_false(has_folder(x, "web-1"));
}

/* As when `run --count` is cancelled, ends the VMs that are up, and is killed before it removes
 * them. */
static void an_ended_vm_waits_until_its_starter_has_told_its_name(void **state)
{
	struct world *x = *state;
	x->record.held = true;
	start_up(x);
	assert_int_equal(wait_reply(&x->leash, begin_stop(&x->leash, 0), NULL), 0);
	/* it has ended */
	assert_int_equal(wait_reply(&x->leash, begin_stop(&x->leash, 0), NULL), 0);
	assert_true(has_folder(x, "web-1"));
	hang_up(x);
	expect_end(x, 0);
	assert_false(has_folder(x, "web-1"));
}

static void a_vm_that_has_ended_stays_once_its_name_is_told(void **state)
{
	struct world *x = *state;
	x->record.held = true;
	start_up(x);
	assert_int_equal(wait_reply(&x->leash, begin_stop(&x->leash, 0), NULL), 0);
	ask(&x->leash, CALL_KEEP, NULL);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, NULL);
}

static void a_vm_that_was_let_go_outlives_its_starter(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.held = true;
	start_up(x);
	assert_int_equal(ask(&x->leash, CALL_KEEP, NULL), 0);
	hang_up(x);
	connect_client(x, &c);
	stop_vm(x, &c);
	assert_record(x, RECORD_EXITED, NULL);
}

/* What a supervisor does beside would take as long as the disk or a cgroup does. */
static void a_starter_is_let_go_before_anything_is_written(void **state)
{
	struct world *x = *state;
	struct control c;
	AUTO_CLOSE int events_fd = openat(x->logs_fd, EVENTS_NAME, O_WRONLY | O_CREAT | O_CLOEXEC,
					  0600);
	AUTO_CLOSE int lock_fd = openat(x->logs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(ftruncate(events_fd, EVENTS_MAX_BYTES), 0);
	assert_int_equal(flock(lock_fd, LOCK_EX), 0); /* the next event waits to move them aside */
	x->record.held = true;
	start_up(x);
	assert_int_equal(ask(&x->leash, CALL_KEEP, NULL), 0);
	assert_int_equal(flock(lock_fd, LOCK_UN), 0);
	hang_up(x);
	connect_client(x, &c);
	stop_vm(x, &c);
	assert_int_equal(events(x, "started", NULL), 1);
}

static void a_start_ends_with_its_starter(void **state)
{
	struct world *x = *state;
	x->record.held = true;
	launch(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	hang_up(x);
	expect_killed(x);
	expect_end(x, 1);
	assert_false(has_folder(x, "web-1"));
}

static void a_start_again_ends_with_its_starter_and_leaves_the_instance(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) rec = { 0 };
	launch(x);
	expect_spawn(x);
	hang_up(x);
	go_on(x);
	expect_killed(x);
	expect_end(x, 1);
	assert_int_equal(record_load(x->folder.dir_fd, &rec, NULL), 0);
	assert_int_equal(rec.state, RECORD_EXITED);
}

static void a_start_ends_when_its_starter_dies_before_the_vmm_runs(void **state)
{
	struct world *x = *state;
	x->record.held = true;
	launch(x);
	expect_spawn(x);
	hang_up(x);
	go_on(x);
	expect_killed(x);
	expect_end(x, 1);
	assert_false(has_folder(x, "web-1"));
}

/* ---- a pool ---- */

static void a_vm_of_a_pool_can_be_adopted(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) before = { 0 }, after = { 0 };
	struct mvm_error err = { 0 };
	struct control c;
	stand_by(x);
	inspect(x, &before);
	assert_int_equal(before.state, RECORD_PAUSED);
	uint32_t adopt = begin_adopt(x, &c, "mine");
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	answer_nonce(x, expect_call(x, CALL_RESTORED));
	if (wait_reply(&c, adopt, &err) < 0)
		fail_msg("%s", err.text);
	hang_up(x); /* the pool's end does not end it any more */
	inspect(x, &after);
	assert_int_equal(after.state, RECORD_RUNNING);
	assert_true(after.from_pool);
	assert_string_equal(after.name, "mine");
	assert_true(has_folder(x, "mine"));
	assert_false(has_folder(x, "web-1"));
	stop_vm(x, &c);
	assert_record(x, RECORD_EXITED, NULL);
	assert_int_equal(events(x, "started", "restored in"), 1);
}

static void a_vm_is_adopted_once(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c, late;
	stand_by(x);
	uint32_t adopt = begin_adopt(x, &c, "mine");
	expect_step(x, VMM_STEP_RESUME);
	uint32_t second = begin_adopt(x, &late, "yours");
	go_on(x);
	answer_nonce(x, expect_call(x, CALL_RESTORED));
	assert_int_equal(wait_reply(&c, adopt, NULL), 0);
	assert_int_equal(wait_reply(&late, second, &err), -EBUSY);
	assert_string_equal(err.text, "instance 'mine' is not of a pool");
	uint32_t stop = begin_stop(&late, 10000);
	shut_down(x);
	assert_int_equal(wait_reply(&late, stop, NULL), 0);
	control_done(&c);
	control_done(&late);
	expect_end(x, 0);
}

static void a_vm_whose_adoption_fails_ends(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c;
	stand_by(x);
	uint32_t adopt = begin_adopt(x, &c, "mine");
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	answer_call(x, expect_call(x, CALL_RESTORED), EIO, "on_restore failed");
	assert_int_equal(wait_reply(&c, adopt, &err), -EIO);
	expect_killed(x);
	control_done(&c);
	expect_end(x, 0);
	assert_false(has_folder(x, "mine"));
	assert_false(has_folder(x, "web-1"));
}

static void a_vm_ends_with_the_client_that_adopts_it(void **state)
{
	struct world *x = *state;
	struct control c;
	stand_by(x);
	begin_adopt(x, &c, "mine");
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	expect_call(x, CALL_RESTORED);
	control_done(&c);
	expect_killed(x);
	expect_end(x, 0);
	assert_false(has_folder(x, "mine"));
}

static void a_stop_without_a_grace_time_ends_an_adoption(void **state)
{
	struct world *x = *state;
	struct control c, other;
	stand_by(x);
	connect_client(x, &other);
	uint32_t adopt = begin_adopt(x, &c, "mine");
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	expect_call(x, CALL_RESTORED);
	uint32_t stop = begin_stop(&other, 0);
	expect_killed(x);
	assert_true(wait_reply(&c, adopt, NULL) < 0);
	assert_int_equal(wait_reply(&other, stop, NULL), 0);
	control_done(&c);
	control_done(&other);
	expect_end(x, 0);
	assert_false(has_folder(x, "mine"));
}

static void an_ended_pool_ends_its_vms(void **state)
{
	struct world *x = *state;
	stand_by(x);
	hang_up(x);
	expect_killed(x);
	expect_end(x, 0);
	assert_false(has_folder(x, "web-1"));
}

/* ---- a VMM dies in each state ---- */

static void a_vmm_that_dies_at_the_start_fails_it(void **state)
{
	struct world *x = *state;
	launch(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	kill_guest(x);
	assert_int_equal(start_status(x, NULL), -EREMOTEIO);
	expect_end(x, 1);
	assert_record(x, RECORD_FAILED,
		      "waiting for the guest's agent: the VM has ended; the VMM was killed by "
		      "signal 9");
	assert_int_equal(events(x, "failed", NULL), 1);
}

static void a_vmm_that_does_not_come_up_fails_the_start(void **state)
{
	struct world *x = *state;
	launch(x);
	expect_spawn(x);
	fail_step(x);
	assert_int_equal(start_status(x, NULL), -EREMOTEIO);
	expect_end(x, 1);
	assert_record(x, RECORD_FAILED, "the scripted VMM failed at 's'");
}

static void a_vmm_that_dies_in_a_pool_takes_its_instance_with_it(void **state)
{
	struct world *x = *state;
	stand_by(x);
	kill_guest(x);
	expect_end(x, 0);
	assert_false(has_folder(x, "web-1"));
}

static void a_vmm_that_dies_in_an_adoption_fails_it(void **state)
{
	struct world *x = *state;
	struct control c;
	stand_by(x);
	uint32_t adopt = begin_adopt(x, &c, "mine");
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	expect_call(x, CALL_RESTORED);
	kill_guest(x);
	assert_int_equal(wait_reply(&c, adopt, NULL), -EREMOTEIO);
	control_done(&c);
	expect_end(x, 0);
	assert_false(has_folder(x, "mine"));
}

static void a_vmm_that_dies_while_it_runs_has_failed(void **state)
{
	struct world *x = *state;
	start_up(x);
	kill_guest(x);
	expect_end(x, 0);
	assert_record(x, RECORD_FAILED, "the VMM was killed by signal 9");
	assert_int_equal(events(x, "failed", "killed by signal 9"), 1);
}

static void a_sigbus_while_the_snapshot_loads_is_explained(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	load_clone(x);
	assert_int_equal(kill(x->vmm, SIGBUS), 0);
	assert_int_equal(start_status(x, &err), -EREMOTEIO);
	/* test_vmm_bus.c has the cases */
	assert_non_null(strstr(err.text, ": a page of its memory could not be read"));
}

static void a_vmm_that_dies_in_a_pause_has_failed(void **state)
{
	struct world *x = *state;
	struct control c;
	start_up(x);
	connect_client(x, &c);
	uint32_t pausing = begin_call(&c, CALL_PAUSE);
	expect_step(x, VMM_STEP_PAUSE);
	kill_guest(x);
	assert_int_equal(wait_reply(&c, pausing, NULL), -EREMOTEIO);
	control_done(&c);
	expect_end(x, 0);
	assert_record(x, RECORD_FAILED, "the VMM was killed by signal 9");
}

/* The VMM dies while it is paused.  resumes: it dies during the resume that follows */
static void die_paused(struct world *x, bool resumes)
{
	struct control c;
	start_up(x);
	connect_client(x, &c);
	pause_vm(x, &c);
	uint32_t call = 0;
	if (resumes) {
		call = begin_call(&c, CALL_RESUME);
		expect_step(x, VMM_STEP_RESUME);
	}
	kill_guest(x);
	if (resumes)
		assert_int_equal(wait_reply(&c, call, NULL), -EREMOTEIO);
	control_done(&c);
}

static void a_vmm_that_dies_paused_has_failed(void **state)
{
	struct world *x = *state;
	die_paused(x, false);
	expect_end(x, 0);
	assert_record(x, RECORD_FAILED, "the VMM was killed by signal 9");
}

static void a_vmm_that_dies_in_a_resume_has_failed(void **state)
{
	struct world *x = *state;
	die_paused(x, true);
	expect_end(x, 0);
	assert_record(x, RECORD_FAILED, "the VMM was killed by signal 9");
}

static void a_vm_that_died_paused_is_up_again_after_its_restart(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.restart = RECORD_RESTART_ON_FAILURE;
	die_paused(x, false);
	boot_again(x);
	connect_client(x, &c);
	uint32_t ping = begin_call(&c, CALL_PING);
	answer_call(x, expect_call(x, CALL_PING), 0, NULL);
	assert_int_equal(wait_reply(&c, ping, NULL), 0);
	stop_vm(x, &c);
	assert_record(x, RECORD_EXITED, NULL);
}

static void a_vmm_that_dies_in_a_capture_fails_it(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c;
	x->record.purpose = RECORD_FOR_CAPTURE;
	start_up(x);
	connect_client(x, &c);
	uint32_t capture = begin_call(&c, CALL_CAPTURE);
	answer_nonce(x, expect_call(x, CALL_PREPARE));
	expect_step(x, VMM_STEP_PAUSE);
	go_on(x);
	expect_step(x, VMM_STEP_CAPTURE);
	kill_guest(x);
	assert_int_equal(wait_reply(&c, capture, &err), -EREMOTEIO);
	control_done(&c);
	expect_end(x, 0);
	assert_false(has_folder(x, "web-1"));
}

static void a_vmm_that_dies_in_a_stop_has_stopped(void **state)
{
	struct world *x = *state;
	struct control c;
	x->record.restart = RECORD_RESTART_ALWAYS;
	start_up(x);
	connect_client(x, &c);
	uint32_t stop = begin_stop(&c, 10000);
	expect_call(x, CALL_SHUTDOWN);
	kill_guest(x);
	assert_int_equal(wait_reply(&c, stop, NULL), 0);
	control_done(&c);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, NULL);
	assert_int_equal(events(x, "restarting", NULL), 0);
}

static void a_vmm_that_dies_while_volumes_come_back_has_stopped(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) r = { 0 };
	struct mvm_error err = { 0 };
	add_volume(x);
	launch(x);
	boot_guest(x);
	take_volume(x);
	if (start_status(x, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	expect_call(x, CALL_GET);
	load_record(x, &r);
	assert_true(r.stopping);
	assert_int_equal(r.state, RECORD_RUNNING);
	kill_guest(x);
	expect_end(x, 0);
	assert_record(x, RECORD_EXITED, ""); /* its error names the volume that did not come back */
}

static void stop_with_no_time_kills_a_vmm_during_a_volume_copy(void **state)
{
	struct world *x = *state;
	struct control c;
	add_volume(x);
	launch(x);
	boot_guest(x);
	take_volume(x);
	assert_int_equal(start_status(x, NULL), 0);
	connect_client(x, &c);
	assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	expect_call(x, CALL_GET);
	uint32_t stop = begin_stop(&c, 0);
	expect_killed(x);
	assert_int_equal(wait_reply(&c, stop, NULL), 0);
	control_done(&c);
	expect_end(x, 0);
	AUTO_DONE(record) r = { 0 };
	load_record(x, &r);
	assert_int_equal(r.state, RECORD_EXITED);
	assert_int_equal(r.exit_code, 137);
	assert_non_null(r.error); /* names the volume that did not come back */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_attached_vm_ends_with_its_starter),
		TEST(a_stop_by_the_starter_is_answered_when_the_vm_is_removed),
		TEST(a_vm_ends_with_a_starter_that_has_not_told_its_name),
		TEST(an_ended_vm_waits_until_its_starter_has_told_its_name),
		TEST(a_vm_that_has_ended_stays_once_its_name_is_told),
		TEST(a_vm_that_was_let_go_outlives_its_starter),
		TEST(a_starter_is_let_go_before_anything_is_written),
		TEST(a_start_ends_with_its_starter),
		TEST(a_start_ends_when_its_starter_dies_before_the_vmm_runs),
		TEST(a_start_again_ends_with_its_starter_and_leaves_the_instance),
		TEST(a_vm_of_a_pool_can_be_adopted),
		TEST(a_vm_is_adopted_once),
		TEST(a_vm_whose_adoption_fails_ends),
		TEST(a_vm_ends_with_the_client_that_adopts_it),
		TEST(a_stop_without_a_grace_time_ends_an_adoption),
		TEST(an_ended_pool_ends_its_vms),
		TEST(a_vmm_that_dies_at_the_start_fails_it),
		TEST(a_vmm_that_does_not_come_up_fails_the_start),
		TEST(a_vmm_that_dies_in_a_pool_takes_its_instance_with_it),
		TEST(a_vmm_that_dies_in_an_adoption_fails_it),
		TEST(a_vmm_that_dies_while_it_runs_has_failed),
		TEST(a_sigbus_while_the_snapshot_loads_is_explained),
		TEST(a_vmm_that_dies_in_a_pause_has_failed),
		TEST(a_vmm_that_dies_paused_has_failed),
		TEST(a_vmm_that_dies_in_a_resume_has_failed),
		TEST(a_vm_that_died_paused_is_up_again_after_its_restart),
		TEST(a_vmm_that_dies_in_a_capture_fails_it),
		TEST(a_vmm_that_dies_in_a_stop_has_stopped),
		TEST(a_vmm_that_dies_while_volumes_come_back_has_stopped),
		TEST(stop_with_no_time_kills_a_vmm_during_a_volume_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
