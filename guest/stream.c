/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <errno.h>
#include <signal.h>

#include "net/agent.h"
#include "net/message.h"

#define QUEUE_HIGH (1u << 20)

void stream_open(struct agent *a, struct stream *s, const struct stream_ops *ops, uint32_t id)
{
	*s = (struct stream){ .ops = ops, .agent = a, .next = a->streams, .id = id };
	a->streams = s;
	a->n_streams++;
}

void stream_close(struct stream *s)
{
	struct agent *a = s->agent;
	for (struct stream **at = &a->streams; *at; at = &(*at)->next) {
		if (*at == s) {
			*at = s->next;
			a->n_streams--;
			break;
		}
	}
	s->ops->free(s);
}

struct stream *stream_find(const struct agent *a, uint32_t id)
{
	struct stream *s = a->streams;
	while (s && s->id != id)
		s = s->next;
	return s;
}

bool stream_may_send(const struct agent *a)
{
	return channel_queued(&a->channel) < QUEUE_HIGH;
}

void stream_send(struct agent *a, uint8_t type, uint32_t id, const void *payload, size_t len)
{
	int r = channel_send(&a->channel, type, id, payload, len);
	if (r < 0 && a->channel_error == 0)
		a->channel_error = r;
}

/* Send a payload.  made: the result of making it. */
static void send_payload(struct agent *a, uint8_t type, uint32_t id, const struct strbuf *fields,
			 int made)
{
	if (made < 0)
		a->channel_error = made;
	else
		stream_send(a, type, id, fields->data, fields->len);
}

void stream_reply(struct agent *a, uint32_t id, int code, const char *message,
		  const struct strbuf *results)
{
	AUTO_DONE(strbuf) fields = { 0 };
	int r = message_put_reply(&fields, -code, message, results);
	send_payload(a, FRAME_REPLY, id, &fields, r);
}

void stream_end(struct agent *a, uint32_t id, int status)
{
	AUTO_DONE(strbuf) fields = { 0 };
	message_put_end(&fields, status);
	send_payload(a, FRAME_END, id, &fields, fields.failed ? -ENOMEM : 0);
}

void stream_end_reset(struct agent *a, uint32_t id)
{
	stream_end(a, id, SIGKILL); /* the status of a process that this signal ended */
}
