/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/parse.h"

#define FDS_MAX	  64u
#define NS_PER_US INT64_C(1000)

/* Is a variable with a pid about this process?  Without the variable: yes. */
static bool is_for_us(const char *name, bool if_missing)
{
	const char *text = getenv(name);
	uint64_t pid;
	if (!text)
		return if_missing;
	return parse_u64(text, 1, INT32_MAX, &pid) == 0 && (pid_t)pid == getpid();
}

static void read_fds(struct notify *n)
{
	const char *text = getenv("LISTEN_FDS");
	uint64_t count = 0;

	if (!text || !is_for_us("LISTEN_PID", false) || parse_u64(text, 0, FDS_MAX, &count) < 0)
		return;
	for (uint64_t i = 0; i < count; i++) {
		if (fcntl(NOTIFY_FD_FIRST + (int)i, F_SETFD, FD_CLOEXEC) < 0)
			return;
		n->n_fds++;
	}
}

static void read_address(struct notify *n)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len >= sizeof(n->address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, path, len);
	if (path[0] == '@')
		n->address.sun_path[0] = '\0'; /* the abstract namespace: no NUL at the end */
	n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
				     (path[0] == '/'));
}

static void read_watchdog(struct notify *n)
{
	const char *text = getenv("WATCHDOG_USEC");
	uint64_t us = 0;

	if (text && is_for_us("WATCHDOG_PID", true) &&
	    parse_u64(text, 1, INT64_MAX / NS_PER_US, &us) == 0)
		n->watchdog_ns = (int64_t)us * NS_PER_US;
}

void notify_begin(struct notify *ret)
{
	static const char *const names[] = { "LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES",
					     "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID" };
	*ret = (struct notify){ 0 };
	read_fds(ret);
	read_address(ret);
	read_watchdog(ret);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

void notify_tell(const struct notify *n, const char *text)
{
	if (n->address_len == 0)
		return;
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->address,
		       n->address_len);
}
