/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SEVER_H
#define GUEST_SEVER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Reset the TCP connections that leave the guest, in which everything is frozen.
 *
 * Before a snapshot: no clone has the other end of such a connection,
 * and a program that only reads would wait for it for ever.  Instead its next call says ECONNRESET.
 * Connections within the guest have both their ends in each clone, and stay.
 *
 * A connection that no program has accepted yet has no descriptor, and stays too.
 */
void sever_connections(void);

/*
 * The two halves of that.  A guest that goes on keeps its connections and a fork of it resets them,
 * so they are found before the fork, where the kernel's code for it is warm.
 */
struct connections {
	int *fds; /* duplicates of the programs' own */
	size_t n;
	bool more; /* there may be others */
};
void connections_find(struct connections *ret);
void connections_sever(struct connections *c); /* and close them */
void connections_done(struct connections *c);

#endif
