/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/udp_forward.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"

#define DATAGRAMS_A_TURN 64u /* datagrams of one port; then the others get their turn */

static const uint8_t gateway_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 }; /* libslirp's */

void udp_forwards_init(struct udp_forwards *u, const struct policy_address *guest,
		       const struct policy_address *gateway, uint64_t salt,
		       udp_forward_send_fn send, void *arg)
{
	u->n = 0;
	u->guest = *guest;
	u->gateway = *gateway;
	memset(u->guest_mac, 0xff, sizeof(u->guest_mac));
	u->senders.salt = salt;
	u->senders.max = UDP_FORWARD_SENDERS;
	u->send = send;
	u->arg = arg;
}

void udp_forwards_done(struct udp_forwards *u)
{
	while (u->n > 0)
		close(u->all[--u->n].fd);
}

int udp_forwards_add(struct udp_forwards *u, const struct sockaddr_in *host, uint16_t guest_port)
{
	if (u->n == GATE_FORWARDS_MAX)
		return -E2BIG;
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)host, sizeof(*host)) < 0)
		return -errno;
	u->all[u->n++] = (struct udp_forward){ TAKE_FD(fd), guest_port };
	return 0;
}

bool udp_forwards_take(struct udp_forwards *u, const uint8_t *frame, const struct frame *f,
		       int64_t now_ns)
{
	if (u->n == 0)
		return false;
	memcpy(u->guest_mac, frame + 6, sizeof(u->guest_mac));
	if (f->kind != FRAME_UDP)
		return false;
	const struct flow_key key = { FRAME_UDP, f->from_port, f->to_port, f->from, f->to };
	const struct flow *sender = flows_get(&u->senders, &key, now_ns);
	if (!sender)
		return false;
	const struct sockaddr_in *to = &u->real[sender - u->senders.all];
	/* datagrams may get lost */
	sendto(sender->fd, f->payload, f->payload_len, MSG_DONTWAIT | MSG_NOSIGNAL,
	       (const struct sockaddr *)to, sizeof(*to));
	return true;
}

size_t udp_forwards_poll(const struct udp_forwards *u, struct pollfd *fds)
{
	for (size_t i = 0; i < u->n; i++)
		fds[i] = (struct pollfd){ .fd = u->all[i].fd, .events = POLLIN };
	return u->n;
}

static void take_datagram(struct udp_forwards *u, const struct udp_forward *port,
			  const struct sockaddr_in *from, const uint8_t *data, size_t len,
			  int64_t now_ns)
{
	struct flow_key key = { FRAME_UDP, port->guest_port, ntohs(from->sin_port), u->guest,
				policy_address_v4((const uint8_t *)&from->sin_addr) };
	if (ntohl(from->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
		key.peer = u->gateway;
	struct flow *sender = flows_get(&u->senders, &key, now_ns);
	if (!sender)
		sender = flows_add(&u->senders, &key, now_ns);
	sender->fd = port->fd;
	u->real[sender - u->senders.all] = *from;
	const struct frame heads = {
		.from = key.peer,
		.to = u->guest,
		.from_port = key.port,
		.to_port = port->guest_port,
		.payload = data,
		.payload_len = len,
	};
	uint8_t frame[FRAME_MAX];
	u->next_id++;
	for (size_t at = 0, n; (n = frame_write_udp_part(u->guest_mac, gateway_mac, &heads,
							 u->next_id, &at, frame)) > 0;)
		u->send(u->arg, frame, n);
}

void udp_forwards_serve(struct udp_forwards *u, const struct pollfd *fds, int64_t now_ns)
{
	static uint8_t data[65536]; /* no datagram is longer */
	for (size_t i = 0; i < u->n; i++) {
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		ssize_t n = 0;
		for (unsigned k = 0; k < DATAGRAMS_A_TURN && fds[i].revents && n >= 0; k++) {
			n = recvfrom(fds[i].fd, data, sizeof(data), MSG_DONTWAIT,
				     (struct sockaddr *)&from, &from_len);
			if (n >= 0)
				take_datagram(u, &u->all[i], &from, data, (size_t)n, now_ns);
		}
	}
}
