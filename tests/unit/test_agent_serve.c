/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent in a child process.  The test plays the host over a socket pair and checks what the
 * agent starts, passes on and refuses.  Cgroups, identity and power are tested in real guests
 * (tests/integration/agent_boot.py).
 */
#include "agent_host.h"

static void the_agent_answers_only_ping_before_configure(void **state)
{
	struct host *h = *state;
	hello(h);
	call(h, 5, CALL_PING, NULL);
	assert_int_equal(reply_status(h, 5), 0);
	start_command(h, 6, false, "true");
	assert_int_equal(reply_status(h, 6), EBUSY);
	call(h, 7, CALL_HEALTH, NULL);
	assert_int_equal(reply_status(h, 7), EBUSY);
	call(h, 8, 60, NULL);
	assert_int_equal(reply_status(h, 8), EOPNOTSUPP);
	call(h, 9, CALL_RESTORED, NULL);
	assert_int_equal(reply_status(h, 9), EBUSY);
	call(h, 10, CALL_REHEARSE, NULL);
	assert_int_equal(reply_status(h, 10), EBUSY);
}

static void a_command_has_its_output_and_status_passed_on(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	configured(h);
	start_command(h, 2, false, "echo $COLOUR; echo err >&2; cat; exit 3");
	assert_int_equal(reply_status(h, 2), 0);
	assert_int_equal(collect(h, 2, &o), FIELD_EXIT_CODE);
	assert_int_equal(o.code, 3);
	assert_string_equal(o.out[DATA_STDOUT].data, "blue\n");
	assert_string_equal(o.out[DATA_STDERR].data, "err\n");
}

static void input_is_fed_within_the_window_and_credited(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	char data[1 + DATA_MAX] = { DATA_STDIN };

	configured(h);
	start_command(h, 2, true, "wc -c");
	assert_int_equal(reply_status(h, 2), 0);
	memset(data + 1, 'x', DATA_MAX);
	for (int i = 0; i < 8; i++)
		assert_int_equal(channel_send(&h->c, FRAME_DATA, 2, data, sizeof(data)), 0);
	/* credit comes in large pieces: up to a quarter of the window may be outstanding */
	for (size_t credited = 0; credited <= WINDOW_BYTES / 4 * 3;) {
		struct frame f;
		uint32_t le;
		receive_type(h, &f, FRAME_CREDIT, 2);
		memcpy(&le, f.payload, sizeof(le));
		assert_in_range(le32toh(le), WINDOW_BYTES / 4, WINDOW_BYTES);
		credited += le32toh(le);
	}
	assert_int_equal(channel_send(&h->c, FRAME_DATA, 2, data, 1), 0);
	assert_int_equal(collect(h, 2, &o), FIELD_EXIT_CODE);
	assert_int_equal(atoi(o.out[DATA_STDOUT].data), WINDOW_BYTES);
}

static uint64_t reply_number(struct host *h, uint32_t stream, uint16_t tag)
{
	struct frame f;
	struct wire_field field;
	uint64_t n = 0;
	receive_type(h, &f, FRAME_REPLY, stream);
	assert_int_equal(wire_find(f.payload, f.len, tag, &field), 1);
	assert_int_equal(wire_get_u64(&field, &n), 0);
	return n;
}

static void await_tells_how_the_workload_ended(void **state)
{
	struct host *h = *state;
	configured_with(h,
			(const char *const[]){ "sh", "-c", "read line </dev/null; exit 3", NULL });
	call(h, 2, CALL_AWAIT, NULL);
	assert_int_equal(reply_number(h, 2, FIELD_EXIT_CODE), 3);
	call(h, 3, CALL_AWAIT, NULL); /* the end stays known */
	assert_int_equal(reply_number(h, 3, FIELD_EXIT_CODE), 3);
}

