/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_ROUTE_H
#define USERNET_ROUTE_H

/*
 * Where the host's kernel would send a packet: is an address one of the host's own?  It is asked
 * each time, so that the answer is that of this moment, for addresses of every kind.  It tells,
 * too, when an address becomes the host's.
 *
 * Source: rtnetlink(7), RTM_GETROUTE, RTNLGRP_IPV4_ROUTE.
 */

#include <stdbool.h>

#include "model/policy.h"

struct route {
	int fd; /* borrowed; to be polled for what route_has_changed() tells */
	uint32_t sequence;
	bool has_changed;
};

/* fd: a socket of rtnetlink, made by whoever may make one. */
void route_init(struct route *r, int fd);

/* Is it an address of the host, or a broadcast one?  true also when the kernel does not say. */
bool route_is_hosts(struct route *r, const struct policy_address *address);

/* Has any address become the host's since the last call? */
bool route_has_changed(struct route *r);

#endif
