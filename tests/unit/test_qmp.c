/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client against a scripted peer in a child process. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/qmp.h"
#include "scripted_peer.h"

#define GREETING  "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define AGREED	  "{\"return\": {}, \"id\": 1}\r\n"
#define EIGHT(x)  x x x x x x x x
#define LONG_TEXT EIGHT(EIGHT("01234567")) /* 512 bytes */

struct fixture {
	struct loop *loop;
	struct qmp *qmp;
	pid_t peer;
	char events[256]; /* names, each followed by a space */
};

static void on_event(void *arg, const char *name, json_t *data)
{
	struct fixture *f = arg;
	(void)data;
	strncat(f->events, name, sizeof(f->events) - strlen(f->events) - 1);
	strncat(f->events, " ", sizeof(f->events) - strlen(f->events) - 1);
}

static void start(struct fixture *f, const struct step *script)
{
	int fd = peer_start(script, &f->peer);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(qmp_new(f->loop, fd, on_event, f, &f->qmp), 0);
}

static void stop(struct fixture *f)
{
	qmp_free(f->qmp);
	loop_free(f->loop);
	peer_stop(f->peer);
}

static int64_t soon(void)
{
	return clock_deadline_ns(60000);
}

static void a_command_is_answered_and_events_are_delivered(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .say = GREETING },
		{ .expect = "\"qmp_capabilities\",\"id\":1}" },
		{ .say = AGREED },
		{ .expect = "\"query-status\",\"arguments\":{\"a\":1},\"id\":2}" },
		{ .say = "{\"event\": \"STOP\", \"timestamp\": {}}\r\n" },
		{ .say = "{\"return\": {\"status\": \"running\"}, \"id\": 2}\r\n" },
		{ .say = "{\"event\": \"RESUME\", \"data\": {}}\r\n" },
		{ 0 },
	};
	struct fixture f = { 0 };
	start(&f, script);
	struct mvm_error err;
	assert_int_equal(qmp_wait_ready(f.qmp, soon(), &err), 0);
	json_t *ret = NULL;
	assert_int_equal(
		qmp_call(f.qmp, "query-status", json_pack("{s:i}", "a", 1), -1, soon(), &ret, &err),
		0);
	assert_string_equal(json_string_value(json_object_get(ret, "status")), "running");
	json_decref(ret);
	/* the peer has hung up: every later call fails at once, after the last event was read */
	assert_int_equal(qmp_call(f.qmp, "stop", NULL, -1, soon(), NULL, &err), -EREMOTEIO);
	assert_string_equal(f.events, "STOP RESUME ");
	assert_int_equal(qmp_call(f.qmp, "stop", NULL, -1, soon(), NULL, &err), -EREMOTEIO);
	assert_string_equal(err.text, "QEMU closed its control connection");
	stop(&f);
}

static void commands_can_be_sent_ahead_and_replies_share_a_packet(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .expect = "\"cont\",\"id\":3}" }, /* all three arrive before the greeting */
		{ .say = GREETING AGREED "{\"return\": {}, \"id\": 2}\r\n"
					 "{\"return\": 7, \"id\": 3}\r\n" },
		{ .hang = true },
		{ 0 },
	};
	struct fixture f = { 0 };
	start(&f, script);
	struct mvm_error err;
	int64_t a, b;
	json_t *ret = NULL;
	assert_int_equal(qmp_send(f.qmp, "stop", NULL, -1, &a, &err), 0);
	assert_int_equal(qmp_send(f.qmp, "cont", NULL, -1, &b, &err), 0);
	assert_int_equal(qmp_wait(f.qmp, b, soon(), &ret, &err), 0);
	assert_int_equal(json_integer_value(ret), 7);
	json_decref(ret);
	assert_int_equal(qmp_wait(f.qmp, a, soon(), NULL, &err), 0);
	stop(&f);
}

static void messages_may_come_byte_by_byte(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .say = GREETING AGREED, .bytewise = true },
		{ .expect = "\"stop\"" },
		{ .say = "{\"return\": {}, \"id\": 2}\r\n", .bytewise = true },
		{ .hang = true },
		{ 0 },
	};
	struct fixture f = { 0 };
	start(&f, script);
	struct mvm_error err;
	assert_int_equal(qmp_call(f.qmp, "stop", NULL, -1, soon(), NULL, &err), 0);
	stop(&f);
}

static void a_descriptor_travels_with_its_command(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .say = GREETING AGREED },
		{ .expect = "\"getfd\"", .want_fd = true },
		{ .say = "{\"return\": {}, \"id\": 2}\r\n" },
		{ .hang = true },
		{ 0 },
	};
	struct fixture f = { 0 };
	start(&f, script);
	struct mvm_error err;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(
		qmp_call(f.qmp, "getfd", json_pack("{s:s}", "fdname", "f"), fd, soon(), NULL, &err),
		0);
	assert_true(fcntl(fd, F_GETFD) >= 0); /* still open */
	close(fd);
	stop(&f);
}

