/* SPDX-License-Identifier: Apache-2.0 */
/* What attack.c tries: sockets. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#include "attack.h"

#define FDS 64

#pragma GCC diagnostic ignored "-Wconversion"

/* ---- the network ---- */

static bool connects(int domain, const void *address, socklen_t len)
{
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool done = fd >= 0 && connect(fd, address, len) == 0;
	if (fd >= 0)
		close(fd);
	return done;
}

static bool connect_unix(bool abstract, const char *name)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(name);
	if (len > sizeof(un.sun_path) - 2)
		return false;
	memcpy(un.sun_path + abstract, name, len);
	return connects(AF_UNIX, &un, offsetof(struct sockaddr_un, sun_path) + abstract + len);
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static bool connect_other_vm(void)
{
	return connect_unix(false, attack_target("ATTACK_SOCKET"));
}
static bool connect_abstract(void)
{
	return connect_unix(true, attack_target("ATTACK_ABSTRACT"));
}

static bool connect_host(void)
{
	struct sockaddr_in to = loopback(atoi(attack_target("ATTACK_PORT")));
	return connects(AF_INET, &to, sizeof(to));
}

static bool listen_tcp(void)
{
	struct sockaddr_in at = loopback(0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd >= 0 && bind(fd, (void *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0;
}

static bool send_udp(void)
{
	struct sockaddr_in to = loopback(9);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd >= 0 && sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)) == 1;
}

/* The kernel loads a module for each such protocol. */
static bool makes(int type, int protocol)
{
	int fd = socket(AF_INET, type, protocol);
	return fd >= 0 && close(fd) == 0;
}
static bool rare_protocol(void)
{
	return makes(SOCK_STREAM, IPPROTO_SCTP) || makes(SOCK_STREAM, IPPROTO_MPTCP) ||
	       makes(SOCK_DGRAM, IPPROTO_UDPLITE);
}

static bool is_unix(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

/* The kernel would compile and run it. */
static bool attach_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, 0xffff);
	struct sock_fprog program = { 1, &allow };
	for (int fd = 0; fd < FDS; fd++) {
		if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0)
			return true;
	}
	return false;
}

/* A connection is needed, but its lack shows that the kernel has looked. */
static bool change_protocol(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd >= 0 && (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3) == 0 ||
			   (errno != ENOPROTOOPT && errno != ENOSYS));
}

/* The kernel would take the packets of a tunnel from it. */
static bool tunnel(void)
{
	const int espinudp = 2;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd >= 0 &&
	       setsockopt(fd, IPPROTO_UDP, 100 /* UDP_ENCAP */, &espinudp, sizeof(espinudp)) == 0;
}

/* A socket that it was given becomes a way to others. */
static bool redirect_socket(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	strncpy(un.sun_path, attack_target("ATTACK_SOCKET"), sizeof(un.sun_path) - 1);
	for (int fd = 0; fd < FDS; fd++) {
		if (is_unix(fd) && connect(fd, (void *)&un, sizeof(un)) == 0)
			return true;
	}
	return false;
}

static bool name_socket(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "\0mvm-attack" };
	for (int fd = 0; fd < FDS; fd++) {
		if (is_unix(fd) && bind(fd, (void *)&un, sizeof(un)) == 0)
			return true;
	}
	return false;
}

/* By a socket of netlink that it was given: take the loopback interface down. */
static bool change_links(void)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} ask = { { sizeof(ask), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 7, 0 },
		  { .ifi_index = 1, .ifi_change = IFF_DEBUG, .ifi_flags = IFF_DEBUG } };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[4096];
	} reply;
	for (int fd = 3; fd < FDS; fd++) {
		int domain = 0;
		socklen_t len = sizeof(domain);
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
		    domain != AF_NETLINK || send(fd, &ask, sizeof(ask), 0) < 0)
			continue;
		while (recvfrom(fd, &reply, sizeof(reply), 0, NULL, NULL) > 0 &&
		       reply.head.nlmsg_type != NLMSG_ERROR)
			;
		return reply.error.error == 0;
	}
	return false;
}

static bool list_interfaces(void)
{
	struct ifreq all[8];
	struct ifconf list = { .ifc_len = sizeof(all), .ifc_req = all };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd >= 0 && ioctl(fd, SIOCGIFCONF, &list) == 0;
}

void attack_answer(const char *text, size_t len)
{
	struct sockaddr_in to = loopback(atoi(attack_target("ATTACK_ANSWER")));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (void *)&to, sizeof(to)) == 0)
		(void)!write(fd, text, len);
	close(fd);
}

static bool pair_of_sockets(void)
{
	int fds[2];
	return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0;
}

const struct attempt attack_sockets[] = {
	{ "connect to another VM", connect_other_vm, 0, { 0 } },
	{ "connect to an abstract socket", connect_abstract, 0, { 0 } },
	{ "connect to the host", connect_host, 0, { 0 } },
	{ "listen on the host", listen_tcp, 0, { 0 } },
	{ "send a datagram", send_udp, 0, { 0 } },
	{ "make a pair of sockets", pair_of_sockets, 0, { 0 } },
	{ "socket of a rare protocol", rare_protocol, 0, { 0 } },
	{ "attach a filter to a socket", attach_filter, 0, { 0 } },
	{ "change a connection's protocol", change_protocol, 0, { 0 } },
	{ "put a tunnel behind a socket", tunnel, 0, { 0 } },
	{ "redirect a socket", redirect_socket, 0, { 0 } },
	{ "name a socket", name_socket, 0, { 0 } },
	{ "change the host's links", change_links, 0, { 0 } },
	{ "list the host's interfaces", list_interfaces, 0, { 0 } },
};

const size_t n_attack_sockets = sizeof(attack_sockets) / sizeof(attack_sockets[0]);
