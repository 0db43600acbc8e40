/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against a scripted peer in a child process. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/sock.h"
#include "base/str.h"
#include "net/http.h"
#include "scripted_peer.h"

#define NO_CONTENT "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"

struct fixture {
	struct loop *loop;
	struct http *http;
	pid_t peer;
};

static void start(struct fixture *f, const struct step *script)
{
	int fd = peer_start(script, &f->peer);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(http_new(f->loop, fd, "the peer", &f->http), 0);
}

static void stop(struct fixture *f)
{
	http_free(f->http);
	loop_free(f->loop);
	peer_stop(f->peer);
}

static int64_t soon(void)
{
	return clock_deadline_ns(60000);
}

static void requests_and_answers_take_turns_on_one_connection(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .expect = "PUT /a HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
			    "Content-Type: application/json\r\nContent-Length: 7\r\n\r\n"
			    "{\"b\":1}" },
		{ .say = NO_CONTENT },
		{ .expect = "GET /c HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
			    "\r\n" },
		{ .say = "HTTP/1.1 200 OK\r\ncontent-length:4\r\n\r\ntext" },
		{ .expect = "GET /d " },
		{ .say = "HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n" },
		{ .hang = true },
	};
	static const struct {
		const char *method, *path, *body, *answer;
		unsigned status;
	} calls[] = {
		{ "PUT", "/a", "{\"b\":1}", "", 204 },
		{ "GET", "/c", NULL, "text", 200 },
		{ "GET", "/d", NULL, "", 400 },
	};
	struct fixture f;
	start(&f, script);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(calls); i++) {
		AUTO_DONE(http_reply) reply = { 0 };
		struct mvm_error err;
		int r = http_call(f.http, calls[i].method, calls[i].path, calls[i].body, soon(),
				  &reply, &err);
		if (r < 0)
			fail_msg("%s", err.text);
		assert_int_equal(reply.status, calls[i].status);
		assert_string_equal(reply.body, calls[i].answer);
		assert_int_equal(reply.body_len, strlen(calls[i].answer));
	}
	stop(&f);
}

static void an_answer_may_come_byte_by_byte(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .expect = "\r\n\r\n" },
		{ .say = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole", .bytewise = true },
		{ .hang = true },
	};
	struct fixture f;
	struct mvm_error err;
	AUTO_DONE(http_reply) reply = { 0 };
	start(&f, script);
	assert_int_equal(http_call(f.http, "GET", "/", NULL, soon(), &reply, &err), 0);
	assert_string_equal(reply.body, "whole");
	stop(&f);
}

static void an_answer_followed_by_the_end_still_counts(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .expect = "\r\n\r\n" },
		{ .say = "HTTP/1.1 400 \r\nContent-Length: 2\r\n\r\nno" },
		{ 0 },
	};
	struct fixture f;
	struct mvm_error err;
	AUTO_DONE(http_reply) reply = { 0 };
	start(&f, script);
	assert_int_equal(http_call(f.http, "GET", "/", NULL, soon(), &reply, &err), 0);
	assert_string_equal(reply.body, "no");
	assert_int_equal(http_call(f.http, "GET", "/", NULL, soon(), &reply, &err), -EREMOTEIO);
	assert_string_equal(err.text, "the peer closed its connection");
	stop(&f);
}

