/* SPDX-License-Identifier: Apache-2.0 */
/* Logs and events that a caller's own event loop follows (mvm/stream.h). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/sock.h"
#include "instance/events.h"
#include "instance/instance.h"
#include "instance/logfile.h"
#include "instance/logstream.h"
#include "log_in.h"
#include "net/agent.h"
#include "net/message.h"
#include "net/wire.h"
#include "scratch.h"

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, 0) == 1;
}

/* ---- events ---- */

static void add_event(void **state, const char *event, const char *name)
{
	char copy[64];
	snprintf(copy, sizeof(copy), "%s", name);
	const struct record r = { .name = copy, .template_id = copy, .revision = copy };
	events_add(scratch_fd(state), event, &r, NULL);
}

static void expect_event(struct mvm_event_stream *s, const char *event, const char *name)
{
	const struct mvm_event *e;
	assert_int_equal(mvm_event_stream_read(s, &e, NULL), MVM_STREAM_ITEM);
	assert_string_equal(e->event, event);
	assert_string_equal(e->instance, name);
	assert_null(e->message);
	assert_non_null(strstr(e->json, event));
}

static void events_end_unless_they_are_followed(void **state)
{
	struct mvm_event_stream *s;
	const struct mvm_event *e;
	add_event(state, "started", "a");
	assert_int_equal(event_stream_open(scratch_fd(state), NULL, &s, NULL), 0);
	assert_int_equal(mvm_event_stream_fd(s), -1);
	expect_event(s, "started", "a");
	assert_int_equal(mvm_event_stream_read(s, &e, NULL), MVM_STREAM_END);
	assert_int_equal(mvm_event_stream_read(s, &e, NULL), MVM_STREAM_END);
	mvm_event_stream_close(s);
	mvm_event_stream_close(NULL);
}

static void an_event_that_comes_wakes_its_follower(void **state)
{
	struct mvm_event_stream_options o = MVM_EVENT_STREAM_OPTIONS_INIT;
	struct mvm_event_stream *s;
	const struct mvm_event *e;
	o.follow = true;
	assert_int_equal(event_stream_open(scratch_fd(state), &o, &s, NULL), 0);
	assert_int_equal(mvm_event_stream_read(s, &e, NULL), MVM_STREAM_WAIT);
	for (int i = 0; i < 3; i++) {
		assert_false(readable(mvm_event_stream_fd(s)));
		add_event(state, "started", "a");
		add_event(state, "exited", "b");
		assert_true(readable(mvm_event_stream_fd(s)));
		expect_event(s, "started", "a");
		expect_event(s, "exited", "b");
		assert_int_equal(mvm_event_stream_read(s, &e, NULL), MVM_STREAM_WAIT);
	}
	mvm_event_stream_close(s);
}

static void a_damaged_event_is_passed_over(void **state)
{
	struct mvm_event_stream *s;
	const struct mvm_event *e;
	AUTO_CLOSE int fd = openat(scratch_fd(state), EVENTS_NAME, O_WRONLY | O_CREAT | O_CLOEXEC,
				   0600);
	assert_int_equal(write(fd, "{\"time\n[]\n{}\n", 13), 13);
	assert_int_equal(event_stream_open(scratch_fd(state), NULL, &s, NULL), 0);
	assert_int_equal(mvm_event_stream_read(s, &e, NULL), MVM_STREAM_END);
	mvm_event_stream_close(s);
}

static int stop_at_b(void *arg, const struct mvm_event *e)
{
	int *n = arg;
	(*n)++;
	if (str_eq(e->instance, "b"))
		return 7;
	return str_eq(e->instance, "c") ? -ENOSPC : 0;
}

/* mvm_events() is a loop over the stream. */
static void a_reader_of_events_may_stop(void **state)
{
	struct mvm_event_stream_options o = MVM_EVENT_STREAM_OPTIONS_INIT;
	struct mvm_error err = { 0 };
	int n = 0;
	add_event(state, "started", "a");
	assert_int_equal(events_read(scratch_fd(state), &o, -1, stop_at_b, &n, &err), 0);
	add_event(state, "started", "b");
	add_event(state, "started", "d");
	o.follow = true;
	assert_int_equal(events_read(scratch_fd(state), &o, -1, stop_at_b, &n, &err), 0);
	assert_int_equal(n, 3);
	int readable = open("/dev/null", O_RDONLY | O_CLOEXEC); /* cancels at once */
	o.since = "2100-01-01T00:00:00Z";
	assert_int_equal(events_read(scratch_fd(state), &o, readable, stop_at_b, &n, &err), 0);
	assert_int_equal(n, 3);
	close(readable);
}

