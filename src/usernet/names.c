/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/names.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static bool is_address(const struct told *t, const struct policy_address *address)
{
	return memcmp(&t->address, address, sizeof(*address)) == 0;
}

/* The pair's place: where it is already, a free one, or that of the pair that expires first, of
 * another answer. */
static struct told *place_for(struct names *n, const char *name,
			      const struct policy_address *address)
{
	struct told *first = NULL;
	for (unsigned i = 0; i < n->n; i++) {
		struct told *t = &n->all[i];
		if (is_address(t, address) && str_eq(t->name, name))
			return t;
		if (t->answer != n->answers && (!first || t->until_ns < first->until_ns))
			first = t;
	}
	return n->n < NAMES_MAX ? &n->all[n->n++] : first;
}

void names_add(struct names *n, const char *name, const struct policy_address *addresses,
	       size_t n_addresses, uint32_t ttl_s, int64_t now_ns)
{
	uint32_t s = ttl_s < NAMES_LEAST_S ? NAMES_LEAST_S : ttl_s;
	n->answers++;
	for (size_t i = 0; i < n_addresses && i < NAMES_MAX; i++) {
		struct told *t = place_for(n, name, &addresses[i]);
		snprintf(t->name, sizeof(t->name), "%s", name);
		t->address = addresses[i];
		t->answer = n->answers;
		t->until_ns = now_ns + (s < NAMES_MOST_S ? s : NAMES_MOST_S) * 1000000000LL;
	}
}

bool names_has(const struct names *n, const struct policy_rule *rule,
	       const struct policy_address *address, int64_t now_ns)
{
	for (unsigned i = 0; i < n->n; i++)
		if (is_address(&n->all[i], address) && n->all[i].until_ns > now_ns &&
		    policy_rule_names(rule, n->all[i].name))
			return true;
	return false;
}
