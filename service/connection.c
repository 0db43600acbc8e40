/* SPDX-License-Identifier: Apache-2.0 */
#include "connection.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "server.h"

#define LOOKS 8 /* in the time for a head: the deadlines are that much less exact */

struct connection *connection_new(struct server *server, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct connection *c = info ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return NULL; /* out of memory: without a deadline */
	c->fd = info->connect_fd;
	c->deadline_ns = clock_now_ns() + server->client_ns;
	c->next = server->connections;
	c->link = &server->connections;
	if (c->next)
		c->next->link = &c->next;
	server->connections = c;
	server->n_connections++;
	return c;
}

void connection_free(struct server *server, struct connection *c)
{
	if (!c)
		return;
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	server->n_connections--;
	free(c);
}

void connection_set_limit(const struct server *server, struct MHD_Connection *mhd,
			  enum connection_limit limit)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *c = info ? info->socket_context : NULL;
	if (!c)
		return;
	c->deadline_ns = DEADLINE_NONE;
	if (limit != CONNECTION_NO_LIMIT)
		c->deadline_ns = clock_now_ns() + server->client_ns;
	if (limit == CONNECTION_NEXT)
		c->deadline_ns += CONNECTION_IDLE_S * NS_PER_S;
}

static void look(void *arg)
{
	struct server *server = arg;
	const int64_t now_ns = clock_now_ns();

	for (struct connection *c = server->connections; c; c = c->next) {
		if (c->deadline_ns > now_ns)
			continue;
		c->deadline_ns = DEADLINE_NONE;
		shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees the end and closes it */
	}
	loop_source_arm(server->look, now_ns + server->client_ns / LOOKS);
}

int connections_begin(struct server *server)
{
	return loop_add_timer(server->loop, clock_now_ns(), look, server, &server->look);
}
