/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_SOCKETS_H
#define USERNET_SOCKETS_H

/*
 * Limits the host's sockets that libslirp makes for a guest, and ends some when there are too many.
 *
 * Each kind has a limit of its own, and a flood of one kind ends the oldest sockets of that kind:
 *   TCP    one socket for each flow that the guest has begun (gate.h)
 *   UDP    one for each address and port of the guest, which libslirp keeps for 4 minutes
 *   pings  one for each request until its reply comes
 *   in     one for each connection to a forwarded port; beyond the limit no more are accepted, and
 *          the kernel keeps them waiting
 *
 * libslirp has no call that ends a socket.  So we give it a reason to end one: a reset from the
 * guest, a failed connect, or a later time of day.
 */

#include <poll.h>
#include <slirp/libslirp.h>

#include "usernet/gate.h"

#define SOCKETS_TCP_MAX	  640u
#define SOCKETS_IN_MAX	  640u
#define SOCKETS_UDP_MAX	  384u
#define SOCKETS_PINGS_MAX 64u
#define SOCKETS_MAX                                                                                \
	(SOCKETS_TCP_MAX + SOCKETS_IN_MAX + SOCKETS_UDP_MAX + SOCKETS_PINGS_MAX + GATE_FORWARDS_MAX)
#define SOCKETS_FD_END 2048u /* all descriptors are below, by the process's limit */

struct sockets {
	Slirp *slirp;
	int64_t clock_ns;     /* the time that libslirp is told; 0: the real one */
	struct flows sources; /* of UDP: the guest's addresses and ports with a socket */
	unsigned n_in, n_pings;
	int dying_fd;
	size_t n_found;
	int found[SOCKETS_MAX];
	struct socket_use {
		enum { SOCKET_OTHER, SOCKET_TCP, SOCKET_IN, SOCKET_LISTENS } kind;
		/* SOCKET_TCP; SOCKET_IN, whose guest_port is 0 until its SYN has passed */
		struct flow_key flow;
	} uses[SOCKETS_FD_END];
};

void sockets_init(struct sockets *s, Slirp *slirp);

/* The time to tell libslirp. */
int64_t sockets_clock(const struct sockets *s, int64_t now_ns);

/* A guest's frame is about to pass: make room for the socket that it may cause. */
void sockets_make_room(struct sockets *s, const struct frame *f, int64_t now_ns);

/* A frame passes to the guest, so its socket is in use.  A UDP socket lives on.  For TCP, a SYN
 * says which connection the socket has. */
void sockets_seen(struct sockets *s, const struct frame *f, struct gate *gate, int64_t now_ns);

/* libslirp has opened or is about to close a descriptor.  The descriptor belongs to the flow that
 * the gate's frame begins.  If none begins, somebody has come by a forwarded port. */
void sockets_opened(struct sockets *s, int fd, struct gate *gate, int64_t now_ns);
void sockets_closed(struct sockets *s, int fd, struct gate *gate);

/* A port was forwarded: find the socket that listens. */
void sockets_find_listeners(struct sockets *s);

/* May this descriptor be polled now?  While there are too many connections, listeners are not. */
bool sockets_may_poll(const struct sockets *s, int fd);

/* A TCP flow is being forgotten: end its socket. */
void sockets_end(struct sockets *s, const struct flow *flow);

#endif
