/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_STREAM_H
#define GUEST_STREAM_H

/*
 * A call that is still being answered.  Its kind embeds struct stream first and lists it with
 * stream_open(); stream_close() takes it off the list and frees it, after which its id is free.
 */

#include "agent.h"
#include "net/channel.h"

struct stream_ops {
	/* A frame for this stream: DATA, CREDIT, SIGNAL, RESIZE or RESET.  May close it. */
	void (*frame)(struct stream *s, const struct frame *f);
	/* The port's queue has room again.  NULL: not of interest. */
	void (*resume)(struct stream *s);
	/* The workload has ended.  NULL: not of interest.  May close it. */
	void (*workload_ended)(struct stream *s);
	/* Frees the whole object, killing what still runs. */
	void (*free)(struct stream *s);
};

struct stream {
	const struct stream_ops *ops;
	struct agent *agent;
	struct stream *next;
	uint32_t id;
};

void stream_open(struct agent *a, struct stream *s, const struct stream_ops *ops, uint32_t id);
void stream_close(struct stream *s);
struct stream *stream_find(const struct agent *a, uint32_t id);

/* Send one frame.  A failure ends the agent's connection (agent.channel_error). */
void stream_send(struct agent *a, uint8_t type, uint32_t id, const void *payload, size_t len);

/* May a stream queue more output, or must it wait for resume()?  This keeps the queue small,
 * however slow the host is. */
bool stream_may_send(const struct agent *a);

/*
 * FRAME_REPLY.
 *
 *   code     0 or negative errno
 *   message  for people; NULL for none
 *   results  fields to add, or NULL
 */
void stream_reply(struct agent *a, uint32_t id, int code, const char *message,
		  const struct strbuf *results);

/* FRAME_END with the status that wait(2) gave. */
void stream_end(struct agent *a, uint32_t id, int status);

/* FRAME_END for a stream that the host has reset. */
void stream_end_reset(struct agent *a, uint32_t id);

#endif
