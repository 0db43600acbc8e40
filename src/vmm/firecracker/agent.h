/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_AGENT_H
#define VMM_FIRECRACKER_AGENT_H

/*
 * The agent's channel over Firecracker's vsock.
 *
 * The guest dials; Firecracker then connects to a Unix socket where we listen, and the bytes are
 * passed on to config.agent_fd and back, so that its other end is the same kind of channel as with
 * every backend: what is sent before the guest has dialled waits in it.  Only the first connection
 * counts; it is made before any workload runs, and then nobody listens any more.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "base/own.h"

/* Bytes on their way from one socket to the other. */
struct fc_flow {
	char *data; /* FC_FLOW_SIZE bytes */
	size_t start, len;
	bool ended; /* no more will come */
};

#define FC_FLOW_SIZE 65536u

struct fc_agent {
	struct loop *loop;
	int dir_fd; /* borrowed; the socket's folder */
	int listen_fd, guest_fd, host_fd;
	struct loop_source *listen_source, *guest_source, *host_source;
	struct fc_flow to_guest, to_host;
};
#define FC_AGENT_NONE                                                                              \
	{                                                                                          \
		.listen_fd = -1, .guest_fd = -1, .host_fd = -1                                     \
	}

/*
 * Listen for the guest.
 *
 *   a         FC_AGENT_NONE; fc_agent_done() it, also after a failure
 *   dir_fd    Firecracker's working folder; outlives a
 *   agent_fd  connected stream socket; duplicated
 */
int fc_agent_listen(struct fc_agent *a, struct loop *loop, int dir_fd, int agent_fd);

void fc_agent_done(struct fc_agent *a);

#endif
