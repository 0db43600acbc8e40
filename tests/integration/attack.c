/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library that is loaded into a VMM, a supervisor, mvm-net or mvm-registry, and acts as a guest
 * or a registry that has taken it over.
 *
 * The guest writes a BEL to its console.  The VMM passes it on by sendmsg(2), which this library
 * replaces, and so runs the list of attack_list.c.  Each line of the answer, on the same console,
 * names an attempt that succeeded.  By then the VMM has started, and all its walls are in place.  A
 * supervisor reads an ENQ by read(2), which this library replaces, too.  The answer is then in what
 * it has read.  mvm-net gets a frame with NET_TRIGGER, for example a question about a name, and
 * mvm-registry an answer with it; both connect to the test's ATTACK_ANSWER, as they may.
 *
 * Environment, set by the program that starts the VMM or the supervisor (test_isolation.py):
 * ATTACK_HOME a folder of the user's with a file `secret`, ATTACK_MEMORY the shared memory file,
 * ATTACK_SOCKET another VM's control socket, ATTACK_ABSTRACT and ATTACK_PORT listeners, ATTACK_PID
 * a process of the user's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attack.h"

#define CONSOLE_FD   5
#define TRIGGER	     '\a'
#define TRIGGER_READ '\005'
#define NET_TRIGGER  "attack-from-inside"
#define SUPERVISOR   "mvm-supervisor"
#define NET	     "mvm-net"
#define REGISTRY     "mvm-registry"
#define EXPORTED     __attribute__((visibility("default")))

#pragma GCC diagnostic ignored "-Wconversion"

static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);

static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_recv)(int, void *, size_t, int);
static bool in_supervisor, is_on_network;
static char answer[8192];
static size_t answer_len;

__attribute__((constructor)) static void begin(void)
{
	const char *name = program_invocation_short_name;
	in_supervisor = strcmp(name, SUPERVISOR) == 0;
	is_on_network = strcmp(name, NET) == 0 || strcmp(name, REGISTRY) == 0;
	attack_prepare();
}

/* Was a system call refused?  Any other error means that the kernel has handled it. */
static bool is_refused(long r)
{
	return r < 0 && (errno == ENOSYS || errno == EPERM || errno == EACCES || errno == ENOTTY ||
			 errno == EAFNOSUPPORT);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (in_supervisor || is_on_network) { /* it answers at the end */
		if (answer_len + (size_t)n <= sizeof(answer))
			memcpy(answer + answer_len, text, (size_t)n);
		answer_len += answer_len + (size_t)n <= sizeof(answer) ? (size_t)n : 0;
		return;
	}
	for (int done = 0; done < n;) { /* it does not block, and its reader is a moment late */
		struct iovec part = { text + done, (size_t)(n - done) };
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
		ssize_t sent = real_sendmsg(CONSOLE_FD, &message, MSG_NOSIGNAL);
		if (sent > 0)
			done += (int)sent;
		else if (errno != EAGAIN)
			return;
	}
}

static void try_all(const struct attempt *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct attempt *a = &list[i];
		const long *v = a->args;
		errno = 0;
		bool worked = a->works ? a->works()
				       : !is_refused(syscall(a->nr, v[0], v[1], v[2], v[3], v[4]));
		if (worked)
			say("\r\nATTACK %s\r\n", a->name);
	}
}

static void attack(void)
{
	try_all(attack_files, n_attack_files);
	try_all(attack_sockets, n_attack_sockets);
	try_all(attack_calls, n_attack_calls);
	say("\r\nATTACKED %zu\r\n", n_attack_files + n_attack_sockets + n_attack_calls);
}

EXPORTED ssize_t read(int fd, void *buffer, size_t size)
{
	static bool done;
	if (!real_read)
		real_read = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
	ssize_t n = real_read(fd, buffer, size);
	/* the console's bytes come one by one, and a message is longer */
	if (!in_supervisor || done || n != 1 || *(char *)buffer != TRIGGER_READ)
		return n;
	done = true;
	attack();
	if (answer_len > size - (size_t)n)
		answer_len = size - (size_t)n;
	memcpy((char *)buffer + n, answer, answer_len);
	return n + (ssize_t)answer_len;
}

EXPORTED ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
	static bool done;
	if (!real_recv)
		real_recv = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
	ssize_t n = real_recv(fd, buffer, size, flags);
	if (!is_on_network || done || n <= 0 ||
	    !memmem(buffer, (size_t)n, NET_TRIGGER, strlen(NET_TRIGGER)))
		return n;
	done = true;
	attack();
	attack_answer(answer, answer_len);
	return n;
}

EXPORTED ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	static bool done;
	bool wanted = false;
	if (!real_sendmsg)
		real_sendmsg = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT,
										  "sendmsg");
	for (size_t i = 0; fd == CONSOLE_FD && !done && i < message->msg_iovlen; i++)
		wanted |= memchr(message->msg_iov[i].iov_base, TRIGGER,
				 message->msg_iov[i].iov_len) != NULL;
	if (wanted) {
		done = true;
		attack();
	}
	return real_sendmsg(fd, message, flags);
}
