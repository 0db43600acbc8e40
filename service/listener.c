/* SPDX-License-Identifier: Apache-2.0 */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/sock.h"
#include "base/str.h"
#include "connection.h"
#include "guard.h"
#include "inherit.h"
#include "request.h"
#include "say.h"
#include "server.h"

#define CONNECTIONS_MAX 2048u
/* of each connection: for the head of a request, and for a piece of its body */
#define CONNECTION_BYTES ((size_t)16 * 1024)
#define PER_ADDRESS_MAX	 512u /* connections of one client that comes over the network */

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
	return rq && request_step(rq, connection, method, version, upload, upload_len) ? MHD_YES
										       : MHD_NO;
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

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	const struct listener *l = arg;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		*context = connection_new(l->server, connection);
	else
		connection_free(l->server, *context);
}

/* ---- listeners ---- */

static void on_ready(void *arg, uint32_t events)
{
	struct listener *l = arg;
	(void)events;
	l->server->again = true; /* server_run() calls MHD_run() */
}

static void format_address(const struct sockaddr_storage *a, char *ret, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (a->ss_family == AF_INET6) {
		memcpy(&v6, a, sizeof(v6));
		inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
		snprintf(ret, size, "[%s]:%u", host, ntohs(v6.sin6_port));
	} else {
		memcpy(&v4, a, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
		snprintf(ret, size, "%s:%u", host, ntohs(v4.sin_port));
	}
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	loop_source_free(l->source);
	inherit_forget(l->fd);
	if (l->daemon)
		MHD_stop_daemon(l->daemon);
	if (l->path && !l->inherited)
		unlink(l->path);
	free(l->path);
	free(l->address);
	free(l);
}

void listener_close(struct listener *l)
{
	inherit_forget(l->fd);
	int fd = MHD_quiesce_daemon(l->daemon);
	if (fd >= 0)
		close(fd);
	if (l->path && !l->inherited)
		unlink(l->path);
	l->inherited = true; /* the path may be another mvmd's from now on */
}

/* The options that only some listeners have.  far: its clients are not only this host's. */
static void more_options(const struct listener *l, const struct tls *tls, bool far,
			 struct MHD_OptionItem ret[5])
{
	static char tls_1_2[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";
	static char tls_1_3[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:%SERVER_PRECEDENCE";
	size_t n = 0;

	if (l->tls) {
		ret[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0,
						    tls->certificate };
		ret[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, tls->key };
		ret[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
						    tls->only_1_3 ? tls_1_3 : tls_1_2 };
	}
	/* a proxy on this host has many clients behind one address */
	if (far)
		ret[n++] = (struct MHD_OptionItem){ MHD_OPTION_PER_IP_CONNECTION_LIMIT,
						    PER_ADDRESS_MAX, NULL };
	ret[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
}

/* The port of ":0" is only known now. */
static void say_listening(const struct listener *l, int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	char text[INET6_ADDRSTRLEN + 16] = "";

	if (l->path) {
		say(SAY_INFO, "listen", "socket", l->path, (char *)NULL);
		return;
	}
	if (getsockname(fd, (struct sockaddr *)&a, &len) == 0)
		format_address(&a, text, sizeof(text));
	say(SAY_INFO, "listen", "address", text, "tls", l->tls ? "true" : "false", (char *)NULL);
}

/* Start a daemon at a listening socket, which is taken over. */
static int listen_at(struct server *s, struct listener *l, int fd, bool far, struct mvm_error *err)
{
	struct MHD_OptionItem more[5];

	int r = inherit_not(fd);
	if (r < 0) {
		close(fd);
		return mvm_error_set(err, r, "cannot keep a socket from children");
	}
	l->fd = fd;
	l->server = s;
	more_options(l, s->tls, far, more);
	l->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE |
			(l->tls ? MHD_USE_TLS : 0),
		0, NULL, NULL, on_step, l, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, l, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
		MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_IDLE_S,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, more, MHD_OPTION_END);
	if (!l->daemon) {
		close(fd);
		mvm_error_set(err, -EIO, "cannot start the HTTP server");
		return l->tls ? mvm_error_hint(err, -EIO,
					       "look whether certificate and key are PEM, and "
					       "belong together")
			      : -EIO;
	}
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	r = loop_add_fd(s->loop, info->epoll_fd, EPOLLIN, on_ready, l, &l->source);
	if (r < 0)
		return mvm_error_set(err, r, "epoll_ctl: %s", strerror(-r));
	l->next = s->listeners;
	s->listeners = l;
	say_listening(l, fd);
	return 0;
}

/*
 * Has the process at the other end of a connection, which listened, ended?  A child that it had
 * forked, and that has not got to its exec yet, then still has its socket.
 */
static bool peer_has_ended(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
		return false;
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
	return pidfd < 0 ? errno == ESRCH : poll(&pfd, 1, 0) > 0;
}

/* Is there a socket whose process has ended?  0, or an errno to fail with. */
static int check_left(int dir_fd, const char *name, const char *path, struct mvm_error *err)
{
	struct stat st;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode))
		return mvm_error_set(err, -EEXIST, "'%s' is there and is no socket", path);
	AUTO_CLOSE int peer = sock_connect_at(dir_fd, name);
	if (peer >= 0 && !peer_has_ended(peer))
		return mvm_error_set(err, -EADDRINUSE, "another process serves '%s'", path);
	return peer >= 0 || peer == -ECONNREFUSED
		       ? 0
		       : mvm_error_set(err, peer, "cannot listen at '%s': %s", path,
				       strerror(-peer));
}

/* Listen at a Unix socket; one whose process has ended is replaced. */
static int unix_socket(const char *path, gid_t group, struct mvm_error *err)
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
		int r = check_left(dir_fd, name, path, err);
		if (r < 0)
			return r;
		if (unlinkat(dir_fd, name, 0) == 0)
			fd = sock_listen_at(dir_fd, name);
	}
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot listen at '%s': %s", path, strerror(-fd));
	if (group != (gid_t)-1 &&
	    (fchownat(dir_fd, name, (uid_t)-1, group, AT_SYMLINK_NOFOLLOW) < 0 ||
	     fchmodat(dir_fd, name, 0660, 0) < 0)) {
		int r = mvm_error_set(err, -errno, "cannot give '%s' to the group: %s", path,
				      strerror(errno));
		close(fd);
		return r;
	}
	return fd;
}

