/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_CONTROL_H
#define INSTANCE_CONTROL_H

/*
 * The client's side of an instance's control socket (or leash): plain blocking calls with
 * deadlines, one at a time.
 */

#include "base/error.h"
#include "net/channel.h"

struct mvm_progress;

struct control {
	struct channel channel;
	uint32_t last_stream;
	int cancel_fd; /* borrowed; readable: calls fail with -ECANCELED; -1: none */
	/* may stop calls, too; borrowed; NULL: none */
	const struct mvm_progress *progress;
	const char *name; /* borrowed; the instance's, for errors with a reason; may be NULL */
	struct control_watch {
		int64_t quiet_ns, answer_ns; /* as control_watch() was told; 0: not watched */
		int64_t longer_ns;	     /* the present call's quiet time */
		int64_t due_ns; /* by then a frame must come, or we ask for a proof of life */
		bool asked;
	} watch;
};

/* Take over a connected socket; nothing cancels its calls. */
int control_init(struct control *c, int fd);
void control_done(struct control *c); /* hangs up */

/*
 * From now on, check in each call that the supervisor is alive: one that was stopped (SIGSTOP) or
 * hangs never answers.  After quiet_ms without a frame it is asked for a proof of life, which it
 * must give within answer_ms; else the call fails with -ETIMEDOUT, "supervisor-silent".  After each
 * proof the quiet time grows, so a call that waits for hours asks a few times.
 */
void control_watch(struct control *c, int64_t quiet_ms, int64_t answer_ms);

/* The parts of that, for callers with a loop of their own: a call begins; a frame has come; when to
 * call control_watch_due(), which asks, or fails. */
void control_watch_begin(struct control *c);
void control_watch_heard(struct control *c);
int64_t control_watch_ns(const struct control *c); /* DEADLINE_NONE: not watched */
int control_watch_due(struct control *c, struct mvm_error *err);

/* Enough for a supervisor that has work to do, on a host that has too much of it. */
#define CONTROL_QUIET_MS  INT64_C(2000)
#define CONTROL_ANSWER_MS INT64_C(8000)

/*
 * Wait for the reply on a stream.
 *
 *   what       names the call in errors; NULL: the supervisor's message stands alone
 *   ret_reply  the reply's payload, which the caller frees; may be NULL
 *
 * Returns 0.  Errors: the negative of the reply's status, with its message and reason; -EREMOTEIO
 * when the supervisor is gone; -ETIMEDOUT, also when it is silent (control_watch()); -ECANCELED.
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
