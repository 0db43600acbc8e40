/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_WORDS_H
#define VMM_WORDS_H

/*
 * The standard error of a VMM process.  All of it is copied to a log.  The tail is kept, because it
 * explains why the VMM ended.
 *
 * Calling sequence: words_take, words_watch, words_done.
 */

#include "base/error.h"
#include "base/loop.h"
#include "base/str.h"
#include "vmm/oom.h"

#define WORDS_MAX 4096u

struct words {
	struct loop_source *source;
	int fd;	    /* the pipe's read end; -1 once it has ended */
	int log_fd; /* the log; -1: none */
	struct strbuf tail;
	struct oom_watch oom; /* from before the process started */
};
#define WORDS_NONE                                                                                 \
	{                                                                                          \
		.fd = -1, .log_fd = -1                                                             \
	}

/* Take over the read end of a pipe, and make it non-blocking.  After a failure the caller keeps it.
 * log_fd is duplicated (-1: none). */
int words_take(struct words *w, int fd, int log_fd);

/* Read the pipe from the loop. */
int words_watch(struct words *w, struct loop *loop);

/* Read what the pipe has now.  Text that arrives meanwhile may wait for the next call. */
void words_read(struct words *w);

void words_done(struct words *w);

/*
 * "QEMU ended with status 1: could not load kernel", or "was killed by signal 9".
 *
 *   who     the process's name
 *   prefix  text that the process writes in front of each line, to leave out; may be ""
 *   status  as in wait(2)
 *
 * Returns -EREMOTEIO.
 */
int words_explain(const struct words *w, const char *who, const char *prefix, int status,
		  struct mvm_error *err);

#endif
