/* SPDX-License-Identifier: Apache-2.0 */
/* A command of mvm/stream.h, and a supervisor that breaks every rule. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "instance/exec.h"
#include "net/agent.h"
#include "net/wire.h"

static const char *const command[] = { "cat", NULL };

struct fixture {
	struct mvm_exec *exec;
	struct channel peer; /* the supervisor's end */
	uint32_t stream;
};

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

static void start(struct fixture *x, const struct mvm_exec_start_options *options)
{
	struct frame f;
	assert_int_equal(exec_start(connect_to(&x->peer), options, &x->exec, NULL), 0);
	assert_int_equal(channel_receive(&x->peer, &f), 1);
	assert_int_equal(f.type, FRAME_CALL);
	x->stream = f.stream;
}

static int setup(void **state)
{
	struct mvm_exec_start_options o = { 0 }; /* equal to _INIT */
	struct fixture *x = calloc(1, sizeof(*x));
	if (!x)
		return -1;
	o.command = command;
	o.input = true;
	start(x, &o);
	*state = x;
	return 0;
}

static void hang_up(struct fixture *x)
{
	if (x->peer.fd >= 0)
		close(x->peer.fd);
	x->peer.fd = -1;
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	mvm_exec_close(x->exec);
	hang_up(x);
	channel_done(&x->peer);
	free(x);
	return 0;
}

/* ---- frames that the peer sends ---- */

static void say(struct fixture *x, uint8_t type, const void *data, size_t len)
{
	assert_int_equal(channel_send(&x->peer, type, x->stream, data, len), 0);
}

static void say_fields(struct fixture *x, uint8_t type, uint16_t tag, uint64_t value)
{
	AUTO_DONE(strbuf) b = { 0 };
	if (type == FRAME_REPLY)
		wire_put_u64(&b, FIELD_STATUS, 0);
	wire_put_u64(&b, tag, value);
	say(x, type, b.data, b.len);
}

static void say_started(struct fixture *x)
{
	say_fields(x, FRAME_REPLY, FIELD_PID, 42);
}

static void say_output(struct fixture *x, uint8_t channel, const char *text, size_t len)
{
	char data[1 + DATA_MAX] = { (char)channel };
	memcpy(data + 1, text, len);
	say(x, FRAME_DATA, data, len + 1);
}

static void say_credit(struct fixture *x, uint32_t n)
{
	uint32_t credit = htole32(n);
	say(x, FRAME_CREDIT, &credit, sizeof(credit));
}

/* ---- events that the command's owner gets ---- */

static const struct mvm_exec_event *next(struct fixture *x, enum mvm_exec_event_kind kind)
{
	const struct mvm_exec_event *e = NULL;
	assert_int_equal(mvm_exec_read(x->exec, &e, NULL), MVM_STREAM_ITEM);
	assert_int_equal(e->kind, kind);
	return e;
}

static void expect_output(struct fixture *x, enum mvm_exec_event_kind kind, const char *text)
{
	const struct mvm_exec_event *e = next(x, kind);
	assert_int_equal(e->len, strlen(text));
	assert_memory_equal(e->data, text, e->len);
}

static void expect(struct fixture *x, int result)
{
	const struct mvm_exec_event *e;
	struct mvm_error err = { 0 };
	assert_int_equal(mvm_exec_read(x->exec, &e, &err), result);
	assert_int_equal(err.code, result < 0 ? result : 0);
}

static void expect_over(struct fixture *x)
{
	assert_int_equal(mvm_exec_events(x->exec), 0);
	assert_int_equal(mvm_exec_timeout_ms(x->exec), -1);
}

static void a_command_starts_prints_and_ends(void **state)
{
	struct fixture *x = *state;
	expect(x, MVM_STREAM_WAIT);
	assert_int_equal(mvm_exec_events(x->exec), POLLIN);
	assert_int_equal(mvm_exec_timeout_ms(x->exec), -1);
	say_started(x);
	say_output(x, DATA_STDOUT, "one", 3);
	say_output(x, DATA_STDERR, "two", 3);
	say_output(x, DATA_STDOUT, "three", 5);
	say_output(x, DATA_STDOUT, "", 0); /* the channel's end is no event */
	say_fields(x, FRAME_END, FIELD_EXIT_CODE, 7);
	assert_int_equal(next(x, MVM_EXEC_STARTED)->pid, 42);
	expect_output(x, MVM_EXEC_STDOUT, "one");
	expect_output(x, MVM_EXEC_STDERR, "two");
	expect_output(x, MVM_EXEC_STDOUT, "three");
	const struct mvm_exec_event *e = next(x, MVM_EXEC_EXITED);
	assert_int_equal(e->status, 7);
	assert_int_equal(e->signal, 0);
	expect(x, MVM_STREAM_END);
	expect(x, MVM_STREAM_END);
	expect_over(x);
}

