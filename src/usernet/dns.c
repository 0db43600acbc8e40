/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/dns.h"

#include <errno.h>
#include <string.h>

#define FLAG_REPLY     0x80u /* of byte 2 */
#define FLAG_OPCODE    0x78u
#define FLAG_TRUNCATED 0x02u
#define TYPE_A	       1u
#define TYPE_CNAME     5u
#define TYPE_AAAA      28u
#define CLASS_INTERNET 1u
#define RECORD_HEAD    10u /* after its name */
#define ANSWERS_MAX    256u
#define CNAMES_MAX     16u

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Write a byte as text.  Rules have no other bytes, and no label may look like two. */
static char to_text(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c > ' ' && c < 0x7f && c != '.' ? (char)c : '?';
}

/* Skip a name that is written out; *at moves behind it. */
static int read_name(const uint8_t *message, size_t len, size_t *at, char ret[POLICY_DOMAIN_SIZE])
{
	size_t used = 0;
	while (*at < len && message[*at] != 0) {
		size_t label = message[(*at)++];
		if (label > 63 || label > len - *at || used + label + 2 > POLICY_DOMAIN_SIZE)
			return -EBADMSG;
		if (used > 0)
			ret[used++] = '.';
		for (size_t i = 0; i < label; i++)
			ret[used++] = to_text(message[(*at)++]);
	}
	if (*at >= len)
		return -EBADMSG;
	(*at)++;
	ret[used] = '\0';
	return 0;
}

static int read_question(const uint8_t *message, size_t len, struct dns_question *ret)
{
	size_t at = DNS_HEAD;
	if (len < DNS_HEAD || get16(message + 4) != 1 ||
	    read_name(message, len, &at, ret->name) < 0 || len - at < 4)
		return -EBADMSG;
	ret->type = get16(message + at);
	ret->class = get16(message + at + 2);
	ret->end = at + 4;
	return 0;
}

int dns_read_query(const uint8_t *message, size_t len, struct dns_question *ret)
{
	if (len < DNS_HEAD || (message[2] & FLAG_REPLY))
		return -EPROTO;
	if (message[2] & FLAG_OPCODE)
		return -EOPNOTSUPP;
	return len > DNS_MESSAGE_MAX ? -EBADMSG : read_question(message, len, ret);
}

/* Skip a name that may end in a pointer, without following the pointer. */
static int skip_name(const uint8_t *message, size_t len, size_t *at)
{
	while (*at < len) {
		uint8_t label = message[*at];
		if (label >= 0xc0) {
			*at += 2;
			return *at <= len ? 0 : -EBADMSG;
		}
		if (label > 63)
			return -EBADMSG;
		*at += 1u + label;
		if (label == 0)
			return *at <= len ? 0 : -EBADMSG;
	}
	return -EBADMSG;
}

/* Write out the name at `at`, whose pointers lead back. false: no question can have this name. */
static bool expand_name(const uint8_t *message, size_t len, size_t at, char ret[POLICY_DOMAIN_SIZE])
{
	size_t used = 0, before = at; /* pointers lead backwards */
	while (at < len && message[at] != 0) {
		size_t label = message[at++];
		if (label >= 0xc0) {
			if (at == len)
				return false;
			at = (label & 0x3f) << 8 | message[at];
			if (at >= before)
				return false;
			before = at;
			continue;
		}
		if (label > 63 || label > len - at || used + label + 2 > POLICY_DOMAIN_SIZE)
			return false;
		if (used > 0)
			ret[used++] = '.';
		for (size_t i = 0; i < label; i++)
			ret[used++] = to_text(message[at++]);
	}
	ret[used] = '\0';
	return at < len;
}

struct record {
	size_t name, data; /* where they begin */
	uint16_t type, data_len;
	uint32_t ttl_s;
};

static int read_record(const uint8_t *message, size_t len, size_t *at, struct record *ret)
{
	*ret = (struct record){ .name = *at };
	if (skip_name(message, len, at) < 0 || len - *at < RECORD_HEAD)
		return -EBADMSG;
	const uint8_t *head = message + *at;
	if (get16(head + 2) == CLASS_INTERNET)
		ret->type = get16(head);
	ret->ttl_s = (uint32_t)get16(head + 4) << 16 | get16(head + 6);
	ret->data_len = get16(head + 8);
	ret->data = *at + RECORD_HEAD;
	*at = ret->data;
	if (ret->data_len > len - *at)
		return -EBADMSG;
	*at += ret->data_len;
	return 0;
}

