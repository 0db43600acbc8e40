/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking call with streams (instance/session.h), beside guests that are too fast or too
 * slow. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "instance/instance.h"
#include "instance/session.h"
#include "net/agent.h"
#include "net/wire.h"

static struct mvm_instance *connect_to(struct channel *peer)
{
	struct mvm_instance *i = calloc(1, sizeof(*i));
	int fds[2];
	assert_non_null(i);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(control_init(&i->control, fds[0]), 0);
	*peer = (struct channel){ .fd = fds[1] };
	return i;
}

struct flood {
	struct channel peer;
	uint32_t stream;
	unsigned writes;
};

/* A reader that gets the next piece before it has finished one. */
static int pour(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	struct flood *x = arg;
	static const char piece[1 + DATA_MAX] = { DATA_STDOUT };
	struct frame f;
	(void)data;
	(void)len;
	while (channel_receive(&x->peer, &f) > 0)
		; /* credits */
	if (++x->writes > 200000)
		return mvm_error_set(err, -ENOSPC, "it does not end");
	channel_send(&x->peer, FRAME_DATA, x->stream, piece, sizeof(piece));
	return 0;
}

/* Send one byte more than a window to a client whose reader takes nothing. */
static void send_too_much(int fd, uint32_t stream)
{
	static const char piece[1 + DATA_MAX] = { DATA_STDOUT };
	AUTO_DONE(strbuf) reply = { 0 };
	struct channel c = { .fd = fd };
	fcntl(fd, F_SETFL, 0);
	wire_put_u64(&reply, FIELD_STATUS, 0);
	channel_send(&c, FRAME_REPLY, stream, reply.data, reply.len);
	for (unsigned i = 0; i < WINDOW_BYTES / DATA_MAX; i++)
		channel_send(&c, FRAME_DATA, stream, piece, sizeof(piece));
	channel_send(&c, FRAME_DATA, stream, piece, 2);
	pause();
}

static void more_output_than_was_credited_breaks_the_protocol(void **state)
{
	(void)state;
	struct channel peer;
	struct mvm_instance *i = connect_to(&peer);
	const struct strbuf args = { 0 };
	struct mvm_error err;
	int pipe_fds[2], status = 0;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(pipe_fds[1], "x", 1) == 1)
		; /* it has no reader */
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		send_too_much(peer.fd, 2);
		_exit(0);
	}
	const struct session_spec spec = {
		.call = CALL_EXEC,
		.args = &args,
		.stdin_fd = -1,
		.stdout_fd = pipe_fds[1],
		.stderr_fd = -1,
		.signal_fd = -1,
		.tty_fd = -1,
		.deadline_ns = DEADLINE_NONE,
	};
	assert_int_equal(session_run(&i->control, &spec, &status, &err), -EPROTO);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	instance_close(i);
	close(peer.fd);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void a_command_that_prints_without_end_runs_out_of_time(void **state)
{
	(void)state;
	struct flood x = { .stream = 2 };
	struct mvm_instance *i = connect_to(&x.peer);
	AUTO_DONE(strbuf) reply = { 0 };
	const struct strbuf args = { 0 };
	const struct session_io io = { .write = pour, .arg = &x };
	const struct session_spec spec = {
		.call = CALL_EXEC,
		.args = &args,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
		.io = &io,
		.signal_fd = -1,
		.tty_fd = -1,
		.deadline_ns = 1, /* long ago */
	};
	struct mvm_error err;
	int status = 0;
	wire_put_u64(&reply, FIELD_STATUS, 0);
	assert_int_equal(channel_send(&x.peer, FRAME_REPLY, x.stream, reply.data, reply.len), 0);
	assert_int_equal(channel_send(&x.peer, FRAME_DATA, x.stream, "\1x", 2), 0);
	assert_int_equal(session_run(&i->control, &spec, &status, &err), -ETIMEDOUT);
	instance_close(i);
	close(x.peer.fd);
	channel_done(&x.peer);
}

static int64_t *later_ns; /* how far the clock is ahead, here and in the guest */

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = __real_clock_gettime(id, ret);
	ret->tv_sec += *later_ns / NS_PER_S;
	return r;
}

static void await_data(struct channel *peer, size_t len)
{
	struct frame f = { 0 };
	struct pollfd p = { .fd = peer->fd, .events = POLLIN };
	while (f.type != FRAME_DATA || f.len != len)
		if (channel_receive(peer, &f) == 0)
			poll(&p, 1, -1);
}

/* A guest that takes all input and then ends the call.  The end of our input is an hour late. */
static void be_slow(struct channel *peer, uint32_t stream, int input)
{
	AUTO_DONE(strbuf) status = { 0 };

	if (write(input, "x", 1) < 0)
		return;
	await_data(peer, 2);
	*later_ns += 3600 * NS_PER_S;
	if (write(input, "x", 1) < 0)
		return;
	close(input);
	await_data(peer, 1);
	wire_put_u64(&status, FIELD_EXIT_CODE, 0);
	channel_send(peer, FRAME_END, stream, status.data, status.len);
}

static void silence_of_our_own_input_is_not_the_guests(void **state)
{
	(void)state;
	struct channel peer;
	struct mvm_instance *i = connect_to(&peer);
	AUTO_DONE(strbuf) reply = { 0 };
	const struct strbuf args = { 0 };
	struct mvm_error err = { 0 };
	int pipe_fds[2], status = -1;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	wire_put_u64(&reply, FIELD_STATUS, 0);
	assert_int_equal(channel_send(&peer, FRAME_REPLY, 2, reply.data, reply.len), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* it has both ends, so it hears of no hang-up */
		be_slow(&peer, 2, pipe_fds[1]);
		_exit(0);
	}
	close(pipe_fds[1]);
	struct session_spec spec = {
		.call = CALL_PUT,
		.args = &args,
		.stdin_fd = pipe_fds[0],
		.stdout_fd = -1,
		.stderr_fd = -1,
		.signal_fd = -1,
		.tty_fd = -1,
		.deadline_ns = DEADLINE_NONE,
		.idle_ms = 100000,
	};
	assert_int_equal(session_run(&i->control, &spec, &status, &err), 0);
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	/* without input it is the guest's turn from the start */
	spec.stdin_fd = -1;
	spec.idle_ms = 10;
	assert_int_equal(session_run(&i->control, &spec, &status, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "the guest was silent"));
	instance_close(i);
	close(peer.fd);
	channel_done(&peer);
	close(pipe_fds[0]);
}

int main(void)
{
	later_ns = mmap(NULL, sizeof(*later_ns), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (later_ns == MAP_FAILED)
		return 1;
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_of_our_own_input_is_not_the_guests),
		cmocka_unit_test(more_output_than_was_credited_breaks_the_protocol),
		cmocka_unit_test(a_command_that_prints_without_end_runs_out_of_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
