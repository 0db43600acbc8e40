/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/usernet.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/own.h"
#include "usernet/usernet_priv.h"

#define LAST_WORDS "{\"ended\":true}"

#define FLOWS_PER_S   500u  /* new flows: of TCP, and others */
#define SLIRP_IDLE_MS 1000u /* libslirp's slirp_update_timeout(), without TCP and fragments */

#define HOST_V4	    "10.0.2.2"
#define RESOLVER_V4 "10.0.2.3"
#define NET_V4	    "10.0.2.0"
#define MASK_V4	    "255.255.255.0"
#define HOST_V6	    "fec0::2"
#define RESOLVER_V6 "fec0::3"
#define NET_V6	    "fec0::"

static struct in6_addr v6_of(const char *text)
{
	struct in6_addr a = { 0 };
	inet_pton(AF_INET6, text, &a);
	return a;
}

static struct policy_address address_of(const char *v4, const char *v6)
{
	struct policy_address a;
	struct in_addr in = v4 ? v4_of(v4) : (struct in_addr){ 0 };
	struct in6_addr in6 = v6 ? v6_of(v6) : (struct in6_addr){ 0 };
	if (v4)
		return policy_address_v4((const uint8_t *)&in.s_addr);
	memcpy(a.bytes, in6.s6_addr, 16);
	return a;
}

/* ---- frames ---- */

static void refuse(struct usernet *u, const uint8_t *frame, size_t len, const struct frame *f)
{
	uint8_t reply[FRAME_MAX];
	bool v4 = policy_is_v4(&f->to);
	link_write(&u->link, reply,
		   frame_write_prohibited(frame, len, &u->gate.host[v4 ? 0 : 1], reply));
}

static void reset(struct usernet *u, const uint8_t *frame, size_t len)
{
	uint8_t reply[FRAME_MAX];
	link_write(&u->link, reply, frame_write_reset(frame, len, reply));
}

/* A TCP flow is replaced, or refused from now on: tell both sides at once. */
static void on_end(void *arg, const struct flow *flow)
{
	struct usernet *u = arg;
	uint8_t frame[FRAME_MAX];
	sockets_end(&u->sockets, flow);
	if (!flow->is_open)
		return; /* libslirp has told the guest */
	slirp_input(u->slirp, frame, (int)flow_write_reset(flow, false, frame));
	link_write(&u->link, frame, flow_write_reset(flow, true, frame));
}

static void pass(struct usernet *u, const uint8_t *frame, size_t len, const struct frame *f)
{
	if (u->gate.begins)
		rate_take(f->kind == FRAME_TCP ? &u->new_tcp : &u->new_others, 1);
	sockets_make_room(&u->sockets, f, clock_now_ns());
	slirp_input(u->slirp, frame, (int)len);
	gate_passed(&u->gate, frame);
}

static void on_frame(void *arg, const uint8_t *frame, size_t len)
{
	struct usernet *u = arg;
	struct frame f;
	count(u, len);
	frame_read(frame, len, &f);
	if (udp_forwards_take(&u->udp_forwards, frame, &f, clock_now_ns())) {
		refusals_note_visit(&u->refusals);
		return;
	}
	u->gate.is_full = rate_wait_ns(f.kind == FRAME_TCP ? &u->new_tcp : &u->new_others) != 0;
	uint64_t refused = u->gate.refused, visits = u->gate.visits;
	enum gate_verdict verdict = gate_out(&u->gate, &f, clock_now_ns());
	if (u->gate.refused > refused)
		refusals_note(&u->refusals, &u->gate.last);
	if (u->gate.visits > visits)
		refusals_note_visit(&u->refusals);
	if (verdict == GATE_PASS)
		pass(u, frame, len, &f);
	else if (verdict == GATE_REFUSE)
		refuse(u, frame, len, &f);
	else if (verdict == GATE_RESET)
		reset(u, frame, len);
	else if (verdict == GATE_DNS)
		questions_take(&u->questions, frame, len, &f);
}

/* ---- what libslirp calls ---- */

static ssize_t on_packet(const void *frame, size_t len, void *arg)
{
	struct usernet *u = arg;
	struct frame f;
	uint64_t visits = u->gate.visits;
	count(u, len);
	frame_read(frame, len, &f);
	enum gate_verdict verdict = gate_in(&u->gate, &f, clock_now_ns());
	if (u->gate.visits > visits)
		refusals_note_visit(&u->refusals);
	if (verdict == GATE_PASS) {
		link_write(&u->link, frame, len);
		sockets_seen(&u->sockets, &f, &u->gate, clock_now_ns());
	}
	return (ssize_t)len;
}

