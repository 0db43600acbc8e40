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
#include "base/parse.h"

#define STREAM_SIZE (2u + 65535u) /* of a reply, after its length */

void resolver_init(struct resolver *r)
{
	memset(r, 0, sizeof(*r));
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
	char text[INET6_ADDRSTRLEN];
	const char *scope = strchr(address, '%');
	size_t len = scope ? (size_t)(scope - address) : strlen(address);
	uint64_t index = 0;
	if (len >= sizeof(text) || (scope && parse_u64(scope + 1, 1, INT32_MAX, &index) < 0))
		return -EINVAL;
	memcpy(text, address, len);
	text[len] = '\0';
	v6.sin6_scope_id = (uint32_t)index;
	if (!scope && inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		memcpy(&v6, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, text, &v6.sin6_addr) != 1)
		return -EINVAL;
	r->servers[r->n_servers++] = v6;
	return 0;
}

void resolver_forget(struct resolver *r)
{
	r->n_servers = r->best = 0;
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

/* Send p's question, with an id of our choice.  Sets p's fd, id and stream. */
static int send_to(const struct sockaddr_in6 *server, struct resolver_pending *p)
{
	AUTO_FREE uint8_t *stream = NULL;
	AUTO_CLOSE int fd = connect_to(server, p->asker.tcp ? SOCK_STREAM : SOCK_DGRAM);
	if (fd < 0)
		return fd;
	if (getrandom(p->message, 2, 0) != 2)
		return -EIO;
	if (p->asker.tcp) {
		stream = malloc(STREAM_SIZE);
		if (!stream)
			return -ENOMEM;
		stream[0] = (uint8_t)(p->message_len >> 8);
		stream[1] = (uint8_t)p->message_len;
		memcpy(stream + 2, p->message, p->message_len);
	} else if (send(fd, p->message, p->message_len, MSG_NOSIGNAL) < 0) {
		return -errno;
	}
	p->fd = TAKE_FD(fd);
	p->id = (uint16_t)(p->message[0] << 8 | p->message[1]);
	p->len = p->to_send = stream ? 2 + p->message_len : 0;
	p->stream = TAKE_PTR(stream);
	return 0;
}

/* The next server that is not in tried, beginning with the best; n_servers: there is none. */
static size_t next_server(const struct resolver *r, unsigned tried)
{
	for (size_t i = 0; i < r->n_servers; i++) {
		size_t server = (r->best + i) % r->n_servers;
		if (!(tried & 1u << server))
			return server;
	}
	return r->n_servers;
}

static void mark_bad(struct resolver *r, size_t server)
{
	if (r->best == server && r->n_servers > 0)
		r->best = (server + 1) % r->n_servers;
}

static bool is_asked(const struct resolver *r, uint64_t number)
{
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++)
		if (r->pending[i].fd >= 0 && r->pending[i].number == number)
			return true;
	return false;
}

/* Send the question to the next server that has not had it and can be reached. */
static int ask_next(struct resolver *r, const struct resolver_pending *question, int64_t now_ns)
{
	struct resolver_pending p = *question;
	int res = -EDESTADDRREQ;
	p.fd = -1;
	p.stream = NULL;
	while ((p.server = next_server(r, p.tried)) < r->n_servers) {
		p.tried |= 1u << p.server;
		res = send_to(&r->servers[p.server], &p);
		if (res == 0)
			break;
		mark_bad(r, p.server);
	}
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++)
		if (r->pending[i].number == p.number)
			r->pending[i].tried = p.tried;
	if (res < 0)
		return res;
	p.again_ns = now_ns + RESOLVER_SILENCE_NS;
	*free_place(r) = p;
	return 0;
}

int resolver_ask(struct resolver *r, const struct resolver_asker *asker,
		 const struct dns_question *question, const uint8_t *message, size_t len,
		 int64_t now_ns)
{
	struct resolver_pending p = {
		.number = r->last + 1,
		.deadline_ns = now_ns + RESOLVER_PATIENCE_NS,
		.message_len = len,
		.asker = *asker,
		.question = *question,
	};
	if (len < DNS_HEAD || len > sizeof(p.message))
		return -EMSGSIZE;
	memcpy(p.message, message, len);
	r->last++;
	return ask_next(r, &p, now_ns);
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

int64_t resolver_next_ns(const struct resolver *r)
{
	int64_t next = INT64_MAX;
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
		const struct resolver_pending *p = &r->pending[i];
		int64_t at = p->again_ns < p->deadline_ns ? p->again_ns : p->deadline_ns;
		if (p->fd >= 0 && at < next)
			next = at;
	}
	return next;
}

