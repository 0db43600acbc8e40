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
	int cancel_fd;	  /* borrowed; readable: calls fail with -ECANCELED; -1: none */
	const char *name; /* borrowed; the instance's, for errors with a reason; may be NULL */
};

/* Take over a connected socket; nothing cancels its calls. */
int control_init(struct control *c, int fd);
void control_done(struct control *c); /* hangs up */

/*
 * Wait for the reply on a stream.
 *
 *   what       names the call in errors; NULL: the supervisor's message stands alone
 *   ret_reply  the reply's payload, which the caller frees; may be NULL
 *
 * Returns 0.  Errors: the negative of the reply's status, with its message and reason; -EREMOTEIO
 * when the supervisor is gone; -ETIMEDOUT; -ECANCELED.
 */
int control_wait_reply(struct control *c, uint32_t stream, const char *what, int64_t deadline_ns,
		       struct strbuf *ret_reply, struct mvm_error *err);

/* Make a call and wait for its reply.  args: fields after FIELD_CALL, may be NULL. */
int control_call(struct control *c, unsigned call, const char *what, const struct strbuf *args,
		 int64_t deadline_ns, struct strbuf *ret_reply, struct mvm_error *err);

/* The parts of a call, for callers that go on using its stream (session.c). */
int control_send_call(struct control *c, unsigned call, const struct strbuf *args,
		      uint32_t *ret_stream, struct mvm_error *err);
/* Return a reply's status, with its message and reason as the error. */
int control_check_reply(const struct control *c, const struct frame *f, const char *what,
			struct mvm_error *err);
/* Describe a connection that has failed with r. */
int control_gone(const struct control *c, int r, struct mvm_error *err);

#endif