static void on_guest_error(const char *text, void *arg)
{
	(void)text;
	((struct usernet *)arg)->gate.dropped++;
}

static int64_t on_clock(void *arg)
{
	return sockets_clock(&((struct usernet *)arg)->sockets, clock_now_ns());
}

static void *on_timer_new(SlirpTimerId id, void *cb_opaque, void *arg)
{
	(void)id;
	(void)cb_opaque;
	return &((struct usernet *)arg)->timer_ns;
}

static void on_timer_free(void *timer, void *arg)
{
	(void)arg;
	*(int64_t *)timer = DEADLINE_NONE;
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *arg)
{
	(void)arg;
	*(int64_t *)timer = expire_ms * NS_PER_MS;
}

static void on_opened(int fd, void *arg)
{
	struct usernet *u = arg;
	if (!u->is_forwarding)
		sockets_opened(&u->sockets, fd, &u->gate, clock_now_ns());
}

static void on_closed(int fd, void *arg)
{
	struct usernet *u = arg;
	sockets_closed(&u->sockets, fd, &u->gate);
}

static void on_notify(void *arg)
{
	(void)arg;
}

static const SlirpCb callbacks = {
	.send_packet = on_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_new_opaque = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_opened,
	.unregister_poll_fd = on_closed,
	.notify = on_notify,
};

/* May the host's sockets be read?  The link must have room for their data. */
static bool has_room(const struct usernet *u)
{
	return link_waiting(&u->link) < LINK_OUT_ENOUGH;
}

static int on_poll_add(int fd, int events, void *arg)
{
	struct usernet *u = arg;
	u->has_sockets = true;
	if (u->n_fds == POLL_MAX || !sockets_may_poll(&u->sockets, fd))
		return -1;
	short wanted = 0;
	if (events & SLIRP_POLL_IN)
		wanted |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		wanted |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		wanted |= POLLPRI;
	u->reads[u->n_fds] = wanted & POLLIN;
	if (u->reads[u->n_fds] && !has_room(u))
		wanted &= POLLOUT;
	if (wanted == 0)
		return -1;
	u->fds[u->n_fds] = (struct pollfd){ .fd = fd, .events = wanted };
	return (int)u->n_fds++;
}

/* May libslirp read this socket of the host's, which has data?  The sockets of one turn may bring
 * more than the link has room for.  The first socket that must wait is the first one of the next
 * turn. */
static bool may_read(struct usernet *u, const struct pollfd *p)
{
	if (!(p->events & POLLIN))
		return false; /* there was no room when the turn began */
	if (p->fd == u->first_fd)
		u->first_fd = -1;
	if (u->first_fd < 0 && has_room(u))
		return true;
	if (u->first_fd < 0 && u->next_fd < 0)
		u->next_fd = p->fd;
	return false;
}

