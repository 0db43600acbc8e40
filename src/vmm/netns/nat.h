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

/*
 * Make rules for one machine behind an interface.  Packets that it sends get the address of the
 * interface by which they leave.  Nobody can begin a connection to it.  Packets from the interface
 * with another source address are dropped.
 *
 *   fd         from nl_open(NETLINK_NETFILTER); the rules hold while it is open
 *   table      a name that nobody else uses
 *   source     the machine's address
 *   interface  the interface that leads to this machine alone
 *
 * Returns 0 or -errno: -EPERM, -EEXIST, -EOPNOTSUPP or -ENOENT (a kernel without nf_tables' NAT).
 */
int nat_masquerade(int fd, const char *table, struct in_addr source, const char *interface);

#endif
