/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_NETNS_PRIV_H
#define VMM_NETNS_NETNS_PRIV_H

/*
 * The parts of a VM's network that the kernel holds: the namespace, devices, addresses, NAT.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "vmm/netns/wall.h"

#define NETNS_GATEWAY "10.0.2.2"
#define NETNS_DNS     "10.0.2.3"
#define NETNS_GUEST   "10.0.2.15"

struct netns_parts {
	int host_fd, vm_fd;		   /* the namespaces */
	int host_nat_fd, vm_nat_fd;	   /* sockets that own the NAT rules of each namespace */
	unsigned n_host_rules, n_vm_rules; /* how often they were set */
	int index; /* number of the pair of links, for its name and addresses; -1: no links */
	bool held, quiet; /* with either the tap device is down, so nothing passes */
};
#define NETNS_PARTS_NONE                                                                           \
	{                                                                                          \
		.host_fd = -1, .vm_fd = -1, .host_nat_fd = -1, .vm_nat_fd = -1, .index = -1        \
	}

/* Make all parts.  *p is NETNS_PARTS_NONE; netns_parts_done() it, also after a failure.  tap_uid as
 * and held as in netns.h. */
int netns_build(struct netns_parts *p, uid_t tap_uid, bool held, const struct wall *wall,
		struct mvm_error *err);
void netns_parts_done(struct netns_parts *p);

/* Hold the guest to rules from now on, for connections that are open too. */
int netns_parts_rules(struct netns_parts *p, const struct wall *wall, struct mvm_error *err);

/* Hold everything back for one or both of two reasons: the guest awaits rules (held), or its VMM
 * must not hear the network (quiet).  Returns 0 or -errno, and then nothing has changed. */
int netns_parts_hold(struct netns_parts *p, bool held, bool quiet);

/* Move this thread into the VM's namespace, and back.  The caller must not wait in between. */
int netns_enter(const struct netns_parts *p);
int netns_leave(const struct netns_parts *p);

#endif
