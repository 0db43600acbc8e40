/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

/*
 * A small HTTP/1.1 client on one connected stream socket, served by an event loop: enough for an
 * API on a Unix socket that answers with short JSON texts.
 *
 * Calling sequence: http_new() on a connected socket, http_call() as often as wanted, one after
 * the other, http_free().  The connection is kept alive between calls.
 *
 * Answers are bounded (HTTP_HEAD_MAX, HTTP_BODY_MAX) and read strictly.  The connection is dead
 * once the peer has closed it, broken the protocol, answered without a request or missed a call's
 * deadline.  The call in progress and every later one then fails with that reason.
 *
 * Source: RFC 9112 (message syntax), RFC 9110 8.6 (Content-Length) and 15 (status codes).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"
#include "base/own.h"

#define HTTP_HEAD_MAX 8192u	 /* status line and header fields */
#define HTTP_BODY_MAX (1u << 20) /* of an answer */

struct http;

struct http_reply {
	unsigned status; /* 200 to 599 */
	char *body;	 /* NUL-terminated, never NULL in an answer; may hold NULs */
	size_t body_len;
};
void http_reply_done(struct http_reply *r);
DEFINE_AUTO_DONE(http_reply, http_reply_done)

/*
 * Start a client.
 *
 *   loop  serves the socket; outlives the client
 *   fd    connected stream socket; taken over on success
 *   peer  name of the other end, for errors ("Firecracker"); static text
 *
 * Returns 0 or -errno.
 */
int http_new(struct loop *loop, int fd, const char *peer, struct http **ret);
void http_free(struct http *h);
DEFINE_AUTO(http, http_free)

bool http_is_dead(const struct http *h);

/*
 * Send a request and run the loop until its answer is whole.
 *
 *   method  "GET", "PUT", "PATCH"
 *   path    begins with '/', no blanks and no control characters
 *   body    JSON text; NULL for none
 *   ret     the answer, whatever its status; http_reply_done() it
 *
 * Returns 0.
 * Errors: -EREMOTEIO when the peer is gone, -EPROTO when it broke the protocol, -EFBIG over a
 * limit, -ETIMEDOUT, -ENOMEM, -EBUSY when called from within another call.
 */
int http_call(struct http *h, const char *method, const char *path, const char *body,
	      int64_t deadline_ns, struct http_reply *ret, struct mvm_error *err);

/* Send one more request on a connection whose call has missed its deadline.  The peer may do it
 * after that call; nobody reads either answer.  Best effort: nothing is sent if the peer has not
 * taken the whole call, or no room is left. */
void http_send_last(struct http *h, const char *method, const char *path, const char *body);

/* The head of an answer. */
struct http_head {
	unsigned status;
	size_t body_len; /* bytes of body that follow the head */
	bool close;	 /* the peer closes the connection afterwards */
};

/*
 * Read the head of an answer.  Pure.
 *
 *   data, len  the bytes received so far
 *
 * Returns the head's length including the empty line, 0 when it is not whole yet, or -EPROTO,
 * -EFBIG, -EOPNOTSUPP with the reason; the reason does not name the peer.
 */
int http_head_parse(const char *data, size_t len, struct http_head *ret, struct mvm_error *err);

#endif
