/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_AGENT_H
#define VMM_FIRECRACKER_AGENT_H

/*
 * The agent's channel over Firecracker's vsock.
 *
 * The guest dials; Firecracker then connects to a Unix socket where the supervisor listens.
 * config.on_agent gets that connection.  Without on_agent, this file relays its bytes to
 * config.agent_fd and back, so bytes sent before the guest has dialled wait there.
 *
 * Only the first connection counts: the agent makes it before any workload runs.  mvm hangs
 * up on every other caller in the guest.  After fc_agent_again() the next one counts.
 */

#include "base/loop.h"
#include "base/own.h"
#include "vmm/netns/link.h"
#include "vmm/vmm.h"

struct fc_agent {
	struct loop *loop;
	int listen_fd;
	int host_fd; /* the channel's end until the guest dials */
	bool awaits; /* the guest's call */
	struct loop_source *listen_source;
	struct link *link; /* relays the connection; NULL when on_agent has it */
	int (*on_agent)(void *arg, int fd);
	void *arg;
};
#define FC_AGENT_NONE                                                                              \
	{                                                                                          \
		.listen_fd = -1, .host_fd = -1                                                     \
	}

/*
 * Wait for the guest.
 *
 *   a          FC_AGENT_NONE; fc_agent_done() it, also after a failure
 *   listen_fd  a listening socket, FC_AGENT_SOCKET in Firecracker's folder
 *   host_fd    the far end of the agent channel; both are taken over, also after a failure
 *   config     uses on_agent
 */
int fc_agent_wait(struct fc_agent *a, struct loop *loop, int listen_fd, int host_fd,
		  const struct vmm_config *config);

/* The connection is lost, and the agent dials again once its guest runs, before any other process
 * of the guest does: the guest is frozen and paused.  Returns 0 or -errno. */
int fc_agent_again(struct fc_agent *a);

void fc_agent_done(struct fc_agent *a);

#endif