int server_listen_unix(struct server *s, const char *path, struct mvm_error *err)
{
	struct listener *l = calloc(1, sizeof(*l));
	if (!l)
		return mvm_error_oom(err);
	int r = unix_socket(path, s->guard->group, err);
	if (r >= 0) {
		l->path = strdup(path);
		r = listen_at(s, l, r, false, err);
	}
	if (r < 0)
		listener_free(l);
	return r;
}

/* "localhost:8080" is refused, too: what a name means may change later. */
static int no_address(const char *text, struct mvm_error *err)
{
	mvm_error_set(err, -EINVAL, "'%s' is no numeric address with a port", text);
	return mvm_error_hint(err, -EINVAL, "mvmd --tcp 127.0.0.1:8800");
}

static int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
			 struct mvm_error *err)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	const char *colon = strrchr(text, ':');
	uint64_t port = 0;

	*ret = (struct sockaddr_storage){ 0 };
	if (!colon || parse_u64(colon + 1, 0, 65535, &port) < 0)
		return no_address(text, err);
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
	return no_address(text, err);
}

int server_check_tcp(const char *address, struct mvm_error *err)
{
	struct sockaddr_storage a;
	socklen_t len = 0;
	return parse_address(address, &a, &len, err);
}

static bool is_loopback(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
	return a->ss_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)
					: ntohl(v4->sin_addr.s_addr) >> 24 == 127;
}

/* Over the network neither tokens nor what they get may be read on the way. */
static int check_far(const struct server *s, const char *address, struct mvm_error *err)
{
	if (s->tls)
		return 0;
	mvm_error_set(err, -EINVAL, "'%s' is not an address of this host alone", address);
	return mvm_error_hint(err, -EINVAL, "mvmd --tls-cert FILE --tls-key FILE");
}

static int tcp_socket(const struct server *s, const char *address, bool *ret_far,
		      struct mvm_error *err)
{
	struct sockaddr_storage a;
	socklen_t len = 0;
	int one = 1;
	int r = parse_address(address, &a, &len, err);
	if (r < 0)
		return r;
	*ret_far = !is_loopback(&a);
	if (*ret_far && (r = check_far(s, address, err)) < 0)
		return r;
	AUTO_CLOSE int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return mvm_error_set(err, -errno, "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* a comfort */
	if (bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, SOMAXCONN) < 0) {
		int e = -errno;
		mvm_error_set(err, e, "cannot listen at '%s': %s", address, strerror(-e));
		if (e == -EADDRINUSE)
			mvm_error_hint(err, e,
				       "ss -ltnp 'sport = %s' shows who does; or take another port",
				       strrchr(address, ':'));
		return e;
	}
	return TAKE_FD(fd);
}

int server_listen_tcp(struct server *s, const char *address, struct mvm_error *err)
{
	struct listener *l = calloc(1, sizeof(*l));
	if (!l)
		return mvm_error_oom(err);
	bool far = false;
	int r = tcp_socket(s, address, &far, err);
	if (r >= 0) {
		l->address = strdup(address);
		l->tls = s->tls != NULL;
		r = listen_at(s, l, r, far, err);
	}
	if (r < 0)
		listener_free(l);
	return r;
}

/* Is this a listening stream socket?  Fills what its address says. */
static int look_at_socket(const struct server *s, int fd, struct listener *l, bool *ret_far,
			  struct mvm_error *err)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a), size = sizeof(int);
	int listens = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return mvm_error_set(err, -EINVAL, "descriptor %d is no listening socket", fd);
	l->inherited = true;
	if (a.ss_family == AF_UNIX) {
		l->path = strdup("the service manager's socket");
		return l->path ? 0 : mvm_error_oom(err);
	}
	if (a.ss_family != AF_INET && a.ss_family != AF_INET6)
		return mvm_error_set(err, -EINVAL, "descriptor %d is no socket of TCP or Unix", fd);
	l->tls = s->tls != NULL;
	*ret_far = !is_loopback(&a);
	return *ret_far ? check_far(s, "the service manager's socket", err) : 0;
}

int server_listen_fd(struct server *s, int fd, struct mvm_error *err)
{
	struct listener *l = calloc(1, sizeof(*l));
	bool far = false;
	int r = l ? look_at_socket(s, fd, l, &far, err) : mvm_error_oom(err);
	if (r == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		r = mvm_error_set(err, -errno, "fcntl: %s", strerror(errno));
	if (r < 0)
		close(fd);
	else
		r = listen_at(s, l, fd, far, err);
	if (r < 0)
		listener_free(l);
	return r;
}
