/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/own.h"

int sock_pair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

static int address_at(int dir_fd, const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
	return n < (int)sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

int sock_listen_at(int dir_fd, const char *name)
{
	struct sockaddr_un addr;
	int r = address_at(dir_fd, name, &addr);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0) /* Linux: bind() takes the socket's own mode, so no window */
		return -errno;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	if (listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int connect_at(int dir_fd, const char *name, int flags)
{
	struct sockaddr_un addr;
	int r = address_at(dir_fd, name, &addr);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int sock_connect_at(int dir_fd, const char *name)
{
	return connect_at(dir_fd, name, 0);
}

int sock_try_connect_at(int dir_fd, const char *name)
{
	return connect_at(dir_fd, name, SOCK_NONBLOCK);
}

int sock_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int sock_peer_uid(int fd, uid_t *ret)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret = cred.uid;
	return 0;
}

bool sock_peer_is_member(int fd, gid_t group)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (group == (gid_t)-1 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	if (cred.gid == group)
		return true;
	len = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return false;
	AUTO_FREE gid_t *groups = malloc(len);
	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(*groups); i++) {
		if (groups[i] == group)
			return true;
	}
	return false;
}

/* Room for one descriptor. */
union fds_control {
	char space[CMSG_SPACE(sizeof(int) * SOCK_FDS_MAX)];
	struct cmsghdr align;
};

int sock_send_fds(int sock, const void *data, size_t len, const int *fds, size_t n)
{
	union fds_control control = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;
	if (n > 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n);
	}
	do
		sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == len ? 0 : -EAGAIN;
}

int sock_send_fd(int sock, const void *data, size_t len, int fd)
{
	return sock_send_fds(sock, data, len, &fd, 1);
}

static size_t take_fds(struct msghdr *msg, int *ret, size_t max)
{
	size_t n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < here; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (n < max)
				ret[n++] = fd;
			else
				close(fd); /* the space of one has room for two */
		}
	}
	return n;
}

ssize_t sock_receive_fds(int sock, void *data, size_t len, int flags, int *ret_fds, size_t max,
			 size_t *ret_n)
{
	union fds_control control = { 0 };
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = CMSG_SPACE(sizeof(int) * max),
	};
	ssize_t n;
	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*ret_n = n > 0 ? take_fds(&msg, ret_fds, max) : 0;
	return n < 0 ? -errno : n;
}

int sock_receive_fd(int sock)
{
	char byte;
	int fd;
	size_t n_fds;
	ssize_t n = sock_receive_fds(sock, &byte, 1, MSG_DONTWAIT, &fd, 1, &n_fds);
	if (n <= 0)
		return n < 0 ? (int)n : -EPIPE;
	return n_fds == 1 ? fd : -EPROTO;
}
