/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to a supervisor that answers late, or never: it was stopped, or hangs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/wait.h"
#include "instance/control.h"
#include "instance/session.h"
#include "net/agent.h"
#include "net/message.h"
#include "net/wire.h"

#define QUIET_MS  20
#define ANSWER_MS 200
#define LONG_MS	  INT64_C(60000)

struct fixture {
	struct control control;
	struct channel peer; /* the supervisor's end */
};

static void connect_to(struct fixture *x)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(control_init(&x->control, fds[0]), 0);
	x->control.name = "web";
	x->peer = (struct channel){ .fd = fds[1] };
}

static void hang_up(struct fixture *x)
{
	control_done(&x->control);
	channel_done(&x->peer);
	close(x->peer.fd);
}

static uint64_t call_of(const struct frame *f)
{
	uint64_t call = 0;
	assert_int_equal(f->type, FRAME_CALL);
	assert_true(wire_find_u64(f->payload, f->len, FIELD_CALL, UINT64_MAX, &call));
	return call;
}

static void expect_call(struct fixture *x, uint64_t call)
{
	struct frame f;
	assert_int_equal(channel_receive(&x->peer, &f), 1);
	assert_int_equal(call_of(&f), call);
}

static void assert_silent(const struct mvm_error *err)
{
	assert_int_equal(err->code, -ETIMEDOUT);
	assert_string_equal(err->reason, "supervisor-silent");
	assert_string_equal(err->subject, "web");
	assert_non_null(strstr(err->text, "the VM's supervisor does not answer"));
}

static void a_silent_supervisor_is_told_before_the_calls_deadline(void **state)
{
	struct mvm_error err = { 0 };
	struct fixture x;
	struct frame f;
	(void)state;
	connect_to(&x);
	control_watch(&x.control, QUIET_MS, ANSWER_MS);
	assert_int_equal(
		control_call(&x.control, CALL_STOP, "stopping it", NULL, DEADLINE_NONE, NULL, &err),
		-ETIMEDOUT);
	assert_silent(&err);
	expect_call(&x, CALL_STOP);
	expect_call(&x, CALL_ALIVE);
	assert_int_equal(channel_receive(&x.peer, &f), 0);
	hang_up(&x);
}

static void a_call_that_is_not_watched_has_its_own_deadline(void **state)
{
	struct mvm_error err = { 0 };
	struct fixture x;
	struct frame f;
	(void)state;
	connect_to(&x);
	assert_int_equal(control_call(&x.control, CALL_WAIT, NULL, NULL,
				      clock_deadline_ns(2 * (QUIET_MS + ANSWER_MS)), NULL, &err),
			 -ETIMEDOUT);
	assert_string_equal(err.reason, "");
	expect_call(&x, CALL_WAIT);
	assert_int_equal(channel_receive(&x.peer, &f), 0);
	hang_up(&x);
}

static void reply(struct channel *ch, uint32_t stream, int status)
{
	AUTO_DONE(strbuf) b = { 0 };
	if (message_put_reply(&b, status, status ? "no such call" : NULL, NULL) < 0 ||
	    channel_send(ch, FRAME_REPLY, stream, b.data, b.len) < 0)
		_exit(1);
}

/* A supervisor that is busy with the first call gives a proof of life.  An old one refuses to, at
 * once. */
static _Noreturn void play_busy(struct channel *ch, int status)
{
	uint32_t stream = 0;
	for (;;) {
		struct frame f;
		uint64_t call = 0;
		int r = channel_receive(ch, &f);
		if (r < 0)
			_exit(2);
		if (r == 0) {
			wait_readable(ch->fd, -1, DEADLINE_NONE);
			continue;
		}
		wire_find_u64(f.payload, f.len, FIELD_CALL, UINT64_MAX, &call);
		if (call == CALL_ALIVE) {
			reply(ch, f.stream, status);
			reply(ch, stream, 0);
			_exit(0);
		}
		stream = f.stream;
	}
}

static void a_busy_supervisor_is_waited_for(void **state)
{
	static const int statuses[] = { 0, EOPNOTSUPP };
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(statuses); i++) {
		struct mvm_error err = { 0 };
		struct fixture x;
		int status;
		connect_to(&x);
		control_watch(&x.control, 1, LONG_MS);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			close(x.control.channel.fd);
			play_busy(&x.peer, statuses[i]);
		}
		assert_int_equal(
			control_call(&x.control, CALL_PAUSE, NULL, NULL, DEADLINE_NONE, NULL, &err),
			0);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		/* it is not asked again soon */
		assert_true(control_watch_ns(&x.control) - clock_now_ns() > LONG_MS * NS_PER_MS);
		hang_up(&x);
	}
}

static void a_command_is_given_up_when_the_supervisor_is_silent(void **state)
{
	const struct session_spec spec = {
		.call = CALL_EXEC,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
		.signal_fd = -1,
		.tty_fd = -1,
		.deadline_ns = DEADLINE_NONE,
	};
	struct mvm_error err = { 0 };
	struct fixture x;
	int status;
	(void)state;
	connect_to(&x);
	control_watch(&x.control, QUIET_MS, ANSWER_MS);
	assert_int_equal(session_run(&x.control, &spec, &status, &err), -ETIMEDOUT);
	assert_silent(&err);
	expect_call(&x, CALL_EXEC);
	expect_call(&x, CALL_ALIVE);
	hang_up(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_silent_supervisor_is_told_before_the_calls_deadline),
		cmocka_unit_test(a_call_that_is_not_watched_has_its_own_deadline),
		cmocka_unit_test(a_busy_supervisor_is_waited_for),
		cmocka_unit_test(a_command_is_given_up_when_the_supervisor_is_silent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
