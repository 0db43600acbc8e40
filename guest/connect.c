/* SPDX-License-Identifier: Apache-2.0 */
#include "connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/queue.h"
#include "net/agent.h"
#include "net/message.h"
#include "stream.h"

#define CREDIT_MAX (16u << 20)			    /* cap on the credit that a host grants */
#define PIECE_MAX  (32768u - FRAME_HEADER_SIZE - 1) /* as in exec.c */

struct connection {
	struct stream stream;
	uint16_t port;
	sa_family_t family; /* AF_INET first, then AF_INET6 */
	bool connected;
	int fd;
	struct loop_source *source; /* set only while an event is wanted */
	uint32_t send_window, receive_window;
	uint32_t consumed; /* bytes that we have not credited yet */
	struct queue input;
	bool input_ended, input_shut;
};

static void drop_socket(struct connection *c)
{
	loop_source_free(c->source);
	c->source = NULL;
	if (c->fd >= 0)
		close(c->fd); /* a socket: nothing is lost here */
	c->fd = -1;
}

static void free_connection(struct stream *s)
{
	struct connection *c = (struct connection *)s;
	drop_socket(c);
	queue_done(&c->input);
	free(c);
}

/* The stream is over.  code: 0 (the server has sent all) or an errno.  Frees c. */
static void end(struct connection *c, int code)
{
	stream_end(c->stream.agent, c->stream.id, (code & 0xff) << 8); /* as wait(2) has it */
	stream_close(&c->stream);
}

static void on_socket(void *arg, uint32_t events);

/* Watch the socket for what matters now.  Returns 0 or -errno. */
static int watch(struct connection *c)
{
	uint32_t events = 0;
	if (!c->connected || queue_len(&c->input) > 0)
		events |= EPOLLOUT;
	if (c->connected && c->send_window > 0 && stream_may_send(c->stream.agent))
		events |= EPOLLIN;
	if (!events) {
		loop_source_free(c->source); /* a socket that hung up would wake us without end */
		c->source = NULL;
		return 0;
	}
	if (c->source)
		return loop_source_set_events(c->source, events);
	return loop_add_fd(c->stream.agent->loop, c->fd, events, on_socket, c, &c->source);
}

/* Returns false when c was freed. */
static bool settle(struct connection *c)
{
	int r = watch(c);
	if (r < 0)
		end(c, -r);
	return r == 0;
}

static void grant(struct connection *c, size_t n)
{
	uint8_t payload[CREDIT_SIZE];
	uint32_t due = message_credit_due(&c->consumed, n);
	if (due == 0)
		return;
	c->receive_window += due;
	message_put_credit(due, payload);
	stream_send(c->stream.agent, FRAME_CREDIT, c->stream.id, payload, sizeof(payload));
}

/* Host -> server.  What a server that has gone does not take is dropped: its answer may be there
 * still. */
