/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/dns_tcp.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static bool is_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static void end(struct dns_tcp_connection *c)
{
	free(c->out);
	*c = (struct dns_tcp_connection){ 0 };
}

/* ---- out ---- */

static void send_segment(struct dns_tcp *t, struct dns_tcp_connection *c, uint8_t flags,
			 uint32_t sequence, const uint8_t *payload, size_t len)
{
	uint8_t frame[FRAME_MAX];
	const struct frame f = {
		.from = c->us,
		.to = c->guest,
		.from_port = DNS_PORT,
		.to_port = c->guest_port,
		.flags = flags,
		.sequence = sequence,
		.acknowledged = c->next_in,
		.window = (uint16_t)(sizeof(c->in) - c->in_len),
		.payload = payload,
		.payload_len = len,
	};
	t->send(t->arg, frame, frame_write_tcp(c->mac, c->our_mac, &f, frame));
}

static void acknowledge(struct dns_tcp *t, struct dns_tcp_connection *c)
{
	send_segment(t, c, FRAME_ACK, c->next_out, NULL, 0);
}

/* The sequence number of our FIN, once it may be sent. */
static uint32_t end_of_out(const struct dns_tcp_connection *c)
{
	return c->first_out + (uint32_t)c->out_len;
}

static bool has_question(const struct dns_tcp_connection *c)
{
	return c->in_len >= 2 && c->in_len - 2 >= ((size_t)c->in[0] << 8 | c->in[1]);
}

/* Send as much of the reply as the guest takes now, and the FIN. */
static void send_more(struct dns_tcp *t, struct dns_tcp_connection *c, int64_t now_ns)
{
	uint32_t limit = c->unacknowledged + c->window;
	uint32_t before = c->next_out;
	while (is_before(c->next_out, end_of_out(c)) && is_before(c->next_out, limit)) {
		size_t at = c->next_out - c->first_out, len = c->out_len - at;
		len = len < FRAME_SEGMENT ? len : FRAME_SEGMENT;
		len = len < limit - c->next_out ? len : limit - c->next_out;
		send_segment(t, c, FRAME_ACK, c->next_out, c->out + at, len);
		c->next_out += (uint32_t)len;
	}
	if (c->closed && !c->asked && !has_question(c) && c->next_out == end_of_out(c)) {
		send_segment(t, c, FRAME_FIN | FRAME_ACK, c->next_out, NULL, 0);
		c->next_out++;
		c->state = DNS_TCP_CLOSING;
	}
	if (c->next_out != before)
		c->sent_ns = now_ns;
}

/* ---- in ---- */

static struct dns_tcp_connection *find(struct dns_tcp *t, const struct frame *f)
{
	for (size_t i = 0; i < DNS_TCP_MAX; i++) {
		struct dns_tcp_connection *c = &t->all[i];
		if (c->state != DNS_TCP_FREE && c->guest_port == f->from_port &&
		    memcmp(&c->guest, &f->from, sizeof(c->guest)) == 0 &&
		    memcmp(&c->us, &f->to, sizeof(c->us)) == 0)
			return c;
	}
	return NULL;
}

/* A free connection, or the one that was silent for longest. */
static struct dns_tcp_connection *place(struct dns_tcp *t)
{
	struct dns_tcp_connection *oldest = &t->all[0];
	for (size_t i = 0; i < DNS_TCP_MAX; i++) {
		struct dns_tcp_connection *c = &t->all[i];
		if (c->state == DNS_TCP_FREE)
			return c;
		if (c->heard_ns < oldest->heard_ns)
			oldest = c;
	}
	send_segment(t, oldest, FRAME_RST | FRAME_ACK, oldest->next_out, NULL, 0);
	end(oldest);
	return oldest;
}

static void open_connection(struct dns_tcp *t, const uint8_t *frame, const struct frame *f,
			    int64_t now_ns)
{
	uint32_t first;
	if (getrandom(&first, sizeof(first), 0) != sizeof(first))
		return; /* the guest tries again */
	struct dns_tcp_connection *c = place(t);
	c->state = DNS_TCP_OPENING;
	c->number = ++t->last;
	memcpy(c->mac, frame + 6, 6);
	memcpy(c->our_mac, frame, 6);
	c->guest = f->from;
	c->us = f->to;
	c->guest_port = f->from_port;
	c->next_in = f->sequence + 1;
	c->unacknowledged = first;
	c->next_out = c->first_out = first + 1;
	c->heard_ns = c->sent_ns = now_ns;
	send_segment(t, c, FRAME_SYN | FRAME_ACK, first, NULL, 0);
}

static void ask_next(struct dns_tcp *t, struct dns_tcp_connection *c)
{
	size_t len = (size_t)c->in[0] << 8 | c->in[1];
	uint8_t message[DNS_MESSAGE_MAX];
	if (c->asked || c->out_len > 0 || !has_question(c))
		return;
	memcpy(message, c->in + 2, len);
	c->in_len -= 2 + len;
	memmove(c->in, c->in + 2 + len, c->in_len);
	c->asked = true;
	t->ask(t->arg, c->number, message, len); /* last: it may be answered within */
}

/* Take the segment's acknowledgement.  Returns false if it is for bytes that were never sent, or
 * older than the last one: drop the segment. */
