/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that do not answer while their state is kept for a fork or a suspend, or continued. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/own.h"
#include "codec/sha256.h"
#include "instance/saved.h"
#include "watched_life.h"

#define SHORT_MS    200
#define PATIENCE_MS 60000

/* The guest that was kept waiting runs on, and a stop is as always. */
static void expect_up(struct world *x, struct control *c)
{
	expect_state(x, RECORD_RUNNING);
	stop_vm(x, c);
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
	watched_pass(x, SHORT_MS);
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
		watched_pass(x, SHORT_MS);
		assert_int_equal(control_wait_reply(&c, call, NULL, clock_deadline_ns(PATIENCE_MS),
						    NULL, &err),
				 -ETIMEDOUT);
		assert_non_null(strstr(err.text, "freezing the guest: no answer"));
		answer_nonce(x, freeze); /* late */
		answer_nonce(x, expect_call(x, CALL_THAW));
	}
	expect_up(x, &c);
}

static void a_guest_that_answers_without_its_nonce_is_thawed(void **state)
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

static void a_gone_clients_command_blames_the_silent_agent(void **state)
{
	static const unsigned calls[] = { CALL_FORK, CALL_SUSPEND };
	struct world *x = *state;
	struct control c, other;
	start_clone(x);
	connect_client(x, &c);
	connect_client(x, &other);
	begin_call(&other, CALL_EXEC);
	uint32_t exec = expect_call(x, CALL_EXEC);
	answer_call(x, exec, 0, NULL);
	for (size_t i = 0; i < 4; i++) {
		struct mvm_error err = { 0 };
		if (i == 2)
			control_done(&other); /* and the guest does not answer the RESET */
		assert_int_equal(ask(&c, calls[i % 2], &err), -EBUSY);
		assert_non_null(
			strstr(err.text, i < 2 ? "clients run commands" : "agent does not answer"));
		assert_string_equal(err.reason, i < 2 ? "" : "vm-silent");
	}
	expect_up(x, &c);
}

/* Is the disk full?  The supervisor is another process. */
static bool *full;

int __real_fstatvfs64(int fd, struct statvfs64 *ret);
int __wrap_fstatvfs64(int fd, struct statvfs64 *ret);
int __wrap_fstatvfs64(int fd, struct statvfs64 *ret)
{
	int r = __real_fstatvfs64(fd, ret);
	if (full && *full)
		ret->f_bavail = 0;
	return r;
}

