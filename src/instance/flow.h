/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_FLOW_H
#define INSTANCE_FLOW_H

/*
 * A call that has streams, a command or a copy, as its client sees it: its start, what it sends,
 * its end, and the windows of both directions (net/agent.h).
 *
 * It never waits and keeps no data: the owner polls the control's descriptor, asks flow_next() for
 * what has come, and says with flow_credit() what of it has been taken.  session.c does so for
 * calls that block, exec.c for a caller's own event loop.
 *
 * A connection that is broken fails no sending, since what came before is still to be read;
 * flow_next() tells.
 */

#include "instance/control.h"
#include "net/agent.h"

struct flow {
	struct control *control; /* borrowed */
	uint32_t stream;
	uint32_t window; /* bytes of input that may be sent */
	uint32_t room;	 /* bytes of output that may come */
	uint32_t taken;	 /* bytes of output that were taken and are not credited yet */
	bool started;	 /* the guest has said that it runs */
	bool ended;
	int64_t pid; /* in the guest; 0 for a copy */
	int status;  /* as a shell would say it */
	int signal;  /* that ended it; 0: none */
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
 * The next thing that has come.
 *
 * Returns 1, or 0 when it is time to wait for the descriptor.  Errors: the call was refused,
 * -EREMOTEIO, -EPROTO and others of the connection.
 */
int flow_next(struct flow *f, struct flow_event *ret, struct mvm_error *err);

/* n bytes of output were taken. */
int flow_credit(struct flow *f, size_t n);

/* Send n bytes of input, which begin at data[1], at most DATA_MAX and the window; 0: its end. */
int flow_input(struct flow *f, char *data, size_t n);

int flow_signal(struct flow *f, int number);
int flow_resize(struct flow *f, uint16_t rows, uint16_t columns);
int flow_reset(struct flow *f); /* abandon it */

#endif