static void a_signal_is_told_apart_from_an_exit(void **state)
{
	struct fixture *x = *state;
	say_started(x);
	say_fields(x, FRAME_END, FIELD_SIGNAL, 9);
	next(x, MVM_EXEC_STARTED);
	const struct mvm_exec_event *e = next(x, MVM_EXEC_EXITED);
	assert_int_equal(e->status, 137);
	assert_int_equal(e->signal, 9);
}

static void a_frame_in_pieces_is_one_event(void **state)
{
	struct fixture *x = *state;
	static const uint8_t data[] = { 3, 0, 0, 0, 2, 0, 0, 0, FRAME_DATA, 0, 0, 0, 1, 'h', 'i' };
	say_started(x);
	next(x, MVM_EXEC_STARTED);
	assert_int_equal(data[4], x->stream);
	for (size_t i = 0; i < sizeof(data); i++) {
		expect(x, MVM_STREAM_WAIT);
		assert_int_equal(write(x->peer.fd, data + i, 1), 1);
	}
	expect_output(x, MVM_EXEC_STDOUT, "hi");
}

/* Count the credited bytes, and the frames that credited them. */
static uint32_t credits(struct fixture *x, unsigned *ret_n)
{
	uint32_t sum = 0, le;
	struct frame f;
	*ret_n = 0;
	while (channel_receive(&x->peer, &f) > 0) {
		assert_int_equal(f.type, FRAME_CREDIT);
		memcpy(&le, f.payload, sizeof(le));
		sum += le32toh(le);
		(*ret_n)++;
	}
	return sum;
}

static void output_that_is_not_read_gets_no_credit(void **state)
{
	struct fixture *x = *state;
	static const char zeros[DATA_MAX];
	unsigned n, pieces = WINDOW_BYTES / DATA_MAX;

	say_started(x);
	next(x, MVM_EXEC_STARTED);
	for (unsigned i = 0; i < pieces; i++)
		say_output(x, DATA_STDOUT, zeros, sizeof(zeros));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(next(x, MVM_EXEC_STDOUT)->len, DATA_MAX);
		channel_flush(&x->peer);
		assert_int_equal(credits(x, &n), 0); /* the second piece is still lent out */
	}
	for (unsigned i = 2; i < pieces; i++) {
		next(x, MVM_EXEC_STDOUT);
		channel_flush(&x->peer);
	}
	expect(x, MVM_STREAM_WAIT);
	assert_int_equal(credits(x, &n), WINDOW_BYTES);
	assert_int_equal(n, 4);
}

static void a_peer_that_breaks_the_protocol_ends_the_command(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		struct fixture y = { 0 };
		struct mvm_exec_start_options o = MVM_EXEC_START_OPTIONS_INIT;
		o.command = command;
		start(&y, &o);
		say_started(&y);
		next(&y, MVM_EXEC_STARTED);
		if (i == 0)
			say(&y, FRAME_END, NULL, 0); /* no status */
		else if (i == 1)
			say(&y, FRAME_DATA, "\7?", 2); /* no such channel */
		else if (i == 2)
			say(&y, FRAME_DATA, NULL, 0);
		else if (i == 3)
			say_started(&y); /* a second time */
		else
			assert_int_equal(write(y.peer.fd, "\0\0\0\0\2\0\0\0\4\1\0\0", 12), 12);
		expect(&y, -EPROTO);
		expect(&y, -EPROTO); /* again */
		expect_over(&y);
		assert_int_equal(mvm_exec_write(y.exec, "x", 1, NULL), -EPIPE);
		mvm_exec_close(y.exec);
		hang_up(&y);
		channel_done(&y.peer);
	}
}

static void output_before_a_death_is_read_first(void **state)
{
	struct fixture *x = *state;
	struct mvm_error err;
	const struct mvm_exec_event *e;

	say_started(x);
	say_output(x, DATA_STDOUT, "last words", 10);
	hang_up(x);
	/* the peer has hung up; this raises no SIGPIPE */
	assert_true(mvm_exec_write(x->exec, "in", 2, NULL) >= 0);
	assert_int_equal(mvm_exec_signal(x->exec, 15, NULL), 0);
	next(x, MVM_EXEC_STARTED);
	expect_output(x, MVM_EXEC_STDOUT, "last words");
	assert_int_equal(mvm_exec_read(x->exec, &e, &err), -EREMOTEIO);
	assert_string_equal(err.text, "the VM has ended");
	expect_over(x);
}

