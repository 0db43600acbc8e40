/* SPDX-License-Identifier: Apache-2.0 */
/* mvmd: the service.  It serves libmvm to programs over HTTP (doc/service.md). */
#include <errno.h>
#include <fcntl.h>
#include <mvm/mvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/rlimit.h"
#include "base/str.h"
#include "e2b/e2b.h"
#include "guard.h"
#include "notify.h"
#include "options.h"
#include "pools.h"
#include "say.h"
#include "server.h"

#define PEM_MAX ((size_t)1 << 20)

/* One run of mvmd. */
struct run {
	const struct options *options;
	struct notify notify;
	struct server *server;
	struct tls tls;
	int signal_fd;
	struct loop_source *signals, *watchdog;
};

/* Where the socket is without --socket; the folder is made. */
static int default_socket(const struct run *run, char **ret, struct mvm_error *err)
{
	const char *base = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
	if (str_empty(base)) {
		mvm_error_set(err, -ENOENT, "XDG_RUNTIME_DIR is not set");
		return mvm_error_hint(err, -ENOENT, "mvmd --socket PATH");
	}
	AUTO_FREE char *folder = str_printf("%s/mvm", base);
	AUTO_FREE char *path = str_printf("%s/mvm/mvmd.sock", base);
	if (!folder || !path)
		return mvm_error_oom(err);
	if (mkdir(folder, run->options->group == (gid_t)-1 ? 0700 : 0755) < 0 && errno != EEXIST)
		return mvm_error_set(err, -errno, "cannot make '%s': %s", folder, strerror(errno));
	*ret = TAKE_PTR(path);
	return 0;
}

/* ---- signals and the service manager ---- */

/* The first one lets the requests under way end, the second does not. */
static void on_signal(void *arg, uint32_t events)
{
	struct run *run = arg;
	struct signalfd_siginfo info;
	(void)events;
	while (read(run->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		run->server->stop++;
	notify_tell(&run->notify, "STOPPING=1");
}

static void on_watchdog(void *arg)
{
	struct run *run = arg;
	notify_tell(&run->notify, "WATCHDOG=1");
	loop_source_arm(run->watchdog, clock_now_ns() + run->notify.watchdog_ns / 3);
}

/* Blocked before any thread starts, so that all inherit that. */
static int block_signals(struct mvm_error *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* an inherited SIG_IGN would lose exit statuses */
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? mvm_error_set(err, -errno, "signalfd: %s", strerror(errno)) : fd;
}

static int watch(struct run *run, struct mvm_error *err)
{
	int r = loop_add_fd(run->server->loop, run->signal_fd, EPOLLIN, on_signal, run,
			    &run->signals);
	if (r == 0 && run->notify.watchdog_ns > 0)
		r = loop_add_timer(run->server->loop, clock_now_ns(), on_watchdog, run,
				   &run->watchdog);
	return r < 0 ? mvm_error_set(err, r, "epoll: %s", strerror(-r)) : 0;
}

/* ---- sockets ---- */

static int read_pem(const char *path, bool secret, char **ret, struct mvm_error *err)
{
	struct stat st;
	AUTO_CLOSE int fd = file_open(path);
	int r = fd < 0 ? fd : file_read_fd(fd, PEM_MAX, ret, NULL);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r));
	if (secret && fstat(fd, &st) == 0 && (st.st_mode & S_IRWXO)) {
		mvm_error_set(err, -EPERM, "everybody may read the key '%s'", path);
		return mvm_error_hint(err, -EPERM, "chmod o-rwx %s", path);
	}
	return 0;
}

static int prepare_tls(struct run *run, struct mvm_error *err)
{
	const struct options *o = run->options;
	if (!o->tls_cert)
		return 0;
	int r = read_pem(o->tls_cert, false, &run->tls.certificate, err);
	if (r == 0)
		r = read_pem(o->tls_key, true, &run->tls.key, err);
	run->tls.only_1_3 = o->only_tls_1_3;
	run->server->tls = &run->tls;
	return r;
}

static int listen_all(struct run *run, struct mvm_error *err)
{
	const struct options *o = run->options;
	AUTO_FREE char *path = NULL;
	int r = prepare_tls(run, err);

	for (int i = 0; r == 0 && i < run->notify.n_fds; i++)
		r = server_listen_fd(run->server, NOTIFY_FD_FIRST + i, err);
	if (r == 0 && run->notify.n_fds == 0) {
		r = o->socket ? 0 : default_socket(run, &path, err);
		if (r == 0)
			r = server_listen_unix(run->server, o->socket ? o->socket : path, err);
	}
	for (size_t i = 0; r == 0 && i < o->tcp.n; i++)
		r = server_listen_tcp(run->server, o->tcp.v[i], err);
	return r;
}

/* ---- life ---- */

static int serve(struct run *run, struct mvm_error *err)
{
	const struct options *o = run->options;
	struct server *s = run->server;
	struct pools *pools = NULL;

	s->client_ns = o->client_ms * NS_PER_MS;
	s->grace_ns = o->grace_ms * NS_PER_MS;
	s->guard->group = o->group;
	for (size_t i = 0; i < o->hosts.n; i++)
		strv_add(&s->guard->hosts, o->hosts.v[i]);
	int r = e2b_start(s, err);
	if (r == 0)
		r = watch(run, err);
	if (r == 0)
		r = listen_all(run, err);
	if (r == 0 && !o->no_pools)
		r = pools_begin(o->data_dir, (uint64_t)o->pool_memory_mib << 20, &pools, err);
	if (r == 0) {
		say(SAY_INFO, "ready", "version", mvm_version(), (char *)NULL);
		notify_tell(&run->notify, "READY=1");
		r = server_run(s, err);
		notify_tell(&run->notify, "STOPPING=1");
	}
	pools_end(pools);
	loop_source_free(run->watchdog);
	loop_source_free(run->signals);
	return r;
}

static int run_all(const struct options *o, struct mvm_error *err)
{
	struct run run = { .options = o };

	notify_begin(&run.notify);
	run.signal_fd = block_signals(err);
	int r = run.signal_fd < 0 ? run.signal_fd : server_new(o->data_dir, &run.server, err);
	if (r == 0)
		r = serve(&run, err);
	server_free(run.server);
	if (run.tls.key)
		explicit_bzero(run.tls.key, strlen(run.tls.key));
	free(run.tls.key);
	free(run.tls.certificate);
	auto_close(&run.signal_fd);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = OPTIONS_INIT;
	struct mvm_error err = { 0 };
	int status = options_parse(argc, argv, &o);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR); /* takes the lowest number, this one */
	}
	if (status < 0) {
		umask(umask(0) & ~(mode_t)S_IRWXU); /* mvm must be able to use what it makes */
		/* A client takes a descriptor, and one more while it uses a guest.  The usual soft
		 * limit, 1024, is less than the connections that are let in. */
		rlimit_raise(RLIMIT_NOFILE);
		status = run_all(&o, &err) < 0;
	}
	if (err.code < 0) {
		fprintf(stderr, "mvmd: %s\n", err.text);
		if (err.hint[0])
			fprintf(stderr, "hint: %s\n", err.hint);
	}
	options_done(&o);
	return status;
}
