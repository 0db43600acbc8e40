/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "usernet/dns_tcp.h"

#define SECOND 1000000000ll

static const uint8_t macs[12] = { 0x52, 0x55, 10, 0, 2, 3, 0x52, 0x54, 0, 0x6d, 0x76, 0x6d };
static const uint8_t query[] = "\x00\x17\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
			       "\x01"
			       "a\x03org\x00\x00\x01\x00\x01";
#define QUERY_LEN (sizeof(query) - 1)

/* A guest that notes what it is sent. */
static struct {
	struct dns_tcp tcp;
	uint64_t asked;
	unsigned n_asked, n_sent, lose; /* the next segments */
	uint8_t flags;			/* of the last one */
	uint32_t out, in;		/* numbers: of what it sends, of what it waits for */
	size_t got;			/* bytes, in order */
	uint16_t port;
	int64_t now_ns;
} G;

static void on_ask(void *arg, uint64_t number, const uint8_t *message, size_t len)
{
	(void)arg;
	assert_int_equal(len, QUERY_LEN - 2);
	assert_memory_equal(message, query + 2, len);
	G.asked = number;
	G.n_asked++;
}

static void on_send(void *arg, const uint8_t *frame, size_t len)
{
	struct frame f;
	(void)arg;
	assert_int_equal(frame_read(frame, len, &f), FRAME_TCP);
	G.n_sent++;
	if (f.to_port != G.port) {
		G.flags = f.flags;
		return;
	}
	if (G.lose > 0) {
		G.lose--;
		return;
	}
	G.flags = f.flags;
	if (f.flags & FRAME_SYN)
		G.in = f.sequence + 1;
	if (f.sequence != G.in)
		return;
	G.got += f.payload_len;
	G.in += (uint32_t)f.payload_len + ((f.flags & FRAME_FIN) != 0);
}

static void send_from(uint16_t port, uint8_t flags, const void *payload, size_t len)
{
	uint8_t frame[FRAME_MAX];
	struct frame f = {
		.from = { { 0xfe, [15] = 15 } },
		.to = { { 0xfe, [15] = 3 } },
		.from_port = port,
		.to_port = DNS_PORT,
		.flags = flags,
		.window = 4000,
		.sequence = G.out,
		.acknowledged = G.in,
		.payload = payload,
		.payload_len = len,
	};
	size_t frame_len = frame_write_tcp(macs, macs + 6, &f, frame);
	assert_int_equal(frame_read(frame, frame_len, &f), FRAME_TCP);
	dns_tcp_input(&G.tcp, frame, frame_len, &f, G.now_ns);
}

static void send_flags(uint8_t flags)
{
	send_from(G.port, flags, NULL, 0);
}

static void connect_guest(void)
{
	send_flags(FRAME_SYN);
	G.out++;
	assert_int_equal(G.flags, FRAME_SYN | FRAME_ACK);
	send_flags(FRAME_ACK);
}

static void ask(void)
{
	send_from(G.port, FRAME_ACK, query, QUERY_LEN);
	G.out += QUERY_LEN;
}

static int begin(void **state)
{
	(void)state;
	memset(&G, 0, sizeof(G));
	G.tcp.ask = on_ask;
	G.tcp.send = on_send;
	G.out = 0xfffffff0u; /* numbers wrap */
	G.port = 4000;
	return 0;
}

static int finish(void **state)
{
	(void)state;
	dns_tcp_done(&G.tcp);
	return 0;
}

static void a_question_is_answered_and_the_end_is_told(void **state)
{
	(void)state;
	static uint8_t reply[10000];
	connect_guest();
	ask();
	assert_int_equal(G.n_asked, 1);
	dns_tcp_answer(&G.tcp, G.asked, reply, sizeof(reply), 0);
	assert_int_equal(G.got, 4000); /* its window */
	send_flags(FRAME_ACK);
	send_flags(FRAME_ACK);
	assert_int_equal(G.got, 2 + sizeof(reply));
	send_flags(FRAME_ACK);
	send_flags(FRAME_FIN | FRAME_ACK);
	G.out++;
	assert_int_equal(G.flags, FRAME_FIN | FRAME_ACK);
	send_flags(FRAME_ACK);
	for (size_t i = 0; i < DNS_TCP_MAX; i++)
		assert_int_equal(G.tcp.all[i].state, DNS_TCP_FREE);
	send_flags(FRAME_ACK); /* nobody knows it any more */
	assert_int_equal(G.flags, FRAME_RST);
}

