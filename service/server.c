/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/sock.h"
#include "base/str.h"
#include "console/console.h"
#include "operation.h"
#include "request.h"

#define CONNECTIONS_MAX 2048u
/* of each connection: for the head of a request, and for a piece of its body */
#define CONNECTION_BYTES ((size_t)16 * 1024)
#define IDLE_S		 60u

/* Threads and queue of each kind of work. */
static const struct {
	unsigned threads, queue;
} pools[WORK_CLASSES] = {
	[WORK_READ] = { 4, 256 },
	[WORK_START] = { 8, 256 },
	[WORK_BUILD] = { 4, 64 },
};

/* ---- libmicrohttpd's callbacks ---- */

static void *on_target(void *arg, const char *target, struct MHD_Connection *connection)
{
	struct listener *l = arg;
	(void)connection;
	return request_new(l->server, l, target);
}

static enum MHD_Result on_step(void *arg, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *upload,
			       size_t *upload_len, void **con_cls)
{
	struct request *rq = *con_cls;
	(void)arg;
	(void)url; /* decoded, so "/" and "%2F" are the same in it */
	(void)version;
	return rq && request_step(rq, connection, method, upload, upload_len) ? MHD_YES : MHD_NO;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **con_cls,
			 enum MHD_RequestTerminationCode code)
{
	(void)arg;
	(void)connection;
	(void)code;
	if (*con_cls)
		request_completed(*con_cls);
	*con_cls = NULL;
}

/* ---- listeners ---- */

static void on_ready(void *arg, uint32_t events)
{
	struct listener *l = arg;
	(void)events;
	l->server->again = true; /* server_run() calls MHD_run() */
}

static void free_listener(struct listener *l)
{
	if (!l)
		return;
	loop_source_free(l->source);
	if (l->daemon)
		MHD_stop_daemon(l->daemon);
	if (l->path)
		unlink(l->path);
	free(l->path);
	free(l->address);
	free(l);
}

/* Start a daemon at a listening socket, which is taken over. */
static int listen_at(struct server *s, struct listener *l, int fd, struct mvm_error *err)
{
	l->server = s;
	l->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE, 0, NULL, NULL,
		on_step, l, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK, on_target, l,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_CONNECTION_LIMIT,
		CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES,
		MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_END);
	if (!l->daemon) {
		close(fd);
		return mvm_error_set(err, -EIO, "cannot start the HTTP server");
	}
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int r = loop_add_fd(s->loop, info->epoll_fd, EPOLLIN, on_ready, l, &l->source);
	if (r < 0)
		return mvm_error_set(err, r, "epoll_ctl: %s", strerror(-r));
	l->next = s->listeners;
	s->listeners = l;
	return 0;
}

/* Listen at a Unix socket; one whose process has ended is replaced. */
static int unix_socket(const char *path, struct mvm_error *err)
{
	AUTO_FREE char *for_dir = strdup(path);
	const char *slash = strrchr(path, '/');
	if (!for_dir)
		return mvm_error_oom(err);
	const char *name = slash ? slash + 1 : path;
	AUTO_CLOSE int dir_fd = open(dirname(for_dir), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return mvm_error_set(err, -errno, "cannot open the folder of '%s': %s", path,
				     strerror(errno));
	int fd = sock_listen_at(dir_fd, name);
	if (fd == -EADDRINUSE) {
		AUTO_CLOSE int peer = sock_connect_at(dir_fd, name);
		if (peer >= 0)
			return mvm_error_set(err, -EADDRINUSE, "another process serves '%s'", path);
		if (peer == -ECONNREFUSED && unlinkat(dir_fd, name, 0) == 0)
			fd = sock_listen_at(dir_fd, name);
	}
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot listen at '%s': %s", path, strerror(-fd));
	return fd;
}

int server_listen_unix(struct server *s, const char *path, struct mvm_error *err)
{
	struct listener *l = calloc(1, sizeof(*l));
	if (!l)
		return mvm_error_oom(err);
	int r = unix_socket(path, err);
	if (r >= 0) {
		l->path = strdup(path);
		r = listen_at(s, l, r, err);
	}
	if (r < 0)
		free_listener(l);
	return r;
}

/* "127.0.0.1:8080", "[::1]:8080" */
static int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
			 struct mvm_error *err)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	const char *colon = strrchr(text, ':');
	uint64_t port = 0;

	*ret = (struct sockaddr_storage){ 0 };
	if (!colon || parse_u64(colon + 1, 0, 65535, &port) < 0)
		return mvm_error_set(err, -EINVAL, "'%s' is not ADDRESS:PORT", text);
	AUTO_FREE char *host = strndup(text, (size_t)(colon - text));
	size_t len = host ? strlen(host) : 0;
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*ret_len = sizeof(*v6);
		if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1)
			return 0;
	} else if (len > 0) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*ret_len = sizeof(*v4);
		if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
			return 0;
	}
	return mvm_error_set(err, -EINVAL, "'%s' is not a numeric address and a port", text);
}

