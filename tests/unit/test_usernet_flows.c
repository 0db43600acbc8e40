/* SPDX-License-Identifier: Apache-2.0 */
/* Which flows there are, which go, and what is told of those that were refused. */
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

#include "base/error.h"
#include "codec/json.h"
#include "usernet/gate.h"
#include "usernet/rate.h"
#include "usernet/refusals.h"
#include "usernet/sockets.h"
#include "vmm/net_news.h"

#define SECOND 1000000000ll

static struct policy_address address(const char *text)
{
	struct policy_address a;
	uint8_t v4[4];
	if (inet_pton(AF_INET, text, v4) == 1)
		return policy_address_v4(v4);
	assert_int_equal(inet_pton(AF_INET6, text, a.bytes), 1);
	return a;
}

/* ---- flows ---- */

static struct flow_key key(uint16_t guest_port, uint8_t kind)
{
	return (struct flow_key){ kind, guest_port, 80, address("10.0.2.15"), address("1.1.1.1") };
}

static void the_longest_silent_flow_makes_room(void **state)
{
	(void)state;
	static struct flows f;
	struct flow_key first = key(1, FRAME_TCP), second = key(2, FRAME_TCP);
	flows_add(&f, &first, 1);
	flows_add(&f, &second, 2);
	for (uint16_t i = 3; i <= FLOWS_MAX; i++) {
		struct flow_key k = key(i, FRAME_TCP);
		assert_false(flows_has(&f, &k, i));
		flows_add(&f, &k, i);
	}
	assert_true(flows_has(&f, &first, 5000)); /* seen, so the second is the oldest */
	struct flow_key more = key(60000, FRAME_TCP);
	flows_add(&f, &more, 5001);
	assert_true(flows_has(&f, &first, 5002));
	assert_true(flows_has(&f, &more, 5002));
	assert_false(flows_has(&f, &second, 5002));
	for (struct flow *flow; (flow = flows_oldest(&f));)
		flows_remove(&f, flow);
	assert_false(flows_has(&f, &more, 5003));
	/* the table still works after a million flows */
	for (uint32_t i = 0; i < 1000000; i++) {
		struct flow_key k = key((uint16_t)(i * 7), FRAME_TCP);
		if (!flows_has(&f, &k, 6000 + i))
			flows_add(&f, &k, 6000 + i);
	}
	unsigned n = 0;
	for (uint16_t link = f.oldest; link; link = f.all[link - 1].younger)
		n++;
	assert_int_equal(n, FLOWS_MAX);
}

static void only_tcp_may_be_silent_for_long(void **state)
{
	(void)state;
	static struct flows f;
	struct flow_key tcp = key(1, FRAME_TCP), udp = key(1, FRAME_UDP);
	flows_add(&f, &tcp, 0);
	flows_add(&f, &udp, 0);
	assert_true(flows_has(&f, &udp, FLOWS_IDLE_NS - 1));
	assert_true(flows_has(&f, &udp, 2 * FLOWS_IDLE_NS - 2));
	assert_false(flows_has(&f, &udp, 3 * FLOWS_IDLE_NS));
	assert_false(flows_has(&f, &udp, 3 * FLOWS_IDLE_NS));
	flows_add(&f, &udp, 3 * FLOWS_IDLE_NS);
	assert_true(flows_has(&f, &udp, 3 * FLOWS_IDLE_NS));
	assert_true(flows_has(&f, &tcp, 100 * FLOWS_IDLE_NS));
}

static void a_removed_flow_leaves_its_place(void **state)
{
	(void)state;
	static struct flows f = { .max = 100 };
	for (uint16_t i = 1; i <= 100; i++) {
		struct flow_key k = key(i, FRAME_TCP);
		flows_add(&f, &k, i);
	}
	assert_ptr_equal(flows_next_to_go(&f), flows_oldest(&f));
	struct flow_key some = key(50, FRAME_TCP), more = key(101, FRAME_TCP);
	flows_remove(&f, flows_get(&f, &some, 101));
	assert_false(flows_has(&f, &some, 102));
	assert_null(flows_next_to_go(&f));
	flows_add(&f, &more, 103);
	struct flow_key first = key(1, FRAME_TCP);
	assert_int_equal(flows_next_to_go(&f)->key.guest_port, first.guest_port);
	unsigned n = 0;
	for (struct flow *flow = flows_oldest(&f); flow; flow = flows_younger(&f, flow))
		n++;
	assert_int_equal(n, 100);
}