static bool take_acknowledged(struct dns_tcp_connection *c, const struct frame *f)
{
	if (is_before(f->acknowledged, c->unacknowledged) ||
	    is_before(c->next_out, f->acknowledged))
		return false;
	c->unacknowledged = f->acknowledged;
	c->window = f->window;
	if (c->state == DNS_TCP_OPENING && c->unacknowledged == c->first_out)
		c->state = DNS_TCP_OPEN;
	if (c->out_len > 0 && !is_before(c->unacknowledged, end_of_out(c))) {
		c->first_out = end_of_out(c);
		c->out_len = 0;
		free(c->out);
		c->out = NULL;
	}
	return true;
}

static void take_payload(struct dns_tcp *t, struct dns_tcp_connection *c, const struct frame *f)
{
	bool fin = f->flags & FRAME_FIN;
	if (f->payload_len == 0 && !fin)
		return;
	size_t room = sizeof(c->in) - c->in_len;
	if (f->sequence == c->next_in && !c->closed) {
		size_t len = f->payload_len < room ? f->payload_len : room;
		memcpy(c->in + c->in_len, f->payload, len);
		c->in_len += len;
		c->next_in += (uint32_t)len;
		c->closed = fin && len == f->payload_len;
		c->next_in += c->closed;
	}
	acknowledge(t, c); /* what came before already, too */
}

/* No question has this length. */
static bool is_senseless(const struct dns_tcp_connection *c)
{
	size_t len = (size_t)c->in[0] << 8 | c->in[1];
	return c->in_len >= 2 && (len < DNS_HEAD || len > DNS_MESSAGE_MAX);
}

static void reset(struct dns_tcp *t, struct dns_tcp_connection *c)
{
	send_segment(t, c, FRAME_RST | FRAME_ACK, c->next_out, NULL, 0);
	end(c);
}

void dns_tcp_input(struct dns_tcp *t, const uint8_t *frame, size_t len, const struct frame *f,
		   int64_t now_ns)
{
	uint8_t reply[FRAME_MAX];
	struct dns_tcp_connection *c = find(t, f);
	if (!c && f->opens && !f->resets) {
		open_connection(t, frame, f, now_ns);
		return;
	}
	if (!c) {
		size_t reset_len = frame_write_reset(frame, len, reply);
		if (reset_len > 0)
			t->send(t->arg, reply, reset_len);
		return;
	}
	if (f->resets) {
		if (f->sequence == c->next_in)
			end(c);
		return;
	}
	if (!(f->flags & FRAME_ACK) || f->opens || !take_acknowledged(c, f)) {
		/* an old SYN gets the present state as its answer; RFC 5961, 4.2 */
		acknowledge(t, c);
		return;
	}
	c->heard_ns = now_ns;
	if (c->state == DNS_TCP_CLOSING && c->unacknowledged == c->next_out) {
		end(c);
		return;
	}
	if (c->state != DNS_TCP_OPEN)
		return;
	take_payload(t, c, f);
	if (is_senseless(c)) {
		reset(t, c);
		return;
	}
	uint64_t number = c->number;
	ask_next(t, c);
	if (c->number == number)
		send_more(t, c, now_ns);
}

/* ---- answers and time ---- */

void dns_tcp_answer(struct dns_tcp *t, uint64_t number, const uint8_t *message, size_t len,
		    int64_t now_ns)
{
	for (size_t i = 0; i < DNS_TCP_MAX; i++) {
		struct dns_tcp_connection *c = &t->all[i];
		if (c->state == DNS_TCP_FREE || c->number != number || !c->asked)
			continue;
		c->asked = false;
		c->out = len > 0 && len <= UINT16_MAX ? malloc(2 + len) : NULL;
		if (!c->out) {
			reset(t, c);
			return;
		}
		c->out[0] = (uint8_t)(len >> 8);
		c->out[1] = (uint8_t)len;
		memcpy(c->out + 2, message, len);
		c->out_len = 2 + len;
		send_more(t, c, now_ns);
		return;
	}
}

static void send_again(struct dns_tcp *t, struct dns_tcp_connection *c, int64_t now_ns)
{
	c->sent_ns = now_ns;
	if (c->state == DNS_TCP_OPENING) {
		send_segment(t, c, FRAME_SYN | FRAME_ACK, c->unacknowledged, NULL, 0);
		return;
	}
	if (c->state == DNS_TCP_CLOSING)
		c->state = DNS_TCP_OPEN; /* and close again */
	c->next_out = c->unacknowledged;
	if (c->window == 0)
		c->window = 1; /* a probe: RFC 9293, 3.8.6.1 */
	send_more(t, c, now_ns);
}

int64_t dns_tcp_tick(struct dns_tcp *t, int64_t now_ns)
{
	int64_t next = INT64_MAX;
	for (size_t i = 0; i < DNS_TCP_MAX; i++) {
		struct dns_tcp_connection *c = &t->all[i];
		if (c->state == DNS_TCP_FREE)
			continue;
		if (now_ns - c->heard_ns >= DNS_TCP_IDLE_NS) {
			reset(t, c);
			continue;
		}
		bool waits = c->unacknowledged != c->next_out ||
			     is_before(c->next_out, end_of_out(c));
		if (waits && now_ns - c->sent_ns >= DNS_TCP_RESEND_NS)
			send_again(t, c, now_ns);
		int64_t at = c->heard_ns + DNS_TCP_IDLE_NS;
		if (waits && c->sent_ns + DNS_TCP_RESEND_NS < at)
			at = c->sent_ns + DNS_TCP_RESEND_NS;
		next = at < next ? at : next;
	}
	return next;
}

void dns_tcp_done(struct dns_tcp *t)
{
	for (size_t i = 0; i < DNS_TCP_MAX; i++)
		end(&t->all[i]);
}
