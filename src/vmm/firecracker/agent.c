/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/firecracker/agent.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sock.h"

static void stop_listening(struct fc_agent *a)
{
	loop_source_free(TAKE_PTR(a->listen_source));
	auto_close(&a->listen_fd);
	a->listen_fd = -1;
}

static void on_link_end(void *arg, struct link *l)
{
	struct fc_agent *a = arg;
	a->link = NULL;
	link_free(l);
}

/* Pass on the bytes that were sent before the guest dialled: calls, which are small. */
static int pass_early_bytes(int host, int guest)
{
	char buffer[4096];
	for (;;) {
		ssize_t n = recv(host, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 || errno == EAGAIN ? 0 : -errno;
		if (send(guest, buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
			return -ENOBUFS;
	}
}

/* A failure here closes both sockets, so whoever waits for the agent sees the channel end. */
static void on_guest(void *arg, uint32_t events)
{
	struct fc_agent *a = arg;
	(void)events;
	AUTO_CLOSE int guest = sock_accept(a->listen_fd);
	if (guest < 0)
		return; /* the guest has hung up again: wait for its next try */
	stop_listening(a);
	AUTO_CLOSE int host = TAKE_FD(a->host_fd);
	if (a->on_agent) {
		if (pass_early_bytes(host, guest) == 0 && a->on_agent(a->arg, guest) == 0)
			(void)TAKE_FD(guest);
	} else if (link_new(a->loop, guest, host, on_link_end, a, &a->link) == 0) {
		(void)TAKE_FD(guest);
		(void)TAKE_FD(host);
	}
}

int fc_agent_wait(struct fc_agent *a, struct loop *loop, int listen_fd, int host_fd,
		  const struct vmm_config *config)
{
	a->loop = loop;
	a->on_agent = config->on_agent;
	a->arg = config->on_agent_arg;
	a->listen_fd = listen_fd;
	a->host_fd = host_fd;
	return loop_add_fd(loop, listen_fd, EPOLLIN, on_guest, a, &a->listen_source);
}

void fc_agent_done(struct fc_agent *a)
{
	stop_listening(a);
	link_free(a->link);
	auto_close(&a->host_fd);
	*a = (struct fc_agent)FC_AGENT_NONE;
}
