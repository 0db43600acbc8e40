/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/ports6.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

#define CONNECTIONS 192 /* of one port; the same limit as in netns.c */
#define BACKLOG	    128

static int type_of(bool udp)
{
	return (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
}

static struct sockaddr_in inner_address(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int dial(void *arg, int type)
{
	const struct port6 *p = arg;
	const struct sockaddr_in to = inner_address(p->inner);
	AUTO_CLOSE int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 ||
	    (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS))
		return -errno;
	return TAKE_FD(fd);
}

static int listen_on(const struct vmm_forward *f, const struct in6_addr *address)
{
	const struct sockaddr_in6 at = { .sin6_family = AF_INET6,
					 .sin6_port = htons(f->host_port),
					 .sin6_addr = *address };
	const int on = 1;
	AUTO_CLOSE int fd = socket(AF_INET6, type_of(f->udp), 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (!f->udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
	    (!f->udp && listen(fd, BACKLOG) < 0))
		return -errno;
	return TAKE_FD(fd);
}

/* Find a port that is free now.  If another process takes it first, the VMM reports that. */
static int free_port(bool udp, uint16_t *ret)
{
	struct sockaddr_in at = inner_address(0);
	socklen_t len = sizeof(at);
	AUTO_CLOSE int fd = socket(AF_INET, type_of(udp), 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return -errno;
	*ret = ntohs(at.sin_port);
	return 0;
}

static int open_one(struct ports6 *p, struct loop *loop, const struct vmm_forward *f,
		    const struct in6_addr *address, struct vmm_forward *inner)
{
	struct port6 *port = &p->v[p->n];
	AUTO_CLOSE int fd = listen_on(f, address);
	int r = fd < 0 ? fd : free_port(f->udp, &port->inner);
	if (r == 0)
		r = relay_new(loop, fd, f->udp, CONNECTIONS, dial, port, &port->relay);
	if (r < 0)
		return r;
	(void)TAKE_FD(fd);
	p->n++;
	snprintf(inner->host_address, sizeof(inner->host_address), "127.0.0.1");
	inner->host_port = port->inner;
	return 0;
}

int ports6_open(struct ports6 *p, struct loop *loop, const struct vmm_forward *forwards, size_t n,
		struct mvm_error *err)
{
	struct in6_addr address;

	*p = (struct ports6){ 0 };
	for (size_t i = 0; i < n; i++) {
		const struct vmm_forward *f = &forwards[i];
		p->inner[i] = *f;
		if (inet_pton(AF_INET6, f->host_address, &address) != 1)
			continue;
		int r = open_one(p, loop, f, &address, &p->inner[i]);
		if (r < 0)
			return mvm_error_set(err, r, "cannot forward port %u of %s: %s",
					     f->host_port, f->host_address, strerror(-r));
	}
	return 0;
}

void ports6_done(struct ports6 *p)
{
	while (p->n > 0)
		relay_free(p->v[--p->n].relay);
}
