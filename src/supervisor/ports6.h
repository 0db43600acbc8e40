/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_PORTS6_H
#define SUPERVISOR_PORTS6_H

/*
 * Ports of IPv6 addresses.  VMMs forward only ports of IPv4 addresses.  So for each IPv6 port the
 * VMM forwards a free port of 127.0.0.1, and the supervisor relays the IPv6 port to that one.
 */

#include <mvm/error.h>

#include "base/loop.h"
#include "vmm/netns/relay.h"
#include "vmm/vmm.h"

#define PORTS_MAX 64u

struct port6 {
	struct relay *relay;
	uint16_t inner; /* of 127.0.0.1, the VMM's */
};

struct ports6 {
	struct port6 v[PORTS_MAX];
	size_t n;
	struct vmm_forward inner[PORTS_MAX]; /* all forwards, as the VMM gets them */
};

/*
 * Listen on the IPv6 addresses among the forwards, and fill p->inner with all n forwards.
 *
 *   n  at most PORTS_MAX
 *
 * Returns 0, or -errno with a sentence.  Call ports6_done() in either case.
 */
int ports6_open(struct ports6 *p, struct loop *loop, const struct vmm_forward *forwards, size_t n,
		struct mvm_error *err);
void ports6_done(struct ports6 *p);

#endif
