/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_ROUTE_H
#define USERNET_ROUTE_H

/*
 * Asks the host's kernel whether an address is one of the host's own.  It asks each time, so the
 * answer is true at this moment.  The kernel also tells when an address becomes the host's.
 *
 * Source: rtnetlink(7), RTM_GETROUTE, RTNLGRP_IPV4_ROUTE.
 */

#include <stdbool.h>

#include "model/policy.h"

struct route {
	int fd; /* borrowed; poll it, and call route_has_changed() */
	uint32_t sequence;
	bool has_changed;
};

/* fd: an rtnetlink socket, which a process with that right has made. */
void route_init(struct route *r, int fd);

/* Is it an address of the host, or a broadcast address? true also when the kernel does not say. */
bool route_is_hosts(struct route *r, const struct policy_address *address);

/* Has any address become the host's since the last call? */
bool route_has_changed(struct route *r);

#endif
