/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_DNS_TCP_H
#define USERNET_DNS_TCP_H

/*
 * The resolver's end of DNS over TCP, which a guest uses after a cut answer.
 *
 * The guest is one link away, so a small part of TCP is enough: a few connections, one question at
 * a time on each, segments in order, and lost ones sent again after a second.  The policy judges
 * each question, as it does by UDP.  Pure but for the callbacks.
 *
 *	DNS_TCP_OPENING -> DNS_TCP_OPEN -> (the guest has closed, all is answered) DNS_TCP_CLOSING
 *
 * Source: RFC 9293; RFC 7766 (DNS over TCP), RFC 1035 4.2.2.
 */

#include <stdbool.h>
#include <stdint.h>

#include "usernet/dns.h"
#include "usernet/frame.h"

#define DNS_TCP_MAX	  16u /* connections; a new one replaces the one that was silent for longest */
#define DNS_TCP_QUERY_MAX (2u + DNS_MESSAGE_MAX)
#define DNS_TCP_REPLY_MAX (2u + 65535u)
#define DNS_TCP_IDLE_NS	  (15ll * 1000000000)
#define DNS_TCP_RESEND_NS (1ll * 1000000000)

enum dns_tcp_state { DNS_TCP_FREE, DNS_TCP_OPENING, DNS_TCP_OPEN, DNS_TCP_CLOSING };

struct dns_tcp_connection {
	enum dns_tcp_state state;
	bool asked;  /* a question waits for dns_tcp_answer() */
	bool closed; /* the guest sends no more */
	uint64_t number;
	uint8_t mac[6], our_mac[6];
	struct policy_address guest, us;
	uint16_t guest_port, window;
	uint32_t next_in;		   /* sequence number that the guest sends next */
	uint32_t unacknowledged, next_out; /* ours */
	uint32_t first_out;		   /* of the first byte in out */
	int64_t heard_ns, sent_ns;
	size_t in_len, out_len;
	uint8_t *out; /* DNS_TCP_REPLY_MAX bytes while there is a reply */
	uint8_t in[DNS_TCP_QUERY_MAX];
};

/* A question on connection number; answer it with dns_tcp_answer(). */
typedef void (*dns_tcp_ask_fn)(void *arg, uint64_t number, const uint8_t *message, size_t len);
typedef void (*dns_tcp_send_fn)(void *arg, const uint8_t *frame, size_t len);

struct dns_tcp {
	uint64_t last; /* number */
	dns_tcp_ask_fn ask;
	dns_tcp_send_fn send;
	void *arg;
	struct dns_tcp_connection all[DNS_TCP_MAX];
};

/* Take a guest's frame to the resolver's port, which frame_read() took for TCP. */
void dns_tcp_input(struct dns_tcp *t, const uint8_t *frame, size_t len, const struct frame *f,
		   int64_t now_ns);

/* Answer on connection number, if it still exists. len 0: there is no answer, so reset it. */
void dns_tcp_answer(struct dns_tcp *t, uint64_t number, const uint8_t *message, size_t len,
		    int64_t now_ns);

/* Send lost segments again, and end connections that were silent for too long.  Returns when to
 * call this again; INT64_MAX: not until something else happens. */
int64_t dns_tcp_tick(struct dns_tcp *t, int64_t now_ns);

void dns_tcp_done(struct dns_tcp *t);

#endif