static int take_address(const uint8_t *message, const struct record *r, bool is_named,
			struct dns_answers *ret)
{
	if (r->data_len != (r->type == TYPE_A ? 4u : 16u) || ret->n == DNS_ADDRESSES_MAX)
		return -EBADMSG;
	struct policy_address *place = &ret->addresses[ret->n++];
	if (is_named) {
		*place = ret->addresses[ret->n_named];
		place = &ret->addresses[ret->n_named++];
	}
	if (is_named && r->ttl_s < ret->ttl_s)
		ret->ttl_s = r->ttl_s;
	if (r->type == TYPE_A)
		*place = policy_address_v4(message + r->data);
	else
		memcpy(place->bytes, message + r->data, 16);
	return 0;
}

struct reply {
	const uint8_t *message;
	size_t len, first;
	unsigned n_answers, n; /* records: in the section of answers, and in all */
};

/* Follow the CNAMEs from the question's name to the name that has the addresses. */
static void follow(const struct reply *reply, char name[POLICY_DOMAIN_SIZE],
		   struct dns_answers *ret)
{
	char owner[POLICY_DOMAIN_SIZE];
	for (unsigned hops = 0; hops < CNAMES_MAX; hops++) {
		struct record r;
		size_t at = reply->first;
		bool found = false;
		for (unsigned i = 0; i < reply->n_answers && !found; i++)
			found = read_record(reply->message, reply->len, &at, &r) == 0 &&
				r.type == TYPE_CNAME &&
				expand_name(reply->message, reply->len, r.name, owner) &&
				strcmp(owner, name) == 0;
		if (!found || !expand_name(reply->message, reply->len, r.data, name))
			return;
		if (r.ttl_s < ret->ttl_s)
			ret->ttl_s = r.ttl_s;
	}
}

static int take_addresses(const struct reply *reply, const char *name, struct dns_answers *ret)
{
	char owner[POLICY_DOMAIN_SIZE];
	size_t at = reply->first;
	for (unsigned i = 0; i < reply->n; i++) {
		struct record r;
		if (read_record(reply->message, reply->len, &at, &r) < 0)
			return -EBADMSG;
		if (r.type != TYPE_A && r.type != TYPE_AAAA)
			continue;
		bool is_named = i < reply->n_answers &&
				expand_name(reply->message, reply->len, r.name, owner) &&
				strcmp(owner, name) == 0;
		if (take_address(reply->message, &r, is_named, ret) < 0)
			return -EBADMSG;
	}
	return 0;
}

int dns_read_reply(const uint8_t *message, size_t len, const struct dns_question *question,
		   struct dns_answers *ret)
{
	struct dns_question said;
	char name[POLICY_DOMAIN_SIZE];
	*ret = (struct dns_answers){ .ttl_s = UINT32_MAX };
	if (len < DNS_HEAD || !(message[2] & FLAG_REPLY) || read_question(message, len, &said) < 0)
		return -EBADMSG;
	if (said.type != question->type || said.class != question->class ||
	    strcmp(said.name, question->name) != 0)
		return -ENOMSG;
	const struct reply reply = {
		.message = message,
		.len = len,
		.first = said.end,
		.n_answers = get16(message + 6),
		.n = (unsigned)get16(message + 6) + get16(message + 8) + get16(message + 10),
	};
	int r = -EBADMSG;
	if (reply.n <= ANSWERS_MAX) {
		memcpy(name, said.name, sizeof(name));
		follow(&reply, name, ret);
		r = take_addresses(&reply, name, ret);
	}
	return r < 0 && (message[2] & FLAG_TRUNCATED) ? -EMSGSIZE : r;
}

/* Only the question stays. */
static size_t cut(uint8_t *message, const struct dns_question *question)
{
	message[2] |= FLAG_REPLY;
	memset(message + 6, 0, 6);
	return question->end;
}

size_t dns_refuse(uint8_t *message, const struct dns_question *question, enum dns_code code)
{
	message[3] = (uint8_t)(0x80u | code); /* recursion is available */
	return cut(message, question);
}

size_t dns_refuse_head(uint8_t *message, enum dns_code code)
{
	const struct dns_question none = { .end = DNS_HEAD };
	memset(message + 4, 0, 2);
	return dns_refuse(message, &none, code);
}

size_t dns_truncate(uint8_t *message, const struct dns_question *question)
{
	message[2] |= FLAG_TRUNCATED;
	return cut(message, question);
}
