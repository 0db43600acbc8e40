/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_NAT_H
#define VMM_NETNS_NAT_H

/*
 * Address translation by nf_tables, in the network namespace of a netlink socket.
 *
 * The socket owns its table: the kernel removes the table when the socket is closed, however the
 * process ends, and lets nobody else change it.  Linux 5.12 or newer.
 */

#include <netinet/in.h>

#include "vmm/netns/wall.h"

/*
 * Make rules for one machine behind an interface.  Packets that it sends get the address of the
 * interface by which they leave.  Nobody can begin a connection to it.  Packets from the interface
 * with another source address are dropped, and so are packets to the machine that would leave by
 * another interface.
 *
 *   fd         from nl_open(NETLINK_NETFILTER); the rules hold while it is open
 *   table      a name that nobody else uses
 *   source     the machine's address
 *   interface  the interface that leads to this machine alone
 *
 * Returns 0 or -errno: -EPERM, -EEXIST, -EOPNOTSUPP or -ENOENT (a kernel without nf_tables' NAT).
 */
int nat_masquerade(int fd, const char *table, struct in_addr source, const char *interface);

enum nat_guard {
	NAT_GUARD_FORWARDED, /* packets that are passed on */
	/* packets to addresses of this namespace, before any rule of the host's gives them another:
	 * Docker's published ports lead on from the host's addresses to containers */
	NAT_GUARD_LOCAL,
};

/*
 * Hold the packets from an interface to steps, in a table that nat_masquerade() has made.  Of TCP,
 * UDP and ICMP, since nothing else passes; what no step matches is refused.
 *
 *   serial  0, and with each later call for this table and kind one more: the new steps take the
 *           place of the old ones at once
 *
 * Each packet is judged, so new steps hold for connections that are open.
 * Returns as nat_masquerade(); after a failure the old steps hold.
 */
int nat_guard(int fd, const char *table, enum nat_guard which, const char *interface,
	      const struct wall_step *steps, size_t n, unsigned serial);

#endif
