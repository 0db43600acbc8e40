/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_USERNET_PRIV_H
#define USERNET_USERNET_PRIV_H

/* The state of mvm-net, for its loop (usernet.c) and for requests from mvm (control.c). */

#include <arpa/inet.h>
#include <poll.h>
#include <slirp/libslirp.h>

#include "usernet/config.h"
#include "usernet/link.h"
#include "usernet/questions.h"
#include "usernet/rate.h"
#include "usernet/refusals.h"
#include "usernet/route.h"
#include "usernet/sockets.h"
#include "usernet/udp_forward.h"
#include "usernet/watch.h"

#define GUEST_V4 "10.0.2.15"

#define POLL_MAX (SOCKETS_MAX + RESOLVER_PENDING_MAX + 2) /* sockets for the forwarded ports */

struct usernet {
	struct gate gate;
	struct questions questions;
	struct udp_forwards udp_forwards;
	struct link link;
	struct sockets sockets;
	Slirp *slirp;
	struct route route;
	int control_fd;
	int64_t timer_ns;	    /* libslirp's router advertisement; DEADLINE_NONE: not armed */
	struct rate bytes, packets; /* both ways */
	struct rate new_tcp, new_others; /* flows */
	bool is_forwarding, is_held;
	bool has_sockets; /* of libslirp's, in this turn */
	/* the host's socket to read first in this turn, and in the next; -1: any */
	int first_fd, next_fd;
	struct refusals refusals;
	struct watch watch;
	size_t n_fds;
	struct pollfd fds[POLL_MAX + 1]; /* the last one: routes */
	bool reads[POLL_MAX];		 /* libslirp would read it */
};

static inline struct in_addr v4_of(const char *text)
{
	struct in_addr a = { 0 };
	inet_pton(AF_INET, text, &a);
	return a;
}

/* A frame has passed. */
static inline void count(struct usernet *u, size_t len)
{
	rate_overdraw(&u->packets, 1);
	rate_overdraw(&u->bytes, len);
}

/* ---- control.c ---- */

/* Forward a port of the host to the guest. */
int control_forward(struct usernet *u, const struct usernet_forward *f, struct mvm_error *err);

/* Exchange the name servers. */
int control_take_servers(struct usernet *u, const char (*dns)[RESOLVER_ADDRESS_SIZE], size_t n,
			 struct mvm_error *err);

/* Answer a request, or the start: with r and err's text if r < 0.  Returns 0 or -errno. */
int control_reply(struct usernet *u, int r, const struct mvm_error *err);

/* Take a request, if there is one.  0; -EPIPE: mvm has hung up; or -errno. */
int control_take(struct usernet *u);

/* Report refusals now and then.  A supervisor that does not read now gets the next report. */
void control_report(struct usernet *u);

#endif
