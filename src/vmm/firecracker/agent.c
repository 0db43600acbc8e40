/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/firecracker/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sock.h"
#include "vmm/firecracker/folder.h"

/* The connection is over: both ends learn it. */
static void hang_up(struct fc_agent *a)
{
	loop_source_free(TAKE_PTR(a->guest_source));
	loop_source_free(TAKE_PTR(a->host_source));
	if (a->guest_fd >= 0)
		(void)close(TAKE_FD(a->guest_fd));
	if (a->host_fd >= 0)
		(void)close(TAKE_FD(a->host_fd));
}

static void take(struct fc_flow *flow, int fd)
{
	if (flow->len == 0)
		flow->start = 0;
	size_t end = flow->start + flow->len;
	if (flow->ended || end == FC_FLOW_SIZE)
		return;
	ssize_t n = recv(fd, flow->data + end, FC_FLOW_SIZE - end, MSG_DONTWAIT);
	if (n > 0)
		flow->len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		flow->ended = true;
}

static void give(struct fc_flow *flow, int fd)
{
	if (flow->len == 0)
		return;
	ssize_t n = send(fd, flow->data + flow->start, flow->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0) {
		flow->start += (size_t)n;
		flow->len -= (size_t)n;
	} else if (errno != EAGAIN && errno != EINTR) {
		flow->ended = true; /* nobody takes it: it is as good as delivered */
		flow->len = 0;
	}
}

/* What to wait for at a socket that `in` comes from and `out` goes to. */
static uint32_t events_of(const struct fc_flow *in, const struct fc_flow *out)
{
	return (!in->ended && in->len < FC_FLOW_SIZE ? EPOLLIN : 0) | (out->len ? EPOLLOUT : 0);
}

static void pass_on(struct fc_agent *a)
{
	take(&a->to_host, a->guest_fd);
	take(&a->to_guest, a->host_fd);
	give(&a->to_host, a->host_fd);
	give(&a->to_guest, a->guest_fd);
	bool over = (a->to_host.ended && a->to_host.len == 0) ||
		    (a->to_guest.ended && a->to_guest.len == 0);
	if (over ||
	    loop_source_set_events(a->guest_source, events_of(&a->to_host, &a->to_guest)) < 0 ||
	    loop_source_set_events(a->host_source, events_of(&a->to_guest, &a->to_host)) < 0)
		hang_up(a);
}

static void on_socket(void *arg, uint32_t events)
{
	struct fc_agent *a = arg;
	(void)events;
	if (a->guest_source) /* not hung up by the other socket's turn */
		pass_on(a);
}

static void stop_listening(struct fc_agent *a)
{
	loop_source_free(TAKE_PTR(a->listen_source));
	if (a->listen_fd < 0)
		return;
	(void)close(TAKE_FD(a->listen_fd));
	(void)unlinkat(a->dir_fd, FC_AGENT_SOCKET, 0); /* goes with its folder at the latest */
}

static void on_guest(void *arg, uint32_t events)
{
	struct fc_agent *a = arg;
	(void)events;
	a->guest_fd = sock_accept(a->listen_fd);
	if (a->guest_fd < 0)
		return; /* it has gone again, or there is none: the next one counts */
	stop_listening(a);
	if (loop_add_fd(a->loop, a->guest_fd, EPOLLIN, on_socket, a, &a->guest_source) < 0 ||
	    loop_add_fd(a->loop, a->host_fd, EPOLLIN, on_socket, a, &a->host_source) < 0)
		hang_up(a); /* whoever waits for the agent sees the channel end */
}

int fc_agent_listen(struct fc_agent *a, struct loop *loop, int dir_fd, int agent_fd)
{
	a->loop = loop;
	a->dir_fd = dir_fd;
	a->to_guest.data = malloc(FC_FLOW_SIZE);
	a->to_host.data = malloc(FC_FLOW_SIZE);
	if (!a->to_guest.data || !a->to_host.data)
		return -ENOMEM;
	a->host_fd = fcntl(agent_fd, F_DUPFD_CLOEXEC, 3);
	if (a->host_fd < 0)
		return -errno;
	a->listen_fd = sock_listen_at(dir_fd, FC_AGENT_SOCKET);
	if (a->listen_fd < 0)
		return a->listen_fd;
	return loop_add_fd(loop, a->listen_fd, EPOLLIN, on_guest, a, &a->listen_source);
}

void fc_agent_done(struct fc_agent *a)
{
	stop_listening(a);
	hang_up(a);
	free(a->to_guest.data);
	free(a->to_host.data);
	*a = (struct fc_agent)FC_AGENT_NONE;
}
