/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_CONTROL_H
#define INSTANCE_CONTROL_H

/*
 * The client's side of an instance's control socket (or leash): plain blocking calls with
 * deadlines, one at a time.
 */

#include "base/error.h"
#include "net/channel.h"

struct control {
	struct channel channel;
	uint32_t last_stream;
};

/* Take over a connected socket. */
int control_init(struct control *c, int fd);
void control_done(struct control *c); /* hangs up */

/*
 * Wait for the reply on a stream.
 *
 *   what       names the call in errors; NULL: the supervisor's message stands alone
 *   ret_reply  its payload, the caller's; may be NULL
 *
 * Returns 0.  Errors: the negative of the reply's status, with its message and hint; -EREMOTEIO
 * when the supervisor has gone; -ETIMEDOUT.
 */
int control_wait_reply(struct control *c, uint32_t stream, const char *what, int64_t deadline_ns,
		       struct strbuf *ret_reply, struct mvm_error *err);

/* Make a call and wait for its reply.  args: fields after FIELD_CALL, may be NULL. */
int control_call(struct control *c, unsigned call, const char *what, const struct strbuf *args,
		 int64_t deadline_ns, struct strbuf *ret_reply, struct mvm_error *err);

struct control_exec {
	const struct strbuf *args; /* FIELD_ARG and so on */
	int stdin_fd;		   /* -1: the command reads nothing */
	int stdout_fd, stderr_fd;  /* written to blockingly */
	int signal_fd;		   /* signalfd(2): passed on (SIGWINCH as the new size); -1: none */
	int tty_fd;		   /* the terminal whose size counts; -1: none */
	int64_t deadline_ns;
};

/*
 * Run a command in the guest with its streams attached, to its end.
 *
 *   ret_status  as a shell would say it: the exit code, or 128 + signal
 *
 * Returns 0 when the command ran.  Errors: -ENOENT no such program in the guest, -EACCES it cannot
 * be executed, -ETIMEDOUT (the command was killed), -EREMOTEIO the VM has ended.
 */
int control_exec(struct control *c, const struct control_exec *exec, int *ret_status,
		 struct mvm_error *err);

#endif
