/* SPDX-License-Identifier: Apache-2.0 */
/* usage: held PORT
 *
 * A workload that keeps TCP connections to the host's PORT open over a snapshot.  It prints what
 * becomes of each on standard output.  Connections that wait to write do so after SIGUSR1. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEALTH_PORT 8080

static int in_address(struct sockaddr_storage *ret, const char *address, int port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
		memcpy(ret, &in, sizeof(in));
		return sizeof(in);
	}
	inet_pton(AF_INET6, address, &in6.sin6_addr);
	memcpy(ret, &in6, sizeof(in6));
	return sizeof(in6);
}

static int call(const char *address, int port)
{
	struct sockaddr_storage to;
	int len = in_address(&to, address, port);
	for (;;) { /* the card has its IPv6 address a moment after the start */
		int fd = socket(to.ss_family, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&to, (socklen_t)len) == 0)
			return fd;
		close(fd);
		usleep(50000);
	}
}

static void say(const char *what, ssize_t n, const char *bytes)
{
	if (n < 0)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %.*s\n", what, (int)n, bytes);
	fflush(stdout);
}

static void on_usr1(int signal)
{
	(void)signal;
}

static void hold(const char *what, int fd, int writes)
{
	char text[16];
	if (fork() != 0)
		return;
	sigset_t none;
	sigemptyset(&none);
	if (writes) {
		sigsuspend(&none);
		if (send(fd, "echo", 4, MSG_NOSIGNAL) < 0) {
			say(what, -1, NULL);
			_exit(0);
		}
	}
	say(what, recv(fd, text, sizeof(text), 0), text);
	_exit(0);
}

static void echo(int listener)
{
	int fd = accept(listener, NULL, NULL);
	char text[16];
	ssize_t n = recv(fd, text, sizeof(text), 0);
	if (n > 0)
		send(fd, text, (size_t)n, MSG_NOSIGNAL);
	_exit(0);
}

static int listen_at(int port)
{
	struct sockaddr_storage at;
	int len = in_address(&at, "0.0.0.0", port), fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&at, (socklen_t)len) < 0 || listen(fd, 16) < 0)
		exit(1);
	return fd;
}

int main(int argc, char **argv)
{
	int port = argc > 1 ? atoi(argv[1]) : 0;
	struct sigaction act = { .sa_handler = on_usr1 };
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	sigaction(SIGUSR1, &act, NULL);

	int within = listen_at(HEALTH_PORT + 1);
	if (fork() == 0)
		echo(within);
	hold("reads", call("10.0.2.2", port), 0);
	hold("writes", call("10.0.2.2", port), 1);
	hold("reads6", call("fec0::2", port), 0);
	hold("within", call("127.0.0.1", HEALTH_PORT + 1), 1);
	printf("holds\n");
	fflush(stdout);
	int health = listen_at(HEALTH_PORT);
	for (;;) {
		int fd = accept(health, NULL, NULL);
		if (fd >= 0)
			close(fd);
	}
}
