/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_UDP_FORWARD_H
#define USERNET_UDP_FORWARD_H

/*
 * Forwarded ports of UDP.
 *
 * libslirp cannot do this well.  It would send the guest's own datagrams from a forwarded port by
 * that port's socket.  And it would send all answers of a guest port with two forwards by the first
 * one's socket.
 *
 * A datagram reaches the guest from its sender's address, and one from the host's loopback from the
 * gateway's.  By that address and port we know the guest's answer.  Each forward has a table of its
 * senders; a new sender replaces the one that was silent for longest.  When one sender uses two
 * forwards of a guest port, answers go to the forward that it used last.
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

/* Take a guest's frame.  Returns whether it was an answer to a sender from outside, which was
 * sent. */
bool udp_forwards_take(struct udp_forwards *u, const uint8_t *frame, const struct frame *f,
		       int64_t now_ns);

/* Add the descriptors to poll.  Returns their number. */
size_t udp_forwards_poll(const struct udp_forwards *u, struct pollfd *fds);

/* Pass on what has come. */
void udp_forwards_serve(struct udp_forwards *u, const struct pollfd *fds, int64_t now_ns);

#endif