static void pump_input(struct connection *c)
{
	size_t done = 0, len = queue_len(&c->input);
	while (done < len) {
		ssize_t n = send(c->fd, queue_front(&c->input) + done, len - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		done = n < 0 ? len : done + (size_t)n;
	}
	queue_take(&c->input, done);
	grant(c, done);
	if (done == len && c->input_ended && !c->input_shut) {
		shutdown(c->fd, SHUT_WR); /* ENOTCONN: it has gone */
		c->input_shut = true;
	}
}

/* Server -> host.  Returns false when c was freed. */
static bool pump_output(struct connection *c)
{
	struct agent *a = c->stream.agent;
	int sent = 0;

	if (c->send_window == 0 || !stream_may_send(a))
		return true;
	ssize_t n = channel_send_from(&a->channel, FRAME_DATA, c->stream.id, DATA_STDOUT, c->fd,
				      c->send_window, PIECE_MAX, &sent);
	if (n == -EAGAIN || n == -EINTR)
		return true;
	if ((n == -ENOMEM || sent < 0) && a->channel_error == 0)
		a->channel_error = n < 0 ? (int)n : sent;
	if (n <= 0) {
		end(c, (int)-n);
		return false;
	}
	c->send_window -= (uint32_t)n;
	return true;
}

static int dial(struct connection *c)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_port = htons(c->port),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(c->port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	bool is_v6 = c->family == AF_INET6;

	c->fd = socket(c->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return -errno;
	int r = connect(c->fd, is_v6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4,
			is_v6 ? sizeof(v6) : sizeof(v4));
	return r < 0 && errno != EINPROGRESS ? -errno : watch(c);
}

/* Refuse the call, after the IPv6 loopback was tried as well.  May free c. */
static void refused(struct connection *c, int code)
{
	char text[128];

	drop_socket(c);
	if (code == -ECONNREFUSED && c->family == AF_INET) {
		c->family = AF_INET6;
		int r = dial(c);
		if (r == 0)
			return;
		drop_socket(c); /* no IPv6 there: the first answer is the better one */
	}
	if (c->family == AF_INET6)
		code = -ECONNREFUSED;
	if (code == -ECONNREFUSED)
		snprintf(text, sizeof(text), "nothing in the guest listens on port %u", c->port);
	else
		snprintf(text, sizeof(text), "cannot connect to port %u in the guest: %s", c->port,
			 strerror(-code));
	stream_reply(c->stream.agent, c->stream.id, code, text, NULL);
	stream_close(&c->stream);
}

/* Returns false when c may be freed. */
static bool connected(struct connection *c)
{
	int code = 0;
	socklen_t len = sizeof(code);
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		code = errno;
	if (code) {
		refused(c, -code);
		return false;
	}
	c->connected = true;
	stream_reply(c->stream.agent, c->stream.id, 0, NULL, NULL);
	return true;
}

static void on_socket(void *arg, uint32_t events)
{
	struct connection *c = arg;

	if (!c->connected) {
		if (!connected(c))
			return;
	} else if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !pump_output(c)) {
		return;
	}
	pump_input(c);
	settle(c);
}

static void resume(struct stream *s)
{
	struct connection *c = (struct connection *)s;
	if (c->connected)
		settle(c);
}

static void take_input(struct connection *c, const struct frame *f)
{
	if (f->len < 1 || f->payload[0] != DATA_STDIN || c->input_ended)
		return;
	uint32_t len = f->len - 1;
	if (len > c->receive_window || len > DATA_MAX) {
		agent_log("stream %u: the host sent more than it may", c->stream.id);
		end(c, EPROTO);
		return;
	}
	c->receive_window -= len;
	c->input_ended = len == 0;
	queue_add(&c->input, f->payload + 1, len);
	if (c->input.buf.failed) {
		end(c, ENOMEM);
		return;
	}
	if (c->connected)
		pump_input(c);
	settle(c);
}

static void take_frame(struct stream *s, const struct frame *f)
{
	struct connection *c = (struct connection *)s;

	if (f->type == FRAME_DATA) {
		take_input(c, f);
	} else if (f->type == FRAME_CREDIT) {
		uint32_t n = message_get_credit(f->payload, f->len);
		c->send_window = n > CREDIT_MAX - c->send_window ? CREDIT_MAX : c->send_window + n;
		settle(c);
	} else if (f->type == FRAME_RESET) {
		struct agent *a = s->agent;
		stream_end_reset(a, s->id);
		stream_close(s);
	}
}

static const struct stream_ops connection_ops = {
	.frame = take_frame,
	.resume = resume,
	.free = free_connection,
};

void connect_call(struct agent *a, uint32_t id, const struct request *q)
{
	struct connection *c = q->port ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		stream_reply(a, id, q->port ? -ENOMEM : -EINVAL,
			     q->port ? "out of memory" : "the call has no PORT", NULL);
		return;
	}
	c->fd = -1;
	c->port = (uint16_t)q->port;
	c->family = AF_INET;
	c->send_window = c->receive_window = WINDOW_BYTES;
	stream_open(a, &c->stream, &connection_ops, id);
	int r = dial(c);
	if (r < 0)
		refused(c, r);
}
