/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library that is loaded into a VMM or a supervisor, and acts as a guest that has taken it over.
 *
 * The guest writes a BEL to its console.  The VMM passes it on by sendmsg(2), which this library
 * replaces, and so runs the list of attack_list.c.  Each line of the answer, on the same console,
 * names an attempt that succeeded.  By then the VMM has started, and all its walls are in place.  A
 * supervisor reads an ENQ by read(2), which this library replaces, too.  The answer is then in what
 * it has read.
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
#define SUPERVISOR   "mvm-supervisor"
#define EXPORTED     __attribute__((visibility("default")))

#pragma GCC diagnostic ignored "-Wconversion"

static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);

static ssize_t (*real_read)(int, void *, size_t);
static bool in_supervisor;
static char answer[8192]; /* in a supervisor */
static size_t answer_len;

__attribute__((constructor)) static void begin(void)
{
	in_supervisor = strcmp(program_invocation_short_name, SUPERVISOR) == 0;
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
	if (in_supervisor && answer_len + (size_t)n <= sizeof(answer)) {
		memcpy(answer + answer_len, text, (size_t)n);
		answer_len += (size_t)n;
	}
	if (in_supervisor)
		return;
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

static void attack(void)
{
	for (size_t i = 0; i < n_attempts; i++) {
		const struct attempt *a = &attempts[i];
		const long *v = a->args;
		errno = 0;
		bool worked = a->works ? a->works()
				       : !is_refused(syscall(a->nr, v[0], v[1], v[2], v[3], v[4]));
		if (worked)
			say("\r\nATTACK %s\r\n", a->name);
	}
	say("\r\nATTACKED %zu\r\n", n_attempts);
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
