/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NET_HELPER_H
#define VMM_NET_HELPER_H

/*
 * A VM's network as a process of its own, mvm-net (usernet/usernet.h): the VMM's only socket leads
 * there.
 *
 * struct net_process starts and ends mvm-net, struct net_helper talks to it.  They may be in two
 * processes of ours, so they are two structs.
 *
 * Calling sequence: the VMM's start with one end of a socket, net_process_start with the other (the
 * VMM takes longer, so it starts first, and both start side by side), net_helper_take,
 * net_helper_ready, net_process_seal before the guest runs, net_helper_forward at any time;
 * net_helper_done, net_process_done.
 */

#include <jansson.h>

#include "base/loop.h"
#include "vmm/box.h"
#include "vmm/uid.h"
#include "vmm/vmm.h"

#define NET_HELPER_PROGRAM  "mvm-net"
#define NET_HELPER_PAUSE_MS 1000

/*
 * The address space of mvm-net.  All its connections (usernet/sockets.h) with full buffers are
 * about 330 MiB. libslirp also keeps each segment that comes out of order, without a limit of its
 * own.  A guest that abuses this ends its own network, which starts again.
 */
#define NET_HELPER_MEMORY_MIB 448u

struct net_process {
	struct process process;
	struct own_uid user; /* not the VMM's */
	struct box box;
	int link_fd; /* the end of the VMM's socket, for the next mvm-net */
	bool alone;
};
#define NET_PROCESS_NONE                                                                           \
	{                                                                                          \
		.user = OWN_UID_NONE, .box = BOX_NONE, .link_fd = -1                               \
	}

struct net_helper {
	struct loop *loop;
	struct loop_source *source;
	int control_fd;
	json_t *reply; /* NULL: not here yet */
	bool is_up, ended, is_returning;
	const struct vmm_keeper *keeper; /* starts the next one */
	struct loop_source *again;
	int64_t again_ns; /* when the last mvm-net was started */
	unsigned tries;
	/* reports that come unasked are read once in NET_HELPER_PAUSE_MS */
	struct loop_source *pause;
	bool is_asked;
	unsigned n_unasked; /* meanwhile */
	vmm_network_fn on_news;
	void *arg;
	uint64_t refused; /* as far as was told */
	/* rules that came while it was away, for the next mvm-net; nobody waits for its answer */
	char *kept;
	unsigned n_unheard;
};
#define NET_HELPER_NONE                                                                            \
	{                                                                                          \
		.control_fd = -1                                                                   \
	}

/*
 * Start mvm-net.  Does not wait for it.
 *
 *   p               NET_PROCESS_NONE; to be done also after a failure
 *   alone           as a user of its own, as own_uid_obstacle() allows
 *   link_fd         the other end of the VMM's socket; borrowed
 *   ret_control_fd  for net_helper_take(); the caller's
 *
 * Returns 0 or -errno.
 */
int net_process_start(struct net_process *p, const struct vmm_config *c, bool alone, int link_fd,
		      int *ret_control_fd, struct mvm_error *err);

/* Start another mvm-net on the same socket.  Then go on as after net_process_start(). */
int net_process_again(struct net_process *p, const struct vmm_config *c, int *ret_control_fd,
		      struct mvm_error *err);

/* Take the host's files from mvm-net, once it serves. */
int net_process_seal(struct net_process *p, struct mvm_error *err);

void net_process_done(struct net_process *p);

/*
 * Talk to mvm-net on control_fd, which is taken over.
 *
 *   u        NET_HELPER_NONE
 *   keeper   starts another mvm-net, with the rules and ports of the moment, when this one has
 *            ended before the VMM; borrowed
 *   on_news  called with what it refuses, when it ends, and when another one serves
 */
int net_helper_take(struct net_helper *u, int control_fd, const struct vmm_keeper *keeper,
		    struct loop *loop, vmm_network_fn on_news, void *arg);

/* Wait until it serves.  Returns 0, or -errno: a port of the host is taken (-EADDRINUSE), ... */
int net_helper_ready(struct net_helper *u, int64_t deadline_ns, struct mvm_error *err);

/* Forward another port.  Returns 0 or -errno.  An mvm-net that does not answer before the deadline
 * is replaced. */
int net_helper_forward(struct net_helper *u, const struct vmm_forward *f, int64_t deadline_ns,
		       struct mvm_error *err);

/* Give mvm-net other rules, for all flows, and other name servers, if there are any.  If mvm-net is
 * away or does not answer, the next one gets them.  Returns 0 or -errno. */
int net_helper_policy(struct net_helper *u, const struct vmm_network *network, int64_t deadline_ns,
		      struct mvm_error *err);

void net_helper_done(struct net_helper *u);

#endif