/* ---- rates ---- */

static void a_rate_is_so_much_a_second(void **state)
{
	(void)state;
	struct rate r = rate_new(1000, 100, 0);
	for (unsigned i = 0; i < 100; i++)
		assert_true(rate_take(&r, 1));
	assert_false(rate_take(&r, 1));
	int64_t now_ns = rate_wait_ns(&r);
	assert_in_range(now_ns, 1, SECOND / 100);
	rate_fill(&r, now_ns);
	assert_int_equal(rate_wait_ns(&r), 0);
	rate_overdraw(&r, 1000); /* a second's worth is paid for with a second */
	assert_in_range(rate_wait_ns(&r), SECOND * 9 / 10, SECOND * 11 / 10);
	/* in small steps as in large ones, and not more than fits */
	r = rate_new(1000, 100, 0);
	rate_overdraw(&r, 100);
	for (now_ns = 0; now_ns <= SECOND / 20; now_ns += 1000)
		rate_fill(&r, now_ns);
	assert_in_range(r.level, 49, 51);
	rate_fill(&r, INT64_MAX / 2);
	assert_int_equal(r.level, 100);
	rate_fill(&r, 0); /* a clock that stands */
	assert_int_equal(r.level, 100);
	struct rate none = rate_new(0, 0, 0);
	assert_true(rate_take(&none, UINT32_MAX));
	assert_int_equal(rate_wait_ns(&none), 0);
}

/* ---- the gate ---- */

static bool is_hosts(void *arg, const struct policy_address *a)
{
	struct policy_address own = address(arg);
	return memcmp(&own, a, sizeof(own)) == 0;
}

static struct gate *new_gate(void)
{
	static struct gate g;
	static char own[] = "8.8.4.4";
	memset(&g, 0, sizeof(g));
	g.host[0] = address("10.0.2.2");
	g.host[1] = address("fec0::2");
	g.resolver[0] = address("10.0.2.3");
	g.resolver[1] = address("fec0::3");
	g.is_hosts = is_hosts;
	g.arg = own;
	return &g;
}

static bool told(struct gate *g, const char *name, struct policy_address a, uint32_t ttl_s,
		 int64_t now_ns)
{
	const struct dns_answers answers = { 1, 1, ttl_s, { a } };
	return gate_told(g, name, &answers, now_ns);
}

static unsigned last_end;

static struct frame tcp(const char *from, uint16_t from_port, const char *to, uint16_t to_port,
			bool opens)
{
	return (struct frame){ .kind = FRAME_TCP,
			       .from = address(from),
			       .to = address(to),
			       .from_port = from_port,
			       .to_port = to_port,
			       .opens = opens };
}

static void note_end(void *arg, const struct flow *flow)
{
	(void)arg;
	last_end = flow->key.guest_port;
}

static void connections_that_nobody_answers_go_first(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	g->on_end = note_end;
	g->tcp.max = 3;
	last_end = 0;
	for (uint16_t i = 1; i <= 3; i++) {
		struct frame out = tcp("10.0.2.15", i, "1.1.1.1", 443, true);
		assert_int_equal(gate_out(g, &out, i), GATE_PASS);
	}
	struct frame answer = tcp("1.1.1.1", 443, "10.0.2.15", 1, false);
	answer.flags = FRAME_ACK;
	assert_int_equal(gate_in(g, &answer, 1), GATE_PASS);
	for (uint16_t i = 2; i < 60; i++) {
		struct frame out = tcp("10.0.2.15", i + 2, "1.1.1.1", 443, true);
		assert_int_equal(gate_out(g, &out, 10 + i), GATE_PASS);
		assert_int_equal(last_end, i);
	}
	/* the same question again takes nobody's place */
	last_end = 0;
	struct frame again = tcp("10.0.2.15", 61, "1.1.1.1", 443, true);
	assert_int_equal(gate_out(g, &again, 100), GATE_PASS);
	assert_int_equal(last_end, 0);
}

