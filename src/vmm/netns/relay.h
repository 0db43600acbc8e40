/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_RELAY_H
#define VMM_NETNS_RELAY_H

/*
 * A port whose connections (TCP) or datagrams (UDP) are passed on to another address.
 *
 * A socket stays in the network namespace in which it was made, so one that listens in one
 * namespace and others that lead into another are all it takes to forward a port: no rule on the
 * host that would have to be taken away again.  Namespaces are the caller's business: the listening
 * socket is given, and `dial` makes the others.
 */

#include <stdbool.h>

#include "base/loop.h"
#include "base/own.h"

struct relay;

/*
 * Make a socket and connect it to where the relay leads; TCP may still be connecting.
 *
 *   type  SOCK_STREAM or SOCK_DGRAM; the socket is to be non-blocking and close-on-exec
 *
 * Returns it or -errno; then the caller's connection is closed, or its datagram dropped.
 */
typedef int (*relay_dial_fn)(void *arg, int type);

/*
 *   listen_fd  a TCP socket that listens, or a UDP socket that is bound; non-blocking; taken over
 *              on success
 *   udp        which of the two
 *   max        connections at once, or senders of datagrams, at most RELAY_MAX: further connections
 *              are closed, and of senders the one that was silent for longest makes room.  Each
 *              connection takes two descriptors, each sender one
 */
#define RELAY_MAX 512u
int relay_new(struct loop *loop, int listen_fd, bool udp, size_t max, relay_dial_fn dial, void *arg,
	      struct relay **ret);

void relay_free(struct relay *r);
DEFINE_AUTO(relay, relay_free)

#endif
