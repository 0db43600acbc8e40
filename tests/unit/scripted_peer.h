/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SCRIPTED_PEER_H
#define TESTS_SCRIPTED_PEER_H

/* The other end of a connection under test: a child process that plays a script. */

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sock.h"

/* What the peer does, step by step.  An empty entry ends the script. */
struct step {
	const char *expect; /* read until this text arrives; NULL: send `say` instead */
	const char *say;
	size_t repeat; /* send it this many times more */
	bool bytewise; /* one byte per packet */
	bool hang;     /* stay silent until killed */
	bool want_fd;  /* while expecting: a descriptor must come along */
};

static void peer_say(int fd, const struct step *s)
{
	for (size_t i = 0; i <= s->repeat; i++) {
		size_t len = strlen(s->say), piece = s->bytewise ? 1 : len;
		for (size_t at = 0; at < len; at += piece) {
			if (send(fd, s->say + at, piece, MSG_NOSIGNAL) < 0)
				_exit(0); /* the client has hung up */
		}
	}
}

/* Read until the step's text arrives.  Input is kept between steps, and each search begins after
 * the text of the step before. */
static void peer_expect(int fd, const struct step *s)
{
	static char seen[65536];
	static size_t len, from;
	bool got_fd = false;
	for (;;) {
		char *at = memmem(seen + from, len - from, s->expect, strlen(s->expect));
		if (at && (got_fd || !s->want_fd)) {
			from = (size_t)(at - seen) + strlen(s->expect);
			return;
		}
		char control[64];
		struct iovec iov = { seen + len, sizeof(seen) - len };
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(fd, &msg, 0);
		if (n <= 0)
			_exit(3);
		len += (size_t)n;
		got_fd = got_fd || msg.msg_controllen > 0;
	}
}

static void peer_play(int fd, const struct step *script)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test must not leave its peer behind */
	for (; script->expect || script->say || script->hang; script++) {
		if (script->hang)
			pause();
		else if (script->expect)
			peer_expect(fd, script);
		else
			peer_say(fd, script);
	}
	_exit(0);
}

/* Start a peer; returns our end of its connection. */
static int peer_start(const struct step *script, pid_t *ret_pid)
{
	int fds[2];
	assert_int_equal(sock_pair(fds), 0);
	*ret_pid = fork();
	assert_true(*ret_pid >= 0);
	if (*ret_pid == 0) {
		close(fds[0]);
		peer_play(fds[1], script);
	}
	close(fds[1]);
	return fds[0];
}

static void peer_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

#endif
