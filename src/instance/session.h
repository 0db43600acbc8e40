/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_SESSION_H
#define INSTANCE_SESSION_H

/*
 * The client's side of a blocking call with streams: a command, or a copy.
 *
 * One loop carries the data of both directions.  Output that its reader does not take yet waits
 * here, at most a window of it (net/agent.h), while the loop goes on reading input.  So a reader
 * that waits for an answer to its own input cannot block the session.
 */

#include "instance/control.h"

/* Streams made and consumed in memory, instead of by descriptors. */
struct session_io {
	/* Make at most len (> 0) bytes of input.  Returns how many, 0 at the end, -errno. */
	ssize_t (*read)(void *arg, void *data, size_t len, struct mvm_error *err);
	/* Take output.  0 or -errno; after a failure it is not called again. */
	int (*write)(void *arg, const void *data, size_t len, struct mvm_error *err);
	/* The guest takes sparse files; called before read.  May be NULL. */
	void (*holes)(void *arg);
	void *arg;
};

struct session_spec {
	unsigned call;		     /* CALL_EXEC, CALL_PUT or CALL_GET */
	const struct strbuf *args;   /* FIELD_ARG and so on */
	int stdin_fd;		     /* -1: no input */
	int stdout_fd, stderr_fd;    /* -1: dropped */
	const struct session_io *io; /* in place of stdin_fd and stdout_fd; a NULL in it: nothing */
	/* Receives the first SESSION_WORDS_MAX bytes of standard error in place of stderr_fd.  May
	 * be NULL. */
	struct strbuf *words;
	int signal_fd; /* signalfd(2): passed on (SIGWINCH as the new size); -1: none */
	int tty_fd;    /* the terminal whose size counts, and whose keys may end it; -1: none */
	int64_t deadline_ns;
	/* how long the guest may be silent while nothing waits for our own input or output; 0: for
	 * ever */
	int64_t idle_ms;
};

#define SESSION_WORDS_MAX 4096u

/*
 * Make the call and carry its streams until its end.
 *
 * A guest cannot hold up its client.  The first signal is passed on to a command that has started,
 * which then has 10 s to end.  A second signal, or one before the start, ends the call.  So do ~.
 * on a terminal (escape.h), and the control's cancel_fd.
 *
 *   ret_status  as in a shell: the exit code, or 128 + signal; also with -ECANCELED
 *
 * Returns 0 when the command ran.  Errors: -ENOENT no such program in the guest, -EACCES it cannot
 * be executed, -ETIMEDOUT (the command was killed), -ECANCELED (likewise), -EREMOTEIO the VM has
 * ended, and what io gave.
 */
int session_run(struct control *c, const struct session_spec *spec, int *ret_status,
		struct mvm_error *err);

#endif
