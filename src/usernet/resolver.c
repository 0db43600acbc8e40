/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"

#define STREAM_SIZE (2u + 65535u) /* of a reply, after its length */

void resolver_init(struct resolver *r)
{
	*r = (struct resolver){ 0 };
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++)
		r->pending[i].fd = -1;
}

static void drop(struct resolver_pending *p)
{
	if (p->fd >= 0)
		close(TAKE_FD(p->fd));
	free(TAKE_PTR(p->stream));
}

void resolver_done(struct resolver *r)
{
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++)
		drop(&r->pending[i]);
}

int resolver_add(struct resolver *r, const char *address)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(DNS_PORT) };
	if (r->n_servers == RESOLVER_SERVERS_MAX)
		return -E2BIG;
	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		memcpy(&v6, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
		return -EINVAL;
	r->servers[r->n_servers++] = v6;
	return 0;
}

static int connect_to(const struct sockaddr_in6 *server, int type)
{
	AUTO_CLOSE int fd = socket(server->sin6_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	socklen_t len = server->sin6_family == AF_INET ? sizeof(struct sockaddr_in)
						       : sizeof(struct sockaddr_in6);
	if (connect(fd, (const struct sockaddr *)server, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

static struct resolver_pending *free_place(struct resolver *r)
{
	struct resolver_pending *oldest = &r->pending[0];
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
		struct resolver_pending *p = &r->pending[i];
		if (p->fd < 0)
			return p;
		if (p->deadline_ns < oldest->deadline_ns)
			oldest = p;
	}
	drop(oldest);
	return oldest;
}

int resolver_ask(struct resolver *r, const struct resolver_asker *asker,
		 const struct dns_question *question, const uint8_t *message, size_t len,
		 int64_t now_ns)
{
	uint8_t copy[DNS_MESSAGE_MAX];
	AUTO_FREE uint8_t *stream = NULL;
	if (r->n_servers == 0)
		return -EDESTADDRREQ;
	if (len < DNS_HEAD || len > sizeof(copy))
		return -EMSGSIZE;
	AUTO_CLOSE int fd = connect_to(&r->servers[r->next % r->n_servers],
				       asker->tcp ? SOCK_STREAM : SOCK_DGRAM);
	if (fd < 0)
		return fd;
	memcpy(copy, message, len);
	if (getrandom(copy, 2, 0) != 2)
		return -EIO;
	if (asker->tcp) {
		stream = malloc(STREAM_SIZE);
		if (!stream)
			return -ENOMEM;
		stream[0] = (uint8_t)(len >> 8);
		stream[1] = (uint8_t)len;
		memcpy(stream + 2, copy, len);
	} else if (send(fd, copy, len, MSG_NOSIGNAL) < 0) {
		return -errno;
	}
	struct resolver_pending *p = free_place(r);
	p->fd = TAKE_FD(fd);
	p->id = (uint16_t)(copy[0] << 8 | copy[1]);
	p->deadline_ns = now_ns + RESOLVER_PATIENCE_NS;
	p->asker = *asker;
	p->question = *question;
	p->len = p->to_send = stream ? 2 + len : 0;
	p->stream = TAKE_PTR(stream);
	return 0;
}

size_t resolver_poll(const struct resolver *r, struct pollfd *fds)
{
	size_t n = 0;
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
		const struct resolver_pending *p = &r->pending[i];
		if (p->fd >= 0)
			fds[n++] = (struct pollfd){ .fd = p->fd,
						    .events = p->to_send ? POLLOUT : POLLIN };
	}
	return n;
}

/* Pass on a reply to what we asked.  Returns 1, or 0: it is another's. */
static int pass_on(struct resolver_pending *p, uint8_t *message, size_t len, resolver_reply_fn fn,
		   void *arg)
{
	if (len < DNS_HEAD || (message[0] << 8 | message[1]) != p->id)
		return 0;
	message[0] = (uint8_t)(p->asker.id >> 8);
	message[1] = (uint8_t)p->asker.id;
	fn(arg, &p->asker, &p->question, message, len);
	return 1;
}

/* These return 1 when the reply was passed on, 0 when it has not come, -1 when none will. */

static int take_datagram(struct resolver_pending *p, resolver_reply_fn fn, void *arg)
{
	static uint8_t message[65536]; /* no datagram is longer */
	ssize_t n = recv(p->fd, message, sizeof(message), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	return pass_on(p, message, (size_t)n, fn, arg);
}

static int send_question(struct resolver_pending *p)
{
	ssize_t n = send(p->fd, p->stream + p->len - p->to_send, p->to_send,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	p->to_send -= (size_t)n;
	if (p->to_send == 0)
		p->len = 0;
	return 0;
}

static int take_stream(struct resolver_pending *p, resolver_reply_fn fn, void *arg)
{
	if (p->to_send > 0)
		return send_question(p);
	ssize_t n = recv(p->fd, p->stream + p->len, STREAM_SIZE - p->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -1;
	p->len += (size_t)n;
	size_t len = p->len < 2 ? 0 : (size_t)p->stream[0] << 8 | p->stream[1];
	if (p->len < 2 || p->len - 2 < len)
		return 0;
	return pass_on(p, p->stream + 2, len, fn, arg) ? 1 : -1;
}

void resolver_serve(struct resolver *r, int64_t now_ns, resolver_reply_fn fn, void *arg)
{
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
		struct resolver_pending *p = &r->pending[i];
		if (p->fd < 0)
			continue;
		int got = p->stream ? take_stream(p, fn, arg) : take_datagram(p, fn, arg);
		if (got == 0 && now_ns < p->deadline_ns)
			continue;
		if (got <= 0)
			r->next++; /* the guest asks again: then another server */
		if (got <= 0 && p->asker.tcp)
			fn(arg, &p->asker, &p->question, NULL, 0);
		drop(p);
	}
}
