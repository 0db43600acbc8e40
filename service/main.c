/* SPDX-License-Identifier: Apache-2.0 */
/* mvmd: the service.  It serves libmvm to programs over HTTP (doc/service.md). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "server.h"

struct options {
	const char *data_dir, *socket;
	struct strv tcp;
};

static void usage(FILE *out)
{
	fputs("Usage: mvmd [OPTIONS]\n"
	      "\n"
	      "Serve templates and instances to programs, over HTTP.\n"
	      "\n"
	      "      --data-dir DIR  use this data folder instead of ~/.mvm\n"
	      "      --socket PATH   listen at this Unix socket instead of the user's own\n"
	      "      --tcp ADDRESS:PORT\n"
	      "                      listen at an address of this host alone, too\n"
	      "      --version       print the version\n"
	      "  -h, --help          show this help\n"
	      "\n"
	      "The socket is /run/mvm/mvmd.sock for root, else $XDG_RUNTIME_DIR/mvm/mvmd.sock.\n",
	      out);
}

/* Returns an exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct options *ret)
{
	static const struct option options[] = {
		{ "data-dir", required_argument, NULL, 'd' },
		{ "socket", required_argument, NULL, 's' },
		{ "tcp", required_argument, NULL, 't' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) >= 0;) {
		switch (c) {
		case 'd':
			ret->data_dir = optarg;
			break;
		case 's':
			ret->socket = optarg;
			break;
		case 't':
			strv_add(&ret->tcp, optarg);
			break;
		case 'v':
			printf("mvmd %s\n", mvm_version());
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			fputs("hint: mvmd --help\n", stderr);
			return 2;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "mvmd: unexpected argument '%s'\nhint: mvmd --help\n", argv[optind]);
	return 2;
}

/* Where the socket is without --socket; the folder is made. */
static int default_socket(char **ret, struct mvm_error *err)
{
	const char *base = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
	if (str_empty(base)) {
		mvm_error_set(err, -ENOENT, "XDG_RUNTIME_DIR is not set");
		return mvm_error_hint(err, -ENOENT, "mvmd --socket PATH");
	}
	AUTO_FREE char *folder = str_printf("%s/mvm", base);
	char *path = str_printf("%s/mvm/mvmd.sock", base);
	if (!folder || !path) {
		free(path);
		return mvm_error_oom(err);
	}
	if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
		free(path);
		return mvm_error_set(err, -errno, "cannot make '%s': %s", folder, strerror(errno));
	}
	*ret = path;
	return 0;
}

static void on_signal(void *arg, uint32_t events)
{
	struct server *s = arg;
	(void)events;
	s->stop = true;
}

/* SIGTERM and SIGINT end the loop.  Blocked before the workers start, which inherit that. */
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

static int listen_all(struct server *s, const struct options *o, struct mvm_error *err)
{
	AUTO_FREE char *path = NULL;
	int r = o->socket ? 0 : default_socket(&path, err);
	if (r == 0)
		r = server_listen_unix(s, o->socket ? o->socket : path, err);
	for (size_t i = 0; r == 0 && i < o->tcp.n; i++)
		r = server_listen_tcp(s, o->tcp.v[i], err);
	return r;
}

static int serve(const struct options *o, struct mvm_error *err)
{
	AUTO_CLOSE int signal_fd = block_signals(err);
	AUTO(server) s = NULL;
	struct loop_source *source;

	if (signal_fd < 0)
		return signal_fd;
	int r = server_new(o->data_dir, &s, err);
	if (r < 0)
		return r;
	r = loop_add_fd(s->loop, signal_fd, EPOLLIN, on_signal, s, &source);
	if (r < 0)
		return mvm_error_set(err, r, "epoll_ctl: %s", strerror(-r));
	r = listen_all(s, o, err);
	if (r == 0)
		r = server_run(s, err);
	loop_source_free(source);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = { 0 };
	struct mvm_error err = { 0 };
	int status = parse(argc, argv, &o);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR); /* takes the lowest number, this one */
	}
	if (status < 0) {
		umask(umask(0) & ~(mode_t)S_IRWXU); /* mvm must be able to use what it makes */
		status = serve(&o, &err) < 0;
	}
	if (err.code < 0) {
		fprintf(stderr, "mvmd: %s\n", err.text);
		if (err.hint[0])
			fprintf(stderr, "hint: %s\n", err.hint);
	}
	strv_done(&o.tcp);
	return status;
}
