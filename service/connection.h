/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_CONNECTION_H
#define SERVICE_CONNECTION_H

/*
 * Time limits for clients that send slowly.
 *
 * libmicrohttpd closes a connection that is silent for long, but a byte now and then keeps it open
 * without end.  So a request's head, and a JSON body, must be whole by a deadline.  A handler has
 * all the time it needs: libmicrohttpd's limit on silence is all that holds then.
 */

#include <stdint.h>

struct server;
struct MHD_Connection;

#define CONNECTION_IDLE_S 60u /* silence, and the time between two requests */

struct connection {
	struct connection *next, **link;
	int fd;
	int64_t deadline_ns;
};

/* A client has connected, or has gone. */
struct connection *connection_new(struct server *server, struct MHD_Connection *mhd);
void connection_free(struct server *server, struct connection *c); /* NULL is fine */

enum connection_limit {
	CONNECTION_NO_LIMIT, /* a handler works, or takes a long body */
	CONNECTION_BODY,     /* the rest of the request must come */
	CONNECTION_NEXT,     /* the next request may come */
};

/* A request has got so far. */
void connection_set_limit(const struct server *server, struct MHD_Connection *mhd,
			  enum connection_limit limit);

/* Hang up on those whose time is over, now and then. */
int connections_begin(struct server *server);

#endif
