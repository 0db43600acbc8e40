/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_CONSOLE_H
#define INSTANCE_CONSOLE_H

/*
 * A guest's console: everything it prints goes to console.log in the instance's folder, and the
 * last of it is kept for error messages.  A guest can print without end, so the log is bounded:
 * when it is full it becomes console.log.1 and a new one begins.
 */

#include "base/error.h"
#include "base/loop.h"

#define CONSOLE_LOG_NAME "console.log"
#define CONSOLE_LOG_MAX	 (8u << 20)
#define CONSOLE_TAIL_MAX 2048u

struct console {
	int fd;	    /* our end */
	int dir_fd; /* the instance's folder; borrowed */
	int log_fd;
	uint64_t log_bytes;
	struct loop_source *source;
	char tail[2 * CONSOLE_TAIL_MAX];
	size_t tail_len;
};

/* Take over fd (connected socket) and log to dir_fd. */
int console_init(struct console *c, struct loop *loop, int fd, int dir_fd);

/* The last lines as printable text, ready for an error message; "" when there were none. */
const char *console_tail(struct console *c);

void console_done(struct console *c);

#endif
