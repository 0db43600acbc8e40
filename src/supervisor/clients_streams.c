/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/clients_streams.h"

#include "base/clock.h"

struct stream *stream_find(const struct client *client, uint32_t stream)
{
	struct stream *s = client->streams;
	while (s && s->client_stream != stream)
		s = s->next;
	return s;
}

static void leave_client(struct stream *s)
{
	if (!s->client)
		return;
	struct stream **at = &s->client->streams;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->client = NULL;
}

struct stream *stream_take(struct clients *c)
{
	struct stream *s = c->free_streams;
	if (s)
		c->free_streams = s->next;
	else if (c->n_streams < STREAMS_MAX)
		s = &c->streams[c->n_streams++];
	return s;
}

void stream_note_use(struct clients *c, int change)
{
	c->n_used += (unsigned)change;
	c->used_ns = clock_now_ns();
}

void stream_end(struct clients *c, struct stream *s)
{
	leave_client(s);
	if (s->used && s->exec)
		stream_note_use(c, -1);
	s->used = false;
	s->next = c->free_streams;
	c->free_streams = s;
}

uint32_t stream_guest_id(const struct clients *c, const struct stream *s)
{
	return (uint32_t)(s - c->streams) + 1;
}

void stream_cancel(struct clients *c, struct stream *s)
{
	if (!s->cancelled) /* gone is fine */
		agent_client_send(c->agent, FRAME_RESET, stream_guest_id(c, s), NULL, 0);
	s->cancelled = true;
}

void stream_reset(struct clients *c, struct stream *s)
{
	leave_client(s);
	stream_cancel(c, s);
}
