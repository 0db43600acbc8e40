/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* The kernel answers before send(2) returns, so nothing has to be waited for. */
bool route_is_hosts(int fd, const struct policy_address *address)
{
	static uint32_t sequence;
	struct question q = question_for(address, ++sequence);
	union {
		struct nlmsghdr head;
		char bytes[4096];
	} answer;
	if (send(fd, &q, q.head.nlmsg_len, 0) < 0)
		return true;
	for (;;) {
		ssize_t n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < (ssize_t)sizeof(answer.head))
			return true;
		if (answer.head.nlmsg_seq != sequence)
			continue; /* a late answer to an earlier one */
		if (answer.head.nlmsg_type == NLMSG_ERROR)
			return false; /* no way there: connect(2) will say so */
		if (!NLMSG_OK(&answer.head, (uint32_t)n) ||
		    answer.head.nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg)))
			return true;
		const struct rtmsg *route = NLMSG_DATA(&answer.head);
		return route->rtm_type != RTN_UNICAST;
	}
}
