/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_DNS_H
#define USERNET_DNS_H

/*
 * Reads DNS messages, as far as a resolver's relay needs them: the one question, and the addresses
 * in its reply.  Pure.
 *
 * Source: RFC 1035, section 4; RFC 6891 (one additional OPT record); RFC 8020.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/policy.h"

#define DNS_HEAD	  12u
#define DNS_MESSAGE_MAX	  1232u /* a UDP message of this length needs no fragments */
#define DNS_ADDRESSES_MAX 128u
#define DNS_PORT	  53u

enum dns_code {
	DNS_FORMAT_ERROR = 1,
	DNS_SERVER_FAILURE = 2,
	DNS_NOT_IMPLEMENTED = 4,
	DNS_REFUSED = 5,
};

struct dns_question {
	/* Lower case, no final dot; "" is the root.  A byte that no rule can name, such as a dot
	 * within a label, is '?' here. */
	char name[POLICY_DOMAIN_SIZE];
	uint16_t type, class;
	size_t end; /* of the question in the message */
};

struct dns_answers {
	size_t n;	/* of all sections, since a program may believe any of them */
	size_t n_named; /* so many of them answer the question, by its CNAMEs; they come first */
	uint32_t ttl_s; /* the shortest time to live among the answers and CNAMEs */
	struct policy_address addresses[DNS_ADDRESSES_MAX];
};

/* Read a query, whose labels may have any bytes (RFC 2181, section 11).  Returns 0; -EBADMSG: it
 * has no or more than one question, or is damaged; -EOPNOTSUPP: another operation than a query; or
 * -EPROTO: it is a reply, or no message. */
int dns_read_query(const uint8_t *message, size_t len, struct dns_question *ret);

/* Read the reply to that question.  Returns 0, -ENOMSG (the reply to another one), -EMSGSIZE (the
 * server cut it within a record, and says so) or -EBADMSG (damaged, or too many addresses). */
int dns_read_reply(const uint8_t *message, size_t len, const struct dns_question *question,
		   struct dns_answers *ret);

/* Turn a message that is no query into a refusal: the head alone.  Returns the reply's length. */
size_t dns_refuse_head(uint8_t *message, enum dns_code code);

/* Turn the query in message[len] into a refusal.  Returns the reply's length. */
size_t dns_refuse(uint8_t *message, const struct dns_question *question, enum dns_code code);

/* Mark a reply that is too long as cut, so that the guest asks again by TCP.  Returns its
 * length. */
size_t dns_truncate(uint8_t *message, const struct dns_question *question);

#endif