static int on_poll_get(int index, void *arg)
{
	struct usernet *u = arg;
	short got = index < 0 ? 0 : u->fds[index].revents;
	if (got && u->reads[index] && !may_read(u, &u->fds[index]))
		got &= POLLOUT;
	return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (got & POLLPRI ? SLIRP_POLL_PRI : 0) | (got & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* ---- the loop ---- */

static bool is_hosts(void *arg, const struct policy_address *address)
{
	return route_is_hosts(&((struct usernet *)arg)->route, address);
}

/* How long no frame may pass, because the guest has used up its share. 0: frames may pass now. */
static int64_t pause_ns(struct usernet *u)
{
	int64_t now_ns = clock_now_ns();
	rate_fill(&u->packets, now_ns);
	rate_fill(&u->bytes, now_ns);
	rate_fill(&u->new_tcp, now_ns);
	rate_fill(&u->new_others, now_ns);
	int64_t packets_ns = rate_wait_ns(&u->packets), bytes_ns = rate_wait_ns(&u->bytes);
	return packets_ns > bytes_ns ? packets_ns : bytes_ns;
}

/* Ask libslirp what it waits for, and for how long.  When it has nothing else to do it looks each
 * second for old sockets of UDP and pings.  When there are none, it need not look. */
static void ask_slirp(struct usernet *u, uint32_t *wait_ms)
{
	u->has_sockets = false;
	slirp_pollfds_fill(u->slirp, wait_ms, on_poll_add, u);
	if (!u->has_sockets && *wait_ms == SLIRP_IDLE_MS)
		*wait_ms = UINT32_MAX;
}

/* Wait for all descriptors that can go on.  Returns as poll(2). */
static int wait_for_some(struct usernet *u, bool paused, int64_t pause, size_t n_own)
{
	uint32_t wait_ms = UINT32_MAX;
	u->n_fds = 2 + n_own;
	if (paused)
		wait_ms = u->is_held ? UINT32_MAX : (uint32_t)(pause / NS_PER_MS) + 1;
	else
		ask_slirp(u, &wait_ms);
	if (!paused && link_has_frame(&u->link))
		wait_ms = 0;
	int timer_ms = clock_remaining_ms(u->timer_ns);
	if (timer_ms >= 0 && (uint32_t)timer_ms < wait_ms)
		wait_ms = (uint32_t)timer_ms;
	int ask_ms = clock_remaining_ms(resolver_next_ns(&u->questions.resolver));
	if (ask_ms >= 0 && (uint32_t)ask_ms < wait_ms)
		wait_ms = (uint32_t)ask_ms;
	int tcp_ms = clock_remaining_ms(dns_tcp_tick(&u->questions.tcp, clock_now_ns()));
	if (tcp_ms >= 0 && (uint32_t)tcp_ms < wait_ms)
		wait_ms = (uint32_t)tcp_ms;
	int report_ms = refusals_wait_ms(&u->refusals, clock_now_ns());
	if (report_ms >= 0 && (uint32_t)report_ms < wait_ms)
		wait_ms = (uint32_t)report_ms;
	u->fds[u->n_fds] = (struct pollfd){ .fd = u->route.fd, .events = POLLIN };
	return poll(u->fds, u->n_fds + 1, wait_ms > INT32_MAX ? -1 : (int)wait_ms);
}

/* Let libslirp read from the host's sockets. */
static void serve_sockets(struct usernet *u, bool failed, bool had_room)
{
	slirp_pollfds_poll(u->slirp, failed, on_poll_get, u);
	if (!had_room)
		return;
	u->first_fd = u->next_fd;
	u->next_fd = -1;
}

static int turn(struct usernet *u)
{
	int64_t pause = pause_ns(u);
	bool paused = u->is_held || pause > 0, had_room = has_room(u);
	bool has_frame = link_has_frame(&u->link);
	short of_link = paused || link_is_full(&u->link) ? 0 : POLLIN;
	u->fds[0] = (struct pollfd){
		.fd = u->link.fd, .events = of_link | (link_waiting(&u->link) > 0 ? POLLOUT : 0)
	};
	u->fds[1] = (struct pollfd){ .fd = u->control_fd, .events = POLLIN };
	size_t n_asks = resolver_poll(&u->questions.resolver, u->fds + 2);
	struct pollfd *forwards = u->fds + 2 + n_asks;
	size_t n_forwards = paused || !had_room ? 0 : udp_forwards_poll(&u->udp_forwards, forwards);
	int n = wait_for_some(u, paused, pause, n_asks + n_forwards);
	if (n < 0 && errno != EINTR)
		return -errno;
	if (!paused)
		serve_sockets(u, n < 0, had_room);
	if (clock_now_ns() >= u->timer_ns) {
		u->timer_ns = DEADLINE_NONE;
		slirp_handle_timer(u->slirp, SLIRP_TIMER_RA, NULL);
	}
	if (n > 0 && n_forwards > 0)
		udp_forwards_serve(&u->udp_forwards, forwards, clock_now_ns());
	if (n_asks > 0)
		questions_serve(&u->questions, clock_now_ns());
	control_report(u);
	int r = n > 0 && u->fds[1].revents ? control_take(u) : 0;
	bool may_take = n > 0 && (u->fds[0].revents & (of_link | POLLHUP | POLLERR));
	if (r == 0 && may_take && u->is_held)
		return -EPIPE; /* the VMM is gone, and its guest's frames must not leave */
	if (r == 0 && (may_take || (has_frame && !paused)))
		r = link_read(&u->link, on_frame, u);
	/* news may have come together with an answer */
	bool has_news = u->route.has_changed || (n > 0 && u->fds[u->n_fds].revents);
	while (has_news && route_has_changed(&u->route))
		gate_judge_again(&u->gate);
	return r == 0 ? link_flush(&u->link) : r;
}

static void forward_datagram(void *arg, const uint8_t *frame, size_t len)
{
	struct usernet *u = arg;
	count(u, len);
	refusals_note_visit(&u->refusals);
	link_write(&u->link, frame, len);
}

static int begin(struct usernet *u, const struct usernet_config *config, struct mvm_error *err)
{
	const SlirpConfig slirp = {
		.version = 4,
		.in_enabled = true,
		.vnetwork = v4_of(NET_V4),
		.vnetmask = v4_of(MASK_V4),
		.vhost = v4_of(HOST_V4),
		.in6_enabled = true,
		.vprefix_addr6 = v6_of(NET_V6),
		.vprefix_len = 64,
		.vhost6 = v6_of(HOST_V6),
		.vdhcp_start = v4_of(GUEST_V4),
		.vnameserver = v4_of(RESOLVER_V4),
		.vnameserver6 = v6_of(RESOLVER_V6),
		.disable_dns = true,
		.if_mtu = LINK_MTU,
		.if_mru = LINK_MTU,
	};
	int64_t now_ns = clock_now_ns();
	u->packets = rate_new(config->packets_per_s, config->packets_per_s / 10 + 1, now_ns);
	u->bytes = rate_new(config->bytes_per_s, config->bytes_per_s / 10 + 1, now_ns);
	u->new_tcp = rate_new(FLOWS_PER_S, SOCKETS_TCP_MAX, now_ns);
	u->new_others = rate_new(FLOWS_PER_S, SOCKETS_UDP_MAX, now_ns);
	uint64_t salts[5];
	if (getrandom(salts, sizeof(salts), 0) < 0)
		return mvm_error_set(err, -errno, "no random numbers");
	u->gate.tcp.salt = salts[0];
	u->gate.others.salt = salts[1];
	u->sockets.sources.salt = salts[2];
	u->gate.in.salt = salts[3];
	const struct policy_address guest = address_of(GUEST_V4, NULL);
	const struct policy_address gateway = address_of(HOST_V4, NULL);
	udp_forwards_init(&u->udp_forwards, &guest, &gateway, salts[4], forward_datagram, u);
	u->gate.policy = config->policy;
	u->gate.host[0] = address_of(HOST_V4, NULL);
	u->gate.host[1] = address_of(NULL, HOST_V6);
	u->gate.resolver[0] = address_of(RESOLVER_V4, NULL);
	u->gate.resolver[1] = address_of(NULL, RESOLVER_V6);
	u->gate.is_hosts = is_hosts;
	u->gate.on_end = on_end;
	u->gate.arg = u;
	u->gate.tcp.max = SOCKETS_TCP_MAX;
	int r = control_take_servers(u, config->dns, config->n_dns, err);
	u->slirp = slirp_new(&slirp, &callbacks, u);
	if (!u->slirp)
		return mvm_error_set(err, -EIO, "libslirp does not start");
	sockets_init(&u->sockets, u->slirp);
	for (size_t i = 0; i < config->n_forwards && r == 0; i++)
		r = control_forward(u, &config->forwards[i], err);
	return r;
}

int usernet_run(const struct usernet_config *config, int guest_fd, int control_fd, int route_fd,
		struct mvm_error *err)
{
	static struct usernet u;
	u.link.fd = guest_fd;
	u.control_fd = control_fd;
	route_init(&u.route, route_fd);
	u.link.seeks = config->resume;
	u.is_held = config->held;
	u.timer_ns = DEADLINE_NONE;
	u.first_fd = u.next_fd = -1;
	questions_init(&u.questions, &u.gate, &u.refusals, &u.link);
	int r = begin(&u, config, err);
	int said = control_reply(&u, r, err);
	watch_begin(&u.watch);
	while (r == 0 && said == 0) {
		watch_turn(&u.watch);
		r = turn(&u);
		if (r < 0 && r != -EPIPE)
			mvm_error_set(err, r, "the guest's link: %s", strerror(-r));
	}
	if (r == -EPIPE) /* else the supervisor would start another mvm-net */
		send(control_fd, LAST_WORDS, strlen(LAST_WORDS), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (u.slirp)
		slirp_cleanup(u.slirp);
	questions_done(&u.questions);
	udp_forwards_done(&u.udp_forwards);
	strbuf_done(&u.link.out);
	return r == -EPIPE ? 0 : r;
}
