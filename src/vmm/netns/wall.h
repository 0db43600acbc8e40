/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_WALL_H
#define VMM_NETNS_WALL_H

/*
 * A policy (model/policy.h) as a list of steps for a packet filter: the first step that matches a
 * packet decides.  Pure.
 *
 * A packet filter sees addresses and ports.  So rules for domains cannot be held here, and the
 * host's own addresses are another list, for the place where the kernel knows them.
 */

#include <mvm/error.h>
#include <stdint.h>

#include "model/policy.h"

#define WALL_STEPS_MAX (3 * POLICY_RULES_MAX + 32)
#define WALL_PORTS_MAX 16u /* of the host, as "host:5432" opens them */

enum wall_verdict {
	WALL_ACCEPT,
	WALL_REFUSE,	       /* and tell the guest so */
	WALL_DROP,	       /* without a word */
	WALL_ACCEPT_IF_PUBLIC, /* else the next step */
	WALL_REFUSE_IF_PUBLIC,
};

struct wall_step {
	struct policy_v4 to;
	uint16_t first, last; /* ports; 0 and 65535: all protocols */
	enum wall_verdict verdict;
};

struct wall {
	size_t n, n_host, n_ports;
	struct wall_step steps[WALL_STEPS_MAX];	 /* for packets that leave; the last matches all */
	struct wall_step host[POLICY_RULES_MAX]; /* for packets to the host; else refused */
	uint16_t ports[WALL_PORTS_MAX];		 /* of the host's loopback */
	bool names;				 /* may names be asked for? */
};

/*
 * Make the lists of a policy.
 *
 * Returns 0; -EOPNOTSUPP with a sentence: a rule names a domain, or a range of ports of the host;
 * -E2BIG: too many ports of the host.
 */
int wall_compile(const struct policy *policy, struct wall *ret, struct mvm_error *err);

/* wall_compile() for rules as text, as a backend gets them.  -EINVAL: one is no rule. */
int wall_read(char *const *allow, size_t n_allow, char *const *deny, size_t n_deny,
	      struct wall *ret, struct mvm_error *err);

#endif