static bool is_loopback(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
	return a->ss_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)
					: ntohl(v4->sin_addr.s_addr) >> 24 == 127;
}

static int tcp_socket(const char *address, struct mvm_error *err)
{
	struct sockaddr_storage a;
	socklen_t len = 0;
	int one = 1;
	int r = parse_address(address, &a, &len, err);
	if (r < 0)
		return r;
	if (!is_loopback(&a))
		return mvm_error_set(err, -EINVAL, "'%s' is not an address of this host alone",
				     address);
	AUTO_CLOSE int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return mvm_error_set(err, -errno, "socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* a comfort */
	if (bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, SOMAXCONN) < 0)
		return mvm_error_set(err, -errno, "cannot listen at '%s': %s", address,
				     strerror(errno));
	return TAKE_FD(fd);
}

int server_listen_tcp(struct server *s, const char *address, struct mvm_error *err)
{
	struct listener *l = calloc(1, sizeof(*l));
	if (!l)
		return mvm_error_oom(err);
	int r = tcp_socket(address, err);
	if (r >= 0) {
		l->address = strdup(address);
		r = listen_at(s, l, r, err);
	}
	if (r < 0)
		free_listener(l);
	return r;
}

/* ---- life ---- */

int server_new(const char *data_dir, struct server **ret, struct mvm_error *err)
{
	AUTO(server) s = calloc(1, sizeof(*s));
	if (!s)
		return mvm_error_oom(err);
	s->data_dir = data_dir;
	int r = loop_new(&s->loop);
	if (r < 0)
		return mvm_error_set(err, r, "epoll: %s", strerror(-r));
	r = operations_new(s, &s->operations, err);
	if (r == 0)
		r = console_new(data_dir, &s->console, err);
	for (int i = 0; r == 0 && i < WORK_CLASSES; i++)
		r = workers_new(s->loop, data_dir, pools[i].threads, pools[i].queue, &s->workers[i],
				err);
	if (r == 0)
		*ret = TAKE_PTR(s);
	return r;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	if (s->operations)
		operations_cancel_all(s->operations);
	for (int i = 0; i < WORK_CLASSES; i++)
		workers_free(s->workers[i]);
	for (struct request *rq = s->requests; rq; rq = rq->next_request) {
		rq->dropped = true; /* libmicrohttpd cannot stop with suspended connections */
		request_resume(rq);
	}
	while (s->listeners) {
		struct listener *l = s->listeners;
		s->listeners = l->next;
		free_listener(l);
	}
	operations_free(s->operations);
	console_free(s->console);
	loop_free(s->loop);
	free(s);
}

/* When libmicrohttpd wants to run again at the latest: for its timeouts. */
static int64_t next_run_ns(const struct server *s)
{
	int64_t deadline_ns = DEADLINE_NONE;
	if (s->again)
		return 0;
	for (const struct listener *l = s->listeners; l; l = l->next) {
		unsigned long long ms;
		if (MHD_get_timeout(l->daemon, &ms) != MHD_YES)
			continue;
		int64_t at = ms > 3600000 ? DEADLINE_NONE : clock_deadline_ns((int64_t)ms);
		deadline_ns = at < deadline_ns ? at : deadline_ns;
	}
	return deadline_ns;
}

int server_run(struct server *s, struct mvm_error *err)
{
	while (!s->stop) {
		int r = loop_run_once(s->loop, next_run_ns(s));
		if (r < 0 && r != -ETIMEDOUT)
			return mvm_error_set(err, r, "epoll: %s", strerror(-r));
		s->again = false;
		for (struct listener *l = s->listeners; l; l = l->next)
			MHD_run(l->daemon);
	}
	return 0;
}