/* QEMU says "An IO error has occurred". */
static void a_disk_that_fills_during_a_save_is_explained(void **state)
{
	static const unsigned calls[] = { CALL_FORK, CALL_SUSPEND };
	struct world *x = *state;
	struct control c;
	full = mmap(NULL, sizeof(*full), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(full, MAP_FAILED);
	start_clone(x);
	connect_client(x, &c);
	for (size_t i = 0; i < 2; i++) {
		struct mvm_error err = { 0 };
		uint32_t call = begin_call(&c, calls[i]);
		freeze_clone(x);
		*full = true;
		fail_step(x);
		expect_step(x, VMM_STEP_RESUME);
		go_on(x);
		answer_nonce(x, expect_call(x, CALL_THAW));
		assert_int_equal(wait_reply(&c, call, &err), -ENOSPC);
		assert_non_null(strstr(err.text, "no room to keep the VM's state"));
		*full = false;
	}
	expect_up(x, &c);
	munmap(full, sizeof(*full));
	full = NULL;
}

static void a_second_suspend_finds_it_suspended(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	struct control c, other;
	start_clone(x);
	connect_client(x, &c);
	connect_client(x, &other);
	uint32_t first = begin_call(&c, CALL_SUSPEND);
	freeze_clone(x);
	uint32_t second = begin_call(&other, CALL_SUSPEND);
	go_on(x);
	if (wait_reply(&c, first, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(wait_reply(&other, second, &err), -EBUSY);
	assert_string_equal(err.text, "it is suspended already");
	assert_string_equal(err.reason, "instance-suspended");
	control_done(&c);
	control_done(&other);
	expect_end(x, 0);
}

static const char staged[] = "../stage.0011223344556677"; /* from the instances' folder */

/* Another folder takes the revision's place, as when its snapshot is taken anew, or they
 * change back. */
static void exchange_revision(struct world *x)
{
	AUTO_FREE char *revision = str_printf("../%s", x->record.revision);
	assert_non_null(revision);
	assert_int_equal(
		renameat2(x->instances_fd, revision, x->instances_fd, staged, RENAME_EXCHANGE), 0);
}

static void expect_gone_snapshot(struct control *c, unsigned call)
{
	struct mvm_error err = { 0 };
	assert_int_equal(ask(c, call, &err), -ESTALE);
	assert_non_null(strstr(err.text, "was taken anew or removed"));
}

/* Nothing could go on from its state. */
static void a_vm_whose_snapshot_was_replaced_is_not_saved(void **state)
{
	static const unsigned calls[] = { CALL_FORK, CALL_SUSPEND };
	struct world *x = *state;
	struct control c;
	start_clone(x);
	connect_client(x, &c);
	AUTO_CLOSE int fd = dir_make_at(x->instances_fd, staged);
	assert_true(fd >= 0);
	for (size_t i = 0; i < 2; i++) {
		struct mvm_error err = { 0 };
		exchange_revision(x);
		expect_gone_snapshot(&c, calls[i]);
		exchange_revision(x);
		/* while its state is saved */
		uint32_t call = begin_call(&c, calls[i]);
		freeze_clone(x);
		exchange_revision(x);
		go_on(x);
		expect_step(x, VMM_STEP_RESUME);
		go_on(x);
		answer_nonce(x, expect_call(x, CALL_THAW));
		assert_int_equal(wait_reply(&c, call, &err), -ESTALE);
		exchange_revision(x);
	}
	assert_false(saved_is_there(x->folder.dir_fd));
	expect_up(x, &c);
}

/* A whole state of no pages. */
static void fill_saved(struct world *x)
{
	char empty[DIGEST_HEX_SIZE], now[] = "2026-01-31T12:00:00Z";
	struct mvm_digest digest;
	sha256_buf("", 0, &digest);
	digest_hex(&digest, empty);
	AUTO_FREE char *base = strdup(
		mvm_snapshot_info_compat(&x->revision.snapshot, "nonce_sha256"));
	const struct saved s = {
		.base_nonce_sha256 = base,
		.nonce_sha256 = base,
		.machine_id = x->record.machine_id,
		.state_sha256 = empty,
		.pages_sha256 = empty,
		.saved_at = now,
	};
	AUTO_CLOSE int fd = dir_make_at(x->folder.dir_fd, SAVED_DIR);
	assert_true(fd >= 0);
	assert_int_equal(file_create_at(fd, SAVED_STATE, "", 0, 0600), 0);
	assert_int_equal(file_create_at(fd, SAVED_PAGES, "", 0, 0600), 0);
	assert_int_equal(saved_write(fd, &s, NULL), 0);
}

static void resume_clone(struct world *x)
{
	x->record.continues = RECORD_CONTINUES_SUSPENDED;
	x->record.machine_id = strdup("00112233445566778899aabbccddeeff");
	x->fill_folder = fill_saved;
	load_clone(x);
}

static void kill_supervisor(struct world *x)
{
	kill(x->supervisor, SIGKILL);
	waitpid(x->supervisor, NULL, 0);
	x->supervisor = 0;
}

static void a_killed_resume_leaves_the_vm_suspended(void **state)
{
	struct world *x = *state;
	resume_clone(x);
	kill_supervisor(x); /* while the VMM loads */
	saved_sweep(x->folder.dir_fd);
	assert_true(saved_is_there(x->folder.dir_fd));
}

static void a_failed_resume_leaves_the_vm_suspended(void **state)
{
	struct world *x = *state;
	resume_clone(x);
	fail_step(x);
	assert_true(start_status(x, NULL) < 0);
	expect_end(x, 1);
	assert_true(saved_is_there(x->folder.dir_fd));
}

static void a_resume_killed_during_the_thaw_leaves_the_vm_suspended(void **state)
{
	struct world *x = *state;
	resume_clone(x);
	go_on(x);
	expect_call(x, CALL_THAW);
	kill_supervisor(x);
	saved_sweep(x->folder.dir_fd);
	assert_true(saved_is_there(x->folder.dir_fd));
}

static void expect_suspended_after(struct world *x, int status, const char *message)
{
	resume_clone(x);
	go_on(x);
	answer_call(x, expect_call(x, CALL_THAW), status, message);
	assert_true(start_status(x, NULL) < 0);
	expect_end(x, 1);
	assert_true(saved_is_there(x->folder.dir_fd));
}

static void a_guest_that_refuses_to_thaw_stays_suspended(void **state)
{
	expect_suspended_after(*state, EIO, "it cannot");
}

static void a_guest_without_its_nonce_stays_suspended(void **state)
{
	expect_suspended_after(*state, 0, "");
}

static void a_state_is_gone_when_its_guest_runs(void **state)
{
	struct world *x = *state;
	resume_clone(x);
	go_on(x);
	answer_nonce(x, expect_call(x, CALL_THAW));
	assert_int_equal(start_status(x, NULL), 0);
	assert_false(saved_is_there(x->folder.dir_fd));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watched_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_guest_that_does_not_thaw_in_time_runs_on),
		TEST(a_guest_that_may_freeze_later_is_thawed),
		TEST(a_guest_that_answers_without_its_nonce_is_thawed),
		TEST(a_gone_clients_command_blames_the_silent_agent),
		TEST(a_disk_that_fills_during_a_save_is_explained),
		TEST(a_second_suspend_finds_it_suspended),
		TEST(a_vm_whose_snapshot_was_replaced_is_not_saved),
		TEST(a_killed_resume_leaves_the_vm_suspended),
		TEST(a_failed_resume_leaves_the_vm_suspended),
		TEST(a_resume_killed_during_the_thaw_leaves_the_vm_suspended),
		TEST(a_guest_that_refuses_to_thaw_stays_suspended),
		TEST(a_guest_without_its_nonce_stays_suspended),
		TEST(a_state_is_gone_when_its_guest_runs),
	};
	if (!watched_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