static void what_is_lost_is_sent_again(void **state)
{
	(void)state;
	static uint8_t reply[3000];
	G.lose = 1;
	send_flags(FRAME_SYN);
	G.out++;
	assert_int_equal(dns_tcp_tick(&G.tcp, 0), DNS_TCP_RESEND_NS);
	G.now_ns = DNS_TCP_RESEND_NS;
	dns_tcp_tick(&G.tcp, G.now_ns);
	assert_int_equal(G.flags, FRAME_SYN | FRAME_ACK);
	send_flags(FRAME_ACK);
	ask();
	G.lose = 2; /* the first two segments of three */
	dns_tcp_answer(&G.tcp, G.asked, reply, sizeof(reply), G.now_ns);
	assert_int_equal(G.got, 0);
	send_flags(FRAME_ACK); /* the third one comes too early */
	G.now_ns += DNS_TCP_RESEND_NS;
	dns_tcp_tick(&G.tcp, G.now_ns);
	assert_int_equal(G.got, 2 + sizeof(reply));
	send_flags(FRAME_ACK);
	G.lose = 1; /* our end */
	send_flags(FRAME_FIN | FRAME_ACK);
	G.out++;
	G.now_ns += DNS_TCP_RESEND_NS;
	dns_tcp_tick(&G.tcp, G.now_ns);
	assert_int_equal(G.flags, FRAME_FIN | FRAME_ACK);
	send_flags(FRAME_ACK);
	assert_int_equal(dns_tcp_tick(&G.tcp, G.now_ns), INT64_MAX);
}

static void questions_wait_for_their_turn(void **state)
{
	(void)state;
	connect_guest();
	ask();
	ask();
	assert_int_equal(G.n_asked, 1);
	send_flags(FRAME_FIN | FRAME_ACK);
	G.out++;
	dns_tcp_answer(&G.tcp, G.asked, query, 20, 0);
	assert_int_equal(G.n_asked, 1);
	assert_int_equal(G.flags & FRAME_FIN, 0);
	send_flags(FRAME_ACK);
	assert_int_equal(G.n_asked, 2);
	dns_tcp_answer(&G.tcp, G.asked, query, 20, 0);
	assert_int_equal(G.got, 44);
	assert_int_equal(G.flags, FRAME_FIN | FRAME_ACK);
}

static void what_is_no_question_is_reset(void **state)
{
	(void)state;
	static const char *const bad[] = { "\x00\x01", "\xff\xff" };
	for (size_t i = 0; i < 2; i++) {
		G.port++;
		connect_guest();
		send_from(G.port, FRAME_ACK, bad[i], 2);
		assert_int_equal(G.flags, FRAME_RST | FRAME_ACK);
	}
	G.port++;
	connect_guest();
	ask();
	dns_tcp_answer(&G.tcp, G.asked, NULL, 0, 0); /* none is to be had */
	assert_int_equal(G.flags, FRAME_RST | FRAME_ACK);
	assert_int_equal(dns_tcp_tick(&G.tcp, 0), INT64_MAX);
	dns_tcp_answer(&G.tcp, G.asked, query, 20, 0); /* too late */
}

static void the_oldest_makes_room_and_the_silent_end(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < DNS_TCP_MAX; i++) {
		G.now_ns = i;
		send_from((uint16_t)(5000 + i), FRAME_SYN, NULL, 0);
	}
	assert_int_equal(G.n_sent, DNS_TCP_MAX);
	G.now_ns = DNS_TCP_MAX;
	connect_guest();
	assert_int_equal(G.n_sent, DNS_TCP_MAX + 2); /* a reset, and its own answer */
	send_from(5000, FRAME_ACK, NULL, 0);
	assert_int_equal(G.flags, FRAME_RST);
	dns_tcp_tick(&G.tcp, DNS_TCP_MAX + DNS_TCP_IDLE_NS);
	assert_int_equal(G.flags, FRAME_RST | FRAME_ACK);
	assert_int_equal(dns_tcp_tick(&G.tcp, 0), INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_question_is_answered_and_the_end_is_told, begin,
						finish),
		cmocka_unit_test_setup_teardown(what_is_lost_is_sent_again, begin, finish),
		cmocka_unit_test_setup_teardown(questions_wait_for_their_turn, begin, finish),
		cmocka_unit_test_setup_teardown(what_is_no_question_is_reset, begin, finish),
		cmocka_unit_test_setup_teardown(the_oldest_makes_room_and_the_silent_end, begin,
						finish),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