/* ---- replies ---- */

struct reply {
	uint8_t *message;
	size_t len;
};

static bool is_reply_to(const struct resolver_pending *p, const struct reply *reply)
{
	return reply->len >= DNS_HEAD && (reply->message[0] << 8 | reply->message[1]) == p->id;
}

/* The following functions return 1 with a reply, 0 if it has not come yet, -1 if none will come. */

static int take_datagram(const struct resolver_pending *p, struct reply *ret)
{
	static uint8_t message[65536]; /* no datagram is longer */
	ssize_t n = recv(p->fd, message, sizeof(message), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	*ret = (struct reply){ message, (size_t)n };
	return is_reply_to(p, ret);
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

static int take_stream(struct resolver_pending *p, struct reply *ret)
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
	*ret = (struct reply){ p->stream + 2, len };
	return is_reply_to(p, ret) ? 1 : -1;
}

static void pass_on(const struct resolver_pending *p, const struct reply *reply,
		    resolver_reply_fn fn, void *arg)
{
	reply->message[0] = (uint8_t)(p->asker.id >> 8);
	reply->message[1] = (uint8_t)p->asker.id;
	fn(arg, &p->asker, &p->question, reply->message, reply->len);
}

/* p's server does not answer.  Ask another, or tell the guest that no server is left. */
static void fail(struct resolver *r, struct resolver_pending *p, int64_t now_ns,
		 resolver_reply_fn fn, void *arg)
{
	struct resolver_pending failed = *p;
	drop(p);
	if (now_ns < failed.deadline_ns && ask_next(r, &failed, now_ns) == 0)
		return;
	if (is_asked(r, failed.number))
		return;
	const struct reply none = { failed.message, dns_refuse(failed.message, &failed.question,
							       DNS_SERVER_FAILURE) };
	pass_on(&failed, &none, fn, arg);
}

/* Another server may know the answer: resolvers of C libraries go on as well. */
static bool is_failure(const struct reply *reply)
{
	unsigned code = reply->message[3] & 0x0fu;
	return code == DNS_SERVER_FAILURE || code == DNS_NOT_IMPLEMENTED || code == DNS_REFUSED;
}

static bool is_last(const struct resolver *r, const struct resolver_pending *p)
{
	if (next_server(r, p->tried) < r->n_servers)
		return false;
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++)
		if (&r->pending[i] != p && r->pending[i].fd >= 0 &&
		    r->pending[i].number == p->number)
			return false;
	return true;
}

static void take_reply(struct resolver *r, struct resolver_pending *p, const struct reply *reply,
		       int64_t now_ns, resolver_reply_fn fn, void *arg)
{
	uint64_t number = p->number;
	if (is_failure(reply) && !is_last(r, p)) {
		fail(r, p, now_ns, fn, arg);
		return;
	}
	if (!is_failure(reply) && p->server < r->n_servers)
		r->best = p->server;
	pass_on(p, reply, fn, arg);
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++)
		if (r->pending[i].number == number)
			drop(&r->pending[i]);
}

void resolver_serve(struct resolver *r, int64_t now_ns, resolver_reply_fn fn, void *arg)
{
	for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
		struct resolver_pending *p = &r->pending[i];
		struct reply reply;
		if (p->fd < 0)
			continue;
		int got = p->stream ? take_stream(p, &reply) : take_datagram(p, &reply);
		if (got > 0) {
			take_reply(r, p, &reply, now_ns, fn, arg);
		} else if (got < 0 || now_ns >= p->deadline_ns) {
			if (got < 0)
				mark_bad(r, p->server);
			fail(r, p, now_ns, fn, arg);
		} else if (now_ns >= p->again_ns) {
			p->again_ns = INT64_MAX; /* its answer may still come */
			ask_next(r, p, now_ns);
		}
	}
}
