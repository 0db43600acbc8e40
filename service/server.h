/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_SERVER_H
#define SERVICE_SERVER_H

/*
 * The server: one loop, listeners with a libmicrohttpd daemon each, and pools of workers.
 *
 * libmicrohttpd has no thread here.  The loop waits for its epoll descriptors beside everything
 * else and calls MHD_run().  So handlers, streams and operations need no lock: all but a route's
 * work runs on the loop's thread.
 */

#include <mvm/error.h>
#include <stdbool.h>

#include "base/loop.h"
#include "route.h"
#include "worker.h"

struct connection;
struct guard;
struct mvm;
struct operations;
struct e2b;
struct request;
struct sessions;
struct waits;
struct MHD_Daemon;

/* A socket that clients connect to. */
struct listener {
	struct listener *next;
	struct server *server;
	struct MHD_Daemon *daemon;
	struct loop_source *source;
	char *path;	/* of a Unix socket; NULL: TCP */
	char *address;	/* of TCP, as given */
	int fd;		/* the daemon's; 0: none yet */
	bool inherited; /* the service manager's: its path stays */
	bool tls;
};

struct server {
	struct loop *loop;
	const char *data_dir; /* NULL as for mvm_open() */
	struct workers *workers[WORK_CLASSES];
	struct operations *operations;
	struct sessions *sessions; /* of the console */
	struct mvm *mvm;	   /* the loop's own context, for what does not block */
	struct waits *waits;	   /* of v1/wait.c */
	struct e2b *e2b;	   /* NULL: the e2b wire is not served */
	struct listener *listeners;
	struct request *requests; /* all that have a connection */
	struct connection *connections;
	struct loop_source *look; /* connection.c's */
	unsigned n_connections;
	struct guard *guard;
	const struct tls *tls; /* NULL: none */
	struct starts *starts;
	bool again;	   /* libmicrohttpd has something to do before the next wait */
	unsigned stop;	   /* calls to end: 1: take no more clients, 2: at once */
	int64_t client_ns; /* for a client to send a head, and then a JSON body */
	int64_t grace_ns;  /* for the requests that are under way then */
};

/* Certificate and key of TCP listeners, in PEM. */
struct tls {
	char *certificate, *key;
	bool only_1_3; /* no TLS 1.2 */
};

int server_new(const char *data_dir, struct server **ret, struct mvm_error *err);

/* Close all connections, wait for the jobs that run, and free all.  NULL is fine. */
void server_free(struct server *s);
DEFINE_AUTO(server, server_free)

/* Take clients at a Unix socket, of mode 0600.  A socket that nobody listens at any more is
 * replaced.  -EADDRINUSE when another process listens at it. */
int server_listen_unix(struct server *s, const char *path, struct mvm_error *err);

/* Take clients at "ADDRESS:PORT".  Without s->tls only at a numeric address of this host alone
 * (127.0.0.1, [::1]). */
int server_listen_tcp(struct server *s, const char *address, struct mvm_error *err);

/* Is this a numeric address with a port, like "127.0.0.1:8800" or "[::1]:8800"?  -EINVAL, with a
 * hint, if not. */
int server_check_tcp(const char *address, struct mvm_error *err);

/* Take clients at a listening socket that the service manager has opened; takes over fd. */
int server_listen_fd(struct server *s, int fd, struct mvm_error *err);

/* Serve until s->stop is set, and then until the requests under way have ended, or s->grace_ns are
 * over, or s->stop is set to 2. */
int server_run(struct server *s, struct mvm_error *err);

#endif
