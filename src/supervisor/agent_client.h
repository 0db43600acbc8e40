/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_AGENT_CLIENT_H
#define SUPERVISOR_AGENT_CLIENT_H

/*
 * The host's side of one guest's agent channel (net/agent.h).
 *
 * The supervisor's own calls wait for their reply in the event loop.  Frames of streams that
 * belong to clients are handed to a callback.  Whatever the guest sends is untrusted: a frame
 * that breaks the protocol ends the channel, with the reason in `broken`.
 */

#include "base/error.h"
#include "base/loop.h"
#include "net/agent.h"
#include "net/channel.h"

/* Streams from here on are the supervisor's own; the ones below belong to clients. */
#define AGENT_OWN_STREAMS 0x80000000u

typedef void (*agent_frame_fn)(void *arg, const struct frame *frame);
typedef void (*agent_broken_fn)(void *arg);

/* status: 0, or a positive errno with the agent's message.  reply: the whole answer. */
typedef void (*agent_answer_fn)(void *arg, int status, const char *message,
				const struct frame *reply);

/* A call without waiting: its answer goes to a callback.  The caller owns the struct, and keeps it
 * from agent_client_begin() to the answer or agent_client_cancel(). */
struct agent_later {
	struct agent_later *next;
	uint32_t stream; /* 0: not under way */
	agent_answer_fn on_answer;
	void *arg;
};

struct agent_client {
	struct channel channel;
	int first_fd; /* the first channel, when another one has replaced it; 0: none */
	struct loop_source *source;
	bool hello;	     /* the agent has introduced itself; a restored guest's has before */
	bool redials;	     /* its connection is lost, and it will introduce itself on another */
	uint64_t protocol;   /* the agent's protocol version */
	char broken[128];    /* why the channel broke; "": it works */
	bool misbehaved;     /* it broke because the guest violated the protocol */
	uint32_t own_stream; /* of the waiting call, 0: none */
	uint32_t last_own_stream;
	struct strbuf reply; /* its reply */
	bool replied;
	bool quiet;		   /* the guest is being captured: only our own call may be sent */
	bool holds;		   /* the others' frames wait meanwhile; else they are refused */
	struct strbuf held;	   /* these frames: type, stream, length, payload */
	bool release_due;	   /* once the agent has introduced itself */
	agent_frame_fn on_frame;   /* may be NULL */
	agent_broken_fn on_broken; /* may be NULL */
	void *arg;
	struct agent_later *later; /* calls of agent_client_begin() */
	agent_frame_fn on_log;	   /* FRAME_LOG, the workload's output; set before init */
	void *log_arg;
};

/* Watch fd (non-blocking; taken over) on the loop. */
int agent_client_init(struct agent_client *a, struct loop *loop, int fd);
void agent_client_done(struct agent_client *a);

/*
 * Switch to another connection, before the agent has sent anything on the first.  The caller passes
 * on the bytes that were already written to the first; queued bytes go to the new one.
 *
 *   fd  non-blocking; taken over on success
 *
 * Returns 0, -EPIPE (the channel is broken) or -errno.
 */
int agent_client_move(struct agent_client *a, struct loop *loop, int fd);

/* The connection is lost, and the agent will make another one, on which it introduces itself again:
 * switch back to the first one until then.  What was under way in either direction is lost.
 * Returns 0, -EPIPE or -errno. */
int agent_client_move_back(struct agent_client *a, struct loop *loop);

/* Send a frame of a client's stream.  -ENOBUFS when the guest takes no more bytes, -EBUSY while the
 * channel is quiet. */
int agent_client_send(struct agent_client *a, uint8_t type, uint32_t stream, const void *payload,
		      size_t len);

/* Be quiet: hold the others' frames until agent_client_release().  A release that still waits for
 * the agent's greeting is off, since that may come within this silence. */
void agent_client_hold(struct agent_client *a);

/* No longer quiet: send what was held, once the agent has introduced itself. */
void agent_client_release(struct agent_client *a);

/* If the channel was closed, wait a moment for the VMM's end, which is then the cause.  Returns
 * *ended. */
bool agent_client_await_end(const struct agent_client *a, struct loop *loop, const bool *ended,
			    int64_t deadline_ns);

/* Wait for HELLO.  Errors: -ETIMEDOUT; -EREMOTEIO when the channel broke, or as soon as *stop is
 * true (the VMM has ended).  stop may be NULL. */
int agent_client_wait_hello(struct agent_client *a, struct loop *loop, const bool *stop,
			    int64_t deadline_ns, struct mvm_error *err);

/*
 * Make a call and wait for its reply.
 *
 *   call       enum agent_call; `what` names it in errors
 *   args       the fields after FIELD_CALL; may be NULL
 *   ret_reply  the reply's payload, which the caller frees; may be NULL
 *
 * Returns 0, or -EREMOTEIO with the agent's message when its status is not 0;
 * agent_client_refused() tells whether that was the given one (a positive errno).
 */
int agent_client_call(struct agent_client *a, struct loop *loop, unsigned call, const char *what,
		      const struct strbuf *args, const bool *stop, int64_t deadline_ns,
		      struct strbuf *ret_reply, struct mvm_error *err);
bool agent_client_refused(const struct agent_client *a, int status);

/* Make a call without waiting; the loop calls fn with the answer.  -EBUSY while this call is under
 * way.  agent_client_cancel() cancels it, also in the guest. */
int agent_client_begin(struct agent_client *a, struct agent_later *l, unsigned call,
		       const struct strbuf *args, agent_answer_fn fn, void *arg);
void agent_client_cancel(struct agent_client *a, struct agent_later *l);

#endif