static void a_refusal_has_the_guests_words(void **state)
{
	struct fixture *x = *state;
	AUTO_DONE(strbuf) b = { 0 };
	const struct mvm_exec_event *e;
	struct mvm_error err;

	wire_put_u64(&b, FIELD_STATUS, ENOENT);
	wire_put_str(&b, FIELD_MESSAGE, "no such program: 'cat'");
	say(x, FRAME_REPLY, b.data, b.len);
	assert_int_equal(mvm_exec_read(x->exec, &e, &err), -ENOENT);
	assert_string_equal(err.text, "no such program: 'cat'");
	expect(x, -ENOENT);
	assert_int_equal(mvm_exec_signal(x->exec, 15, NULL), 0);
}

static void a_vm_that_ends_has_one_code(void **state)
{
	struct fixture *x = *state;
	AUTO_DONE(strbuf) b = { 0 };
	say_started(x);
	wire_put_u64(&b, FIELD_STATUS, ESRCH);
	wire_put_str(&b, FIELD_MESSAGE, "the VM has ended");
	say(x, FRAME_REPLY, b.data, b.len);
	next(x, MVM_EXEC_STARTED);
	expect(x, -EREMOTEIO);
	expect(x, -EREMOTEIO); /* again */
	expect_over(x);
}

/* Take all input that has arrived; returns the number of bytes. */
static size_t take_input(struct fixture *x)
{
	struct frame f;
	size_t sum = 0;
	while (channel_receive(&x->peer, &f) > 0) {
		assert_int_equal(f.type, FRAME_DATA);
		assert_int_equal(f.payload[0], DATA_STDIN);
		sum += f.len - 1;
	}
	return sum;
}

static void input_is_accepted_up_to_the_free_space(void **state)
{
	struct fixture *x = *state;
	static const char data[2 * WINDOW_BYTES];
	size_t written = 0, taken = 0;
	bool stalled = false;

	say_started(x);
	next(x, MVM_EXEC_STARTED);
	for (;;) {
		int n = mvm_exec_write(x->exec, data, sizeof(data), NULL);
		assert_true(n >= 0);
		written += (size_t)n;
		/* the socket was full: it waits to write, and keeps no more input */
		stalled = stalled || mvm_exec_events(x->exec) == (POLLIN | POLLOUT);
		taken += take_input(x);
		expect(x, MVM_STREAM_WAIT); /* sends the rest */
		taken += take_input(x);
		if (n == 0)
			break;
	}
	assert_true(stalled);
	assert_int_equal(written, WINDOW_BYTES);
	assert_int_equal(taken, WINDOW_BYTES);
	assert_int_equal(mvm_exec_events(x->exec), POLLIN);
	say_credit(x, 1000);
	expect(x, MVM_STREAM_WAIT);
	assert_int_equal(mvm_exec_write(x->exec, data, sizeof(data), NULL), 1000);
	say_credit(x, UINT32_MAX); /* no more than the window */
	expect(x, MVM_STREAM_WAIT);
	take_input(x);
	assert_true(mvm_exec_write(x->exec, data, sizeof(data), NULL) <= (int)WINDOW_BYTES);
}

static void the_end_of_the_input_is_said_once(void **state)
{
	struct fixture *x = *state;
	struct frame f;
	assert_int_equal(mvm_exec_write(x->exec, "hi", 2, NULL), 2); /* before it has started */
	assert_int_equal(mvm_exec_close_stdin(x->exec, NULL), 0);
	assert_int_equal(mvm_exec_close_stdin(x->exec, NULL), 0);
	assert_int_equal(mvm_exec_write(x->exec, "x", 1, NULL), -EPIPE);
	assert_int_equal(channel_receive(&x->peer, &f), 1);
	assert_int_equal(f.len, 3);
	assert_int_equal(channel_receive(&x->peer, &f), 1);
	assert_int_equal(f.type, FRAME_DATA);
	assert_int_equal(f.len, 1);
	assert_int_equal(channel_receive(&x->peer, &f), 0);
}

