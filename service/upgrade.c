/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/queue.h"
#include "request.h"
#include "server.h"

#define READ_BYTES 32768
#define FINISH_MS  10000

struct upgrade {
	struct server *server;
	const struct upgrade_ops *ops;
	void *arg;
	struct MHD_UpgradeResponseHandle *handle; /* NULL: not upgraded yet */
	int fd;
	struct loop_source *source; /* set only while there is something to wait for */
	struct loop_source *timer;  /* of upgrade_finish() */
	struct queue out;
	bool paused, ended, finishing, over;
	bool was_full;
};

static void on_socket(void *arg, uint32_t events);

static void watch(struct upgrade *u)
{
	uint32_t events = 0;
	int r = 0;

	if (!u->handle)
		return;
	if (!u->over && !u->paused && !u->ended && !u->finishing)
		events |= EPOLLIN;
	if (!u->over && queue_len(&u->out) > 0)
		events |= EPOLLOUT;
	if (!events) {
		loop_source_free(u->source);
		u->source = NULL;
	} else if (u->source) {
		r = loop_source_set_events(u->source, events);
	} else {
		r = loop_add_fd(u->server->loop, u->fd, events, on_socket, u, &u->source);
	}
	if (r < 0)
		upgrade_close(u);
}

void upgrade_close(struct upgrade *u)
{
	if (u->over)
		return;
	u->over = true;
	loop_source_free(u->source);
	loop_source_free(u->timer);
	u->source = u->timer = NULL;
	if (!u->handle)
		return; /* on_upgrade() closes it */
	MHD_upgrade_action(u->handle, MHD_UPGRADE_ACTION_CLOSE);
	u->server->again = true; /* libmicrohttpd ends the request, which calls closed */
}

static void on_time(void *arg)
{
	upgrade_close(arg);
}

/* Send what the socket takes. */
static void flush(struct upgrade *u)
{
	while (u->handle && !u->over && queue_len(&u->out) > 0) {
		ssize_t n = send(u->fd, queue_front(&u->out), queue_len(&u->out), MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			upgrade_close(u);
		if (n <= 0)
			break;
		queue_take(&u->out, (size_t)n);
	}
	if (u->finishing && queue_len(&u->out) == 0 && u->handle)
		upgrade_close(u);
	if (!u->over)
		watch(u);
}

static void read_some(struct upgrade *u)
{
	char data[READ_BYTES];
	ssize_t n = recv(u->fd, data, sizeof(data), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		u->ops->data(u->arg, data, (size_t)n);
		return;
	}
	u->ended = true;
	if (n == 0 && u->ops->end)
		u->ops->end(u->arg);
	else
		upgrade_close(u);
}

static void on_socket(void *arg, uint32_t events)
{
	struct upgrade *u = arg;

	if (events & EPOLLOUT) {
		flush(u);
		if (!u->over && u->was_full && queue_len(&u->out) <= UPGRADE_BYTES / 2) {
			u->was_full = false;
			if (u->ops->room)
				u->ops->room(u->arg);
		}
	}
	if (!u->over && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !u->paused && !u->ended &&
	    !u->finishing)
		read_some(u);
	else if (!u->over && (events & (EPOLLHUP | EPOLLERR)))
		upgrade_close(u);
	if (!u->over)
		watch(u);
}

static void on_upgrade(void *arg, struct MHD_Connection *connection, void *con_cls,
		       const char *extra, size_t extra_len, MHD_socket fd,
		       struct MHD_UpgradeResponseHandle *handle)
{
	struct upgrade *u = arg;
	bool over = u->over;
	(void)connection;
	(void)con_cls;

	u->handle = handle;
	u->fd = fd;
	u->over = false;
	if (over || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		upgrade_close(u);
		return;
	}
	if (extra_len > 0)
		u->ops->data(u->arg, extra, extra_len);
	if (!u->over)
		flush(u);
}

/* The request has ended. */
static void on_end(void *own)
{
	struct upgrade *u = own;
	u->over = true;
	loop_source_free(u->source);
	loop_source_free(u->timer);
	u->ops->closed(u->arg);
	queue_done(&u->out);
	free(u);
}

int upgrade_open(struct request *rq, const struct upgrade_reply *reply,
		 const struct upgrade_ops *ops, void *arg, struct upgrade **ret,
		 struct mvm_error *err)
{
	struct upgrade *u = calloc(1, sizeof(*u));
	if (!u)
		return mvm_error_oom(err);
	*u = (struct upgrade){ .server = rq->server, .ops = ops, .arg = arg, .fd = -1 };
	struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgrade, u);
	bool ok = response && MHD_add_response_header(response, MHD_HTTP_HEADER_UPGRADE,
						      reply->protocol) == MHD_YES;
	for (size_t i = 0; ok && reply->headers && reply->headers[i]; i += 2)
		ok = MHD_add_response_header(response, reply->headers[i], reply->headers[i + 1]) ==
		     MHD_YES;
	if (!ok) {
		if (response)
			MHD_destroy_response(response);
		free(u);
		return mvm_error_oom(err);
	}
	rq->own = u;
	rq->own_free = on_end;
	*ret = u;
	request_reply_response(rq, MHD_HTTP_SWITCHING_PROTOCOLS, response);
	return 0;
}

size_t upgrade_room(const struct upgrade *u)
{
	size_t n = queue_len(&u->out);
	return n < UPGRADE_BYTES && !u->over ? UPGRADE_BYTES - n : 0;
}

void upgrade_write(struct upgrade *u, const void *data, size_t len)
{
	if (u->over)
		return;
	queue_add(&u->out, data, len);
	if (u->out.buf.failed) {
		upgrade_close(u);
		return;
	}
	flush(u);
	u->was_full |= queue_len(&u->out) >= UPGRADE_BYTES;
}

void upgrade_pause(struct upgrade *u)
{
	u->paused = true;
	watch(u);
}

void upgrade_resume(struct upgrade *u)
{
	u->paused = false;
	if (!u->over)
		watch(u);
}

void upgrade_finish(struct upgrade *u)
{
	if (u->over || u->finishing)
		return;
	u->finishing = true;
	if (loop_add_timer(u->server->loop, clock_deadline_ns(FINISH_MS), on_time, u, &u->timer) <
	    0) {
		upgrade_close(u);
		return;
	}
	flush(u);
}
