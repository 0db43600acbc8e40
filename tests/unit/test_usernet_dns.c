/* SPDX-License-Identifier: Apache-2.0 */
/* DNS messages: the question, and what a reply tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "usernet/dns.h"

static struct policy_address address(const char *text)
{
	struct policy_address a;
	uint8_t v4[4];
	if (inet_pton(AF_INET, text, v4) == 1)
		return policy_address_v4(v4);
	assert_int_equal(inet_pton(AF_INET6, text, a.bytes), 1);
	return a;
}

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
		assert_int_equal(dns_read_query(query, cut, &q),
				 cut < DNS_HEAD ? -EPROTO : -EBADMSG);
	memcpy(copy, query, QUERY_LEN);
	assert_int_equal(dns_read_query(query, QUERY_LEN, &q), 0);
	assert_int_equal(dns_refuse(copy, &q, DNS_REFUSED), QUERY_LEN);
	assert_int_equal(copy[2] & 0x80, 0x80);
	assert_int_equal(copy[3] & 0x0f, DNS_REFUSED);

	static const struct {
		size_t at;
		uint8_t value;
		const char *what;
		int r;
	} changes[] = {
		{ 2, 0x81, "a reply", -EPROTO },     { 2, 0x11, "another operation", -EOPNOTSUPP },
		{ 5, 2, "two questions", -EBADMSG }, { 5, 0, "no question", -EBADMSG },
		{ 12, 0xc0, "a pointer", -EBADMSG }, { 12, 64, "a long label", -EBADMSG },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(changes); i++) {
		memcpy(copy, query, QUERY_LEN);
		copy[changes[i].at] = changes[i].value;
		if (dns_read_query(copy, QUERY_LEN, &q) != changes[i].r)
			fail_msg("%s", changes[i].what);
	}
	assert_int_equal(dns_refuse_head(copy, DNS_FORMAT_ERROR), DNS_HEAD);
	assert_int_equal(copy[3] & 0x0f, DNS_FORMAT_ERROR);
	assert_int_equal(copy[5], 0);
}

static void labels_may_have_any_bytes(void **state)
{
	(void)state;
	static const struct {
		uint8_t byte;
		const char *name;
	} cases[] = {
		{ '+', "w+w.example.org" },  { '*', "w*w.example.org" }, { '/', "w/w.example.org" },
		{ ' ', "w?w.example.org" },  { '.', "w?w.example.org" }, { 0, "w?w.example.org" },
		{ 0xc3, "w?w.example.org" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct dns_question q;
		uint8_t copy[512];
		memcpy(copy, query, QUERY_LEN);
		copy[14] = cases[i].byte;
		assert_int_equal(dns_read_query(copy, QUERY_LEN, &q), 0);
		assert_string_equal(q.name, cases[i].name);
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
	/* a server that cuts within a record says so */
	message[2] |= 0x02;
	for (size_t cut = QUERY_LEN; cut < len; cut++)
		assert_int_equal(dns_read_reply(message, cut, &q, &answers), -EMSGSIZE);
	assert_int_equal(dns_read_reply(message, len, &q, &answers), 0);
	message[2] &= 0xfd;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_is_read_and_refused),
		cmocka_unit_test(labels_may_have_any_bytes),
		cmocka_unit_test(addresses_are_taken_from_a_reply),
		cmocka_unit_test(a_name_has_the_addresses_of_its_aliases_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
