/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_NAMES_H
#define USERNET_NAMES_H

/*
 * The addresses that the guest's resolver was told for names, and how long they are valid.
 *
 * The table has a fixed size.  A new pair replaces the pair that expires first, but none of the
 * same answer.
 */

#include <stdbool.h>
#include <stdint.h>

#include "model/policy.h"

#define NAMES_MAX     256u
#define NAMES_LEAST_S 60u /* a connection may begin a moment after the answer */
#define NAMES_MOST_S  86400u

struct names {
	unsigned n;
	uint32_t answers; /* so many there were */
	struct told {
		char name[POLICY_DOMAIN_SIZE];
		struct policy_address address;
		int64_t until_ns;
		uint32_t answer; /* number of the last answer that had it */
	} all[NAMES_MAX];
};

/* Remember an answer: name (lower case) has these addresses for ttl_s.  Of more than NAMES_MAX, the
 * first count. */
void names_add(struct names *n, const char *name, const struct policy_address *addresses,
	       size_t n_addresses, uint32_t ttl_s, int64_t now_ns);

/* Was the guest told this address for a name that matches the rule? */
bool names_has(const struct names *n, const struct policy_rule *rule,
	       const struct policy_address *address, int64_t now_ns);

#endif
