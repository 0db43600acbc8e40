/* SPDX-License-Identifier: Apache-2.0 */
/* How long a guest may take to boot.  The supervisor's clock stands still (watched_life.h). */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/sock.h"
#include "watched_life.h"

#define PATIENCE_MS 60000
#define BOOT_MS	    200
#define BOOT_MAX_MS 1000

/* Start a VM for a snapshot, up to its kernel's first step.  Returns its console, if it is asked
 * for. */
static int begin_boot(struct world *x, bool gives_console)
{
	x->record.purpose = RECORD_FOR_CAPTURE;
	x->record.attached = true;
	x->boot_ms = BOOT_MS;
	x->boot_max_ms = BOOT_MAX_MS;
	scripted_vmm_gives_console = gives_console;
	launch(x);
	scripted_vmm_gives_console = false;
	expect_spawn(x);
	int fd = -1;
	if (gives_console) {
		struct pollfd p = { .fd = x->steps_fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		fd = sock_receive_fd(x->steps_fd);
		assert_true(fd >= 0);
	}
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	return fd;
}

/* The start ends, since the guest has been silent for too long. */
static void expect_silent_guest(struct world *x)
{
	struct mvm_error err = { 0 };
	assert_int_equal(control_wait_reply(&x->leash, LEASH_START_STREAM, NULL,
					    clock_deadline_ns(PATIENCE_MS), NULL, &err),
			 -ETIMEDOUT);
	assert_string_equal(err.reason, "guest-silent");
	expect_end(x, 1);
}

/* Whoever takes a snapshot boots such a guest again; everybody else gets the console's last
 * lines. */
static void a_capture_reports_a_guest_that_hangs_at_boot(void **state)
{
	struct world *x = *state;
	begin_boot(x, false);
	watched_pass(x, BOOT_MS - 1);
	watched_sync(x); /* it still waits */
	watched_pass(x, 1);
	expect_silent_guest(x);
}

static void a_guest_that_prints_has_more_time_to_boot_but_not_for_ever(void **state)
{
	struct world *x = *state;
	AUTO_CLOSE int console = begin_boot(x, true);
	int64_t left_ms = BOOT_MAX_MS;
	for (; left_ms > BOOT_MS; left_ms -= BOOT_MS - 1) {
		watched_pass(x, BOOT_MS - 1);
		assert_int_equal(send(console, "booting\n", 8, MSG_NOSIGNAL), 8);
		watched_sync(x);
	}
	watched_pass(x, left_ms - 1);
	assert_int_equal(send(console, "booting\n", 8, MSG_NOSIGNAL), 8);
	watched_sync(x);
	watched_pass(x, 1);
	auto_close(&console);
	console = -1;
	expect_silent_guest(x);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watched_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_capture_reports_a_guest_that_hangs_at_boot),
		TEST(a_guest_that_prints_has_more_time_to_boot_but_not_for_ever),
	};
	if (!watched_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
