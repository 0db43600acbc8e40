/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/netns/link.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

#define FLOW_SIZE 65536u

/* One direction. */
struct flow {
	int from, to;
	size_t start, len; /* the bytes that wait in data */
	bool ended;	   /* `from` sends no more */
	bool told;	   /* and `to` knows it */
	char data[FLOW_SIZE];
};

struct link {
	struct loop *loop;
	struct loop_source *a_source, *b_source; /* NULL: not watched now */
	void (*on_end)(void *arg, struct link *l);
	void *arg;
	bool broken; /* one of the sockets has failed */
	struct flow a_to_b, b_to_a;
};

static void on_socket(void *arg, uint32_t events);

static void take(struct link *l, struct flow *flow)
{
	if (flow->len > 0 || flow->ended)
		return;
	ssize_t n = recv(flow->from, flow->data, FLOW_SIZE, MSG_DONTWAIT);
	flow->start = 0;
	if (n > 0)
		flow->len = (size_t)n;
	else if (n == 0)
		flow->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		l->broken = true;
}

static void give(struct link *l, struct flow *flow)
{
	if (flow->len > 0) {
		ssize_t n = send(flow->to, flow->data + flow->start, flow->len,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			l->broken = true;
		if (n <= 0)
			return;
		flow->start += (size_t)n;
		flow->len -= (size_t)n;
	}
	if (flow->ended && flow->len == 0 && !flow->told) {
		flow->told = true;
		shutdown(flow->to, SHUT_WR); /* if `to` is gone, the next recv() shows it */
	}
}

static bool is_over(const struct flow *flow)
{
	return flow->told;
}

/* Do not watch a socket at all while we want nothing from it.  Else epoll would report a hang-up
 * again and again, while earlier bytes still wait for the other side. */
static int watch(struct link *l, int fd, uint32_t events, struct loop_source **source)
{
	if (events && *source)
		return loop_source_set_events(*source, events);
	if (events)
		return loop_add_fd(l->loop, fd, events, on_socket, l, source);
	loop_source_free(TAKE_PTR(*source));
	return 0;
}

/* The events to wait for at the socket that `in` comes from and `out` goes to. */
static uint32_t events_of(const struct flow *in, const struct flow *out)
{
	return (!in->ended && in->len == 0 ? EPOLLIN : 0) | (out->len ? EPOLLOUT : 0);
}

static void pass_on(struct link *l)
{
	take(l, &l->a_to_b);
	take(l, &l->b_to_a);
	give(l, &l->a_to_b);
	give(l, &l->b_to_a);
	if (l->broken || (is_over(&l->a_to_b) && is_over(&l->b_to_a)) ||
	    watch(l, l->a_to_b.from, events_of(&l->a_to_b, &l->b_to_a), &l->a_source) < 0 ||
	    watch(l, l->b_to_a.from, events_of(&l->b_to_a, &l->a_to_b), &l->b_source) < 0)
		l->on_end(l->arg, l);
}

static void on_socket(void *arg, uint32_t events)
{
	(void)events; /* recv() and send() tell everything */
	pass_on(arg);
}

int link_new(struct loop *loop, int a_fd, int b_fd, void (*on_end)(void *arg, struct link *l),
	     void *arg, struct link **ret)
{
	struct link *l = malloc(sizeof(*l)); /* not zeroed: most of it is room for data */
	if (!l)
		return -ENOMEM;
	l->loop = loop;
	l->a_source = l->b_source = NULL;
	l->on_end = on_end;
	l->arg = arg;
	l->broken = false;
	l->a_to_b.from = l->b_to_a.to = a_fd;
	l->b_to_a.from = l->a_to_b.to = b_fd;
	l->a_to_b.start = l->a_to_b.len = l->b_to_a.start = l->b_to_a.len = 0;
	l->a_to_b.ended = l->a_to_b.told = l->b_to_a.ended = l->b_to_a.told = false;
	int r = loop_add_fd(loop, a_fd, EPOLLIN, on_socket, l, &l->a_source);
	if (r == 0)
		r = loop_add_fd(loop, b_fd, EPOLLIN, on_socket, l, &l->b_source);
	if (r < 0) {
		loop_source_free(l->a_source);
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	loop_source_free(l->a_source);
	loop_source_free(l->b_source);
	close(l->a_to_b.from);
	close(l->b_to_a.from);
	free(l);
}