static void a_signal_reaches_the_workload(void **state)
{
	struct host *h = *state;
	AUTO_DONE(strbuf) args = { 0 };
	configured_with(h, (const char *const[]){ "sleep", "1000", NULL });
	call(h, 2, CALL_SIGNAL, NULL);
	assert_int_equal(reply_status(h, 2), EINVAL);
	wire_put_u64(&args, FIELD_SIGNAL, SIGUSR1);
	call(h, 3, CALL_SIGNAL, &args);
	assert_int_equal(reply_status(h, 3), 0);
	call(h, 4, CALL_AWAIT, NULL);
	assert_int_equal(reply_number(h, 4, FIELD_SIGNAL), SIGUSR1);
	call(h, 5, CALL_SIGNAL, &args);
	assert_int_equal(reply_status(h, 5), ESRCH);
}

static void a_workload_that_nobody_wants_is_not_started(void **state)
{
	struct host *h = *state;
	AUTO_DONE(strbuf) b = { 0 };
	AUTO_DONE(outcome) o = { 0 };
	struct frame f;
	hello(h);
	put_args(&b, (const char *const[]){ "/no/such/program", NULL });
	wire_put_str(&b, FIELD_ENV, "COLOUR=blue");
	wire_put_u64(&b, FIELD_NO_WORKLOAD, 1);
	call(h, 1, CALL_CONFIGURE, &b);
	receive_type(h, &f, FRAME_REPLY, 1);
	assert_int_equal(number_in(&f, FIELD_STATUS), 0);
	assert_int_equal(number_in(&f, FIELD_NO_WORKLOAD), 1);
	call(h, 2, CALL_AWAIT, NULL);
	assert_int_equal(reply_status(h, 2), EINVAL);
	start_command(h, 3, false, "echo $COLOUR");
	assert_int_equal(reply_status(h, 3), 0);
	assert_int_equal(collect(h, 3, &o), FIELD_EXIT_CODE);
	assert_string_equal(o.out[DATA_STDOUT].data, "blue\n");
}

static void a_guest_whose_workload_has_ended_is_not_captured(void **state)
{
	struct host *h = *state;
	struct wire_field field;
	struct frame f;
	configured_with(h, (const char *const[]){ "sh", "-c", "exit 3", NULL });
	call(h, 2, CALL_AWAIT, NULL);
	assert_int_equal(reply_number(h, 2, FIELD_EXIT_CODE), 3);
	call(h, 3, CALL_PREPARE, NULL);
	receive_type(h, &f, FRAME_REPLY, 3);
	uint64_t status = 0;
	assert_int_equal(wire_find(f.payload, f.len, FIELD_STATUS, &field), 1);
	assert_int_equal(wire_get_u64(&field, &status), 0);
	assert_int_equal(status, ESRCH);
	AUTO_FREE char *message = NULL;
	assert_int_equal(wire_find(f.payload, f.len, FIELD_MESSAGE, &field), 1);
	assert_int_equal(wire_get_str(&field, &message), 0);
	assert_non_null(strstr(message, "the workload has ended with exit status 3"));
}

static void the_clock_can_be_set_while_many_calls_wait(void **state)
{
	struct host *h = *state;
	AUTO_DONE(strbuf) past = { 0 };
	configured(h);
	for (uint32_t i = 0; i <= STREAMS_MAX; i++)
		call(h, 2 + i, CALL_AWAIT, NULL);
	assert_int_equal(reply_status(h, 2 + STREAMS_MAX), EBUSY);
	wire_put_u64(&past, FIELD_TIME_NS, 1); /* in the past, so the clock stays as it is */
	call(h, 1000, CALL_CLOCK, &past);
	assert_int_equal(reply_status(h, 1000), 0);
}

