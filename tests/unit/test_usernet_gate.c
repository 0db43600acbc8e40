/* SPDX-License-Identifier: Apache-2.0 */
/* Which frames pass: by rules, flows, forwards and names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "usernet/gate.h"

#define SECOND 1000000000LL

static struct policy_address address(const char *text)
{
	struct policy_address a;
	uint8_t v4[4];
	if (inet_pton(AF_INET, text, v4) == 1)
		return policy_address_v4(v4);
	assert_int_equal(inet_pton(AF_INET6, text, a.bytes), 1);
	return a;
}

static const uint8_t macs[12] = { 0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x6d, 0x76, 0x6d };

static size_t udp_frame(uint8_t ret[FRAME_MAX], const char *from, uint16_t from_port,
			const char *to, uint16_t to_port, const void *payload, size_t len)
{
	const struct frame f = {
		.from = address(from),
		.to = address(to),
		.from_port = from_port,
		.to_port = to_port,
		.payload = payload,
		.payload_len = len,
	};
	return frame_write_udp(macs, macs + 6, &f, ret);
}

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

static void an_allowed_flow_passes(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	struct frame out = tcp("10.0.2.15", 4000, "1.1.1.1", 443, true);
	assert_int_equal(gate_out(g, &out, 0), GATE_PASS);
	assert_true(g->begins);
	out.opens = false;
	struct mvm_error err;
	assert_int_equal(policy_add(g->policy.deny, &g->policy.n_deny, "0.0.0.0/0", &err), 0);
	assert_int_equal(gate_out(g, &out, 1), GATE_PASS); /* until the gate judges flows again */
	assert_false(g->begins);
	g->is_full = true; /* this affects only new flows */
	assert_int_equal(gate_out(g, &out, 1), GATE_PASS);
	struct frame more = tcp("10.0.2.15", 4001, "1.1.1.1", 443, true);
	g->policy.n_deny = 0;
	assert_int_equal(gate_out(g, &more, 1), GATE_DROP);
	g->is_full = false;
	g->policy.n_deny = 1;
	struct policy same = g->policy;
	gate_set_policy(g, &same);
	assert_int_equal(gate_out(g, &out, 2), GATE_RESET); /* its program must not wait */
	assert_int_equal(g->refused, 0);
	out.resets = true;
	assert_int_equal(gate_out(g, &out, 2), GATE_DROP);
	assert_int_equal(gate_out(g, &more, 2), GATE_REFUSE);
	assert_int_equal(g->refused, 1);
	assert_int_equal(g->last.verdict, POLICY_DENIED);
	assert_int_equal(g->last.port, 443);
}

static void the_hosts_addresses_are_closed(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	static const char *const closed[] = { "10.0.2.2", "fec0::2", "8.8.4.4", "192.168.1.1",
					      "64:ff9b::8.8.4.4" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(closed); i++) {
		struct frame out = tcp("10.0.2.15", 4000, closed[i], 80, true);
		if (gate_out(g, &out, 0) != GATE_REFUSE)
			fail_msg("%s", closed[i]);
		out.opens = false; /* nor by a frame in the middle of a connection */
		assert_int_equal(gate_out(g, &out, 0), GATE_RESET);
	}
	struct frame resolver = tcp("10.0.2.15", 4000, "10.0.2.3", 54, true);
	assert_int_equal(gate_out(g, &resolver, 0), GATE_RESET);
	resolver.to_port = 53;
	assert_int_equal(gate_out(g, &resolver, 0), GATE_DNS);
	resolver.kind = FRAME_UDP;
	assert_int_equal(gate_out(g, &resolver, 0), GATE_DNS);
}

static void no_rule_opens_the_virtual_network(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	static const struct {
		const char *to;
		enum gate_verdict verdict;
	} cases[] = {
		{ "fec0::2", GATE_REFUSE },	    { "fec0::1", GATE_REFUSE },
		{ "fec0::1234:5678", GATE_REFUSE }, { "fec0::15", GATE_REFUSE },
		{ "fec0::3", GATE_RESET },	    { "fec0:0:0:1::2", GATE_PASS },
		{ "10.0.2.5", GATE_REFUSE },	    { "10.0.2.255", GATE_REFUSE },
		{ "10.0.2.3", GATE_RESET },	    { "10.0.3.5", GATE_PASS },
	};
	static const char *const allow[] = { "::/0", "fec0::/10", "fec0::5", "0.0.0.0/0",
					     "10.0.2.5" };
	struct mvm_error err;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(allow); i++)
		assert_int_equal(policy_add(g->policy.allow, &g->policy.n_allow, allow[i], &err),
				 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct frame out = tcp("fec0::15", 4000, cases[i].to, 5432, true);
		if (gate_out(g, &out, 0) != cases[i].verdict)
			fail_msg("%s", cases[i].to);
	}
}

static void pings_pass_and_errors_are_not_answered(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to;
		bool reports;
		enum gate_verdict verdict;
	} cases[] = {
		{ "10.0.2.15", "1.1.1.1", false, GATE_PASS },
		{ "10.0.2.15", "1.1.1.1", true, GATE_PASS },
		{ "10.0.2.15", "10.9.9.9", false, GATE_REFUSE },
		{ "10.0.2.15", "10.9.9.9", true, GATE_DROP },
		{ "fec0::15", "2606::1", false, GATE_REFUSE },
		{ "fec0::15", "2606::1", true, GATE_DROP },
		{ "fec0::15", "fd00::1", false, GATE_REFUSE },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct gate *g = new_gate();
		struct frame out = tcp(cases[i].from, 0, cases[i].to, 0, false);
		out.kind = FRAME_PING;
		out.reports = cases[i].reports;
		if (gate_out(g, &out, 0) != cases[i].verdict)
			fail_msg("%s, an error: %d", cases[i].to, cases[i].reports);
	}
}

