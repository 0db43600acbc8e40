/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_UDP_FORWARD_H
#define USERNET_UDP_FORWARD_H

/*
 * Forwarded ports of UDP.
 *
 * libslirp is not asked: it would send the guest's own datagrams from a forwarded port by that
 * port's socket, and the answers to two forwards of one guest port by the first one's.
 *
 * A datagram reaches the guest from its sender's address; one from the host's loopback comes from
 * the gateway's.  The guest's answer is known by that address and port.  Whoever sends from outside
 * takes a place in a table of its own; the sender that has been silent for longest gives way.  When
 * one sender uses two forwards of a guest port, the guest answers the one that it used last.
 */

#include <netinet/in.h>
#include <poll.h>

#include "usernet/flows.h"
#include "usernet/gate.h"

#define UDP_FORWARD_SENDERS 512u

typedef void (*udp_forward_send_fn)(void *arg, const uint8_t *frame, size_t len);

struct udp_forwards {
	size_t n;
	struct udp_forward {
		int fd;
		uint16_t guest_port;
	} all[GATE_FORWARDS_MAX];
	struct policy_address guest, gateway;
	uint8_t guest_mac[6];		    /* the last one heard; else all */
	struct flows senders;		    /* fd: of the forward */
	struct sockaddr_in real[FLOWS_MAX]; /* the sender's address, by its place there */
	uint16_t next_id;		    /* of a packet that is cut */
	udp_forward_send_fn send;	    /* a frame to the guest */
	void *arg;
};

/* salt is a random number (flows.h). */
void udp_forwards_init(struct udp_forwards *u, const struct policy_address *guest,
		       const struct policy_address *gateway, uint64_t salt,
		       udp_forward_send_fn send, void *arg);
void udp_forwards_done(struct udp_forwards *u);

/* Returns 0 or -errno. */
int udp_forwards_add(struct udp_forwards *u, const struct sockaddr_in *host, uint16_t guest_port);

/* A frame of the guest's.  Returns whether it was the answer to a sender from outside, and sent. */
bool udp_forwards_take(struct udp_forwards *u, const uint8_t *frame, const struct frame *f,
		       int64_t now_ns);

/* Add what to poll for.  Returns how many. */
size_t udp_forwards_poll(const struct udp_forwards *u, struct pollfd *fds);

/* Pass on what has come. */
void udp_forwards_serve(struct udp_forwards *u, const struct pollfd *fds, int64_t now_ns);

#endif
