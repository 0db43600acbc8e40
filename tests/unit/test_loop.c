/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/sock.h"

struct fixture {
	struct loop *loop;
	struct loop_source *a, *b;
	int pair[2], other[2];
	int calls, other_calls;
	uint32_t events;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	if (!f || loop_new(&f->loop) < 0 || sock_pair(f->pair) < 0 || sock_pair(f->other) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	loop_source_free(f->a);
	loop_source_free(f->b);
	loop_free(f->loop);
	for (int i = 0; i < 2; i++) {
		close(f->pair[i]);
		close(f->other[i]);
	}
	free(f);
	return 0;
}

static void on_readable(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	char buf[16];
	f->calls++;
	f->events = events;
	(void)!read(f->pair[0], buf, sizeof(buf));
}

static void on_time(void *arg)
{
	struct fixture *f = arg;
	f->calls++;
}

static void a_readable_descriptor_is_dispatched(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_fd(f->loop, f->pair[0], EPOLLIN, on_readable, f, &f->a), 0);
	assert_int_equal(loop_run_once(f->loop, clock_now_ns()), -ETIMEDOUT);
	assert_int_equal(f->calls, 0);
	assert_int_equal(write(f->pair[1], "x", 1), 1);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->events, EPOLLIN);
}

static void a_hang_up_is_always_reported(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_fd(f->loop, f->pair[0], 0, on_readable, f, &f->a), 0);
	close(f->pair[1]);
	f->pair[1] = -1;
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_true(f->events & EPOLLHUP);
}

static void the_events_to_wait_for_can_change(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_fd(f->loop, f->pair[0], 0, on_readable, f, &f->a), 0);
	assert_int_equal(write(f->pair[1], "x", 1), 1);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(5)), -ETIMEDOUT);
	assert_int_equal(loop_source_set_events(f->a, EPOLLIN), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(f->calls, 1);
}

static void a_descriptor_that_cannot_be_watched_is_refused(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_fd(f->loop, -1, EPOLLIN, on_readable, f, &f->a), -EBADF);
	assert_null(f->a);
}

static void a_timer_fires_once_not_early_and_again_when_armed(void **state)
{
	struct fixture *f = *state;
	int64_t deadline = clock_deadline_ns(20);
	assert_int_equal(loop_add_timer(f->loop, deadline, on_time, f, &f->a), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_true(clock_now_ns() >= deadline);
	assert_int_equal(f->calls, 1);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(5)), -ETIMEDOUT);
	assert_int_equal(f->calls, 1);
	loop_source_arm(f->a, 0);
	assert_int_equal(loop_run_once(f->loop, DEADLINE_NONE), 0);
	assert_int_equal(f->calls, 2);
}

static void the_callers_deadline_comes_before_a_later_timer(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_timer(f->loop, clock_deadline_ns(60000), on_time, f, &f->a), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(5)), -ETIMEDOUT);
	assert_int_equal(f->calls, 0);
}

static void free_itself(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	(void)events;
	f->calls++;
	loop_source_free(f->a);
	f->a = NULL;
}

static void a_source_can_be_freed_by_its_own_callback(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_fd(f->loop, f->pair[0], EPOLLIN, free_itself, f, &f->a), 0);
	assert_int_equal(write(f->pair[1], "x", 1), 1);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(5)), -ETIMEDOUT);
	assert_int_equal(f->calls, 1);
}

static void free_the_other(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	(void)events;
	f->calls++;
	loop_source_free(f->a);
	loop_source_free(f->b);
	f->a = f->b = NULL;
}

static void a_source_freed_by_anothers_callback_is_not_called(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_fd(f->loop, f->pair[0], EPOLLIN, free_the_other, f, &f->a), 0);
	assert_int_equal(loop_add_fd(f->loop, f->other[0], EPOLLIN, free_the_other, f, &f->b), 0);
	assert_int_equal(write(f->pair[1], "x", 1), 1);
	assert_int_equal(write(f->other[1], "x", 1), 1);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(f->calls, 1);
}

static void free_both_on_time(void *arg)
{
	free_the_other(arg, 0);
}

static void a_timer_can_free_itself_and_its_neighbours(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_timer(f->loop, 0, free_both_on_time, f, &f->a), 0);
	assert_int_equal(loop_add_timer(f->loop, 0, free_both_on_time, f, &f->b), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(f->calls, 1);
}

static void add_another(void *arg)
{
	struct fixture *f = arg;
	f->calls++;
	if (!f->b)
		assert_int_equal(loop_add_timer(f->loop, 0, add_another, f, &f->b), 0);
}

static void a_callback_can_add_sources(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_timer(f->loop, 0, add_another, f, &f->a), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(f->calls, 2);
}

static void run_inside(void *arg)
{
	struct fixture *f = arg;
	f->calls++;
	loop_source_free(f->a);
	f->a = NULL;
	loop_run_once(f->loop, clock_now_ns());
}

static void a_loop_run_inside_a_callback_frees_nothing_too_early(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_add_timer(f->loop, 0, run_inside, f, &f->a), 0);
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(f->calls, 1);
}

static void on_always_ready(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	(void)events;
	f->calls++; /* leaves the data unread */
}

static void a_descriptor_that_is_always_ready_does_not_delay_the_deadline(void **state)
{
	struct fixture *f = *state;
	int64_t deadline_ns = clock_deadline_ns(5);
	assert_int_equal(loop_add_fd(f->loop, f->pair[0], EPOLLIN, on_always_ready, f, &f->a), 0);
	assert_int_equal(write(f->pair[1], "x", 1), 1);
	while (clock_now_ns() < deadline_ns)
		loop_run_once(f->loop, deadline_ns);
	f->calls = 0;
	assert_int_equal(loop_run_once(f->loop, deadline_ns), -ETIMEDOUT);
	assert_int_equal(f->calls, 1); /* the timer has fired anyway */
	assert_int_equal(loop_run_once(f->loop, clock_deadline_ns(60000)), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_readable_descriptor_is_dispatched),
		T(a_hang_up_is_always_reported),
		T(the_events_to_wait_for_can_change),
		T(a_descriptor_that_cannot_be_watched_is_refused),
		T(a_timer_fires_once_not_early_and_again_when_armed),
		T(the_callers_deadline_comes_before_a_later_timer),
		T(a_source_can_be_freed_by_its_own_callback),
		T(a_source_freed_by_anothers_callback_is_not_called),
		T(a_timer_can_free_itself_and_its_neighbours),
		T(a_callback_can_add_sources),
		T(a_loop_run_inside_a_callback_frees_nothing_too_early),
		T(a_descriptor_that_is_always_ready_does_not_delay_the_deadline),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
