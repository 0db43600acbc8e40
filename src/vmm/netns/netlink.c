/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/netns/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"

/* Add room for len bytes, aligned to 4 and zeroed; NULL when they do not fit. */
static void *extend(struct nl *m, size_t len)
{
	size_t padded = (len + 3) & ~(size_t)3;
	if (m->failed || len > NL_SIZE || m->len + padded > NL_SIZE) {
		m->failed = true;
		return NULL;
	}
	void *at = m->data + m->len;
	memset(at, 0, padded);
	m->len += padded;
	return at;
}

static struct nlmsghdr *header(struct nl *m)
{
	return (void *)(m->data + m->message);
}

static void update_length(struct nl *m)
{
	if (!m->failed)
		header(m)->nlmsg_len = (uint32_t)(m->len - m->message);
}

void nl_message(struct nl *m, uint16_t type, uint16_t flags, const void *body, size_t len)
{
	size_t at = m->len;
	struct nlmsghdr *h = extend(m, sizeof(*h));
	void *to = extend(m, len);
	if (!h || !to)
		return;
	m->message = at;
	h->nlmsg_type = type;
	h->nlmsg_flags = flags | NLM_F_REQUEST;
	h->nlmsg_seq = m->n++; /* nl_do() makes it unique */
	memcpy(to, body, len);
	update_length(m);
}

void nl_attr(struct nl *m, uint16_t type, const void *data, size_t len)
{
	const struct nlattr attr = { .nla_len = (uint16_t)(sizeof(attr) + len), .nla_type = type };
	uint8_t *to = extend(m, sizeof(attr) + len);
	if (!to)
		return;
	memcpy(to, &attr, sizeof(attr));
	if (len)
		memcpy(to + sizeof(attr), data, len);
	update_length(m);
}

void nl_string(struct nl *m, uint16_t type, const char *s)
{
	nl_attr(m, type, s, strlen(s) + 1);
}

void nl_u32(struct nl *m, uint16_t type, uint32_t value)
{
	nl_attr(m, type, &value, sizeof(value));
}

void nl_be32(struct nl *m, uint16_t type, uint32_t value)
{
	nl_u32(m, type, htonl(value));
}

void nl_bytes(struct nl *m, const void *data, size_t len)
{
	void *to = extend(m, len);
	if (!to)
		return;
	memcpy(to, data, len);
	update_length(m);
}

size_t nl_nest(struct nl *m, uint16_t type)
{
	size_t at = m->len;
	nl_attr(m, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nl_nest_end(struct nl *m, size_t nest)
{
	if (m->failed)
		return;
	struct nlattr *attr = (void *)(m->data + nest);
	attr->nla_len = (uint16_t)(m->len - nest);
}

int nl_open(int protocol)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	const int one = 1;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;
	/* ask for answers without a copy of the question; on failure they are only longer */
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* Give the messages numbers that no earlier answer has.  Returns how many are answered. */
static uint32_t number(struct nl *m, uint32_t first)
{
	uint32_t wanted = 0;
	for (size_t at = 0; at < m->len;) {
		struct nlmsghdr *h = (void *)(m->data + at);
		h->nlmsg_seq += first;
		wanted += (h->nlmsg_flags & NLM_F_ACK) != 0;
		at += NLMSG_ALIGN(h->nlmsg_len);
	}
	return wanted;
}

/* Count the acknowledgements in what has come.  Returns their number or the first refusal. */
static int read_answers(const uint8_t *data, size_t len, uint32_t first, uint32_t n)
{
	int answers = 0;
	while (len >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr h;
		memcpy(&h, data, sizeof(h));
		size_t size = NLMSG_ALIGN(h.nlmsg_len);
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
			return -EPROTO;
		int code = 0;
		if (h.nlmsg_type == NLMSG_ERROR && h.nlmsg_seq - first < n) {
			if (h.nlmsg_len < sizeof(h) + sizeof(code))
				return -EPROTO;
			memcpy(&code, data + sizeof(h), sizeof(code));
			if (code < 0)
				return code;
			answers++;
		}
		data += size < len ? size : len;
		len -= size < len ? size : len;
	}
	return answers;
}

int nl_do(int fd, struct nl *m)
{
	_Alignas(4) uint8_t buffer[8192];
	if (m->failed)
		return -EMSGSIZE;
	uint32_t first;
	random_bytes(&first, sizeof(first)); /* an unread older answer has another number */
	uint32_t wanted = number(m, first);
	if (send(fd, m->data, m->len, 0) != (ssize_t)m->len)
		return -errno;
	while (wanted > 0) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN ? -EPROTO : -errno;
		int r = read_answers(buffer, (size_t)n, first, m->n);
		if (r < 0)
			return r;
		wanted -= (uint32_t)r < wanted ? (uint32_t)r : wanted;
	}
	return 0;
}
