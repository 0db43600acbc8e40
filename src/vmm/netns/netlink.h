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
 * nl_do() refuses messages that did not fit.  Plain values, nothing to free.
 * Source: netlink(7), rtnetlink(7), the kernel's include/uapi/linux.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NL_SIZE 4096u

struct nl {
	_Alignas(4) uint8_t data[NL_SIZE];
	size_t len;
	size_t message; /* offset of the last message, which gets attributes */
	uint32_t n;	/* number of messages */
	bool failed;	/* something did not fit */
};

/* Begin another message; NLM_F_REQUEST is added.  body: the struct in front of the attributes. */
void nl_message(struct nl *m, uint16_t type, uint16_t flags, const void *body, size_t len);

void nl_attr(struct nl *m, uint16_t type, const void *data, size_t len);
void nl_string(struct nl *m, uint16_t type, const char *s); /* with its NUL */
void nl_u32(struct nl *m, uint16_t type, uint32_t value);
void nl_be32(struct nl *m, uint16_t type, uint32_t value); /* as nf_tables wants numbers */

/* Add bytes that are no attribute, such as a header inside an attribute. */
void nl_bytes(struct nl *m, const void *data, size_t len);

/* Begin an attribute that contains the following ones, until nl_nest_end() gets the result. */
size_t nl_nest(struct nl *m, uint16_t type);
void nl_nest_end(struct nl *m, size_t nest);

/* Open a socket of NETLINK_ROUTE or NETLINK_NETFILTER in this thread's network namespace.
 * Close-on-exec; -errno. */
int nl_open(int protocol);

/*
 * Send all messages at once and read the kernel's answers.  Messages without NLM_F_ACK get none.
 *
 * Returns 0, the -errno of the first message that the kernel refused, -EMSGSIZE (something did not
 * fit) or -EPROTO (an answer is missing).
 */
int nl_do(int fd, struct nl *m);

#endif
