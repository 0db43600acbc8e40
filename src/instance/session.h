/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_SESSION_H
#define INSTANCE_SESSION_H

/*
 * The client's side of a call that has streams: a command, or a copy.
 *
 * One loop carries everything in both directions.  Output that its reader does not take yet waits
 * here, at most a window of it (net/agent.h), while input goes on being read: a reader who waits
 * for its own words to be answered is not waited for.
 */

#include "instance/control.h"

/* Streams that are made and taken in memory, in place of descriptors. */
struct session_io {
	/* Make at most len (> 0) bytes of input: how many, 0 at the end, -errno. */
	ssize_t (*read)(void *arg, void *data, size_t len, struct mvm_error *err);
	/* Take output.  0 or -errno; once it has failed it is not called again. */
	int (*write)(void *arg, const void *data, size_t len, struct mvm_error *err);
	void *arg;
};

struct session_spec {
	unsigned call;		     /* CALL_EXEC, CALL_PUT or CALL_GET */
	const struct strbuf *args;   /* FIELD_ARG and so on */
	int stdin_fd;		     /* -1: the command reads nothing */
	int stdout_fd, stderr_fd;    /* -1: dropped */
	const struct session_io *io; /* in place of stdin_fd and stdout_fd; a NULL in it: nothing */
	struct strbuf *words;	     /* the first SESSION_WORDS_MAX bytes of standard error go here
				      * in place of stderr_fd; may be NULL */
	int signal_fd; /* signalfd(2): passed on (SIGWINCH as the new size); -1: none */
	int tty_fd;    /* the terminal whose size counts, and whose keys may end it; -1: none */
	int64_t deadline_ns;
	int64_t idle_ms; /* the guest may say nothing for so long; 0: for ever */
};

#define SESSION_WORDS_MAX 4096u

/*
 * Make the call and carry its streams, to its end.
 *
 * No guest can hold its client.  The first signal is passed on to a command that has started, which
 * then has 10 s to end; a second one, or one at another time, ends the call.  So does ~. on a
 * terminal (escape.h), and the control's cancel_fd.
 *
 *   ret_status  as a shell would say it: the exit code, or 128 + signal; also with -ECANCELED
 *
 * Returns 0 when the command ran.  Errors: -ENOENT no such program in the guest, -EACCES it cannot
 * be executed, -ETIMEDOUT (the command was killed), -ECANCELED (likewise), -EREMOTEIO the VM has
 * ended, and what io gave.
 */
int session_run(struct control *c, const struct session_spec *spec, int *ret_status,
		struct mvm_error *err);

#endif
