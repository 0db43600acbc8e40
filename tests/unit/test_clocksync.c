/* SPDX-License-Identifier: Apache-2.0 */
/* How often a supervisor sends the time to a guest.  Its clock stands still between the steps of
 * the test, so that a busy host changes no count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "net/wire.h"
#include "supervisor/clocksync.h"

static int64_t now_ns = NS_PER_S;

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	if (id != CLOCK_MONOTONIC)
		return __real_clock_gettime(id, ret);
	*ret = (struct timespec){ .tv_sec = now_ns / NS_PER_S, .tv_nsec = now_ns % NS_PER_S };
	return 0;
}

struct fixture {
	struct loop *loop;
	struct agent_client agent;
	struct channel guest; /* the test's end */
	struct clocksync clock;
};

static void start(struct fixture *x, int64_t first_ms)
{
	int fds[2];
	*x = (struct fixture){ 0 };
	assert_int_equal(loop_new(&x->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	x->guest.fd = fds[1];
	assert_int_equal(agent_client_init(&x->agent, x->loop, fds[0]), 0);
	assert_int_equal(clocksync_start(&x->clock, x->loop, &x->agent, first_ms), 0);
}

static void end(struct fixture *x)
{
	clocksync_stop(&x->clock);
	agent_client_done(&x->agent);
	channel_done(&x->guest);
	close(x->guest.fd);
	loop_free(x->loop);
}

/* Answer the guest's calls for a while, each after a delay; returns their number. */
static unsigned serve(struct fixture *x, int for_ms, int delay_ms)
{
	int64_t until_ns = now_ns + for_ms * NS_PER_MS;
	AUTO_DONE(strbuf) reply = { 0 };
	unsigned calls = 0;
	struct frame f;
	wire_put_u64(&reply, FIELD_STATUS, 0);
	for (; now_ns < until_ns; now_ns += NS_PER_MS) {
		if (channel_receive(&x->guest, &f) == 1 && f.type == FRAME_CALL) {
			calls++;
			now_ns += delay_ms * NS_PER_MS;
			assert_int_equal(channel_send(&x->guest, FRAME_REPLY, f.stream, reply.data,
						      reply.len),
					 0);
		}
		loop_run_once(x->loop, now_ns); /* mostly -ETIMEDOUT */
	}
	return calls;
}

/* A guest answers late because its host is busy.  To ask it ten times a second makes that worse. */
static void a_guest_that_answers_late_is_asked_less_and_less(void **state)
{
	struct fixture x;
	(void)state;
	start(&x, 0);
	assert_int_equal(serve(&x, 1000, 30), 4); /* pauses of 100, 200 and 400 ms */
	end(&x);
}

static void a_guest_that_answers_soon_is_asked_once(void **state)
{
	struct fixture x;
	(void)state;
	start(&x, 0);
	assert_int_equal(serve(&x, 60000, 0), 1);
	end(&x);
}

static void a_clone_is_left_alone_at_first(void **state)
{
	struct fixture x;
	(void)state;
	start(&x, 60000);
	assert_int_equal(serve(&x, 59000, 0), 0);
	assert_int_equal(serve(&x, 2000, 0), 1);
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_that_answers_late_is_asked_less_and_less),
		cmocka_unit_test(a_guest_that_answers_soon_is_asked_once),
		cmocka_unit_test(a_clone_is_left_alone_at_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