static void signals_and_sizes_are_passed_on(void **state)
{
	struct fixture *x = *state;
	struct frame f;
	assert_int_equal(mvm_exec_signal(x->exec, 15, NULL), 0);
	assert_int_equal(mvm_exec_resize(x->exec, 0x102, 80, NULL), 0);
	assert_int_equal(mvm_exec_signal(x->exec, 0, NULL), -EINVAL);
	assert_int_equal(mvm_exec_signal(x->exec, 65, NULL), -EINVAL);
	assert_int_equal(channel_receive(&x->peer, &f), 1);
	assert_int_equal(f.type, FRAME_SIGNAL);
	assert_memory_equal(f.payload, "\17", 1);
	assert_int_equal(channel_receive(&x->peer, &f), 1);
	assert_int_equal(f.type, FRAME_RESIZE);
	assert_memory_equal(f.payload, "\2\1\120\0", 4);
	say_started(x);
	say_fields(x, FRAME_END, FIELD_EXIT_CODE, 0);
	next(x, MVM_EXEC_STARTED);
	next(x, MVM_EXEC_EXITED);
	assert_int_equal(mvm_exec_signal(x->exec, 15, NULL), 0);
	assert_int_equal(mvm_exec_resize(x->exec, 25, 80, NULL), 0);
	assert_int_equal(channel_receive(&x->peer, &f), 0);
}

static void a_stalled_supervisor_costs_little_memory(void **state)
{
	struct fixture *x = *state;
	int r = 0, sent = 0;
	while (r == 0 && sent < 1000000) {
		r = mvm_exec_signal(x->exec, 10, NULL);
		sent++;
	}
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(mvm_exec_events(x->exec), POLLIN | POLLOUT);
	assert_int_equal(mvm_exec_write(x->exec, "x", 1, NULL), 0);
	expect(x, MVM_STREAM_WAIT); /* nothing was lost */
}

static int64_t stopped_ns; /* what a clock that stands still shows; 0: it goes */

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	if (!stopped_ns)
		return __real_clock_gettime(id, ret);
	*ret = (struct timespec){ stopped_ns / NS_PER_S, stopped_ns % NS_PER_S };
	return 0;
}

static void a_time_limit_kills_the_command(void **state)
{
	(void)state;
	struct fixture y = { 0 };
	struct mvm_exec_start_options o = MVM_EXEC_START_OPTIONS_INIT;
	const struct mvm_exec_event *e;
	struct mvm_error err;
	struct frame f;

	o.command = command;
	o.timeout_ms = 20;
	stopped_ns = clock_now_ns();
	start(&y, &o);
	say_started(&y);
	next(&y, MVM_EXEC_STARTED);
	assert_int_equal(mvm_exec_timeout_ms(y.exec), 20);
	stopped_ns += 19 * NS_PER_MS;
	assert_int_equal(mvm_exec_read(y.exec, &e, &err), MVM_STREAM_WAIT);
	assert_int_equal(mvm_exec_timeout_ms(y.exec), 1);
	stopped_ns += NS_PER_MS;
	assert_int_equal(mvm_exec_timeout_ms(y.exec), 0);
	assert_true(mvm_exec_read(y.exec, &e, &err) < 0);
	stopped_ns = 0;
	assert_int_equal(err.code, -ETIMEDOUT);
	expect(&y, -ETIMEDOUT);
	expect_over(&y);
	assert_int_equal(channel_receive(&y.peer, &f), 1);
	assert_int_equal(f.type, FRAME_RESET);
	mvm_exec_close(y.exec);
	assert_int_equal(channel_receive(&y.peer, &f), -EPIPE);
	hang_up(&y);
	channel_done(&y.peer);
}

static void contradictory_options_are_refused(void **state)
{
	(void)state;
	static const char *const none[] = { NULL };
	const struct mvm_exec_start_options cases[] = {
		{ .command = NULL },
		{ .command = none },
		{ .command = command, .timeout_ms = -1 },
		{ .size = 1, .command = command },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(channel) peer = { 0 };
		struct mvm_error err = { 0 };
		struct mvm_exec *e = NULL;
		assert_int_equal(exec_start(connect_to(&peer), &cases[i], &e, &err), -EINVAL);
		assert_int_equal(err.code, -EINVAL);
		assert_null(e);
		assert_int_equal(read(peer.fd, &err, 1), 0); /* the client has hung up */
		close(peer.fd);
	}
	mvm_exec_close(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_command_starts_prints_and_ends),
		TEST(a_signal_is_told_apart_from_an_exit),
		TEST(a_frame_in_pieces_is_one_event),
		TEST(output_that_is_not_read_gets_no_credit),
		TEST(a_peer_that_breaks_the_protocol_ends_the_command),
		TEST(output_before_a_death_is_read_first),
		TEST(a_refusal_has_the_guests_words),
		TEST(a_vm_that_ends_has_one_code),
		TEST(input_is_accepted_up_to_the_free_space),
		TEST(the_end_of_the_input_is_said_once),
		TEST(signals_and_sizes_are_passed_on),
		TEST(a_stalled_supervisor_costs_little_memory),
		cmocka_unit_test(a_time_limit_kills_the_command),
		cmocka_unit_test(contradictory_options_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
