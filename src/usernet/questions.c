/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/questions.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

/* Give the asker its answer; message has room for DNS_MESSAGE_MAX. */
static void tell(struct questions *q, const struct resolver_asker *asker,
		 const struct dns_question *question, uint8_t *message, size_t len)
{
	uint8_t frame[FRAME_MAX];
	if (asker->tcp) {
		dns_tcp_answer(&q->tcp, asker->tcp, message, len, clock_now_ns());
		return;
	}
	if (len > DNS_MESSAGE_MAX)
		len = dns_truncate(message, question);
	const struct frame heads = {
		.from = asker->our_address,
		.to = asker->address,
		.from_port = DNS_PORT,
		.to_port = asker->port,
		.payload = message,
		.payload_len = len,
	};
	link_write(q->link, frame, frame_write_udp(asker->mac, asker->our_mac, &heads, frame));
}

/* Read a reply whole, even if only a part of it fits into UDP. */
static void answer(void *arg, const struct resolver_asker *asker,
		   const struct dns_question *question, uint8_t *message, size_t len)
{
	struct questions *q = arg;
	struct dns_answers answers;
	int r = dns_read_reply(message, len, question, &answers);
	if (r == -ENOMSG)
		return;
	if (r == -EMSGSIZE)
		len = dns_truncate(message, question);
	else if (r < 0)
		len = dns_refuse(message, question, DNS_SERVER_FAILURE);
	else if (!gate_told(q->gate, question->name, &answers, clock_now_ns())) {
		refusals_note_name(q->refusals, question->name, POLICY_PRIVATE);
		len = dns_refuse(message, question, DNS_REFUSED);
	}
	tell(q, asker, question, message, len);
}

/* Refuse a message that we do not pass on.  A reply gets no answer: RFC 1035, 7.3. */
static void refuse_question(struct questions *q, const struct resolver_asker *asker,
			    const uint8_t *query, int why)
{
	uint8_t message[DNS_MESSAGE_MAX];
	size_t len = 0;
	if (why != -EPROTO) {
		memcpy(message, query, DNS_HEAD);
		len = dns_refuse_head(message,
				      why == -EOPNOTSUPP ? DNS_NOT_IMPLEMENTED : DNS_FORMAT_ERROR);
	}
	if (len > 0 || asker->tcp)
		tell(q, asker, NULL, message, len);
}

/* Answer refused and failing questions as well, so that no program waits. */
static void ask(struct questions *q, struct resolver_asker *asker, const uint8_t *query, size_t len)
{
	uint8_t message[DNS_MESSAGE_MAX];
	struct dns_question question;
	int r = dns_read_query(query, len, &question);
	if (r < 0) {
		refuse_question(q, asker, query, r);
		return;
	}
	asker->id = (uint16_t)(query[0] << 8 | query[1]);
	bool may = policy_may_ask(&q->gate->policy, question.name);
	if (!may)
		refusals_note_name(q->refusals, question.name, POLICY_DENIED);
	if (may && resolver_ask(&q->resolver, asker, &question, query, len, clock_now_ns()) == 0)
		return;
	memcpy(message, query, len);
	len = dns_refuse(message, &question, may ? DNS_SERVER_FAILURE : DNS_REFUSED);
	tell(q, asker, &question, message, len);
}

static void ask_by_tcp(void *arg, uint64_t number, const uint8_t *query, size_t len)
{
	struct resolver_asker asker = { .tcp = number };
	ask(arg, &asker, query, len);
}

static void write_frame(void *arg, const uint8_t *frame, size_t len)
{
	link_write(((struct questions *)arg)->link, frame, len);
}

void questions_take(struct questions *q, const uint8_t *frame, size_t len, const struct frame *f)
{
	struct resolver_asker asker = { .address = f->from,
					.our_address = f->to,
					.port = f->from_port };
	if (f->kind == FRAME_TCP) {
		dns_tcp_input(&q->tcp, frame, len, f, clock_now_ns());
		return;
	}
	memcpy(asker.mac, frame + 6, 6);
	memcpy(asker.our_mac, frame, 6);
	ask(q, &asker, f->payload, f->payload_len);
}

void questions_serve(struct questions *q, int64_t now_ns)
{
	resolver_serve(&q->resolver, now_ns, answer, q);
}

void questions_init(struct questions *q, struct gate *gate, struct refusals *refusals,
		    struct link *link)
{
	q->gate = gate;
	q->refusals = refusals;
	q->link = link;
	q->tcp = (struct dns_tcp){ .ask = ask_by_tcp, .send = write_frame, .arg = q };
	resolver_init(&q->resolver);
}

void questions_done(struct questions *q)
{
	resolver_done(&q->resolver);
	dns_tcp_done(&q->tcp);
}