static void an_await_can_be_given_up(void **state)
{
	struct host *h = *state;
	struct frame f;
	char path[] = "/tmp/mvm-agent-XXXXXX";
	assert_non_null(mkdtemp(path));
	AUTO_FREE char *fifo = str_printf("%s/end", path);
	AUTO_FREE char *script = str_printf("read line <%s; kill -9 $$", fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	configured_with(h, (const char *const[]){ "sh", "-c", script, NULL });
	call(h, 2, CALL_AWAIT, NULL);
	call(h, 3, CALL_AWAIT, NULL);
	assert_int_equal(channel_send(&h->c, FRAME_RESET, 2, NULL, 0), 0);
	receive_type(h, &f, FRAME_END, 2);
	/* only now does the workload end */
	int fd = open(fifo, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(reply_number(h, 3, FIELD_SIGNAL), 9);
	assert_int_equal(unlink(fifo), 0);
	assert_int_equal(rmdir(path), 0);
}

static void a_process_that_does_not_read_blocks_nobody(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	char data[1 + DATA_MAX] = { DATA_STDIN };

	configured(h);
	start_command(h, 2, true, "sleep 1000");
	assert_int_equal(reply_status(h, 2), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(channel_send(&h->c, FRAME_DATA, 2, data, sizeof(data)), 0);
	start_command(h, 3, false, "echo fine");
	struct frame f;
	do
		receive(h, &f);
	while (f.type == FRAME_CREDIT);
	assert_int_equal(f.type, FRAME_REPLY);
	assert_int_equal(collect(h, 3, &o), FIELD_EXIT_CODE);
	assert_string_equal(o.out[DATA_STDOUT].data, "fine\n");
}

static void more_input_than_the_window_ends_the_stream(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	char data[1 + DATA_MAX] = { DATA_STDIN };

	configured(h);
	start_command(h, 2, true, "sleep 1000");
	assert_int_equal(reply_status(h, 2), 0);
	/* the agent takes the bytes that fit into the process's pipe, and then a window */
	for (unsigned i = 0; i < 2 * WINDOW_BYTES / DATA_MAX + 2; i++)
		assert_int_equal(channel_send(&h->c, FRAME_DATA, 2, data, sizeof(data)), 0);
	assert_int_equal(collect(h, 2, &o), FIELD_SIGNAL);
	assert_int_equal(o.code, SIGKILL);
}

static void output_stops_at_the_window(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	struct frame f;
	size_t got = 0;

	configured(h);
	start_command(h, 2, false, "head -c 1000000 /dev/zero");
	assert_int_equal(reply_status(h, 2), 0);
	while (got < WINDOW_BYTES) {
		receive_type(h, &f, FRAME_DATA, 2);
		got += f.len - 1;
	}
	assert_int_equal(got, WINDOW_BYTES);
	call(h, 3, CALL_PING, NULL);
	assert_int_equal(reply_status(h, 3), 0);
	credit(h, 2, got);
	assert_int_equal(collect(h, 2, &o), FIELD_EXIT_CODE);
	assert_int_equal(o.out[DATA_STDOUT].len + got, 1000000);
}

static void a_background_child_does_not_hold_the_stream(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) quiet = { 0 };
	AUTO_DONE(outcome) loud = { 0 };

	configured(h);
	start_command(h, 2, false, "sleep 5 & echo bye");
	assert_int_equal(reply_status(h, 2), 0);
	assert_int_equal(collect(h, 2, &quiet), FIELD_EXIT_CODE);
	assert_string_equal(quiet.out[DATA_STDOUT].data, "bye\n");
	start_command(h, 3, false, "timeout 5 yes & echo bye");
	assert_int_equal(reply_status(h, 3), 0);
	assert_int_equal(collect(h, 3, &loud), FIELD_EXIT_CODE);
}

static void reset_kills_and_signals_are_delivered(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) first = { 0 };
	AUTO_DONE(outcome) second = { 0 };
	uint8_t sig = SIGTERM;

	configured(h);
	start_command(h, 2, false, "sleep 1000");
	assert_int_equal(reply_status(h, 2), 0);
	assert_int_equal(channel_send(&h->c, FRAME_RESET, 2, NULL, 0), 0);
	assert_int_equal(collect(h, 2, &first), FIELD_SIGNAL);
	assert_int_equal(first.code, SIGKILL);
	start_command(h, 2, false, "exec sleep 1000"); /* the id is free again */
	assert_int_equal(reply_status(h, 2), 0);
	assert_int_equal(channel_send(&h->c, FRAME_SIGNAL, 2, &sig, 1), 0);
	assert_int_equal(collect(h, 2, &second), FIELD_SIGNAL);
	assert_int_equal(second.code, SIGTERM);
}

static void programs_that_cannot_be_started_are_told_apart(void **state)
{
	struct host *h = *state;
	static const struct {
		const char *program, *workdir;
		uint64_t status;
	} cases[] = {
		{ "mvm-no-such-program", NULL, ENOENT },
		{ "/etc/passwd", NULL, EACCES },
		{ "sh", "/no/such/folder", ENOENT },
		{ "", NULL, ENOENT },
	};
	configured(h);
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(strbuf) b = { 0 };
		wire_put_str(&b, FIELD_ARG, cases[i].program);
		wire_put_str(&b, FIELD_WORKDIR, cases[i].workdir);
		wire_put_str(&b, FIELD_USER, uid);
		call(h, 10 + i, CALL_EXEC, &b);
		assert_int_equal(reply_status(h, 10 + i), cases[i].status);
	}
	call(h, 20, CALL_EXEC, NULL);
	assert_int_equal(reply_status(h, 20), EINVAL);
}

