/* SPDX-License-Identifier: Apache-2.0 */
/* A forwarded port belongs to the VM alone: nobody else can bind it, whatever options they use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "usernet/route.h"
#include "usernet/usernet.h"

#define PORTS_TRIED 50

struct net {
	struct sockaddr_in at;
	int guest_fd, control_fd;
	pid_t pid;
};

/* mvm-net in a child, with one forward of a port that is free. */
static bool try_net(struct net *n, bool udp, const char *address, uint16_t port)
{
	static struct usernet_config config;
	int guest[2], control[2];
	char reply[256] = "";

	config.n_forwards = 1;
	config.forwards[0] = (struct usernet_forward){ .udp = udp, .port = port, .guest_port = 53 };
	strcpy(config.forwards[0].address, address);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, guest), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(guest[1]);
		close(control[1]);
		struct mvm_error err = { 0 };
		usernet_run(&config, guest[0], control[0], -1, &err);
		_exit(0);
	}
	close(guest[0]);
	close(control[0]);
	assert_true(recv(control[1], reply, sizeof(reply) - 1, 0) > 0);
	*n = (struct net){
		.at = { .sin_family = AF_INET, .sin_port = htons(port) },
		.guest_fd = guest[1],
		.control_fd = control[1],
		.pid = pid,
	};
	assert_int_equal(inet_pton(AF_INET, address, &n->at.sin_addr), 1);
	return strstr(reply, "ready");
}

static void end_net(const struct net *n)
{
	close(n->guest_fd);
	close(n->control_fd);
	assert_int_equal(waitpid(n->pid, NULL, 0), n->pid);
}

static void begin_net(struct net *n, bool udp, const char *address)
{
	for (unsigned i = 0; i < PORTS_TRIED; i++) {
		if (try_net(n, udp, address, (uint16_t)(20000 + (getpid() + i * 97) % 30000)))
			return;
		end_net(n);
	}
	fail_msg("no port is free");
}

/* As another user of the host would: at the same address or a more precise one. */
static int try_to_share(const struct net *n, bool udp, int option, const char *address)
{
	int on = 1;
	struct sockaddr_in at = n->at;
	AUTO_CLOSE int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	/* setsockopt() here is that of control.c */
	assert_int_equal(syscall(SYS_setsockopt, fd, SOL_SOCKET, option, &on, sizeof(on)), 0);
	assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	return !udp && listen(fd, 1) < 0 ? -errno : 0;
}

static void nobody_shares_a_forwarded_port(void **state)
{
	(void)state;
	static const int options[] = { SO_REUSEADDR, SO_REUSEPORT };
	static const char *const addresses[] = { "127.0.0.1", "0.0.0.0" };
	for (unsigned i = 0; i < 8; i++) {
		bool udp = i & 1;
		struct net n;
		begin_net(&n, udp, addresses[i >> 2]);
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(try_to_share(&n, udp, options[i >> 1 & 1], addresses[k]),
					 -EADDRINUSE);
		end_net(&n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_shares_a_forwarded_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