static const struct {
	struct step answer, more;
	int code;
	const char *says;
} bad_answers[] = {
	{ { .say = "SSH-2.0-OpenSSH\r\n\r\n" },
	  { .hang = true },
	  -EPROTO,
	  "the peer broke the protocol: the answer does not begin as HTTP does" },
	{ { .say = "HTTP/1.1 100 Continue\r\n\r\n" },
	  { .hang = true },
	  -EPROTO,
	  "the peer broke the protocol: the answer has status 100" },
	{ { .say = "HTTP/1.1 200 OK\r\nContent-Length: 12x\r\n\r\n" },
	  { .hang = true },
	  -EPROTO,
	  "the peer broke the protocol: the answer's Content-Length is no number" },
	{ { .say = "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n" },
	  { .hang = true },
	  -EFBIG,
	  "the peer broke the protocol: the answer is 1048577 bytes long, more than "
	  "1048576" },
	{ { .say = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" },
	  { .hang = true },
	  -EPROTO,
	  "the peer broke the protocol: the answer has two lengths" },
	{ { .say = "HTTP/1.1 200 OK\r\n\r\n" },
	  { .hang = true },
	  -EPROTO,
	  "the peer broke the protocol: the answer does not say how long it is" },
	{ { .say = "HTTP/1.1 204 \r\nContent-Length: 3\r\n\r\n" },
	  { .hang = true },
	  -EPROTO,
	  "the peer broke the protocol: an answer with status 204 has a body" },
	{ { .say = "HTTP/1.1 200 OK\r\nbad field: 1\r\nContent-Length: 0\r\n\r\n" },
	  { .hang = true },
	  -EPROTO,
	  "the peer broke the protocol: the answer has a malformed header field" },
	{ { .say = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
	  { .hang = true },
	  -EOPNOTSUPP,
	  "the peer broke the protocol: the answer comes in pieces (Transfer-Encoding)" },
	{ { .say = "HTTP/1.1 200 OK\r\n" },
	  { .say = "Giant: header\r\n", .repeat = 9999 },
	  -EFBIG,
	  "the peer broke the protocol: the answer's head is longer than 8192 bytes" },
	{ { .say = NO_CONTENT NO_CONTENT },
	  { .hang = true },
	  -EPROTO,
	  "the peer sent an answer without a request" },
	{ { .say = "HTTP/1.1 200 OK\r\nContent-Le" },
	  { 0 },
	  -EREMOTEIO,
	  "the peer closed its connection within an answer" },
	{ { .say = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" },
	  { 0 },
	  -EREMOTEIO,
	  "the peer closed its connection within an answer" },
};

static void a_bad_answer_ends_the_connection_with_its_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad_answers); i++) {
		struct step script[] = {
			{ .expect = "\r\n\r\n" }, bad_answers[i].answer, bad_answers[i].more, { 0 }
		};
		AUTO_DONE(http_reply) reply = { 0 };
		struct fixture f;
		struct mvm_error err = { 0 };
		start(&f, script);
		assert_int_equal(http_call(f.http, "GET", "/", NULL, soon(), &reply, &err),
				 bad_answers[i].code);
		assert_string_equal(err.text, bad_answers[i].says);
		assert_true(http_is_dead(f.http));
		err = (struct mvm_error){ 0 };
		assert_int_equal(http_call(f.http, "GET", "/", NULL, soon(), &reply, &err),
				 bad_answers[i].code);
		assert_string_equal(err.text, bad_answers[i].says);
		stop(&f);
	}
}

static void silence_past_the_deadline_ends_the_connection(void **state)
{
	(void)state;
	static const struct step silent[] = { { .hang = true } };
	static const struct step slow[] = { { .expect = "\r\n\r\n" },
					    { .say = "HTTP/1.1 200 OK\r\n" },
					    { .hang = true } };
	const struct step *const scripts[] = { silent, slow };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(scripts); i++) {
		struct fixture f;
		struct mvm_error err;
		struct http_reply reply;
		start(&f, scripts[i]);
		assert_int_equal(
			http_call(f.http, "GET", "/", NULL, clock_deadline_ns(50), &reply, &err),
			-ETIMEDOUT);
		assert_string_equal(err.text, "the peer did not answer in time");
		/* a late answer would be taken for the answer to the next call */
		assert_int_equal(http_call(f.http, "GET", "/", NULL, soon(), &reply, &err),
				 -ETIMEDOUT);
		stop(&f);
	}
}

static void a_slow_reader_gets_a_long_request_whole(void **state)
{
	(void)state;
	enum { LEN = 1 << 19 };
	char *body = malloc(LEN + 1);
	assert_non_null(body);
	memset(body, 'x', LEN);
	body[LEN] = '\0';
	int fds[2];
	assert_int_equal(sock_pair(fds), 0);
	pid_t peer = fork();
	if (peer == 0) {
		static char chunk[4096];
		size_t total = 0; /* no x is in the head */
		while (total < LEN) {
			ssize_t n = recv(fds[1], chunk, sizeof(chunk), 0);
			if (n <= 0)
				_exit(1);
			for (ssize_t i = 0; i < n; i++)
				total += chunk[i] == 'x';
		}
		_exit(send(fds[1], NO_CONTENT, strlen(NO_CONTENT), 0) < 0);
	}
	close(fds[1]);
	struct fixture f = { .peer = peer };
	struct mvm_error err;
	AUTO_DONE(http_reply) reply = { 0 };
	assert_int_equal(loop_new(&f.loop), 0);
	assert_int_equal(http_new(f.loop, fds[0], "the peer", &f.http), 0);
	int r = http_call(f.http, "PUT", "/", body, soon(), &reply, &err);
	if (r < 0)
		fail_msg("%s", err.text);
	assert_int_equal(reply.status, 204);
	stop(&f);
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_and_answers_take_turns_on_one_connection),
		cmocka_unit_test(an_answer_may_come_byte_by_byte),
		cmocka_unit_test(an_answer_followed_by_the_end_still_counts),
		cmocka_unit_test(a_bad_answer_ends_the_connection_with_its_reason),
		cmocka_unit_test(silence_past_the_deadline_ends_the_connection),
		cmocka_unit_test(a_slow_reader_gets_a_long_request_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