static void health_waits_until_a_command_succeeds(void **state)
{
	struct host *h = *state;
	AUTO_DONE(strbuf) bad = { 0 }, brief = { 0 };
	struct frame f;
	struct wire_field message;

	configured(h);
	call(h, 2, CALL_HEALTH, NULL);
	assert_int_equal(reply_status(h, 2), 0);

	wire_put_str(&bad, FIELD_HEALTH_HTTP, "http://127.0.0.1:1/");
	wire_put_u64(&bad, FIELD_TIMEOUT_MS, DEADLINE_MS);
	wire_put_u64(&bad, FIELD_INTERVAL_MS, DEADLINE_MS); /* so there is one refusal */
	call(h, 3, CALL_HEALTH, &bad);
	receive_type(h, &f, FRAME_REPLY, 3);
	assert_int_equal(number_in(&f, FIELD_STATUS), ETIMEDOUT);
	assert_int_equal(wire_find(f.payload, f.len, FIELD_MESSAGE, &message), 1);
	assert_non_null(memmem(message.data, message.len, "Connection refused", 18));

	wire_put_str(&brief, FIELD_HEALTH_HTTP, "http://127.0.0.1:1/");
	wire_put_u64(&brief, FIELD_TIMEOUT_MS, 50);
	wire_put_u64(&brief, FIELD_INTERVAL_MS, 10);
	call(h, 4, CALL_HEALTH, &brief);
	assert_int_equal(reply_status(h, 4), ETIMEDOUT);
}

static void a_call_on_a_stream_in_use_breaks_the_protocol(void **state)
{
	struct host *h = *state;
	struct frame f;
	int r;

	configured(h);
	start_command(h, 2, false, "sleep 1000");
	assert_int_equal(reply_status(h, 2), 0);
	call(h, 2, CALL_PING, NULL);
	do {
		struct pollfd p = { .fd = h->c.fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, clock_remaining_ms(h->deadline_ns)), 1);
		r = channel_receive(&h->c, &f);
	} while (r >= 0);
	assert_int_equal(r, -EPIPE); /* the agent has ended */

	int status;
	assert_int_equal(waitpid(h->agent, &status, 0), h->agent);
	assert_int_equal(WEXITSTATUS(status), 1);
	close(h->c.fd);
	channel_done(&h->c);
	assert_int_equal(start(state), 0); /* for the teardown */
	free(h);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_agent_answers_only_ping_before_configure,
						start_on_a_port, stop),
		TEST(a_command_has_its_output_and_status_passed_on),
		TEST(input_is_fed_within_the_window_and_credited),
		TEST(await_tells_how_the_workload_ended),
		TEST(a_signal_reaches_the_workload),
		TEST(a_workload_that_nobody_wants_is_not_started),
		TEST(a_guest_whose_workload_has_ended_is_not_captured),
		TEST(the_clock_can_be_set_while_many_calls_wait),
		TEST(an_await_can_be_given_up),
		TEST(a_process_that_does_not_read_blocks_nobody),
		TEST(more_input_than_the_window_ends_the_stream),
		TEST(output_stops_at_the_window),
		TEST(a_background_child_does_not_hold_the_stream),
		TEST(reset_kills_and_signals_are_delivered),
		TEST(programs_that_cannot_be_started_are_told_apart),
		TEST(health_waits_until_a_command_succeeds),
		TEST(a_call_on_a_stream_in_use_breaks_the_protocol),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