/* ---- logs ---- */

static char name[] = "web", text[] = "t";

static int make_instance(void **state)
{
	const struct record r = {
		.name = name,
		.template_id = text,
		.revision = text,
		.backend = text,
		.created_at = text,
		.cmdline = text,
		.vcpus = 1,
		.mem_mib = 128,
		.state = RECORD_RUNNING,
	};
	assert_int_equal(mkdirat(scratch_fd(state), name, 0700), 0);
	int dir = dir_open_at(scratch_fd(state), name);
	assert_true(dir >= 0);
	assert_int_equal(record_save(dir, &r, NULL), 0);
	return dir;
}

static void print(int dir, const char *log, const char *line)
{
	struct logfile l = { 0 };
	assert_int_equal(log_in(&l, dir, log, 0), 0);
	logfile_add(&l, line, strlen(line));
	logfile_close(&l);
}

static void expect_line(struct mvm_log_stream *s, bool workload, const char *line)
{
	const struct mvm_log_entry *e;
	assert_int_equal(mvm_log_stream_read(s, &e, NULL), MVM_STREAM_ITEM);
	assert_int_equal(e->workload, workload);
	assert_int_equal(e->len, strlen(line));
	assert_memory_equal(e->text, line, e->len);
}

static void expect_no_more(struct mvm_log_stream *s, int result)
{
	const struct mvm_log_entry *e;
	assert_int_equal(mvm_log_stream_read(s, &e, NULL), result);
}

static void a_tail_and_a_choice_of_logs(void **state)
{
	AUTO_CLOSE int dir = make_instance(state);
	print(dir, CONSOLE_LOG_NAME, "one\ntwo\nthree\n");
	print(dir, WORKLOAD_LOG_NAME, "four\n");
	static const struct {
		int64_t tail;
		bool console, workload;
		const char *expect[5];
	} cases[] = {
		{ 0, false, false, { "one", "two", "three", "four" } },
		{ 2, false, false, { "three", "four" } },
		{ 9, true, false, { "one", "two", "three" } },
		{ 1, true, false, { "three" } },
		{ -1, true, true, { NULL } },
		{ 0, false, true, { "four" } },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mvm_log_stream_options o = MVM_LOG_STREAM_OPTIONS_INIT;
		struct mvm_log_stream *s;
		o.tail = cases[i].tail;
		o.console = cases[i].console;
		o.workload = cases[i].workload;
		assert_int_equal(log_stream_open(scratch_fd(state), name, &o, &s, NULL), 0);
		assert_int_equal(mvm_log_stream_fd(s), -1);
		for (size_t j = 0; cases[i].expect[j]; j++)
			expect_line(s, str_eq(cases[i].expect[j], "four"), cases[i].expect[j]);
		expect_no_more(s, MVM_STREAM_END);
		expect_no_more(s, MVM_STREAM_END);
		mvm_log_stream_close(s);
	}
}

/* Accept a follower, as the supervisor does. */
static void accept_follower(int listener, struct channel *ret)
{
	*ret = (struct channel){ .fd = sock_accept(listener) };
	assert_true(ret->fd >= 0);
}

/* The follower must ask for the bytes after the first `seen`; returns the call's stream. */
static uint32_t expect_question(struct channel *ch, uint64_t seen)
{
	uint64_t call = 0, size = UINT64_MAX;
	struct frame f;
	assert_int_equal(channel_receive(ch, &f), 1);
	assert_int_equal(f.type, FRAME_CALL);
	assert_true(wire_find_u64(f.payload, f.len, FIELD_CALL, UINT64_MAX, &call));
	assert_true(wire_find_u64(f.payload, f.len, FIELD_SIZE, UINT64_MAX, &size));
	assert_int_equal(call, CALL_LOGS);
	assert_int_equal(size, seen);
	return f.stream;
}

static void answer(struct channel *ch, uint32_t stream, int status, uint64_t size)
{
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_DONE(strbuf) payload = { 0 };
	if (status == 0)
		wire_put_u64(&fields, FIELD_SIZE, size);
	assert_int_equal(message_put_reply(&payload, status, NULL, &fields), 0);
	assert_int_equal(channel_send(ch, FRAME_REPLY, stream, payload.data, payload.len), 0);
}

