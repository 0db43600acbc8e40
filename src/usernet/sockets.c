/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 128

#define UDP_LIFE_NS INT64_C(240001000000) /* libslirp, src/udp.h: SO_EXPIRE; and a millisecond */

void sockets_init(struct sockets *s, Slirp *slirp)
{
	s->slirp = slirp;
	s->sources.max = SOCKETS_UDP_MAX;
	s->dying_fd = -1;
}

int64_t sockets_clock(const struct sockets *s, int64_t now_ns)
{
	return s->clock_ns ? s->clock_ns : now_ns;
}

/* ---- libslirp, without waiting ---- */

static int poll_none(int fd, int events, void *arg)
{
	(void)fd;
	(void)events;
	(void)arg;
	return -1;
}

static int poll_dying(int fd, int events, void *arg)
{
	(void)events;
	return fd == ((struct sockets *)arg)->dying_fd ? 0 : -1;
}

static int find_all(int fd, int events, void *arg)
{
	struct sockets *s = arg;
	if ((events & SLIRP_POLL_IN) && s->n_found < SOCKETS_MAX)
		s->found[s->n_found++] = fd;
	return -1;
}

static int no_events(int index, void *arg)
{
	(void)index;
	(void)arg;
	return 0;
}

static int all_events(int index, void *arg)
{
	(void)arg;
	return index < 0 ? 0 : SLIRP_POLL_IN | SLIRP_POLL_OUT | SLIRP_POLL_HUP;
}

static void fill(struct sockets *s, SlirpAddPollCb add)
{
	uint32_t wait_ms = UINT32_MAX;
	s->n_found = 0;
	slirp_pollfds_fill(s->slirp, &wait_ms, add, s);
}

/* The socket was shut down; let libslirp see that. */
static void let_die(struct sockets *s, int fd)
{
	s->dying_fd = fd;
	fill(s, poll_dying);
	slirp_pollfds_poll(s->slirp, 0, all_events, s);
	s->dying_fd = -1;
}

static int option_of(int fd, int what)
{
	int value = 0;
	socklen_t len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, what, &value, &len) == 0 ? value : -1;
}

/* ---- UDP ---- */

/* End all sockets that were silent since then, and no younger ones, by telling libslirp a later
 * time for a moment.  That costs its TCP two ticks of half a second, so half of the sockets go at
 * once. */
static void end_silent(struct sockets *s, int64_t since_ns, int64_t now_ns)
{
	if (since_ns + UDP_LIFE_NS <= now_ns)
		return; /* they have ended by themselves */
	s->clock_ns = since_ns + UDP_LIFE_NS;
	slirp_pollfds_poll(s->slirp, 1, no_events, s);
	fill(s, poll_none);
	s->clock_ns = 0;
	slirp_pollfds_poll(s->slirp, 1, no_events, s);
}

static void make_room_udp(struct sockets *s, const struct frame *f, int64_t now_ns)
{
	const struct flow_key source = { .kind = FRAME_UDP,
					 .guest_port = f->from_port,
					 .guest = f->from };
	if (flows_has(&s->sources, &source, now_ns))
		return;
	struct flow *oldest = flows_next_to_go(&s->sources);
	int64_t since_ns = 0;
	for (unsigned i = 0; i < SOCKETS_UDP_MAX / 2 && oldest; i++) {
		since_ns = oldest->seen_ns;
		flows_remove(&s->sources, oldest);
		oldest = flows_oldest(&s->sources);
	}
	if (since_ns)
		end_silent(s, since_ns, now_ns);
	flows_add(&s->sources, &source, now_ns);
}

static void seen_udp(struct sockets *s, const struct frame *f, int64_t now_ns)
{
	const struct flow_key source = { .kind = FRAME_UDP,
					 .guest_port = f->to_port,
					 .guest = f->to };
	flows_has(&s->sources, &source, now_ns);
}

/* ---- pings ---- */

static bool is_ping(int fd)
{
	return option_of(fd, SO_PROTOCOL) == IPPROTO_ICMP;
}

/* Count the sockets that wait for a reply, the youngest first, and end the oldest. */
static void make_room_ping(struct sockets *s)
{
	if (++s->n_pings < SOCKETS_PINGS_MAX)
		return;
	fill(s, find_all);
	size_t n = s->n_found;
	s->n_pings = 0;
	for (size_t i = 0; i < n; i++) {
		int fd = s->found[i];
		if (!is_ping(fd) || ++s->n_pings < SOCKETS_PINGS_MAX / 2)
			continue;
		s->n_pings--;
		shutdown(fd, SHUT_RD);
		let_die(s, fd);
	}
}

