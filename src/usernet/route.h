/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_ROUTE_H
#define USERNET_ROUTE_H

/*
 * Where the host's kernel would send a packet: is an address one of the host's own?  It is asked
 * each time, so that the answer is that of this moment, for addresses of every kind.
 *
 * Source: rtnetlink(7), RTM_GETROUTE.
 */

#include <stdbool.h>

#include "model/policy.h"

/* fd: a socket of rtnetlink, made by whoever may make one. */
/* Is it an address of the host, or a broadcast one?  true also when the kernel does not say. */
bool route_is_hosts(int fd, const struct policy_address *address);

#endif
