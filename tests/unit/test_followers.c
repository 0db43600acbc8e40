/* SPDX-License-Identifier: Apache-2.0 */
/* Followers of logs (mvm/stream.h), and the supervisor that tells them of new lines. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/sock.h"
#include "instance/instance.h"
#include "instance/logfile.h"
#include "instance/logstream.h"
#include "log_in.h"
#include "net/message.h"
#include "net/wire.h"
#include "scratch.h"
#include "supervisor/clients.h"

#define FOLLOWERS 500

static char name[] = "web", text[] = "t";

/* A supervisor that has only a log. */
struct fixture {
	struct scratch *scratch;
	struct loop *loop;
	struct agent_client agent;
	struct clients clients;
	struct logfile log;
	int dir_fd;
};

static int setup(void **state)
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
	struct fixture *x = calloc(1, sizeof(*x));
	void *scratch;
	if (!x || scratch_setup(&scratch) < 0 || loop_new(&x->loop) < 0)
		return -1;
	x->scratch = scratch;
	x->dir_fd = dir_make_at(x->scratch->fd, name);
	if (x->dir_fd < 0 || record_save(x->dir_fd, &r, NULL) < 0 ||
	    log_in(&x->log, x->dir_fd, WORKLOAD_LOG_NAME, 0) < 0 ||
	    clients_init(&x->clients, x->loop, &x->agent) < 0 ||
	    clients_listen(&x->clients, sock_listen_at(x->dir_fd, INSTANCE_SOCKET_NAME)) < 0)
		return -1;
	x->log.on_add = clients_logged;
	x->log.arg = &x->clients;
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	void *scratch = x->scratch;
	clients_done(&x->clients);
	logfile_close(&x->log);
	loop_free(x->loop);
	close(x->dir_fd);
	free(x);
	return scratch_teardown(&scratch);
}

/* Let the supervisor handle all pending events.  A turn that begins after its deadline, since this
 * process did not run, says -ETIMEDOUT although it had events: two in a row had none. */
static void settle(struct fixture *x)
{
	for (int quiet = 0; quiet < 2; quiet++) {
		while (loop_run_once(x->loop, clock_deadline_ns(1)) == 0)
			quiet = 0;
	}
}

static void print(struct fixture *x, const char *line)
{
	logfile_add(&x->log, line, strlen(line));
}

static struct mvm_log_stream *follow(struct fixture *x)
{
	struct mvm_log_stream_options o = MVM_LOG_STREAM_OPTIONS_INIT;
	struct mvm_log_stream *s;
	struct mvm_error err = { 0 };
	o.follow = true;
	if (log_stream_open(x->scratch->fd, name, &o, &s, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

static bool readable(struct mvm_log_stream *s)
{
	struct pollfd p = { .fd = mvm_log_stream_fd(s), .events = POLLIN };
	return poll(&p, 1, 0) == 1;
}

static void expect_line(struct mvm_log_stream *s, const char *line)
{
	const struct mvm_log_entry *e;
	assert_int_equal(mvm_log_stream_read(s, &e, NULL), MVM_STREAM_ITEM);
	assert_int_equal(e->len, strlen(line));
	assert_memory_equal(e->text, line, e->len);
}

static void expect_no_more(struct mvm_log_stream *s, int result)
{
	const struct mvm_log_entry *e;
	assert_int_equal(mvm_log_stream_read(s, &e, NULL), result);
}

static void a_line_reaches_its_follower_whenever_it_comes(void **state)
{
	struct fixture *x = *state;
	print(x, "one\n");
	struct mvm_log_stream *s = follow(x);
	expect_line(s, "one");
	print(x, "two\n"); /* before the follower asks */
	expect_line(s, "two");
	expect_no_more(s, MVM_STREAM_WAIT);
	print(x, "three\n"); /* after it asks, before the supervisor reads the question */
	settle(x);
	assert_true(readable(s));
	expect_line(s, "three");
	expect_no_more(s, MVM_STREAM_WAIT);
	settle(x);
	assert_false(readable(s));
	print(x, "four\n"); /* after the supervisor has read the question */
	assert_true(readable(s));
	expect_line(s, "four");
	expect_no_more(s, MVM_STREAM_WAIT);
	print(x, "last words");
	clients_done(&x->clients);
	assert_int_equal(clients_init(&x->clients, x->loop, &x->agent), 0);
	assert_true(readable(s));
	expect_line(s, "last words");
	expect_no_more(s, MVM_STREAM_END);
	mvm_log_stream_close(s);
}

static void a_server_follows_hundreds(void **state)
{
	static struct mvm_log_stream *all[FOLLOWERS];
	struct fixture *x = *state;
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < (rlim_t)8 * FOLLOWERS) {
		print_message("only %llu descriptors\n", (unsigned long long)limit.rlim_max);
		skip();
	}
	print(x, "one\n");
	for (size_t i = 0; i < FOLLOWERS; i++) {
		all[i] = follow(x);
		expect_line(all[i], "one");
		expect_no_more(all[i], MVM_STREAM_WAIT);
		if (i % 50 == 0) /* the backlog holds some hundred connections */
			settle(x);
	}
	settle(x);
	for (size_t i = 0; i < FOLLOWERS; i++) { /* the first answer is the log's size so far */
		assert_true(readable(all[i]));
		expect_no_more(all[i], MVM_STREAM_WAIT);
	}
	settle(x);
	for (size_t i = 0; i < FOLLOWERS; i++)
		assert_false(readable(all[i]));
	for (size_t i = 0; i < FOLLOWERS; i += 2) /* half of them just hang up */
		mvm_log_stream_close(all[i]);
	settle(x);
	print(x, "two\n");
	settle(x);
	for (size_t i = 1; i < FOLLOWERS; i += 2) {
		assert_true(readable(all[i]));
		expect_line(all[i], "two");
		mvm_log_stream_close(all[i]);
	}
}

static void send_question(struct channel *ch, uint32_t stream)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) call = { 0 };
	wire_put_u64(&args, FIELD_SIZE, 0);
	assert_int_equal(message_put_call(&call, CALL_LOGS, &args), 0);
	assert_int_equal(channel_send(ch, FRAME_CALL, stream, call.data, call.len), 0);
}

static void a_client_has_one_question_at_a_time(void **state)
{
	struct fixture *x = *state;
	struct channel ch = { .fd = sock_try_connect_at(x->dir_fd, INSTANCE_SOCKET_NAME) };
	struct frame f;
	assert_true(ch.fd >= 0);
	assert_int_equal(fcntl(ch.fd, F_SETFL, O_NONBLOCK), 0);
	for (uint32_t i = 2; i < 100; i++)
		send_question(&ch, i);
	settle(x);
	assert_int_equal(x->clients.n_log_waits, 1);
	for (uint32_t i = 3; i < 100; i++) {
		assert_int_equal(channel_receive(&ch, &f), 1);
		assert_int_equal(f.stream, i);
		assert_int_equal(message_get_status(f.payload, f.len, NULL), EPROTO);
	}
	print(x, "one\n");
	assert_int_equal(x->clients.n_log_waits, 0);
	assert_int_equal(channel_receive(&ch, &f), 1);
	assert_int_equal(f.stream, 2);
	assert_int_equal(message_get_status(f.payload, f.len, NULL), 0);
	close(ch.fd);
	channel_done(&ch);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_line_reaches_its_follower_whenever_it_comes),
		TEST(a_server_follows_hundreds),
		TEST(a_client_has_one_question_at_a_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
