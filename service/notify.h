/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_NOTIFY_H
#define SERVICE_NOTIFY_H

/*
 * The service manager's side of mvmd: sockets that it has opened, and what it wants to be told.
 *
 * Three variables and a datagram each way, so libsystemd is not needed.
 * Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
 */

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NOTIFY_FD_FIRST 3 /* SD_LISTEN_FDS_START */

struct notify {
	struct sockaddr_un address;
	socklen_t address_len; /* 0: nobody wants to be told */
	int64_t watchdog_ns;   /* "WATCHDOG=1" must come this often; 0: no need */
	int n_fds;	       /* listening sockets from NOTIFY_FD_FIRST on, close-on-exec */
};

/* Read the environment and take the variables out of it, so that no child takes them for its own.
 * Before any thread starts. */
void notify_begin(struct notify *ret);

/* Tell the service manager: "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=...".  A manager that
 * does not listen loses it. */
void notify_tell(const struct notify *n, const char *text);

#endif
