/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "net/agent.h"
#include "net/wire.h"

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

static void send_fields(struct agent *a, uint8_t type, uint32_t id, const struct strbuf *fields)
{
	if (fields->failed)
		a->channel_error = -ENOMEM;
	else
		stream_send(a, type, id, fields->data, fields->len);
}

void stream_reply(struct agent *a, uint32_t id, int code, const char *message,
		  const struct strbuf *results)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, FIELD_STATUS, (uint64_t)-code);
	wire_put_str(&fields, FIELD_MESSAGE, message);
	if (results) {
		strbuf_add(&fields, results->data, results->len);
		fields.failed |= results->failed;
	}
	send_fields(a, FRAME_REPLY, id, &fields);
}

void stream_end(struct agent *a, uint32_t id, int status)
{
	AUTO_DONE(strbuf) fields = { 0 };
	if (WIFSIGNALED(status))
		wire_put_u64(&fields, FIELD_SIGNAL, (uint64_t)WTERMSIG(status));
	else
		wire_put_u64(&fields, FIELD_EXIT_CODE, (uint64_t)WEXITSTATUS(status));
	send_fields(a, FRAME_END, id, &fields);
}

void stream_end_reset(struct agent *a, uint32_t id)
{
	stream_end(a, id, SIGKILL); /* the status of a process that this signal ended */
}
