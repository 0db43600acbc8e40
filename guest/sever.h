/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SEVER_H
#define GUEST_SEVER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Reset the TCP connections that leave a frozen guest.
 *
 * Before a snapshot: no clone has the other end of such a connection, and a program that only reads
 * would wait for it for ever.  Instead its next call says ECONNRESET.  Connections within the guest
 * have both their ends in each clone, and stay.
 *
 * A connection that no program has accepted yet has no descriptor, and stays too.
 */
void sever_connections(void);

/*
 * The two halves of sever_connections(): find the connections, and reset them.  A guest that is
 * forked keeps its connections, and the fork resets them.  So the guest finds them before the fork:
 * its kernel's code for that is warm.
 */
struct connections {
	int *fds; /* duplicates of the programs' descriptors */
	size_t n;
	bool more; /* not all could be duplicated */
};
void connections_find(struct connections *ret);
void connections_sever(struct connections *c); /* and close them */
void connections_done(struct connections *c);

#endif
