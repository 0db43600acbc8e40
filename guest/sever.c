/* SPDX-License-Identifier: Apache-2.0 */
#include "sever.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "base/own.h"
#include "base/str.h"

#define MPTCP 262 /* IPPROTO_MPTCP, which old headers lack */

struct question {
	struct nlmsghdr head;
	struct rtmsg route;
	struct rtattr attribute;
	uint8_t address[16];
};

/* The value of RTA_OIF among a route's attributes; 0: none. */
static unsigned interface_among(const char *at, const char *end)
{
	struct rtattr a;
	unsigned interface;
	for (; end - at >= (ptrdiff_t)sizeof(a); at += RTA_ALIGN(a.rta_len)) {
		memcpy(&a, at, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > end - at)
			return 0;
		if (a.rta_type != RTA_OIF || RTA_PAYLOAD(&a) < sizeof(interface))
			continue;
		memcpy(&interface, at + RTA_LENGTH(0), sizeof(interface));
		return interface;
	}
	return 0;
}

/* The interface by which the kernel sends to an address; 0: it does not say. */
static unsigned interface_to(int routes, const struct sockaddr_in6 *peer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
	bool mapped = peer->sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr);
	bool v4 = peer->sin6_family == AF_INET || mapped;
	unsigned len = v4 ? 4 : 16;
	const void *address = peer->sin6_family == AF_INET ? (const void *)&in->sin_addr
							   : &peer->sin6_addr.s6_addr[16 - len];
	struct question q = {
		.head = { .nlmsg_len = (uint32_t)(offsetof(struct question, address) + len),
			  .nlmsg_type = RTM_GETROUTE,
			  .nlmsg_flags = NLM_F_REQUEST },
		.route = { .rtm_family = v4 ? AF_INET : AF_INET6,
			   .rtm_dst_len = (uint8_t)(len * 8) },
		.attribute = { .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = RTA_DST },
	};
	union {
		struct nlmsghdr head;
		char bytes[2048];
	} answer;
	memcpy(q.address, address, len);
	if (send(routes, &q, q.head.nlmsg_len, 0) < 0)
		return 0;
	ssize_t n = recv(routes, &answer, sizeof(answer), MSG_DONTWAIT);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct rtmsg)) ||
	    !NLMSG_OK(&answer.head, (uint32_t)n) || answer.head.nlmsg_type != RTM_NEWROUTE)
		return 0;
	return interface_among(answer.bytes + NLMSG_SPACE(sizeof(struct rtmsg)),
			       answer.bytes + answer.head.nlmsg_len);
}

/* Does the interface have a device?  Bridges, tunnels and loopback have none. */
static bool is_card(unsigned interface)
{
	char name[IF_NAMESIZE], path[64];
	if (!if_indextoname(interface, name))
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
	return access(path, F_OK) == 0;
}

/* Is it a connection that leaves the guest? */
static bool leaves(int routes, int fd)
{
	struct sockaddr_in6 peer = { 0 };
	socklen_t len = sizeof(peer), protocol_len = sizeof(int);
	int protocol = 0;
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &protocol_len) == 0 &&
	       (protocol == IPPROTO_TCP || protocol == MPTCP) &&
	       getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
	       is_card(interface_to(routes, &peer));
}

/* Takes fd over. */
static void add(struct connections *c, int fd)
{
	int *fds = realloc(c->fds, (c->n + 1) * sizeof(*fds));
	if (!fds) {
		close(fd);
		c->more = true;
		return;
	}
	c->fds = fds;
	c->fds[c->n++] = fd;
}

/* Kernel threads have no program, and no files. */
static bool is_of_kernel(int proc_fd, const char *pid)
{
	char path[32], unused;
	snprintf(path, sizeof(path), "%.20s/exe", pid);
	return readlinkat(proc_fd, path, &unused, 1) < 0 && errno == ENOENT;
}

/* A name of digits in /proc. */
static int number(const char *name)
{
	return (int)strtol(name, NULL, 10);
}

static void find_of(int routes, int proc_fd, const char *pid, struct connections *ret)
{
	char path[32], target[64];
	snprintf(path, sizeof(path), "%.20s/fd", pid);
	int dir_fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSEDIR DIR *fds = dir_fd < 0 ? NULL : fdopendir(dir_fd);
	AUTO_CLOSE int process = fds ? (int)syscall(SYS_pidfd_open, number(pid), 0) : -1;
	if (process < 0) {
		if (!fds && dir_fd >= 0)
			close(dir_fd);
		return; /* it has ended, or is a kernel thread */
	}
	for (struct dirent *e; (e = readdir(fds));) {
		ssize_t n = readlinkat(dir_fd, e->d_name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (!str_starts(target, "socket:"))
			continue;
		AUTO_CLOSE int fd = (int)syscall(SYS_pidfd_getfd, process, number(e->d_name), 0);
		if (fd < 0)
			ret->more |= errno == EMFILE || errno == ENFILE || errno == ENOMEM;
		else if (leaves(routes, fd))
			add(ret, TAKE_FD(fd));
	}
}

void connections_find(struct connections *ret)
{
	*ret = (struct connections){ 0 };
	AUTO_CLOSE int routes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	AUTO_CLOSEDIR DIR *proc = opendir("/proc");
	if (routes < 0 || !proc) /* a guest without a network has no connections */
		return;
	for (struct dirent *e; (e = readdir(proc));) {
		if (strspn(e->d_name, "0123456789") == strlen(e->d_name) &&
		    number(e->d_name) != getpid() && !is_of_kernel(dirfd(proc), e->d_name))
			find_of(routes, dirfd(proc), e->d_name, ret);
	}
}

void connections_done(struct connections *c)
{
	for (size_t i = 0; i < c->n; i++)
		close(c->fds[i]);
	free(c->fds);
	*c = (struct connections){ 0 };
}

/* Disconnecting sends a RST and makes the error of the socket's next call ECONNRESET (Linux,
 * tcp_disconnect()).  It works for a frozen program, which has left its system call. */
void connections_sever(struct connections *c)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	size_t severed = 0;
	for (size_t i = 0; i < c->n; i++) {
		if (connect(c->fds[i], &nobody, sizeof(nobody)) == 0)
			severed++;
		else
			agent_log("clones share a connection of this guest: %s", strerror(errno));
	}
	/* another search finds those again that cannot be severed (TLS in the kernel) */
	bool more = c->more && severed > 0;
	connections_done(c);
	if (more) {
		connections_find(c);
		connections_sever(c);
	}
}

void sever_connections(void)
{
	struct connections all;
	connections_find(&all);
	connections_sever(&all);
}
