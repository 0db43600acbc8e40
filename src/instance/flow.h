/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_FLOW_H
#define INSTANCE_FLOW_H

/*
 * The client's side of a call with streams, a command or a copy: its start, its data, its end, and
 * the windows of both directions (net/agent.h).
 *
 * A flow never waits and keeps no data.  The owner polls the control's descriptor, asks flow_next()
 * for the next event, and reports with flow_credit() how much output it has consumed.  session.c
 * does this for blocking calls, exec.c for a caller's own event loop.
 *
 * Sending over a broken connection does not fail, because earlier data is still to be read;
 * flow_next() reports the failure afterwards.
 */

#include "instance/control.h"
#include "net/agent.h"

struct flow {
	struct control *control; /* borrowed */
	uint32_t stream;
	uint32_t window; /* bytes of input that may be sent */
	uint32_t room;	 /* bytes of output that may come */
	uint32_t taken;	 /* consumed bytes of output that are not credited yet */
	bool started;	 /* the guest has confirmed the start */
	bool ended;
	int64_t pid; /* in the guest; 0 for a copy */
	bool tty;    /* of a kept command: it has a terminal */
	bool gone;   /* likewise: it has ended already */
	bool deaf;   /* likewise: its input has */
	bool holes;  /* of a copy into the guest: it takes sparse files */
	int status;  /* as in a shell */
	int signal;  /* the signal that ended it; 0: none */
};

enum flow_kind {
	FLOW_STARTED,
	FLOW_OUTPUT,
	FLOW_WINDOW, /* there is more room for input */
	FLOW_ENDED,
};

struct flow_event {
	enum flow_kind kind;
	uint8_t channel;  /* DATA_STDOUT or DATA_STDERR */
	const void *data; /* valid until the next flow_next() */
	size_t len;	  /* 0: the channel has ended */
};

/* Make the call, on a new stream. */
int flow_begin(struct flow *f, struct control *c, unsigned call, const struct strbuf *args,
	       struct mvm_error *err);

/*
 * Take the next event.
 *
 * Returns 1, or 0 when it is time to wait for the descriptor.  Errors: the call was refused,
 * -EREMOTEIO (the VM has ended), -EPROTO and others of the connection.
 */
int flow_next(struct flow *f, struct flow_event *ret, struct mvm_error *err);

/* Report that n bytes of output were consumed. */
int flow_credit(struct flow *f, size_t n);

/* Send n bytes of input, which begin at data[1]; at most DATA_MAX and the window.  n 0: end it. */
int flow_input(struct flow *f, char *data, size_t n);

int flow_signal(struct flow *f, int number);
int flow_resize(struct flow *f, uint16_t rows, uint16_t columns);
int flow_reset(struct flow *f); /* cancel it */

#endif
