/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_NAT_H
#define VMM_NETNS_NAT_H

/*
 * Address translation by nf_tables, in the network namespace that the socket belongs to.
 *
 * A table is owned by its socket: the kernel removes it when that is closed, however the process
 * ends, and lets nobody else change it.  Linux 5.12 or newer.
 */

#include <netinet/in.h>

/*
 * Have what an address sends leave with the address of the interface that it leaves by, let nobody
 * begin a connection with it, and let nothing pass that comes from there under another address.
 *
 *   fd         of nl_open(NETLINK_NETFILTER); stays open for as long as this shall hold
 *   table      a name that nobody else uses
 *   source     whose packets
 *   interface  where it is reached, alone
 *
 * Returns 0 or -errno: -EPERM, -EEXIST, -EOPNOTSUPP or -ENOENT (a kernel without nf_tables' NAT).
 */
int nat_masquerade(int fd, const char *table, struct in_addr source, const char *interface);

#endif
