/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/line.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/sock.h"
#include "base/wait.h"

struct header {
	int32_t what;
	uint32_t len, n_fds;
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

static int send_all(int fd, int end_fd, const char *data, size_t len)
{
	int r = 0;
	while (r == 0 && len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			r = wait_writable(fd, end_fd);
		else if (n < 0 && errno != EINTR)
			r = -errno;
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return r;
}

int line_send(int fd, int end_fd, const struct line_message *m)
{
	struct header head = { m->what, (uint32_t)m->fields.len, m->n_fds };
	if (m->fields.failed)
		return -ENOMEM;
	if (m->fields.len > LINE_BYTES_MAX)
		return -EFBIG;
	int r;
	while ((r = sock_send_fds(fd, &head, sizeof(head), m->fds, m->n_fds)) == -EAGAIN) {
		r = wait_writable(fd, end_fd);
		if (r < 0)
			break;
	}
	return r < 0 ? r : send_all(fd, end_fd, m->fields.data, m->fields.len);
}

/* end_fd -1: fd blocks, and this does. */
static int receive_fields(int fd, int end_fd, size_t len, struct strbuf *ret)
{
	char chunk[16384];
	while (len > 0) {
		int r = end_fd < 0 ? 0 : wait_readable(fd, end_fd, DEADLINE_NONE);
		if (r < 0)
			return r;
		ssize_t n = recv(fd, chunk, len < sizeof(chunk) ? len : sizeof(chunk), 0);
		if (n < 0 && (errno == EINTR || (errno == EAGAIN && end_fd >= 0)))
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
	struct header head = { 0 };
	size_t n_fds;
	ssize_t n = sock_receive_fds(fd, &head, sizeof(head), MSG_WAITALL, ret->fds, LINE_FDS_MAX,
				     &n_fds);
	ret->n_fds = (uint32_t)n_fds;
	if (n != (ssize_t)sizeof(head))
		return n < 0 ? (int)n : -EPIPE;
	if (head.len > LINE_BYTES_MAX || head.n_fds != ret->n_fds)
		return -EPROTO;
	ret->what = head.what;
	return receive_fields(fd, -1, head.len, &ret->fields);
}

int line_receive_question(int fd, int end_fd, struct line_message *ret)
{
	struct header head = { 0 };
	ssize_t n;
	do /* recv(2) closes the descriptors */
		n = recv(fd, &head, sizeof(head), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != (ssize_t)sizeof(head))
		return -EPIPE; /* a header comes in one piece */
	if (head.len > LINE_BYTES_MAX || head.n_fds > 0)
		return -EPROTO;
	ret->what = head.what;
	return receive_fields(fd, end_fd, head.len, &ret->fields);
}
