/* SPDX-License-Identifier: Apache-2.0 */

/* Calls, replies, ends and credits: writing them, and reading them from any peer. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/own.h"
#include "net/agent.h"
#include "net/channel.h"
#include "net/message.h"
#include "net/wire.h"

#define EXITED(code) ((code) << 8) /* the form of wait(2) */

static void a_call_has_its_number_before_its_arguments(void **state)
{
	(void)state;
	static const uint8_t bytes[] = { 1, 0, 8, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0,
					 7, 0, 8, 0, 0, 0, 5,  0, 0, 0, 0, 0, 0, 0 };
	AUTO_DONE(strbuf) args = { 0 }, call = { 0 };
	wire_put_u64(&args, FIELD_TIME_NS, 5);
	assert_int_equal(message_put_call(&call, CALL_SIGNAL, &args), 0);
	assert_int_equal(call.len, sizeof(bytes));
	assert_memory_equal(call.data, bytes, sizeof(bytes));
}

static void payloads_too_large_for_a_frame_are_refused(void **state)
{
	(void)state;
	static const char big[FRAME_PAYLOAD_MAX];
	AUTO_DONE(strbuf) args = { 0 }, call = { 0 }, reply = { 0 }, failed = { .failed = true };
	AUTO_DONE(strbuf) again = { 0 };
	strbuf_add(&args, big, sizeof(big));
	assert_int_equal(message_put_call(&call, CALL_EXEC, &args), -EFBIG);
	assert_int_equal(message_put_reply(&reply, 0, NULL, &args), -EFBIG);
	assert_int_equal(message_put_call(&again, CALL_EXEC, &failed), -ENOMEM);
}

static void a_status_comes_with_its_words(void **state)
{
	(void)state;
	static const struct {
		int status;
		const char *message, *says;
	} cases[] = {
		{ 0, NULL, "" },
		{ ENOENT, "there is no such thing", "there is no such thing" },
		{ ENOENT, NULL, "No such file or directory" },
		{ 4096, NULL, NULL },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(strbuf) b = { 0 };
		struct mvm_error err = { 0 };
		const char *says = cases[i].says ? cases[i].says : "an answer without a status";
		int status = cases[i].says ? cases[i].status : -EPROTO;
		assert_int_equal(message_put_reply(&b, cases[i].status, cases[i].message, NULL), 0);
		assert_int_equal(message_get_status(b.data, b.len, &err), status);
		assert_string_equal(err.text, says);
		assert_int_equal(err.code, status > 0 ? -status : status);
	}
	assert_int_equal(message_get_status("", 0, NULL), -EPROTO);
}

static void an_end_is_a_code_or_a_signal(void **state)
{
	(void)state;
	static const struct {
		int wait_status, says, signal;
	} cases[] = { { EXITED(0), 0, 0 }, { EXITED(255), 255, 0 }, { SIGKILL, 137, SIGKILL } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(strbuf) b = { 0 };
		int signal = -1;
		message_put_end(&b, cases[i].wait_status);
		assert_int_equal(message_get_end(b.data, b.len, &signal), cases[i].says);
		assert_int_equal(signal, cases[i].signal);
	}
}

static void an_end_that_no_process_has_is_refused(void **state)
{
	(void)state;
	static const struct {
		uint16_t tag;
		uint64_t n;
	} cases[] = { { FIELD_EXIT_CODE, 256 }, { FIELD_SIGNAL, 65 }, { FIELD_PID, 1 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(strbuf) b = { 0 };
		wire_put_u64(&b, cases[i].tag, cases[i].n);
		assert_int_equal(message_get_end(b.data, b.len, NULL), -EPROTO);
	}
}

static void credit_waits_for_a_quarter_of_the_window(void **state)
{
	(void)state;
	uint8_t payload[CREDIT_SIZE];
	uint32_t consumed = 0;
	assert_int_equal(message_credit_due(&consumed, WINDOW_BYTES / 4 - 1), 0);
	uint32_t due = message_credit_due(&consumed, 2);
	assert_int_equal(due, WINDOW_BYTES / 4 + 1);
	assert_int_equal(consumed, 0);
	message_put_credit(due, payload);
	assert_memory_equal(payload, "\x01\x00\x01\x00", CREDIT_SIZE);
	assert_int_equal(message_get_credit(payload, sizeof(payload)), due);
	assert_int_equal(message_get_credit(payload, 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_has_its_number_before_its_arguments),
		cmocka_unit_test(payloads_too_large_for_a_frame_are_refused),
		cmocka_unit_test(a_status_comes_with_its_words),
		cmocka_unit_test(an_end_is_a_code_or_a_signal),
		cmocka_unit_test(an_end_that_no_process_has_is_refused),
		cmocka_unit_test(credit_waits_for_a_quarter_of_the_window),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
