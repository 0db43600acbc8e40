/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/netns/relay.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/sock.h"
#include "vmm/netns/link.h"

#define DATAGRAM_MAX	 65536u
#define DATAGRAMS_A_TURN 64u /* then other sockets get their turn */
#define SILENT_NS	 (120 * NS_PER_S)
#define PAUSE_NS	 (100 * NS_PER_MS)

/* A sender of datagrams, and the socket that passes them on and receives the answers. */
struct sender {
	struct relay *relay;
	struct loop_source *source;
	int fd;
	struct sockaddr_storage address;
	socklen_t address_len;
	int64_t last_ns;
};

struct relay {
	struct loop *loop;
	struct loop_source *source, *timer;
	int listen_fd;
	relay_dial_fn dial;
	void *arg;
	size_t n, max;
	struct link *links[RELAY_MAX];	   /* TCP */
	struct sender *senders[RELAY_MAX]; /* UDP */
	char *datagram;
};

/* ---- TCP ---- */

/* Accept, unless there are enough connections: the kernel keeps the others waiting. */
static void listen_again(struct relay *r)
{
	loop_source_set_events(r->source, r->n < r->max ? EPOLLIN : 0);
}

static void on_link_end(void *arg, struct link *l)
{
	struct relay *r = arg;
	for (size_t i = 0; i < r->n; i++) {
		if (r->links[i] == l) {
			r->links[i] = r->links[--r->n];
			break;
		}
	}
	link_free(l);
	listen_again(r);
}

static void connect_through(struct relay *r, int fd)
{
	AUTO_CLOSE int from = fd;
	AUTO_CLOSE int to = r->dial(r->arg, SOCK_STREAM);
	if (to < 0 || link_new(r->loop, from, to, on_link_end, r, &r->links[r->n]) < 0)
		return; /* the connection closes, and its peer sees that */
	(void)TAKE_FD(from);
	(void)TAKE_FD(to);
	r->n++;
	listen_again(r);
}

static void on_connection(void *arg, uint32_t events)
{
	struct relay *r = arg;
	(void)events;
	int fd = sock_accept(r->listen_fd);
	if (fd >= 0) {
		connect_through(r, fd);
	} else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
		/* it stays ready: look away for a moment */
		loop_source_set_events(r->source, 0);
		loop_source_arm(r->timer, clock_now_ns() + PAUSE_NS);
	}
}

static void on_pause_over(void *arg)
{
	listen_again(arg); /* nothing allocates here */
}

/* ---- UDP ---- */

static void sender_free(struct sender *s)
{
	loop_source_free(s->source);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

static void forget(struct relay *r, size_t i)
{
	sender_free(r->senders[i]);
	r->senders[i] = r->senders[--r->n];
}

static void on_answer(void *arg, uint32_t events)
{
	struct sender *s = arg;
	struct relay *r = s->relay;
	(void)events;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN; i++) {
		ssize_t n = recv(s->fd, r->datagram, DATAGRAM_MAX, MSG_DONTWAIT);
		if (n < 0)
			return; /* no more, or "port unreachable", which UDP need not pass on */
		s->last_ns = clock_now_ns();
		sendto(r->listen_fd, r->datagram, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL,
		       (const struct sockaddr *)&s->address,
		       s->address_len); /* datagrams may get lost */
	}
}

static void on_timer(void *arg)
{
	struct relay *r = arg;
	int64_t now = clock_now_ns();
	for (size_t i = r->n; i-- > 0;) {
		if (now - r->senders[i]->last_ns > SILENT_NS)
			forget(r, i);
	}
	if (r->n > 0)
		loop_source_arm(r->timer, now + SILENT_NS);
}

static void forget_the_most_silent(struct relay *r)
{
	size_t oldest = 0;
	for (size_t i = 1; i < r->n; i++) {
		if (r->senders[i]->last_ns < r->senders[oldest]->last_ns)
			oldest = i;
	}
	forget(r, oldest);
}

static struct sender *add_sender(struct relay *r, const struct sockaddr_storage *from,
				 socklen_t from_len)
{
	struct sender *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->relay = r;
	s->address = *from;
	s->address_len = from_len;
	s->fd = r->dial(r->arg, SOCK_DGRAM);
	if (s->fd < 0 || loop_add_fd(r->loop, s->fd, EPOLLIN, on_answer, s, &s->source) < 0) {
		sender_free(s);
		return NULL;
	}
	if (r->n == r->max)
		forget_the_most_silent(r);
	if (r->n == 0)
		loop_source_arm(r->timer, clock_now_ns() + SILENT_NS);
	r->senders[r->n++] = s;
	return s;
}

static struct sender *sender_of(struct relay *r, const struct sockaddr_storage *from,
				socklen_t from_len)
{
	for (size_t i = 0; i < r->n; i++) {
		struct sender *s = r->senders[i];
		if (s->address_len == from_len && memcmp(&s->address, from, from_len) == 0)
			return s;
	}
	return add_sender(r, from, from_len);
}

static void on_datagram(void *arg, uint32_t events)
{
	struct relay *r = arg;
	(void)events;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(r->listen_fd, r->datagram, DATAGRAM_MAX, MSG_DONTWAIT,
				     (struct sockaddr *)&from, &from_len);
		if (n < 0)
			return;
		struct sender *s = sender_of(r, &from, from_len);
		if (!s)
			continue;
		s->last_ns = clock_now_ns();
		send(s->fd, r->datagram, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

/* ---- both ---- */

int relay_new(struct loop *loop, int listen_fd, bool udp, size_t max, relay_dial_fn dial, void *arg,
	      struct relay **ret)
{
	assert(max > 0 && max <= RELAY_MAX);
	AUTO(relay) r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->loop = loop;
	r->listen_fd = -1; /* not ours yet */
	r->max = max;
	r->dial = dial;
	r->arg = arg;
	if (udp && !(r->datagram = malloc(DATAGRAM_MAX)))
		return -ENOMEM;
	int code = loop_add_fd(loop, listen_fd, EPOLLIN, udp ? on_datagram : on_connection, r,
			       &r->source);
	if (code == 0)
		code = loop_add_timer(loop, DEADLINE_NONE, udp ? on_timer : on_pause_over, r,
				      &r->timer);
	if (code < 0)
		return code;
	r->listen_fd = listen_fd;
	*ret = TAKE_PTR(r);
	return 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	loop_source_free(r->source);
	loop_source_free(r->timer);
	for (size_t i = 0; i < r->n; i++) {
		if (r->datagram)
			sender_free(r->senders[i]);
		else
			link_free(r->links[i]);
	}
	if (r->listen_fd >= 0)
		close(r->listen_fd);
	free(r->datagram);
	free(r);
}
