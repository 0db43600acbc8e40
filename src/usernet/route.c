/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

struct question {
	struct nlmsghdr head;
	struct rtmsg route;
	struct rtattr attribute;
	uint8_t address[16];
};

static struct question question_for(const struct policy_address *a, uint32_t sequence)
{
	bool v4 = policy_is_v4(a);
	unsigned len = v4 ? 4 : 16;
	struct question q = {
		.head = { .nlmsg_len = (uint32_t)(offsetof(struct question, address) + len),
			  .nlmsg_type = RTM_GETROUTE,
			  .nlmsg_flags = NLM_F_REQUEST,
			  .nlmsg_seq = sequence },
		.route = { .rtm_family = v4 ? AF_INET : AF_INET6,
			   .rtm_dst_len = (uint8_t)(len * 8) },
		.attribute = { .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = RTA_DST },
	};
	memcpy(q.address, a->bytes + 16 - len, len);
	return q;
}

/* Read a message: an answer, or news of a new route that leads to the host itself. */
union message {
	struct nlmsghdr head;
	char bytes[4096];
};

static bool has_route(const union message *m, ssize_t n)
{
	return NLMSG_OK(&m->head, (uint32_t)n) && m->head.nlmsg_type == RTM_NEWROUTE &&
	       m->head.nlmsg_len >= NLMSG_LENGTH(sizeof(struct rtmsg));
}

static bool is_to_host(const union message *m)
{
	return ((const struct rtmsg *)NLMSG_DATA(&m->head))->rtm_type != RTN_UNICAST;
}

/* Returns 1 with an answer in *m, 0 after news, or -errno. */
static int receive(struct route *r, union message *m, ssize_t *ret_len)
{
	struct sockaddr_nl from = { 0 };
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(r->fd, m, sizeof(*m), MSG_DONTWAIT, (struct sockaddr *)&from,
			     &from_len);
	if (n < 0 && errno == ENOBUFS)
		r->has_changed = true; /* some news was lost */
	if (n < 0)
		return errno == EINTR || errno == ENOBUFS ? 0 : -errno;
	if (n < (ssize_t)sizeof(m->head))
		return -EPROTO;
	*ret_len = n;
	if (from.nl_groups == 0)
		return 1;
	if (has_route(m, n) && is_to_host(m))
		r->has_changed = true;
	return 0;
}

void route_init(struct route *r, int fd)
{
	static const int groups[] = { RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE };
	*r = (struct route){ .fd = fd };
	/* without news, flows are judged only when they begin */
	for (size_t i = 0; fd >= 0 && i < MVM_ARRAY_SIZE(groups); i++)
		setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i]));
}

/* The kernel answers before send(2) returns, so this never waits. */
bool route_is_hosts(struct route *r, const struct policy_address *address)
{
	struct question q = question_for(address, ++r->sequence);
	union message answer;
	ssize_t n = 0;
	if (send(r->fd, &q, q.head.nlmsg_len, 0) < 0)
		return true;
	for (;;) {
		int got = receive(r, &answer, &n);
		if (got < 0)
			return true;
		if (got == 0 || answer.head.nlmsg_seq != r->sequence)
			continue; /* news, or a late answer to an earlier question */
		if (answer.head.nlmsg_type == NLMSG_ERROR)
			return false; /* there is no route; connect(2) will say so */
		return !has_route(&answer, n) || is_to_host(&answer);
	}
}

bool route_has_changed(struct route *r)
{
	union message news;
	ssize_t n;
	while (receive(r, &news, &n) >= 0)
		;
	bool changed = r->has_changed;
	r->has_changed = false;
	return changed;
}