static void other_rules_end_what_they_refuse(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	struct mvm_error err;
	g->on_end = note_end;
	last_end = 0;
	assert_int_equal(gate_forward(g, 53), 0);
	struct frame one = tcp("10.0.2.15", 4001, "1.1.1.1", 443, true);
	struct frame two = tcp("10.0.2.15", 4002, "9.9.9.9", 443, true);
	struct frame from_outside = tcp("10.0.2.2", 5000, "10.0.2.15", 53, true);
	assert_int_equal(gate_out(g, &one, 0), GATE_PASS);
	assert_int_equal(gate_out(g, &two, 0), GATE_PASS);
	assert_int_equal(gate_in(g, &from_outside, 0), GATE_PASS);
	static struct policy closed;
	assert_int_equal(policy_add(closed.deny, &closed.n_deny, "0.0.0.0/0", &err), 0);
	assert_int_equal(policy_add(closed.allow, &closed.n_allow, "*.example.org", &err), 0);
	assert_int_equal(policy_add(g->policy.allow, &g->policy.n_allow, "*.example.org", &err), 0);
	struct policy_address public = address("9.9.9.9");
	assert_true(told(g, "www.example.org", public, 60, 0));
	gate_set_policy(g, &closed); /* long after */
	assert_int_equal(last_end, 4001);
	one.opens = two.opens = false;
	assert_int_not_equal(gate_out(g, &one, 1000 * SECOND), GATE_PASS);
	assert_int_equal(gate_out(g, &two, 1000 * SECOND), GATE_PASS);
	struct frame reply = tcp("10.0.2.15", 53, "10.0.2.2", 5000, false);
	assert_int_equal(gate_out(g, &reply, 1), GATE_PASS);
}

/* libslirp ends a connection in TIME_WAIT when its ports are used again, and begins another one
 * within the same frame. */
