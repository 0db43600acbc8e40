/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SEVER_H
#define GUEST_SEVER_H

/*
 * Reset the TCP connections that leave the guest.
 *
 * Before a snapshot, when everything is frozen: no clone has the other end of such a connection,
 * and a program that only reads would wait for it for ever.  Instead its next call says ECONNRESET.
 * Connections within the guest have both their ends in each clone, and stay.
 *
 * A connection that no program has accepted yet has no descriptor, and stays too.
 */
void sever_connections(void);

#endif
