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

#include "base/error.h"
#include "base/str.h"
#include "usernet/dns.h"
#include "usernet/gate.h"
#include "usernet/link.h"

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

/* ---- frames ---- */

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

static void a_written_frame_reads_the_same(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{ "10.0.2.15", "1.1.1.1" },
		{ "fec0::15", "2606::1" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(pairs); i++) {
		uint8_t data[FRAME_MAX];
		struct frame f;
		size_t len = udp_frame(data, pairs[i][0], 4000, pairs[i][1], 53, "hello", 5);
		assert_int_equal(frame_read(data, len, &f), FRAME_UDP);
		struct policy_address to = address(pairs[i][1]);
		assert_memory_equal(&f.to, &to, sizeof(to));
		assert_int_equal(f.from_port, 4000);
		assert_int_equal(f.to_port, 53);
		assert_int_equal(f.payload_len, 5);
		assert_memory_equal(f.payload, "hello", 5);
		/* no prefix of it is a frame */
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(frame_read(data, cut, &f), FRAME_BAD);
	}
}

static void ambiguous_frames_are_refused(void **state)
{
	(void)state;
	uint8_t data[FRAME_MAX], changed[FRAME_MAX];
	struct frame f;
	size_t len = udp_frame(data, "10.0.2.15", 4000, "1.1.1.1", 53, "hello", 5);
	static const struct {
		size_t at;
		uint8_t value;
		const char *what;
	} changes[] = {
		{ 12, 0x81, "a VLAN" },
		{ 14, 0x46, "options" },
		{ 14, 0x65, "version 6" },
		{ 20, 0x80, "the reserved bit" },
		{ 23, 4, "IP in IP" },
		{ 16, 0x08, "a long total" },
		{ 38, 0x08, "a long UDP length" },
		{ 39, 7, "a short one" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(changes); i++) {
		memcpy(changed, data, len);
		changed[changes[i].at] = changes[i].value;
		if (frame_read(changed, len, &f) != FRAME_BAD)
			fail_msg("%s", changes[i].what);
	}
	/* IPv6 with an extension header, and with a mapped IPv4 address */
	len = udp_frame(data, "fec0::15", 4000, "2606::1", 53, "hello", 5);
	memcpy(changed, data, len);
	changed[20] = 44;
	assert_int_equal(frame_read(changed, len, &f), FRAME_BAD);
	memcpy(changed, data, len);
	memset(changed + 38, 0, 16);
	changed[48] = changed[49] = 0xff;
	changed[50] = 127;
	changed[53] = 1;
	assert_int_equal(frame_read(changed, len, &f), FRAME_BAD);
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | (i + 1 < len ? p[i + 1] : 0));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void a_refusal_is_icmp_about_the_frame(void **state)
{
	(void)state;
	uint8_t data[FRAME_MAX], reply[FRAME_MAX];
	struct policy_address host = address("10.0.2.2");
	size_t len = udp_frame(data, "10.0.2.15", 4000, "10.9.9.9", 80, "hello", 5);
	size_t got = frame_write_prohibited(data, len, &host, reply);
	assert_int_equal(got, 14 + 20 + 8 + 28);
	assert_memory_equal(reply, macs + 6, 6);
	assert_int_equal(reply[23], 1);
	assert_int_equal(reply[34], 3);
	assert_int_equal(reply[35], 13);
	assert_memory_equal(reply + 42, data + 14, 28);
	assert_int_equal(sum16(reply + 14, 20, 0), 0xffff);
	assert_int_equal(sum16(reply + 34, got - 34, 0), 0xffff);

	host = address("fec0::2");
	len = udp_frame(data, "fec0::15", 4000, "fd00::1", 80, "hello", 5);
	got = frame_write_prohibited(data, len, &host, reply);
	assert_int_equal(got, 14 + 40 + 8 + 48);
	assert_int_equal(reply[54], 1);
	assert_int_equal(reply[55], 1);
	uint32_t pseudo = sum16(reply + 22, 32, 58 + (uint32_t)(got - 54));
	assert_int_equal(sum16(reply + 54, got - 54, pseudo), 0xffff);
}

static void a_reset_fits_the_guests_sequence_numbers(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to;
		uint8_t flags, reset_flags;
		uint32_t sequence, acknowledged; /* of the reset */
	} cases[] = {
		{ "10.0.2.15", "1.1.1.1", 0x10, 0x04, 0xa0b0c0d0, 0 },
		{ "10.0.2.15", "10.0.2.2", 0x18, 0x04, 0xa0b0c0d0, 0 },
		{ "fec0::15", "2606::1", 0x11, 0x04, 0xa0b0c0d0, 0 },
		{ "10.0.2.15", "10.0.2.3", 0x02, 0x14, 0, 0x01020304 + 6 },
		{ "fec0::15", "fec0::3", 0x01, 0x14, 0, 0x01020304 + 6 },
		{ "fec0::15", "fec0::3", 0x00, 0x14, 0, 0x01020304 + 5 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		uint8_t segment[25] = { 0x0f, 0xa0, 0,	  80,	1,   2,	  3,  4, 0xa0,
					0xb0, 0xc0, 0xd0, 0x50, 0,   0,	  0,  0, 0,
					0,    0,    'h',  'e',	'l', 'l', 'o' };
		uint8_t data[FRAME_MAX], reply[FRAME_MAX];
		struct frame f;
		segment[13] = cases[i].flags;
		/* make a UDP frame with the segment as its payload, then turn it into TCP */
		size_t len = udp_frame(data, cases[i].from, 1, cases[i].to, 1, segment, 25);
		size_t ip = address(cases[i].from).bytes[0] ? 40 : 20;
		memmove(data + 14 + ip, segment, sizeof(segment));
		len -= 8;
		data[14 + (ip == 40 ? 5 : 3)] = (uint8_t)(ip == 40 ? 25 : 45);
		data[14 + (ip == 40 ? 6 : 9)] = 6;
		assert_int_equal(frame_read(data, len, &f), FRAME_TCP);
		assert_int_equal(f.opens, cases[i].flags == 0x02);
		size_t got = frame_write_reset(data, len, reply);
		assert_int_equal(got, 14 + ip + 20);
		assert_int_equal(frame_read(reply, got, &f), FRAME_TCP);
		assert_true(f.resets);
		assert_int_equal(f.from_port, 80);
		assert_int_equal(f.to_port, 4000);
		struct policy_address from = address(cases[i].to), to = address(cases[i].from);
		assert_memory_equal(&f.from, &from, sizeof(from));
		assert_memory_equal(&f.to, &to, sizeof(to));
		const uint8_t *tcp = reply + 14 + ip;
		assert_int_equal(tcp[13], cases[i].reset_flags);
		const uint32_t words[] = { htonl(cases[i].sequence), htonl(cases[i].acknowledged) };
		assert_memory_equal(tcp + 4, words, sizeof(words));
		size_t addresses = ip == 40 ? 32 : 8;
		uint32_t pseudo = sum16(tcp - addresses, addresses, 6 + 20);
		assert_int_equal(sum16(tcp, 20, pseudo), 0xffff);
		/* a reset is never answered */
		assert_int_equal(frame_write_reset(reply, got, data), 0);
	}
}

/* ---- names ---- */

/* names in the form of a message: \1 ... */
static const uint8_t query[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
			       "\x03"
			       "wWw\x07"
			       "example\x03org\x00\x00\x01\x00\x01";
#define QUERY_LEN (sizeof(query) - 1)

static void a_question_is_read_and_refused(void **state)
{
	(void)state;
	struct dns_question q;
	uint8_t copy[512];
	assert_int_equal(dns_read_query(query, QUERY_LEN, &q), 0);
	assert_string_equal(q.name, "www.example.org");
	assert_int_equal(q.type, 1);
	assert_int_equal(q.end, QUERY_LEN);
	for (size_t cut = 0; cut < QUERY_LEN; cut++)
		assert_int_equal(dns_read_query(query, cut, &q), -EBADMSG);
	memcpy(copy, query, QUERY_LEN);
	assert_int_equal(dns_read_query(query, QUERY_LEN, &q), 0);
	assert_int_equal(dns_refuse(copy, &q, DNS_REFUSED), QUERY_LEN);
	assert_int_equal(copy[2] & 0x80, 0x80);
	assert_int_equal(copy[3] & 0x0f, DNS_REFUSED);

	static const struct {
		size_t at;
		uint8_t value;
		const char *what;
	} changes[] = {
		{ 2, 0x81, "a reply" },		 { 2, 0x11, "another operation" },
		{ 5, 2, "two questions" },	 { 5, 0, "no question" },
		{ 12, 0xc0, "a pointer" },	 { 12, 64, "a long label" },
		{ 13, '.', "a dot in a label" }, { 13, 0, "a NUL in a label" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(changes); i++) {
		memcpy(copy, query, QUERY_LEN);
		copy[changes[i].at] = changes[i].value;
		if (dns_read_query(copy, QUERY_LEN, &q) != -EBADMSG)
			fail_msg("%s", changes[i].what);
	}
}

static size_t reply_with(uint8_t ret[512], const char *const *addresses, uint32_t ttl_s)
{
	memcpy(ret, query, QUERY_LEN);
	ret[2] = 0x81;
	ret[3] = 0x80;
	size_t len = QUERY_LEN;
	for (; *addresses; addresses++) {
		uint8_t v4[16];
		bool is_v4 = inet_pton(AF_INET, *addresses, v4) == 1;
		if (!is_v4)
			assert_int_equal(inet_pton(AF_INET6, *addresses, v4), 1);
		const uint8_t head[] = { 0xc0,
					 12,
					 0,
					 is_v4 ? 1 : 28,
					 0,
					 1,
					 (uint8_t)(ttl_s >> 24),
					 (uint8_t)(ttl_s >> 16),
					 (uint8_t)(ttl_s >> 8),
					 (uint8_t)ttl_s,
					 0,
					 is_v4 ? 4 : 16 };
		memcpy(ret + len, head, sizeof(head));
		memcpy(ret + len + sizeof(head), v4, is_v4 ? 4 : 16);
		len += sizeof(head) + (is_v4 ? 4u : 16u);
		ret[7]++;
	}
	return len;
}

static void addresses_are_taken_from_a_reply(void **state)
{
	(void)state;
	struct dns_question q;
	struct dns_answers answers;
	uint8_t message[512];
	assert_int_equal(dns_read_query(query, QUERY_LEN, &q), 0);
	static const char *const two[] = { "1.2.3.4", "2606::1", NULL };
	size_t len = reply_with(message, two, 300);
	assert_int_equal(dns_read_reply(message, len, &q, &answers), 0);
	assert_int_equal(answers.n, 2);
	assert_int_equal(answers.n_named, 2);
	assert_int_equal(answers.ttl_s, 300);
	for (size_t i = 0; i < 2; i++) {
		struct policy_address a = address(two[i]);
		assert_memory_equal(&answers.addresses[i], &a, sizeof(a));
	}
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(dns_read_reply(message, cut, &q, &answers), -EBADMSG);
	message[14]++; /* of the name */
	assert_int_equal(dns_read_reply(message, len, &q, &answers), -ENOMSG);
	message[14]--;
	message[QUERY_LEN + 11] = 3; /* bytes of an IPv4 address */
	assert_int_equal(dns_read_reply(message, len, &q, &answers), -EBADMSG);
}

static void put(uint8_t *message, size_t *len, const void *bytes, size_t n)
{
	memcpy(message + *len, bytes, n);
	*len += n;
}

/* A record: its name and data are as in a message. */
static void put_record(uint8_t *message, size_t *len, const char *name, size_t name_len,
		       uint8_t type, uint8_t ttl_s, const void *data, uint8_t data_len)
{
	const uint8_t head[] = { 0, type, 0, 1, 0, 0, 0, ttl_s, 0, data_len };
	put(message, len, name, name_len);
	put(message, len, head, sizeof(head));
	put(message, len, data, data_len);
}
#define PUT(name, ...) put_record(message, &len, name, sizeof(name) - 1, __VA_ARGS__)

static void a_name_has_the_addresses_of_its_aliases_alone(void **state)
{
	(void)state;
	struct dns_question q;
	struct dns_answers answers;
	uint8_t message[512];
	size_t len = 0;
	static const uint8_t good[] = { 1, 2, 3, 4 }, evil[] = { 6, 6, 6, 6 };
	assert_int_equal(dns_read_query(query, QUERY_LEN, &q), 0);
	put(message, &len, query, QUERY_LEN);
	message[2] = 0x81;
	message[7] = 5;	 /* answers */
	message[11] = 1; /* additional */
	/* the chain is not in its order: www -> cdn.example.org -> x */
	PUT("\4evil\0", 1, 9, evil, 4);
	PUT("\3cdn\xc0\x10", 5, 30, "\1x\0", 3);
	PUT("\xc0\x0c", 5, 60, "\3CDN\xc0\x10", 6);
	PUT("\1X\0", 1, 90, good, 4);
	PUT("\xc0\x0c", 1, 9, evil, 4); /* a name with a CNAME has nothing else */
	PUT("\1x\0", 1, 9, evil, 4);	/* in another section */
	assert_int_equal(dns_read_reply(message, len, &q, &answers), 0);
	assert_int_equal(answers.n, 4);
	assert_int_equal(answers.n_named, 1);
	assert_int_equal(answers.ttl_s, 30);
	struct policy_address a = address("1.2.3.4");
	assert_memory_equal(&answers.addresses[0], &a, sizeof(a));
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(dns_read_reply(message, cut, &q, &answers), -EBADMSG);

	/* a circle, and a pointer to itself */
	len = QUERY_LEN;
	message[7] = 2;
	message[11] = 0;
	PUT("\xc0\x0c", 5, 30, "\xc0\x0c", 2);
	PUT("\xc0\x2f", 1, 30, good, 4);
	assert_int_equal(message[0x2f], 0xc0);
	assert_int_equal(dns_read_reply(message, len, &q, &answers), 0);
	assert_int_equal(answers.n, 1);
	assert_int_equal(answers.n_named, 0);
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
	static const char *const closed[] = { "10.0.2.2", "fec0::2", "8.8.4.4", "192.168.1.1" };
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
	assert_int_equal(gate_forward(g, true, 80), 0); /* UDP port 80 is another port */
	assert_int_equal(gate_in(g, &in, 0), GATE_DROP);
	assert_int_equal(gate_out(g, &back, 0), GATE_RESET);
	assert_int_equal(gate_forward(g, false, 80), 0);
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
	/* a large datagram to a forwarded port is one that the guest may answer */
	struct frame in = part("10.0.2.2", 9, true, false);
	struct frame back = tcp("10.0.2.15", 4000, "10.0.2.2", 53, false);
	back.kind = FRAME_UDP;
	assert_int_equal(gate_forward(g, true, 4000), 0);
	assert_int_equal(gate_out(g, &back, 0), GATE_REFUSE);
	assert_int_equal(gate_in(g, &in, 0), GATE_PASS);
	assert_int_equal(gate_out(g, &back, 0), GATE_PASS);
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

/* ---- the link ---- */

static void count_frames(void *arg, const uint8_t *frame, size_t len)
{
	unsigned *n = arg;
	assert_int_equal(len, 60);
	assert_int_equal(frame[0], *n % 256);
	(*n)++;
}

static void frames_arrive_whole_however_they_are_cut(void **state)
{
	(void)state;
	static struct link in, out;
	int pair[2];
	unsigned got = 0, sent = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	out.fd = pair[0];
	in.fd = pair[1];
	while (sent < 20000) {
		uint8_t frame[60] = { (uint8_t)sent };
		uint64_t lost = out.lost;
		link_write(&out, frame, sizeof(frame));
		sent += out.lost == lost;
		assert_int_equal(link_flush(&out), 0);
		if (sent % 7 == 0 || out.lost > lost)
			assert_int_equal(link_read(&in, count_frames, &got), 0);
	}
	while (got < sent) {
		assert_int_equal(link_flush(&out), 0);
		assert_int_equal(link_read(&in, count_frames, &got), 0);
	}
	assert_int_equal(send(pair[0], "\xff\xff\xff\xff", 4, 0), 4);
	assert_int_equal(link_read(&in, count_frames, &got), -EPROTO);
	close(pair[0]);
	in.in_len = 0;
	assert_int_equal(link_read(&in, count_frames, &got), -EPIPE);
	close(pair[1]);
	strbuf_done(&out.out);
}

static void note_length(void *arg, const uint8_t *frame, size_t len)
{
	unsigned *sum = arg;
	(void)frame;
	*sum += (unsigned)len;
}

/* Whoever reads on where another has ended may begin within a frame. */
static void a_link_is_taken_up_wherever_it_was_left(void **state)
{
	(void)state;
	uint8_t frame[FRAME_MAX], stream[2 * FRAME_MAX];
	size_t len = udp_frame(frame, "10.0.2.15", 4000, "1.1.1.1", 53, "hello, hello", 12);
	for (size_t cut = 0; cut < 4 + len; cut++) {
		static struct link l;
		int pair[2];
		unsigned sum = 0;
		size_t n = 0;
		memset(&l, 0, sizeof(l));
		for (unsigned i = 0; i < 3; i++) {
			const uint8_t head[] = { 0, 0, 0, (uint8_t)len };
			memcpy(stream + n, head, 4);
			memcpy(stream + n + 4, frame, len);
			n += 4 + len;
		}
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		l.fd = pair[0];
		l.seeks = true;
		/* in two parts, wherever the second begins */
		size_t first = (n - cut) / 2;
		assert_int_equal(send(pair[1], stream + cut, first, 0), first);
		assert_int_equal(link_read(&l, note_length, &sum), 0);
		assert_int_equal(send(pair[1], stream + cut + first, n - cut - first, 0),
				 n - cut - first);
		assert_int_equal(link_read(&l, note_length, &sum), 0);
		assert_int_equal(sum, (cut ? 2 : 3) * len);
		close(pair[0]);
		close(pair[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_written_frame_reads_the_same),
		cmocka_unit_test(ambiguous_frames_are_refused),
		cmocka_unit_test(a_refusal_is_icmp_about_the_frame),
		cmocka_unit_test(a_reset_fits_the_guests_sequence_numbers),
		cmocka_unit_test(a_question_is_read_and_refused),
		cmocka_unit_test(addresses_are_taken_from_a_reply),
		cmocka_unit_test(a_name_has_the_addresses_of_its_aliases_alone),
		cmocka_unit_test(an_allowed_flow_passes),
		cmocka_unit_test(the_hosts_addresses_are_closed),
		cmocka_unit_test(no_rule_opens_the_virtual_network),
		cmocka_unit_test(pings_pass_and_errors_are_not_answered),
		cmocka_unit_test(only_flows_and_forwards_let_packets_in),
		cmocka_unit_test(fragments_pass_with_the_flow_of_the_first_one),
		cmocka_unit_test(a_name_opens_its_addresses_for_their_time_to_live),
		cmocka_unit_test(frames_arrive_whole_however_they_are_cut),
		cmocka_unit_test(a_link_is_taken_up_wherever_it_was_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