static void a_flow_whose_ports_are_used_again_is_the_new_sockets(void **state)
{
	(void)state;
	static const uint8_t mac[12];
	struct gate *g = new_gate();
	static struct sockets s;
	struct frame out = tcp("10.0.2.15", 4001, "1.1.1.1", 443, true);
	struct frame other = tcp("10.0.2.15", 4002, "1.1.1.1", 443, true);
	int fds[3];
	for (unsigned i = 0; i < 3; i++)
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(gate_out(g, &out, 0), GATE_PASS);
	sockets_opened(&s, fds[0], g, 0);
	gate_passed(g, mac);
	assert_int_equal(gate_out(g, &out, 1), GATE_PASS);
	sockets_closed(&s, fds[0], g);
	sockets_opened(&s, fds[1], g, 1);
	gate_passed(g, mac);
	assert_int_equal(gate_out(g, &other, 2), GATE_PASS);
	sockets_opened(&s, fds[2], g, 2);
	gate_passed(g, mac);
	out.opens = other.opens = false;
	assert_int_equal(gate_out(g, &out, 3), GATE_PASS); /* it was reset */
	sockets_closed(&s, fds[1], g);
	assert_int_equal(gate_out(g, &out, 4), GATE_RESET);
	assert_int_equal(gate_out(g, &other, 4), GATE_PASS); /* it lost its place to the other */
	/* one that libslirp makes no socket for is none */
	out.opens = true;
	assert_int_equal(gate_out(g, &out, 5), GATE_PASS);
	gate_passed(g, mac);
	out.opens = false;
	assert_int_equal(gate_out(g, &out, 6), GATE_RESET);
	/* a place is free once */
	struct flow *flow = flows_oldest(&g->tcp);
	flows_remove(&g->tcp, flow);
	flows_remove(&g->tcp, flow);
	assert_null(flows_oldest(&g->tcp));
	for (uint16_t i = 1; i <= 2; i++)
		flows_add(&g->tcp, &(struct flow_key){ .guest_port = i }, 7);
	assert_ptr_not_equal(flows_oldest(&g->tcp), flows_younger(&g->tcp, flows_oldest(&g->tcp)));
	assert_non_null(flows_younger(&g->tcp, flows_oldest(&g->tcp)));
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

static void a_denied_name_closes_its_addresses(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	static struct policy denied;
	struct mvm_error err;
	assert_int_equal(policy_add(denied.deny, &denied.n_deny, "mail.example:25", &err), 0);
	assert_int_equal(policy_add(denied.deny, &denied.n_deny, "*.evil.example", &err), 0);
	struct policy_address mail = address("1.1.1.1"), evil = address("9.9.9.9");
	struct frame send = tcp("10.0.2.15", 4001, "1.1.1.1", 25, true);
	struct frame read = tcp("10.0.2.15", 4002, "1.1.1.1", 993, true);
	struct frame open = tcp("10.0.2.15", 4003, "9.9.9.9", 443, true);
	assert_true(told(g, "www.evil.example", evil, 60, 0));
	assert_int_equal(gate_out(g, &open, 1), GATE_PASS);
	gate_set_policy(g, &denied);
	open.opens = false; /* what the guest was told before the rule was there */
	assert_int_equal(gate_out(g, &open, 2), GATE_RESET);
	assert_int_equal(gate_out(g, &send, 3), GATE_PASS); /* nobody asked */
	assert_true(told(g, "mail.example", mail, 60, 4));
	assert_int_equal(gate_out(g, &send, 5), GATE_REFUSE);
	assert_int_equal(gate_out(g, &send, 1000 * SECOND), GATE_REFUSE);
	assert_int_equal(gate_out(g, &read, 1000 * SECOND), GATE_PASS);
}

static void few_segments_out_of_order_pass(void **state)
{
	(void)state;
	static const uint8_t mac[12];
	struct gate *g = new_gate();
	static struct sockets s;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct frame out = tcp("10.0.2.15", 4001, "1.1.1.1", 443, true);
	struct frame ack = tcp("1.1.1.1", 443, "10.0.2.15", 4001, false);
	assert_int_equal(gate_out(g, &out, 0), GATE_PASS);
	sockets_opened(&s, fd, g, 0);
	gate_passed(g, mac);
	out.opens = false;
	ack.flags = out.flags = FRAME_ACK;
	ack.acknowledged = UINT32_MAX - 9; /* the numbers go round */
	assert_int_equal(gate_in(g, &ack, 0), GATE_PASS);
	out.payload_len = 1;
	for (uint32_t i = 0; i < GATE_FLOW_EARLY_MAX; i++) {
		out.sequence = ack.acknowledged + 1 + 2 * i;
		assert_int_equal(gate_out(g, &out, 0), GATE_PASS);
	}
	uint32_t end = out.sequence + 1;
	out.sequence = end + 1;
	assert_int_equal(gate_out(g, &out, 0), GATE_DROP);
	out.payload_len = 0; /* of no bytes, but the end */
	out.flags |= FRAME_FIN;
	assert_int_equal(gate_out(g, &out, 0), GATE_DROP);
	out.flags = FRAME_ACK;
	out.sequence = ack.acknowledged;
	out.payload_len = 1000;
	assert_int_equal(gate_out(g, &out, 0), GATE_PASS); /* the missing ones do pass */
	ack.acknowledged = end - 1;
	assert_int_equal(gate_in(g, &ack, 0), GATE_PASS);
	out.sequence = end + 1;
	assert_int_equal(gate_out(g, &out, 0), GATE_DROP);
	ack.acknowledged = end; /* all have come */
	assert_int_equal(gate_in(g, &ack, 0), GATE_PASS);
	assert_int_equal(g->n_early, 0);
	assert_int_equal(gate_out(g, &out, 0), GATE_PASS);
	assert_int_equal(g->n_early, 1);
	sockets_closed(&s, fd, g);
	assert_int_equal(g->n_early, 0);
	close(fd);
}

static void an_answer_keeps_all_its_addresses(void **state)
{
	(void)state;
	static struct names n;
	struct policy_rule rule;
	struct policy_address many[100];
	assert_int_equal(policy_rule_parse("short.example", &rule, NULL), 0);
	for (unsigned i = 0; i < NAMES_MAX; i++) {
		struct policy_address a = policy_address_v4(
			(const uint8_t[]){ 1, 1, 1, (uint8_t)i });
		names_add(&n, "long.example", &a, 1, 3600, 0);
	}
	for (uint8_t i = 0; i < MVM_ARRAY_SIZE(many); i++)
		many[i] = policy_address_v4((const uint8_t[]){ 2, 2, 2, i });
	names_add(&n, "short.example", many, MVM_ARRAY_SIZE(many), 60, 1);
	for (unsigned i = 0; i < MVM_ARRAY_SIZE(many); i++)
		if (!names_has(&n, &rule, &many[i], 2))
			fail_msg("%u", i);
}

/* From a forwarded port a guest answers those who have come, and no connection that it has
 * begun. */
static void a_forwarded_port_answers_who_has_come(void **state)
{
	(void)state;
	static const uint8_t mac[12];
	struct gate *g = new_gate();
	static struct sockets s;
	static struct policy closed;
	struct mvm_error err;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(client, (struct sockaddr *)&at, &len), 0);
	int fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);

	assert_int_equal(gate_forward(g, 80), 0);
	struct frame in = tcp("10.0.2.2", ntohs(at.sin_port), "10.0.2.15", 80, true);
	struct frame back = tcp("10.0.2.15", 80, "10.0.2.2", ntohs(at.sin_port), false);
	sockets_opened(&s, fd, g, 0);
	assert_int_equal(s.n_in, 1);
	assert_int_equal(gate_in(g, &in, 0), GATE_PASS);
	sockets_seen(&s, &in, g, 0);
	for (uint16_t i = 0; i < 2 * FLOWS_MAX; i++) { /* others come and go */
		struct frame other = tcp("10.0.2.2", i, "10.0.2.15", 80, true);
		assert_int_equal(gate_in(g, &other, i), GATE_PASS);
		assert_int_equal(gate_out(g, &back, i), GATE_PASS);
	}
	sockets_closed(&s, fd, g);
	assert_int_equal(s.n_in, 0);
	assert_int_equal(gate_out(g, &back, 1), GATE_RESET);

	struct frame out = tcp("10.0.2.15", 80, "1.1.1.1", 443, true);
	assert_int_equal(gate_out(g, &out, 2), GATE_PASS);
	sockets_opened(&s, fd, g, 2);
	gate_passed(g, mac);
	assert_int_equal(policy_add(closed.deny, &closed.n_deny, "0.0.0.0/0", &err), 0);
	gate_set_policy(g, &closed);
	out.opens = false;
	assert_int_equal(gate_out(g, &out, 3), GATE_RESET);
	close(fd);
	close(client);
	close(listener);
}

