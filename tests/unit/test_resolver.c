/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usernet/resolver.h"

#define SECOND	1000000000ll
#define SERVERS 3

/* One question, asked of servers of ours; time is what the test says. */
static struct resolver resolver;
static int servers[SERVERS];
static struct told {
	unsigned n;
	uint16_t id;
	uint8_t code, mark; /* the server's */
	size_t len;
} told;

static const uint8_t query[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
			       "\x03www\x07"
			       "example\x03org\x00\x00\x01\x00\x01";
#define QUERY_LEN (sizeof(query) - 1)

static void on_reply(void *arg, const struct resolver_asker *asker,
		     const struct dns_question *question, uint8_t *message, size_t len)
{
	(void)arg;
	(void)asker;
	assert_string_equal(question->name, "www.example.org");
	told = (struct told){ .n = told.n + 1,
			      .id = (uint16_t)(message[0] << 8 | message[1]),
			      .code = message[3] & 0x0f,
			      .mark = message[11],
			      .len = len };
}

static int setup(void **state)
{
	(void)state;
	resolver_init(&resolver);
	told = (struct told){ 0 };
	for (size_t i = 0; i < SERVERS; i++) {
		struct sockaddr_in at = { .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t len = sizeof(at);
		servers[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		assert_true(servers[i] >= 0);
		assert_int_equal(bind(servers[i], (struct sockaddr *)&at, sizeof(at)), 0);
		assert_int_equal(getsockname(servers[i], (struct sockaddr *)&at, &len), 0);
		assert_int_equal(resolver_add(&resolver, "127.0.0.1"), 0);
		((struct sockaddr_in *)&resolver.servers[i])->sin_port = at.sin_port;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	resolver_done(&resolver);
	for (size_t i = 0; i < SERVERS; i++)
		if (servers[i] >= 0)
			close(servers[i]);
	return 0;
}

static void ask(uint16_t id, int64_t now_ns)
{
	const struct resolver_asker asker = { .id = id };
	struct dns_question question;
	assert_int_equal(dns_read_query(query, QUERY_LEN, &question), 0);
	assert_int_equal(resolver_ask(&resolver, &asker, &question, query, QUERY_LEN, now_ns), 0);
}

/* How many questions have come to a server; it answers each with this code, unless that is -1. */
static unsigned answer(size_t server, int code)
{
	uint8_t message[512];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	unsigned n = 0;
	ssize_t len;
	while ((len = recvfrom(servers[server], message, sizeof(message), MSG_DONTWAIT,
			       (struct sockaddr *)&from, &from_len)) > 0) {
		n++;
		message[2] |= 0x80;
		message[3] = (uint8_t)code;
		message[11] = (uint8_t)server;
		if (code >= 0)
			assert_int_equal(sendto(servers[server], message, (size_t)len, 0,
						(struct sockaddr *)&from, from_len),
					 len);
	}
	return n;
}

static void serve(int64_t now_ns)
{
	resolver_serve(&resolver, now_ns, on_reply, NULL);
}

static void an_unreachable_server_is_passed_over(void **state)
{
	(void)state;
	/* connect() fails, as without IPv6 */
	resolver.servers[0] = (struct sockaddr_in6){ .sin6_family = AF_MAX };
	ask(7, 0);
	assert_int_equal(answer(1, 0), 1);
	serve(0);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.id, 7);
	assert_int_equal(told.mark, 1);
}

static void a_second_server_is_asked_after_a_silence(void **state)
{
	(void)state;
	ask(1, 0);
	ask(2, 0); /* A and AAAA */
	assert_int_equal(resolver_next_ns(&resolver), RESOLVER_SILENCE_NS);
	serve(SECOND / 2);
	assert_int_equal(answer(1, 0), 0);
	serve(RESOLVER_SILENCE_NS);
	assert_int_equal(answer(0, -1), 2);
	assert_int_equal(answer(1, 0), 2);
	serve(RESOLVER_SILENCE_NS);
	assert_int_equal(told.n, 2);
	assert_int_equal(resolver_next_ns(&resolver), INT64_MAX);
	/* the server that answers is the first from now on */
	ask(3, 2 * SECOND);
	assert_int_equal(answer(0, 0), 0);
	assert_int_equal(answer(1, 0), 1);
	serve(2 * SECOND);
	assert_int_equal(told.n, 3);
}

static void a_slow_answer_counts(void **state)
{
	(void)state;
	ask(1, 0);
	serve(RESOLVER_SILENCE_NS);
	serve(2 * RESOLVER_SILENCE_NS);
	assert_int_equal(answer(1, -1), 1);
	assert_int_equal(answer(2, -1), 1);
	assert_int_equal(answer(0, 0), 1);
	serve(3 * SECOND);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.mark, 0);
}

static void a_closed_port_asks_the_next_at_once(void **state)
{
	(void)state;
	close(servers[0]);
	servers[0] = -1;
	ask(1, 0);
	serve(0); /* the kernel tells at once on the loopback */
	assert_int_equal(answer(1, 0), 1);
	serve(0);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.code, 0);
}

static void a_server_that_refuses_leaves_it_to_the_next(void **state)
{
	(void)state;
	ask(1, 0);
	assert_int_equal(answer(0, DNS_REFUSED), 1);
	serve(0);
	assert_int_equal(answer(1, DNS_SERVER_FAILURE), 1);
	serve(0);
	assert_int_equal(told.n, 0);
	assert_int_equal(answer(2, DNS_REFUSED), 1);
	serve(0);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.code, DNS_REFUSED);
	/* an unknown name is an answer */
	ask(2, 0);
	assert_int_equal(answer(0, 3), 1);
	serve(0);
	assert_int_equal(told.n, 2);
	assert_int_equal(told.code, 3);
}

static void silence_of_all_is_told(void **state)
{
	(void)state;
	ask(9, 0);
	for (int64_t now_ns = 0; now_ns < RESOLVER_PATIENCE_NS;
	     now_ns = resolver_next_ns(&resolver))
		serve(now_ns);
	for (size_t i = 0; i < SERVERS; i++)
		assert_int_equal(answer(i, -1), 1);
	assert_int_equal(told.n, 0);
	serve(RESOLVER_PATIENCE_NS);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.id, 9);
	assert_int_equal(told.code, DNS_SERVER_FAILURE);
	assert_int_equal(told.len, QUERY_LEN);
}

static void a_server_of_a_link_has_its_interface(void **state)
{
	(void)state;
	static const char *const bad[] = { "fe80::1%eth0", "fe80::1%", "127.0.0.1%1", "foo", "" };
	struct resolver r;
	resolver_init(&r);
	assert_int_equal(resolver_add(&r, "fe80::1%3"), 0);
	assert_int_equal(r.servers[0].sin6_scope_id, 3);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(resolver_add(&r, bad[i]), -EINVAL);
	assert_int_equal(r.n_servers, 1);
	resolver_done(&r);
}

#define with_servers(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_servers(an_unreachable_server_is_passed_over),
		with_servers(a_second_server_is_asked_after_a_silence),
		with_servers(a_slow_answer_counts),
		with_servers(a_closed_port_asks_the_next_at_once),
		with_servers(a_server_that_refuses_leaves_it_to_the_next),
		with_servers(silence_of_all_is_told),
		cmocka_unit_test(a_server_of_a_link_has_its_interface),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