static void a_refusal_has_the_peers_words_and_keeps_the_connection(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .say = GREETING AGREED },
		{ .expect = "\"stop\"" },
		{ .say = "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": "
			 "\"no such thing\"}}\r\n" },
		{ .expect = "\"cont\"" },
		{ .say = "{\"return\": {}, \"id\": 3}\r\n" },
		{ .hang = true },
		{ 0 },
	};
	struct fixture f = { 0 };
	start(&f, script);
	struct mvm_error err;
	assert_int_equal(qmp_call(f.qmp, "stop", NULL, -1, soon(), NULL, &err), -EREMOTEIO);
	assert_string_equal(err.text, "QEMU refused stop: no such thing");
	assert_int_equal(qmp_call(f.qmp, "cont", NULL, -1, soon(), NULL, &err), 0);
	stop(&f);
}

static void silence_ends_at_the_deadline_and_a_late_reply_is_dropped(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .say = GREETING AGREED },
		{ .expect = "\"cont\"" },
		{ .say = "{\"return\": {}, \"id\": 2}\r\n{\"return\": {}, \"id\": 3}\r\n" },
		{ .hang = true },
		{ 0 },
	};
	struct fixture f = { 0 };
	start(&f, script);
	struct mvm_error err;
	assert_int_equal(qmp_call(f.qmp, "stop", NULL, -1, clock_deadline_ns(30), NULL, &err),
			 -ETIMEDOUT);
	assert_string_equal(err.text, "QEMU did not answer stop in time");
	assert_int_equal(qmp_call(f.qmp, "cont", NULL, -1, soon(), NULL, &err), 0);
	stop(&f);
}

static void a_peer_that_misbehaves_ends_the_connection(void **state)
{
	(void)state;
	static const struct {
		struct step script[4];
		int code;
		const char *text;
	} cases[] = {
		{ { { .expect = "\"stop\"" } }, -EREMOTEIO, "QEMU closed its control connection" },
		{ { { .say = GREETING }, { .expect = "\"stop\"" } },
		  -EREMOTEIO,
		  "QEMU closed its control connection" },
		{ { { .say = GREETING AGREED "{\"return\": {}, \"i" }, { .expect = "\"stop\"" } },
		  -EREMOTEIO,
		  "QEMU closed its control connection" },
		{ { { .say = "SSH-2.0-OpenSSH\r\n" }, { .hang = true } }, -EPROTO, "no JSON" },
		{ { { .say = "{}\r\n" }, { .hang = true } }, -EPROTO, "no known kind" },
		{ { { .say = AGREED }, { .hang = true } }, -EPROTO, "did not greet" },
		{ { { .say = GREETING GREETING }, { .hang = true } }, -EPROTO, "greeted twice" },
		{ { { .say = GREETING AGREED "{\"return\": {}, \"id\": 99}\n" }, { .hang = true } },
		  -EPROTO,
		  "without a command" },
		{ { { .say = GREETING AGREED AGREED }, { .hang = true } },
		  -EPROTO,
		  "without a command" },
		{ { { .say = GREETING "{\"id\": 1, \"error\": {\"desc\": \"no\"}}\n" },
		    { .hang = true } },
		  -EPROTO,
		  "refused to negotiate" },
		{ { { .say = GREETING AGREED "{\"return\": \"" },
		    { .say = LONG_TEXT, .repeat = 2500 },
		    { .hang = true } },
		  -EPROTO,
		  "more than 1 MiB" },
		{ { { .say = GREETING AGREED },
		    { .say = "[", .repeat = 100 },
		    { .say = "\n" },
		    { .hang = true } },
		  -EPROTO,
		  "nested more than" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct step script[6] = { 0 };
		memcpy(script, cases[i].script, sizeof(cases[i].script));
		struct fixture f = { 0 };
		start(&f, script);
		struct mvm_error err = { 0 };
		int r = qmp_call(f.qmp, "stop", NULL, -1, soon(), NULL, &err);
		if (r != cases[i].code || !strstr(err.text, cases[i].text))
			fail_msg("case %zu: %d, '%s'", i, r, err.text);
		assert_true(qmp_is_dead(f.qmp));
		stop(&f);
	}
}

static void a_flood_of_events_does_not_outrun_the_deadline(void **state)
{
	(void)state;
	static const struct step script[] = {
		{ .say = GREETING AGREED },
		{ .say = "{\"event\": \"X\"}\n", .repeat = 1000000000 },
		{ 0 },
	};
	struct fixture f = { 0 };
	start(&f, script);
	struct mvm_error err;
	assert_int_equal(qmp_call(f.qmp, "stop", NULL, -1, clock_deadline_ns(50), NULL, &err),
			 -ETIMEDOUT);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_is_answered_and_events_are_delivered),
		cmocka_unit_test(commands_can_be_sent_ahead_and_replies_share_a_packet),
		cmocka_unit_test(messages_may_come_byte_by_byte),
		cmocka_unit_test(a_descriptor_travels_with_its_command),
		cmocka_unit_test(a_refusal_has_the_peers_words_and_keeps_the_connection),
		cmocka_unit_test(silence_ends_at_the_deadline_and_a_late_reply_is_dropped),
		cmocka_unit_test(a_peer_that_misbehaves_ends_the_connection),
		cmocka_unit_test(a_flood_of_events_does_not_outrun_the_deadline),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
