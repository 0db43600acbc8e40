/* SPDX-License-Identifier: Apache-2.0 */
/* The receiver of progress: its layout, and how it stops work that waits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "instance/control.h"
#include "net/agent.h"

/* A receiver that asks to stop at its n-th event of a kind. */
struct receiver {
	enum mvm_progress_kind kind;
	unsigned stop_at, heard;
};

static int hear(void *arg, const struct mvm_progress_event *event)
{
	struct receiver *r = arg;
	assert_non_null(event->text);
	return event->kind == r->kind && ++r->heard == r->stop_at;
}

static void the_receiver_grows_by_the_rules_of_other_options(void **state)
{
	(void)state;
	struct {
		struct mvm_progress known;
		int later;
	} newer = { .known.size = sizeof(newer) };
	struct progress_watch watch;
	const struct mvm_progress *to = NULL;

	assert_int_equal(progress_take(&watch, &to, NULL), 0);
	assert_null(to);
	to = &newer.known;
	assert_int_equal(progress_take(&watch, &to, NULL), 0);
	assert_ptr_equal(to, &watch.self);
	newer.later = 1; /* a member that this library does not know */
	to = &newer.known;
	assert_int_equal(progress_take(&watch, &to, NULL), -EOPNOTSUPP);

	struct mvm_progress first = { 0 };
	to = &first;
	assert_int_equal(progress_take(&watch, &to, NULL), 0);
	first.size = 1;
	to = &first;
	assert_int_equal(progress_take(&watch, &to, NULL), -EINVAL);
}

static void a_step_ends_at_its_begin_when_the_receiver_stops(void **state)
{
	(void)state;
	struct receiver r = { .kind = MVM_PROGRESS_BEGIN, .stop_at = 2 };
	struct mvm_progress mine = { .size = sizeof(mine), .fn = hear, .arg = &r };
	struct progress_watch watch;
	const struct mvm_progress *to = &mine;
	AUTO_DONE(progress_step) step = { 0 };

	assert_int_equal(progress_take(&watch, &to, NULL), 0);
	progress_begin(&step, to, "one");
	assert_int_equal(progress_bytes(&step, 1, 2, NULL), 0);
	progress_end(&step, NULL);
	progress_begin(&step, to, "two");
	assert_int_equal(progress_bytes(&step, 1, 2, NULL), -ECANCELED);
}

static void a_wait_asks_the_receiver_whether_to_go_on(void **state)
{
	(void)state;
	struct receiver r = { .kind = MVM_PROGRESS_WAIT, .stop_at = 2 };
	const struct mvm_progress caller = { .fn = hear, .arg = &r }, *to = &caller;
	struct progress_watch watch;
	AUTO_CLOSE int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(progress_take(&watch, &to, NULL), 0);
	assert_int_equal(progress_wait(to, fd, clock_now_ns() + NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(progress_wait(to, fd, DEADLINE_NONE), -ECANCELED);
	assert_int_equal(r.heard, 2);
	assert_int_equal(progress_check(to, NULL), -ECANCELED);
	assert_int_equal(progress_wait(to, fd, DEADLINE_NONE), -ECANCELED); /* for good */
	assert_int_equal(r.heard, 2);
}

static void a_wait_ends_with_its_descriptor_or_the_callers(void **state)
{
	(void)state;
	AUTO_CLOSE int fd = eventfd(0, EFD_CLOEXEC);
	AUTO_CLOSE int cancel = eventfd(0, EFD_CLOEXEC);
	const struct mvm_progress caller = { .cancel_fd = &cancel }, *to = &caller;
	struct progress_watch watch;

	assert_int_equal(progress_take(&watch, &to, NULL), 0);
	assert_int_equal(progress_wait(to, fd, clock_now_ns() + NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(eventfd_write(fd, 1), 0);
	assert_int_equal(progress_wait(to, fd, DEADLINE_NONE), 0);
	assert_int_equal(progress_wait(NULL, fd, DEADLINE_NONE), 0);
	assert_int_equal(eventfd_write(cancel, 1), 0);
	assert_int_equal(progress_wait(to, fd, DEADLINE_NONE), -ECANCELED);
}

/* As at the beginning of a step: booting, capturing. */
static void a_receiver_that_stops_ends_the_call_that_follows(void **state)
{
	(void)state;
	struct receiver r = { .kind = MVM_PROGRESS_BEGIN, .stop_at = 1 };
	const struct mvm_progress caller = { .fn = hear, .arg = &r }, *to = &caller;
	struct progress_watch watch;
	struct mvm_error err = { 0 };
	struct control c;
	int ends[2]; /* nobody answers at the other end */

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(control_init(&c, ends[0]), 0);
	assert_int_equal(progress_take(&watch, &to, NULL), 0);
	c.progress = to;
	AUTO_DONE(progress_step) step = { 0 };
	progress_begin(&step, to, "booting web");
	assert_int_equal(control_call(&c, CALL_CAPTURE, NULL, NULL, DEADLINE_NONE, NULL, &err),
			 -ECANCELED);
	assert_non_null(strstr(err.text, "cancelled"));
	control_done(&c);
	close(ends[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_receiver_grows_by_the_rules_of_other_options),
		cmocka_unit_test(a_step_ends_at_its_begin_when_the_receiver_stops),
		cmocka_unit_test(a_wait_asks_the_receiver_whether_to_go_on),
		cmocka_unit_test(a_wait_ends_with_its_descriptor_or_the_callers),
		cmocka_unit_test(a_receiver_that_stops_ends_the_call_that_follows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
