/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_PROXY_H
#define SERVICE_PROXY_H

/*
 * HTTP and WebSockets to a server in a guest.
 *
 * The request goes on over a connection of its own (mvm_port_open()), with its body as it comes;
 * the answer's head is read by head.h, its body is passed on as it comes, and after a 101 bytes go
 * both ways until one side ends.  Neither side can make mvmd keep more than some hundred KiB.
 *
 * What belongs to mvmd stays here: credentials (proxy_spec.hides) and fields of one connection.
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request;

struct proxy_spec {
	const char *instance;
	uint16_t port;
	const char *path;   /* with its "/", as the client sent it, without the query */
	const char *query;  /* without the "?"; NULL: none */
	const char *prefix; /* what was cut off the client's path, perhaps ""; NULL: the guest has
			     * a host name of its own */
	bool hides_authorization; /* it is mvmd's, not the guest's */

	/* NULL, or called once the guest is not used any more; not after a failure */
	void (*closed)(void *arg);
	void *arg;
};

/* The three functions of a route (route.h).  proxy_begin() reads the spec, and keeps nothing of
 * it but closed and arg.  ret may be NULL. */
struct proxy;
int proxy_begin(struct request *rq, const struct proxy_spec *spec, struct proxy **ret,
		struct mvm_error *err);
int proxy_upload(struct request *rq, const char *data, size_t *len, struct mvm_error *err);
int proxy_handle(struct request *rq, struct mvm_error *err);

/* Let go of the guest, before closed is called: it is to be paused or removed. */
void proxy_cut(struct proxy *p);

/* Does a Host header name a port, as in "8080-web.localhost"?  name: INSTANCE_NAME_SIZE bytes. */
#define PROXY_NAME_SIZE 64
bool proxy_host(const char *host, char name[PROXY_NAME_SIZE], uint16_t *ret_port);

#endif
