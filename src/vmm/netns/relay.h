/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_RELAY_H
#define VMM_NETNS_RELAY_H

/*
 * A relay passes a port's connections (TCP) or datagrams (UDP) on to another address.
 *
 * A socket stays in the network namespace in which it was made.  So a relay forwards a port between
 * namespaces without a rule on the host that would need cleaning up.  The caller takes care of the
 * namespaces: it makes the listening socket, and its `dial` makes the other sockets.
 */

#include <stdbool.h>

#include "base/loop.h"
#include "base/own.h"

struct relay;

/*
 * Make a socket and connect it to the relay's target; TCP may still be connecting.
 *
 *   type  SOCK_STREAM or SOCK_DGRAM; the socket must be non-blocking and close-on-exec
 *
 * Returns the socket or -errno; on -errno the relay closes the client's connection, or drops its
 * datagram.
 */
typedef int (*relay_dial_fn)(void *arg, int type);

/*
 * Start a relay.
 *
 *   listen_fd  a listening TCP socket or a bound UDP socket; non-blocking; taken over on success
 *   udp        true: UDP; false: TCP
 *   max        limit of connections at once, or of senders of datagrams; at most RELAY_MAX. Further
 *              connections wait until one ends; a further sender replaces the one that has been
 *              silent for longest.  Each connection takes two descriptors, each sender one
 */
#define RELAY_MAX 512u
int relay_new(struct loop *loop, int listen_fd, bool udp, size_t max, relay_dial_fn dial, void *arg,
	      struct relay **ret);

void relay_free(struct relay *r);
DEFINE_AUTO(relay, relay_free)

#endif