static void hang_up(struct channel *ch)
{
	close(ch->fd);
	channel_done(ch);
}

static void a_follower_sees_output_until_the_supervisor_ends(void **state)
{
	AUTO_CLOSE int dir = make_instance(state);
	struct mvm_log_stream_options o = MVM_LOG_STREAM_OPTIONS_INIT;
	struct mvm_log_stream *s;
	struct channel ch;
	AUTO_CLOSE int listener = sock_listen_at(dir, INSTANCE_SOCKET_NAME);
	assert_true(listener >= 0);
	print(dir, CONSOLE_LOG_NAME, "one\n");
	o.follow = true;
	assert_int_equal(log_stream_open(scratch_fd(state), name, &o, &s, NULL), 0);
	accept_follower(listener, &ch);
	expect_line(s, false, "one");
	expect_no_more(s, MVM_STREAM_WAIT);
	expect_no_more(s, MVM_STREAM_WAIT);
	assert_false(readable(mvm_log_stream_fd(s)));
	uint32_t asked = expect_question(&ch, 0);
	print(dir, WORKLOAD_LOG_NAME, "two\n"); /* a new file */
	answer(&ch, asked, 0, 4);
	assert_true(readable(mvm_log_stream_fd(s)));
	expect_line(s, true, "two");
	expect_no_more(s, MVM_STREAM_WAIT);
	assert_false(readable(mvm_log_stream_fd(s)));
	expect_question(&ch, 4);
	print(dir, CONSOLE_LOG_NAME, "last words");
	hang_up(&ch);
	assert_true(readable(mvm_log_stream_fd(s)));
	expect_line(s, false, "last words");
	expect_no_more(s, MVM_STREAM_END);
	mvm_log_stream_close(s);
}

static void a_supervisor_that_cannot_tell_of_more_is_an_error(void **state)
{
	AUTO_CLOSE int dir = make_instance(state);
	struct mvm_log_stream_options o = MVM_LOG_STREAM_OPTIONS_INIT;
	const struct mvm_log_entry *e;
	struct mvm_error err = { 0 };
	struct mvm_log_stream *s;
	struct channel ch;
	AUTO_CLOSE int listener = sock_listen_at(dir, INSTANCE_SOCKET_NAME);
	o.follow = true;
	assert_int_equal(log_stream_open(scratch_fd(state), name, &o, &s, NULL), 0);
	accept_follower(listener, &ch);
	expect_no_more(s, MVM_STREAM_WAIT);
	answer(&ch, expect_question(&ch, 0), EOPNOTSUPP, 0);
	assert_int_equal(mvm_log_stream_read(s, &e, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "the supervisor cannot say when there is more"));
	mvm_log_stream_close(s);
	hang_up(&ch);
}

static void following_ends_without_a_supervisor(void **state)
{
	AUTO_CLOSE int dir = make_instance(state);
	struct mvm_log_stream_options o = MVM_LOG_STREAM_OPTIONS_INIT;
	struct mvm_log_stream *s;
	struct mvm_error err;
	print(dir, CONSOLE_LOG_NAME, "one\n");
	o.follow = true;
	assert_int_equal(log_stream_open(scratch_fd(state), name, &o, &s, NULL), 0);
	assert_true(readable(mvm_log_stream_fd(s)));
	expect_line(s, false, "one");
	expect_no_more(s, MVM_STREAM_END);
	mvm_log_stream_close(s);
	mvm_log_stream_close(NULL);
	assert_int_equal(log_stream_open(scratch_fd(state), "nobody", &o, &s, &err), -ENOENT);
	o.tail = -2;
	assert_int_equal(log_stream_open(scratch_fd(state), name, &o, &s, &err), -EINVAL);
	o.tail = 0;
	o.since = "yesterday";
	assert_int_equal(log_stream_open(scratch_fd(state), name, &o, &s, &err), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(events_end_unless_they_are_followed),
		TEST(an_event_that_comes_wakes_its_follower),
		TEST(a_damaged_event_is_passed_over),
		TEST(a_reader_of_events_may_stop),
		TEST(a_tail_and_a_choice_of_logs),
		TEST(a_follower_sees_output_until_the_supervisor_ends),
		TEST(a_supervisor_that_cannot_tell_of_more_is_an_error),
		TEST(following_ends_without_a_supervisor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
