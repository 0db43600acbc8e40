/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_CLIENTS_STREAMS_H
#define SUPERVISOR_CLIENTS_STREAMS_H

/* The streams of the clients: which stream of the guest carries which client's call. */

#include "supervisor/clients.h"

struct client {
	struct client *next, **link;
	struct clients *owner;
	struct channel channel;
	struct loop_source *source;
	struct stream *streams; /* mostly one */
	uint64_t id;
	bool own;  /* a child of ours: its calls are part of a start or a stop */
	bool deaf; /* it has closed its end; what it sent before is still read */
};

/* NULL: the client has none of this id. */
struct stream *stream_find(const struct client *client, uint32_t stream);

/* Get a stream whose id is not in use; NULL when all are. */
struct stream *stream_take(struct clients *c);

/* Note that a command or a copy begins (1) or ends (-1). */
void stream_note_use(struct clients *c, int change);

/* Let the stream's id be used again. */
void stream_end(struct clients *c, struct stream *s);

uint32_t stream_guest_id(const struct clients *c, const struct stream *s);

/* Cancel what runs in the guest.  The stream is free again when the guest has said END. */
void stream_cancel(struct clients *c, struct stream *s);

/* stream_cancel(), and tell the client nothing more. */
void stream_reset(struct clients *c, struct stream *s);

#endif
