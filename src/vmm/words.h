/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_WORDS_H
#define VMM_WORDS_H

/*
 * What a VMM process says on its standard error: its tail is kept, because it explains why the VMM
 * ended, and all of it is copied to a log.
 *
 * Calling sequence: words_open before the process starts, words_watch after, words_done.
 */

#include "base/error.h"
#include "base/loop.h"
#include "base/str.h"
#include "vmm/oom.h"

#define WORDS_MAX 4096u

struct words {
	struct loop_source *source;
	int fd;	    /* the read end; -1 at its end */
	int log_fd; /* a copy goes there; -1: nowhere */
	struct strbuf tail;
	struct oom_watch oom; /* since the process was started */
};
#define WORDS_NONE                                                                                 \
	{                                                                                          \
		.fd = -1, .log_fd = -1                                                             \
	}

/* Make the pipe.  log_fd is duplicated (-1: none); *ret_to, the process's end, is the caller's. */
int words_open(struct words *w, int log_fd, int *ret_to);

/* The same, and the pipe has a name, made in dir_fd, by which the process can open it again. */
int words_open_at(struct words *w, int dir_fd, const char *name, int log_fd, int *ret_to);

/* Serve it from the loop. */
int words_watch(struct words *w, struct loop *loop);

/* Take what has come; what comes meanwhile may wait for another turn. */
void words_read(struct words *w);

void words_done(struct words *w);

/*
 * "QEMU ended with status 1: could not load kernel", or "was killed by signal 9".
 *
 *   who     what the process is called
 *   prefix  what it writes in front of each line, which is left out; "" for nothing
 *   status  as in wait(2)
 *
 * Returns -EREMOTEIO.
 */
int words_explain(const struct words *w, const char *who, const char *prefix, int status,
		  struct mvm_error *err);

#endif
