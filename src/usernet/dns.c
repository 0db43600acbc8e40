/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/dns.h"

#include <errno.h>
#include <string.h>

#define FLAG_REPLY     0x80u /* of byte 2 */
#define FLAG_OPCODE    0x78u
#define FLAG_TRUNCATED 0x02u
#define TYPE_A	       1u
#define TYPE_AAAA      28u
#define CLASS_INTERNET 1u
#define RECORD_HEAD    10u /* after its name */
#define ANSWERS_MAX    256u

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static bool is_of_names(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static uint8_t to_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* A name that is written out; *at moves behind it. */
static int read_name(const uint8_t *message, size_t len, size_t *at, char ret[POLICY_DOMAIN_SIZE])
{
	size_t used = 0;
	while (*at < len && message[*at] != 0) {
		size_t label = message[(*at)++];
		if (label > 63 || label > len - *at || used + label + 2 > POLICY_DOMAIN_SIZE)
			return -EBADMSG;
		if (used > 0)
			ret[used++] = '.';
		for (size_t i = 0; i < label; i++) {
			uint8_t c = to_lower(message[(*at)++]);
			if (!is_of_names(c))
				return -EBADMSG;
			ret[used++] = (char)c;
		}
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
	if (len < DNS_HEAD || len > DNS_MESSAGE_MAX ||
	    (message[2] & (FLAG_REPLY | FLAG_OPCODE)) != 0)
		return -EBADMSG;
	return read_question(message, len, ret);
}

/* A name that may end in a pointer; where the pointer leads is not asked. */
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

static int take_address(struct dns_answers *ret, const uint8_t *record, const uint8_t *data,
			size_t data_len)
{
	uint16_t type = get16(record);
	if (get16(record + 2) != CLASS_INTERNET || (type != TYPE_A && type != TYPE_AAAA))
		return 0;
	if (data_len != (type == TYPE_A ? 4u : 16u) || ret->n == DNS_ADDRESSES_MAX)
		return -EBADMSG;
	uint32_t ttl_s = (uint32_t)get16(record + 4) << 16 | get16(record + 6);
	if (ttl_s < ret->ttl_s)
		ret->ttl_s = ttl_s;
	if (type == TYPE_A)
		ret->addresses[ret->n++] = policy_address_v4(data);
	else
		memcpy(ret->addresses[ret->n++].bytes, data, 16);
	return 0;
}

int dns_read_reply(const uint8_t *message, size_t len, const struct dns_question *question,
		   struct dns_answers *ret)
{
	struct dns_question said;
	*ret = (struct dns_answers){ .ttl_s = UINT32_MAX };
	if (len < DNS_HEAD || !(message[2] & FLAG_REPLY) || read_question(message, len, &said) < 0)
		return -EBADMSG;
	if (said.type != question->type || said.class != question->class ||
	    strcmp(said.name, question->name) != 0)
		return -ENOMSG;
	/* all sections: a resolver may believe additional addresses too */
	unsigned records = get16(message + 6) + get16(message + 8) + get16(message + 10);
	size_t at = said.end;
	if (records > ANSWERS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < records; i++) {
		if (skip_name(message, len, &at) < 0 || len - at < RECORD_HEAD)
			return -EBADMSG;
		const uint8_t *record = message + at;
		size_t data_len = get16(record + 8);
		at += RECORD_HEAD;
		if (data_len > len - at || take_address(ret, record, message + at, data_len) < 0)
			return -EBADMSG;
		at += data_len;
	}
	return 0;
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

size_t dns_truncate(uint8_t *message, const struct dns_question *question)
{
	message[2] |= FLAG_TRUNCATED;
	return cut(message, question);
}
