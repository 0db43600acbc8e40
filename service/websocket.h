/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_WEBSOCKET_H
#define SERVICE_WEBSOCKET_H

/*
 * The server's side of a WebSocket: its handshake, and frames to and from bytes.  No sockets here.
 *
 * Messages are bounded: a client's frame or message over WEBSOCKET_MESSAGE_MAX is refused before
 * its bytes are kept.  Extensions are not offered, so reserved bits break the protocol. Source: RFC
 * 6455.
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"

#define WEBSOCKET_MESSAGE_MAX ((size_t)1 << 20)
#define WEBSOCKET_KEY_SIZE    29 /* of an answer, with its NUL */

enum websocket_opcode {
	WEBSOCKET_CONTINUATION = 0,
	WEBSOCKET_TEXT = 1,
	WEBSOCKET_BINARY = 2,
	WEBSOCKET_CLOSE = 8,
	WEBSOCKET_PING = 9,
	WEBSOCKET_PONG = 10,
};

/* Reasons to close (RFC 6455, 7.4.1). */
enum websocket_code {
	WEBSOCKET_NORMAL = 1000,
	WEBSOCKET_GOING_AWAY = 1001,
	WEBSOCKET_PROTOCOL_ERROR = 1002,
	WEBSOCKET_BAD_DATA = 1007,
	WEBSOCKET_TOO_BIG = 1009,
	WEBSOCKET_FAILED = 1011,
};

/* The answer to a client's Sec-WebSocket-Key.  -EINVAL: it is no key of 16 bytes. */
int websocket_accept(const char *key, char ret[WEBSOCKET_KEY_SIZE]);

/* What a client has sent.  Zero is a valid empty value. */
struct websocket {
	struct queue in;       /* bytes that are no whole frame yet */
	struct strbuf message; /* the frames of a message that is not whole yet */
	int opcode;	       /* of that message; 0: none; -1: it was given away */
	char control[125];     /* payload of the last control frame */
	bool closed;	       /* a close frame has come: nothing counts after it */
};

struct websocket_message {
	enum websocket_opcode opcode; /* TEXT, BINARY, CLOSE, PING or PONG */
	const char *data;	      /* valid until the next call; text is valid UTF-8 */
	size_t len;
};

void websocket_done(struct websocket *w);

/* Add bytes from the client.  -ENOMEM. */
int websocket_add(struct websocket *w, const void *data, size_t len);

/*
 * Take the next message.
 *
 * Returns 1, or 0 when more bytes are needed.
 * Errors, after which the connection must be closed: -EPROTO, -EFBIG (the message is too long),
 * -EBADMSG (text that is not UTF-8), -ENOMEM.  websocket_code_of() gives the code to close with.
 */
int websocket_next(struct websocket *w, struct websocket_message *ret);
enum websocket_code websocket_code_of(int error);

/* Add a whole message of the server's.  head, head_len: bytes before the data. */
void websocket_put(struct strbuf *out, enum websocket_opcode opcode, const void *head,
		   size_t head_len, const void *data, size_t len);

/* Add a close frame; reason is cut to what fits. */
void websocket_put_close(struct strbuf *out, enum websocket_code code, const char *reason);

#endif
