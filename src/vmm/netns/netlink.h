/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_NETLINK_H
#define VMM_NETNS_NETLINK_H

/*
 * Messages to the kernel over netlink(7), for making links, addresses, routes and NAT rules.
 *
 *	struct nl m = { 0 };
 *	nl_message(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_ACK, &ifinfo, sizeof(ifinfo));
 *	nl_string(&m, IFLA_IFNAME, "tap0");
 *	size_t info = nl_nest(&m, IFLA_LINKINFO);
 *	...
 *	nl_nest_end(&m, info);
 *	r = nl_do(fd, &m);
 *
 * What does not fit is remembered and refused by nl_do().  Plain values, nothing to free.
 * Source: netlink(7), rtnetlink(7), the kernel's include/uapi/linux.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NL_SIZE 4096u

struct nl {
	_Alignas(4) uint8_t data[NL_SIZE];
	size_t len;
	size_t message; /* where the message that attributes go to begins */
	uint32_t n;	/* messages */
	bool failed;	/* it was too much */
};

/* Begin another message; NLM_F_REQUEST is added.  body: what comes before the attributes. */
void nl_message(struct nl *m, uint16_t type, uint16_t flags, const void *body, size_t len);

void nl_attr(struct nl *m, uint16_t type, const void *data, size_t len);
void nl_string(struct nl *m, uint16_t type, const char *s); /* with its NUL */
void nl_u32(struct nl *m, uint16_t type, uint32_t value);
void nl_be32(struct nl *m, uint16_t type, uint32_t value); /* as nf_tables wants numbers */

/* Bytes that are no attribute: a header inside of one. */
void nl_bytes(struct nl *m, const void *data, size_t len);

/* Attributes that follow are inside of this one, up to nl_nest_end() with what this returned. */
size_t nl_nest(struct nl *m, uint16_t type);
void nl_nest_end(struct nl *m, size_t nest);

/* A socket of NETLINK_ROUTE or NETLINK_NETFILTER, for the network namespace that we are in now.
 * Close-on-exec; -errno. */
int nl_open(int protocol);

/*
 * Send all messages at once; the kernel answers before this returns.  Returns 0 or the -errno of
 * the first message that it refused, -EMSGSIZE (too much), -EPROTO (an answer is missing).
 * Messages without NLM_F_ACK are not waited for.
 */
int nl_do(int fd, struct nl *m);

#endif
