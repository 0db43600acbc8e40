/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/line.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"

struct header {
	int32_t what;
	uint32_t len, n_fds;
};

union fds_control {
	char space[CMSG_SPACE(sizeof(int) * LINE_FDS_MAX)];
	struct cmsghdr align;
};

void line_message_done(struct line_message *m)
{
	for (uint32_t i = 0; i < m->n_fds; i++)
		auto_close(&m->fds[i]);
	strbuf_done(&m->fields);
	*m = (struct line_message){ 0 };
}

void line_add_fd(struct line_message *m, int fd)
{
	m->fds[m->n_fds++] = fd;
}

static int send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int line_send(int fd, const struct line_message *m)
{
	union fds_control control = { 0 };
	struct header head = { m->what, (uint32_t)m->fields.len, m->n_fds };
	struct iovec iov = { .iov_base = &head, .iov_len = sizeof(head) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;
	if (m->fields.failed)
		return -ENOMEM;
	if (m->fields.len > LINE_BYTES_MAX)
		return -EFBIG;
	if (m->n_fds) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * m->n_fds);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * m->n_fds);
		memcpy(CMSG_DATA(cmsg), m->fds, sizeof(int) * m->n_fds);
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(head))
		return n < 0 ? -errno : -EPIPE;
	return send_all(fd, m->fields.data, m->fields.len);
}

static void take_fds(struct msghdr *msg, struct line_message *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(ret->fds, CMSG_DATA(c),
		       n * sizeof(int)); /* no more than there is room for */
		ret->n_fds = (uint32_t)n;
	}
}

static int receive_fields(int fd, size_t len, struct strbuf *ret)
{
	char chunk[16384];
	while (len > 0) {
		ssize_t n = recv(fd, chunk, len < sizeof(chunk) ? len : sizeof(chunk), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		strbuf_add(ret, chunk, (size_t)n);
		len -= (size_t)n;
	}
	return ret->failed ? -ENOMEM : 0;
}

int line_receive(int fd, struct line_message *ret)
{
	union fds_control control = { 0 };
	struct header head = { 0 };
	struct iovec iov = { .iov_base = &head, .iov_len = sizeof(head) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		take_fds(&msg, ret);
	if (n != (ssize_t)sizeof(head))
		return n < 0 ? -errno : -EPIPE;
	if (head.len > LINE_BYTES_MAX || head.n_fds != ret->n_fds)
		return -EPROTO;
	ret->what = head.what;
	return receive_fields(fd, head.len, &ret->fields);
}
