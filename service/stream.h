/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_STREAM_H
#define SERVICE_STREAM_H

/*
 * A reply that is made while it is sent: output, logs, events, files.
 *
 * The source writes what it has, as long as there is room.  A slow reader fills the room: then the
 * source stops reading from the guest (leave its descriptor out of the loop) until `room` is
 *called. So a stream takes at most STREAM_BYTES and what one write adds.
 *
 *	static const struct stream_ops ops = { .room = on_room, .closed = on_closed };
 *	r = stream_open(rq, 200, "application/x-ndjson", &ops, source, &source->stream, err);
 *	...
 *	while (stream_room(s) > 0 && have_something)
 *		stream_write(s, data, len);
 *	stream_end(s);
 *
 * Threads: the loop only.  The stream belongs to the reply: it lives until `closed` was called,
 *which happens once, after all was sent or when the client has gone.  Then the source closes what
 *it reads from.
 */

#include <jansson.h>
#include <mvm/error.h>
#include <stddef.h>
#include <stdint.h>

struct request;
struct stream;

#define STREAM_BYTES ((size_t)256 * 1024)

struct stream_ops {
	void (*room)(void *arg);   /* there is room again; may be NULL */
	void (*closed)(void *arg); /* the last call, always made once; frees arg's own things */
};

/*
 * Reply with a stream.
 *
 *   ret  borrowed; valid until ops->closed was called
 *
 * After a failure ops->closed is not called.
 */
int stream_open(struct request *rq, unsigned status, const char *type, const struct stream_ops *ops,
		void *arg, struct stream **ret, struct mvm_error *err);

/* type NULL: the caller has added all headers.  stream_open() of a body whose size is known, so
 * that its client learns it.  The source writes as many bytes, or aborts. */
int stream_open_sized(struct request *rq, unsigned status, const char *type, uint64_t size,
		      const struct stream_ops *ops, void *arg, struct stream **ret,
		      struct mvm_error *err);

/* How many bytes to write now; 0: wait for `room`. */
size_t stream_room(const struct stream *s);

/* Add bytes, all of them.  More than stream_room() is taken too: one item may be longer.  Returns 0
 * or -ENOMEM, after which the stream ends early. */
int stream_write(struct stream *s, const void *data, size_t len);

/* Add a line of compact JSON; takes over value. */
int stream_write_json(struct stream *s, json_t *value);

/* Nothing more comes: what was written is sent, then `closed` is called. */
void stream_end(struct stream *s);

/* Hang up without the proper end of a body, so that the client sees that something is missing. */
void stream_abort(struct stream *s);

#endif
