/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/firecracker/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sock.h"

#define CALLS_MAX 4096 /* more than a listening socket holds */

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

static void hang_up(struct fc_agent *a)
{
	auto_close(&a->host_fd);
	a->host_fd = -1;
}

static void on_link_end(void *arg, struct link *l)
{
	struct fc_agent *a = arg;
	a->link = NULL;
	link_free(l);
	hang_up(a);
}

/* Take the guest's socket over.  host_fd stays open, for the next call. */
static int connect_guest(struct fc_agent *a, int guest)
{
	if (a->on_agent) {
		int r = pass_early_bytes(a->host_fd, guest);
		return r < 0 ? r : a->on_agent(a->arg, guest);
	}
	AUTO_CLOSE int host = fcntl(a->host_fd, F_DUPFD_CLOEXEC, 3);
	int r = host < 0 ? -errno : link_new(a->loop, guest, host, on_link_end, a, &a->link);
	if (r == 0)
		(void)TAKE_FD(host);
	return r;
}

/* A failure here closes both sockets, so whoever waits for the agent sees the channel end. */
static void on_guest(void *arg, uint32_t events)
{
	struct fc_agent *a = arg;
	(void)events;
	AUTO_CLOSE int guest = sock_accept(a->listen_fd);
	if (guest < 0 || !a->awaits)
		return; /* the guest has hung up again, or it is not the agent */
	a->awaits = false;
	if (connect_guest(a, guest) == 0)
		(void)TAKE_FD(guest);
	else
		hang_up(a);
}

int fc_agent_wait(struct fc_agent *a, struct loop *loop, int listen_fd, int host_fd,
		  const struct vmm_config *config)
{
	a->loop = loop;
	a->on_agent = config->on_agent;
	a->arg = config->on_agent_arg;
	a->listen_fd = listen_fd;
	a->host_fd = host_fd;
	a->awaits = true;
	return loop_add_fd(loop, listen_fd, EPOLLIN, on_guest, a, &a->listen_source);
}

int fc_agent_again(struct fc_agent *a)
{
	/* calls from before the snapshot; a Firecracker that its guest has taken over may go on
	 * calling */
	for (int i = 0; i < CALLS_MAX; i++) {
		int fd = sock_accept(a->listen_fd);
		if (fd < 0)
			break;
		close(fd);
	}
	if (a->awaits)
		return 0;
	link_free(TAKE_PTR(a->link));
	a->awaits = true;
	return a->on_agent ? a->on_agent(a->arg, -1) : 0;
}

void fc_agent_done(struct fc_agent *a)
{
	loop_source_free(a->listen_source);
	auto_close(&a->listen_fd);
	link_free(a->link);
	auto_close(&a->host_fd);
	*a = (struct fc_agent)FC_AGENT_NONE;
}
