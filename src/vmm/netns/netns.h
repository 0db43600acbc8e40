/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_NETNS_H
#define VMM_NETNS_NETNS_H

/*
 * The network of one VM: a network namespace of its own.  Every VM's namespace has the same tap
 * device and the same addresses, so that clones of one snapshot need no change.
 *
 *	host's namespace            |  the VM's namespace
 *	mvm123  198.18.x.y+1/30  ---|---  up0   198.18.x.y+2/30
 *	   (NAT to the host's       |       (NAT to up0's address)
 *	    address)                |     tap0  10.0.2.2/24, 10.0.2.3/24   <- the guest, 10.0.2.15
 *
 * What the guest may reach is held by nf_tables (wall.h, nat.h): in the VM's namespace, where its
 * packets are passed on, by their address and port; in the host's, where they would reach an
 * address of the host, whatever addresses it has then.  Domains cannot be held here.
 *
 * For a forwarded port the supervisor listens on the host and relays each connection to a socket in
 * the VM's namespace (relay.h).  In the same way it relays 10.0.2.3 to the host's name server, and
 * the ports of 10.0.2.2 that rules open to the host's loopback.  The guest sees the same network as
 * with QEMU.
 *
 * The namespace has no name: it, its devices and mvm123 disappear when the VMM and the supervisor
 * have ended.  The kernel removes the NAT rules with the sockets that made them (nat.h).  So
 * nothing is left to clean up, whichever process is killed.
 *
 * Needs CAP_NET_ADMIN and CAP_SYS_ADMIN, which root has, and net.ipv4.ip_forward.  198.18.0.0/15 is
 * reserved for benchmarks, and nobody routes it (RFC 2544).
 */

#include "base/loop.h"
#include "base/process.h"
#include "vmm/vmm.h"

#define NETNS_TAP "tap0"

struct netns;

/* Why this process cannot make a VM's network; NULL: it can.  Static. */
const char *netns_obstacle(void);

/*
 * Make a VM's network.
 *
 *   forwards  bound at once: -EADDRINUSE names the port
 *   rules     what the guest may reach; -EOPNOTSUPP for domains
 *   tap_uid   user who may open the tap device, besides root; (uid_t)-1: only root
 *   held      nothing passes until netns_rules()
 *
 * Costs about as much as starting a process.
 */
int netns_new(struct loop *loop, const struct vmm_forward *forwards, size_t n_forwards,
	      const struct vmm_network *rules, uid_t tap_uid, bool held, struct netns **ret,
	      struct mvm_error *err);

/* Let nothing pass to the VMM or from it (quiet), or let everything pass again that the rules
 * allow. Returns 0 or -errno. */
int netns_quiet(struct netns *n, bool quiet);

/* Other rules from now on, for every connection.  -EINVAL and -EOPNOTSUPP name the rule. */
int netns_rules(struct netns *n, const struct vmm_network *rules, struct mvm_error *err);

/* Forward one more port. */
int netns_forward(struct netns *n, const struct vmm_forward *forward, struct mvm_error *err);

/* process_spawn() in the VM's namespace. */
int netns_spawn(struct netns *n, const struct process_spec *spec, struct process *ret);

void netns_free(struct netns *n);
DEFINE_AUTO(netns, netns_free)

/* The first name server in the text of a resolv.conf(5), with port 53.  0 or -ENOENT.  Pure. */
struct sockaddr_storage;
int netns_name_server(const char *resolv_conf, struct sockaddr_storage *ret);

#endif
