/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_FRAME_H
#define USERNET_FRAME_H

/*
 * Reads the heads of one Ethernet frame, as far as a verdict needs them.
 *
 * The stack behind must not read a frame in another way than we do.  So frames that we do not
 * wholly understand are refused: a guest's fragments, IPv6 extension headers, tunnels, VLANs, and
 * lengths that do not agree.
 *
 * Source: RFC 791, 8200, 768, 9293, 792, 4443, 826.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/mtu.h"
#include "model/policy.h"

#define FRAME_MAX      1600u		/* of the frames that we write; the MTU is 1500 */
#define FRAME_READ_MAX (LINK_MTU + 14u) /* of all others */

#define FRAME_FIN 0x01u
#define FRAME_SYN 0x02u
#define FRAME_RST 0x04u
#define FRAME_ACK 0x10u

enum frame_kind {
	FRAME_BAD, /* to be dropped */
	FRAME_ARP, /* or IPv6's neighbour discovery */
	FRAME_TCP,
	FRAME_UDP,
	FRAME_PING, /* an echo request or reply, or an ICMP error about a flow */
	FRAME_PART, /* a fragment of UDP over IPv4; its first one has the ports */
};

struct frame {
	enum frame_kind kind;
	struct policy_address from, to;
	uint16_t from_port, to_port; /* FRAME_PING: 0 */
	bool opens;		     /* TCP: SYN without ACK */
	bool resets;		     /* TCP: RST */
	bool reports;		     /* FRAME_PING: an error, about which there is no other one */
	const uint8_t *payload;	     /* payload of UDP and TCP, within the frame */
	size_t payload_len;
	uint8_t flags; /* the following are TCP's; flags: FRAME_FIN and others */
	uint16_t window;
	uint32_t sequence, acknowledged;
	/* FRAME_PART */
	uint16_t part_of; /* the datagram's identification */
	bool is_first, is_last;
};

/* Read the heads of data[len].  Returns ret->kind. */
enum frame_kind frame_read(const uint8_t *data, size_t len, struct frame *ret);

/*
 * Write a UDP frame with addresses of one family.
 *
 * Returns its length, or 0 when it does not fit.
 */
size_t frame_write_udp(const uint8_t to_mac[6], const uint8_t from_mac[6],
		       const struct frame *heads, uint8_t ret[FRAME_MAX]);

/*
 * Write the next fragment of a UDP datagram of IPv4, of any length.
 *
 *   id  the packet's
 *   at  bytes of the packet's body so far; 0 at first
 *
 * Returns the frame's length, or 0 after the last.
 */
size_t frame_write_udp_part(const uint8_t to_mac[6], const uint8_t from_mac[6],
			    const struct frame *heads, uint16_t id, size_t *at,
			    uint8_t ret[FRAME_MAX]);

/* Write a TCP segment, as frame_write_udp() writes a datagram.  One with SYN announces a maximum
 * segment size of FRAME_SEGMENT bytes. */
#define FRAME_SEGMENT 1220u /* a payload that any IPv6 link carries */
size_t frame_write_tcp(const uint8_t to_mac[6], const uint8_t from_mac[6],
		       const struct frame *heads, uint8_t ret[FRAME_MAX]);

/*
 * Write the answer "administratively prohibited" to a frame of the guest's, so that its program
 * fails at once: type 3 code 13 of ICMP, type 1 code 1 of ICMPv6 (RFC 1812 5.2.7.1, RFC 4443 3.1).
 *
 *   data  the frame, which frame_read() took for TCP, UDP or PING
 *   from  who says so, of the same family
 *
 * Returns its length.
 */
size_t frame_write_prohibited(const uint8_t *data, size_t len, const struct policy_address *from,
			      uint8_t ret[FRAME_MAX]);

/*
 * Write the RST that a host sends which knows no such connection (RFC 9293, 3.10.7.1).
 *
 *   data  the frame, which frame_read() took for TCP; without RST
 *
 * Returns its length, or 0: nothing is to be said.
 */
size_t frame_write_reset(const uint8_t *data, size_t len, uint8_t ret[FRAME_MAX]);

#endif
