/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_LISTENER_H
#define SERVICE_LISTENER_H

/* Sockets that clients connect to, each with a daemon of libmicrohttpd.  server.h has the functions
 * that open them. */

struct listener;

/* Close its connections and its socket.  NULL is fine. */
void listener_free(struct listener *l);

/* Take no more clients; those that are connected stay. */
void listener_close(struct listener *l);

#endif
