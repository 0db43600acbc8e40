/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_PIPES_H
#define GUEST_PIPES_H

/* The two sides of a command's standard streams: pipes, or one terminal. */

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"

struct stdio {
	int out[2];    /* ours, non-blocking: stdout and stderr; a terminal has only the first */
	int in;	       /* ours, non-blocking; -1: the command reads /dev/null */
	int theirs[3]; /* the command's 0, 1 and 2; -1: /dev/null */
};

#define STDIO_NONE                                                                                 \
	{                                                                                          \
		.out = { -1, -1 }, .in = -1, .theirs = { -1, -1, -1 }                              \
	}

/* Open them.  ret is STDIO_NONE before; whatever is not -1 afterwards is the caller's to close,
 * also after a failure.  Returns 0 or -errno. */
int stdio_pipes(bool with_stdin, struct stdio *ret);
int stdio_terminal(uint16_t rows, uint16_t columns, struct stdio *ret); /* 0: no size is set */

/* Close the command's sides, which a command that runs has as its own. */
void stdio_close_theirs(struct stdio *io);

/* Listen to one of our sides no more, and close it, if it is open.  Both are empty afterwards. */
void stdio_close(int *fd, struct loop_source **source);

#endif