/* ---- refusals ---- */

static void refusals_are_told_by_destination(void **state)
{
	(void)state;
	static struct refusals r;
	struct vmm_refusal told[VMM_REFUSALS_MAX];
	struct vmm_network_news news;
	uint64_t known = 0;
	assert_int_equal(refusals_wait_ms(&r, 0), -1);
	assert_null(refusals_take(&r, 0));
	struct gate_refusal one = { POLICY_DENIED, address("192.0.2.1"), 80, FRAME_TCP };
	refusals_note(&r, &one);
	refusals_note(&r, &one);
	refusals_note_name(&r, "evil.example.org", POLICY_PRIVATE);
	assert_int_equal(refusals_wait_ms(&r, 0), 0);
	AUTO_JSON json_t *report = refusals_take(&r, 1);
	assert_non_null(report);
	assert_int_equal(net_news_read(report, &known, &news, told), 0);
	assert_int_equal(news.n_refused, 3);
	assert_int_equal(news.n, 2);
	assert_string_equal(told[0].target, "192.0.2.1");
	assert_int_equal(told[0].count, 2);
	assert_string_equal(told[0].protocol, "tcp");
	assert_string_equal(told[0].reason, "denied");
	assert_string_equal(told[1].target, "evil.example.org");
	assert_string_equal(told[1].protocol, "dns");

	/* many destinations: all count, some are named, and not at once */
	for (uint16_t i = 0; i < 1000; i++) {
		one.port = i;
		one.address = address("fd00::1");
		refusals_note(&r, &one);
	}
	assert_null(refusals_take(&r, 2));
	int wait_ms = refusals_wait_ms(&r, 2);
	assert_in_range(wait_ms, 4000, 5001);
	AUTO_JSON json_t *second = refusals_take(&r, 6 * SECOND);
	assert_non_null(second);
	assert_int_equal(net_news_read(second, &known, &news, told), 0);
	assert_int_equal(news.n_refused, 1000);
	assert_int_equal(news.n, VMM_REFUSALS_MAX);
	assert_string_equal(told[7].target, "fd00::1");
	assert_int_equal(net_news_read(report, &known, &news, told), -EBADMSG); /* it went back */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_silent_flow_makes_room),
		cmocka_unit_test(only_tcp_may_be_silent_for_long),
		cmocka_unit_test(a_removed_flow_leaves_its_place),
		cmocka_unit_test(a_rate_is_so_much_a_second),
		cmocka_unit_test(connections_that_nobody_answers_go_first),
		cmocka_unit_test(other_rules_end_what_they_refuse),
		cmocka_unit_test(a_flow_whose_ports_are_used_again_is_the_new_sockets),
		cmocka_unit_test(a_denied_name_closes_its_addresses),
		cmocka_unit_test(few_segments_out_of_order_pass),
		cmocka_unit_test(an_answer_keeps_all_its_addresses),
		cmocka_unit_test(a_forwarded_port_answers_who_has_come),
		cmocka_unit_test(refusals_are_told_by_destination),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