static void only_flows_and_forwards_let_packets_in(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	struct frame in = tcp("10.0.2.2", 5000, "10.0.2.15", 80, true);
	struct frame back = tcp("10.0.2.15", 80, "10.0.2.2", 5000, false);
	assert_int_equal(gate_in(g, &in, 0), GATE_DROP);
	assert_int_equal(gate_out(g, &back, 0), GATE_RESET);
	assert_int_equal(gate_forward(g, 80), 0);
	assert_int_equal(gate_out(g, &back, 0), GATE_RESET); /* nobody has come */
	assert_int_equal(gate_in(g, &in, 0), GATE_PASS);
	assert_int_equal(gate_out(g, &back, 1000 * SECOND), GATE_PASS);
	back.opens = true; /* a forward does not let the guest reach the host */
	assert_int_equal(gate_out(g, &back, 0), GATE_REFUSE);

	struct frame dhcp = tcp("0.0.0.0", 68, "255.255.255.255", 67, false);
	dhcp.kind = FRAME_UDP;
	assert_int_equal(gate_out(g, &dhcp, 0), GATE_PASS);
	dhcp.to_port = 68;
	assert_int_equal(gate_out(g, &dhcp, 0), GATE_DROP);

	struct frame udp = tcp("9.9.9.9", 53, "10.0.2.15", 4000, false);
	udp.kind = FRAME_UDP;
	assert_int_equal(gate_in(g, &udp, 0), GATE_DROP);
	struct frame asked = tcp("10.0.2.15", 4000, "9.9.9.9", 53, false);
	asked.kind = FRAME_UDP;
	assert_int_equal(gate_out(g, &asked, 0), GATE_PASS);
	assert_int_equal(gate_in(g, &udp, 0), GATE_PASS);
}

static struct frame part(const char *from, uint16_t id, bool is_first, bool is_last)
{
	uint8_t data[FRAME_MAX];
	struct frame f;
	size_t len = udp_frame(data, from, 53, "10.0.2.15", 4000, "hello, hello", 12);
	data[18] = (uint8_t)(id >> 8);
	data[19] = (uint8_t)id;
	data[20] = is_last ? 0 : 0x20;
	data[21] = is_first ? 0 : 185;
	assert_int_equal(frame_read(data, len, &f), FRAME_PART);
	assert_int_equal(f.from_port, is_first ? 53 : 0);
	return f;
}

static void fragments_pass_with_the_flow_of_the_first_one(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	struct frame asked = tcp("10.0.2.15", 4000, "9.9.9.9", 53, false);
	struct frame first = part("9.9.9.9", 7, true, false);
	struct frame more = part("9.9.9.9", 7, false, false),
		     last = part("9.9.9.9", 7, false, true);
	struct frame of_another = part("9.9.9.9", 8, false, true);
	asked.kind = FRAME_UDP;
	assert_int_equal(gate_in(g, &first, 0), GATE_DROP);
	assert_int_equal(gate_in(g, &more, 0), GATE_DROP);
	assert_int_equal(gate_out(g, &asked, 0), GATE_PASS);
	assert_int_equal(gate_in(g, &more, 0), GATE_DROP);
	assert_int_equal(gate_in(g, &first, 0), GATE_PASS);
	assert_int_equal(gate_in(g, &more, 0), GATE_PASS);
	assert_int_equal(gate_in(g, &of_another, 0), GATE_DROP);
	assert_int_equal(gate_in(g, &last, 0), GATE_PASS);
	assert_int_equal(gate_in(g, &last, 0), GATE_DROP);
	/* what is not understood passes in neither direction, nor do fragments of the guest's */
	struct frame bad = { .kind = FRAME_BAD };
	assert_int_equal(gate_in(g, &bad, 0), GATE_DROP);
	assert_int_equal(gate_out(g, &first, 0), GATE_DROP);
}

static void a_name_opens_its_addresses_for_their_time_to_live(void **state)
{
	(void)state;
	struct gate *g = new_gate();
	struct mvm_error err;
	assert_int_equal(policy_add(g->policy.deny, &g->policy.n_deny, "0.0.0.0/0", &err), 0);
	assert_int_equal(policy_add(g->policy.allow, &g->policy.n_allow, "*.example.org:443", &err),
			 0);
	struct policy_address public = address("1.1.1.1"), private = address("192.168.0.1");
	struct frame out = tcp("10.0.2.15", 4000, "1.1.1.1", 443, true);
	assert_int_equal(gate_out(g, &out, 0), GATE_REFUSE);
	assert_true(told(g, "www.example.com", public, 300, 0));
	assert_int_equal(gate_out(g, &out, 1), GATE_REFUSE);
	assert_false(told(g, "www.example.org", private, 300, 0));
	assert_true(told(g, "www.example.org", public, 300, 0));
	assert_int_equal(gate_out(g, &out, 1), GATE_PASS);
	assert_int_equal(gate_out(g, &out, 299 * SECOND), GATE_PASS);
	assert_int_equal(gate_out(g, &out, 301 * SECOND), GATE_REFUSE);
	out.opens = false; /* an existing connection stays */
	assert_int_equal(gate_out(g, &out, 302 * SECOND), GATE_PASS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allowed_flow_passes),
		cmocka_unit_test(the_hosts_addresses_are_closed),
		cmocka_unit_test(no_rule_opens_the_virtual_network),
		cmocka_unit_test(pings_pass_and_errors_are_not_answered),
		cmocka_unit_test(only_flows_and_forwards_let_packets_in),
		cmocka_unit_test(fragments_pass_with_the_flow_of_the_first_one),
		cmocka_unit_test(a_name_opens_its_addresses_for_their_time_to_live),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