void sockets_make_room(struct sockets *s, const struct frame *f, int64_t now_ns)
{
	if (f->kind == FRAME_UDP)
		make_room_udp(s, f, now_ns);
	else if (f->kind == FRAME_PING)
		make_room_ping(s);
}

/* ---- TCP ---- */

static struct socket_use *use_of(struct sockets *s, int fd)
{
	return fd >= 0 && (unsigned)fd < SOCKETS_FD_END ? &s->uses[fd] : NULL;
}

/* The sender's address as libslirp shows it to the guest: the gateway's for the host's loopback. */
static void peer_of(int fd, const struct policy_address *host, struct flow_key *ret)
{
	struct sockaddr_in in = { 0 };
	socklen_t len = sizeof(in);
	if (getpeername(fd, (struct sockaddr *)&in, &len) < 0 || in.sin_family != AF_INET)
		return; /* gone already: another flow may replace its flow */
	uint8_t bytes[4];
	memcpy(bytes, &in.sin_addr, sizeof(bytes));
	ret->port = ntohs(in.sin_port);
	ret->peer = bytes[0] == 127 ? *host : policy_address_v4(bytes);
}

void sockets_opened(struct sockets *s, int fd, struct gate *gate, int64_t now_ns)
{
	struct socket_use *use = use_of(s, fd);
	if (!use || option_of(fd, SO_TYPE) != SOCK_STREAM)
		return;
	const struct flow *flow = gate_opened(gate, fd, now_ns);
	if (flow) {
		*use = (struct socket_use){ SOCKET_TCP, flow->key };
		return;
	}
	s->n_in++;
	*use = (struct socket_use){ .kind = SOCKET_IN };
	peer_of(fd, &gate->host[0], &use->flow);
}

/* A SYN to the guest, perhaps again, from a socket that was accepted. */
static void seen_syn(struct sockets *s, const struct frame *f, struct gate *gate)
{
	for (unsigned fd = 0; fd < SOCKETS_FD_END; fd++) {
		struct socket_use *use = &s->uses[fd];
		if (use->kind != SOCKET_IN || use->flow.guest_port ||
		    use->flow.port != f->from_port ||
		    memcmp(&use->flow.peer, &f->from, sizeof(f->from)) != 0)
			continue;
		use->flow = (struct flow_key){ FRAME_TCP, f->to_port, f->from_port, f->to,
					       f->from };
		struct flow *flow = flows_find(&gate->in, &use->flow);
		if (flow)
			flow->fd = (int)fd;
		return;
	}
}

void sockets_seen(struct sockets *s, const struct frame *f, struct gate *gate, int64_t now_ns)
{
	if (f->kind == FRAME_UDP)
		seen_udp(s, f, now_ns);
	else if (f->kind == FRAME_TCP && f->opens)
		seen_syn(s, f, gate);
}

void sockets_closed(struct sockets *s, int fd, struct gate *gate)
{
	struct socket_use *use = use_of(s, fd);
	if (!use)
		return;
	struct flows *flows = use->kind == SOCKET_IN ? &gate->in : &gate->tcp;
	struct flow *flow = use->flow.guest_port ? flows_find(flows, &use->flow) : NULL;
	if (flow && flow->fd == fd)
		gate_forget(gate, flows, flow);
	if (use->kind == SOCKET_IN)
		s->n_in--;
	*use = (struct socket_use){ 0 };
}

void sockets_find_listeners(struct sockets *s)
{
	fill(s, find_all);
	for (size_t i = 0; i < s->n_found; i++)
		if (option_of(s->found[i], SO_ACCEPTCONN) == 1 && use_of(s, s->found[i])) {
			s->uses[s->found[i]].kind = SOCKET_LISTENS;
			/* libslirp lets only one connection wait to be accepted; others of a burst
			 * would wait a second and more, until TCP tries again */
			listen(s->found[i], BACKLOG); /* else it stays as it is */
		}
}

bool sockets_may_poll(const struct sockets *s, int fd)
{
	return s->n_in < SOCKETS_IN_MAX || (unsigned)fd >= SOCKETS_FD_END ||
	       s->uses[fd].kind != SOCKET_LISTENS;
}

void sockets_end(struct sockets *s, const struct flow *flow)
{
	struct socket_use *use = use_of(s, flow->fd);
	if (!use)
		return;
	*use = (struct socket_use){ 0 }; /* forget the flow before its socket */
	if (flow->is_open)
		return; /* the guest's reset ends it */
	shutdown(flow->fd, SHUT_RDWR);
	let_die(s, flow->fd);
}
