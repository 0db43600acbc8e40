/* SPDX-License-Identifier: Apache-2.0 */
#include "model/policy.h"

#include <string.h>

#include "base/str.h"
#include "model/policy_address.h"

static bool has_port(const struct policy_rule *rule, uint16_t port)
{
	return port >= rule->first && port <= rule->last;
}

static bool has_all_ports(const struct policy_rule *rule)
{
	return rule->first <= 1 && rule->last == UINT16_MAX;
}

static bool is_exact(const struct policy_rule *rule, const struct policy_address *a)
{
	return rule->target == POLICY_RANGE && rule->bits == 128 &&
	       memcmp(rule->address.bytes, a->bytes, 16) == 0;
}

/* An IPv6 range, be it ::/0, holds no IPv4 addresses, though these are written as if. */
static bool is_in_rule(const struct policy_address *a, const struct policy_rule *rule)
{
	struct policy_v4 unused;
	return policy_is_v4(a) == policy_rule_v4(rule, &unused) &&
	       policy_is_in(a, rule->address.bytes, rule->bits);
}

/* The address that is judged; and the one that the guest uses, with the other in it. */
struct judged {
	struct policy_peer peer;
	const struct policy_address *outer;
	policy_told_fn told;
	void *arg;
};

static bool was_told(const struct policy_rule *rule, const struct judged *j)
{
	return j->told && policy_is_public(&j->peer.address) && j->told(j->arg, rule, j->outer);
}

static bool applies(const struct policy_rule *rule, const struct judged *j)
{
	const struct policy_peer *peer = &j->peer;
	if (!has_port(rule, peer->port))
		return false;
	switch (rule->target) {
	case POLICY_RANGE:
		return is_in_rule(&peer->address, rule);
	case POLICY_DOMAIN:
		return was_told(rule, j);
	case POLICY_INTERNET:
		return policy_is_public(&peer->address);
	case POLICY_ALL:
		return true;
	case POLICY_HOST:
		return false;
	}
	return false;
}

static bool host_is_open(const struct policy *p, uint16_t port)
{
	for (size_t i = 0; i < p->n_allow; i++)
		if (p->allow[i].target == POLICY_HOST && has_port(&p->allow[i], port))
			return true;
	return false;
}

static bool one_address_is_open(const struct policy *p, const struct policy_peer *peer)
{
	for (size_t i = 0; i < p->n_allow; i++)
		if (is_exact(&p->allow[i], &peer->address) && has_port(&p->allow[i], peer->port))
			return true;
	return false;
}

/* Does the rule name everything?  To deny all of IPv4 means to deny IPv6, too. */
bool policy_rule_is_everything(const struct policy_rule *rule)
{
	if (rule->target == POLICY_ALL)
		return true;
	return rule->target == POLICY_RANGE && rule->bits == 96 && policy_is_v4(&rule->address);
}

static bool denies(const struct policy_rule *rule, const struct judged *j)
{
	if (applies(rule, j))
		return true;
	if (!has_port(rule, j->peer.port))
		return false;
	return policy_rule_is_everything(rule) ||
	       (policy_is_translated(j->outer) && rule->target == POLICY_RANGE &&
		is_in_rule(j->outer, rule));
}

static enum policy_verdict judge_one(const struct policy *p, const struct judged *j)
{
	const struct policy_peer *peer = &j->peer;
	if (policy_is_never(&peer->address))
		return POLICY_SPECIAL;
	if (peer->is_hosts || policy_is_link_local(&peer->address)) {
		if (one_address_is_open(p, peer))
			return POLICY_ALLOWED;
		return peer->is_hosts ? POLICY_OF_HOST : POLICY_SPECIAL;
	}
	for (size_t i = 0; i < p->n_allow; i++)
		if (applies(&p->allow[i], j))
			return POLICY_ALLOWED;
	for (size_t i = 0; i < p->n_deny; i++)
		if (denies(&p->deny[i], j))
			return POLICY_DENIED;
	return policy_is_public(&peer->address) ? POLICY_ALLOWED : POLICY_PRIVATE;
}

/* Of NAT64's addresses only the one within counts, and of those of tunnels, each. */
enum policy_verdict policy_judge(const struct policy *p, const struct policy_peer *peer,
				 policy_told_fn told, void *arg)
{
	struct policy_address inner[POLICY_INNER_MAX];
	struct judged j = { *peer, &peer->address, told, arg };
	enum policy_verdict verdict = POLICY_ALLOWED;
	if (peer->is_host)
		return host_is_open(p, peer->port) ? POLICY_ALLOWED : POLICY_OF_HOST;
	size_t n = policy_inner(&peer->address, inner);
	if (!policy_is_translated(&peer->address))
		verdict = judge_one(p, &j);
	for (size_t i = 0; i < n && verdict == POLICY_ALLOWED; i++) {
		j.peer.address = inner[i];
		verdict = judge_one(p, &j);
	}
	return verdict;
}

/* Does a rule close all ports of the internet?  Then only names that a rule allows are looked
 * up. */
static bool internet_is_closed(const struct policy *p)
{
	for (size_t i = 0; i < p->n_deny; i++) {
		const struct policy_rule *rule = &p->deny[i];
		if (has_all_ports(rule) &&
		    (rule->target == POLICY_INTERNET || policy_rule_is_everything(rule)))
			return true;
	}
	return false;
}

/* Of two rules for the name, the one that allows it counts. */
bool policy_may_ask(const struct policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_allow; i++)
		if (policy_rule_names(&p->allow[i], name))
			return true;
	for (size_t i = 0; i < p->n_deny; i++)
		if (has_all_ports(&p->deny[i]) && policy_rule_names(&p->deny[i], name))
			return false;
	if (!internet_is_closed(p))
		return true;
	for (size_t i = 0; i < p->n_allow; i++)
		if (p->allow[i].target == POLICY_INTERNET || p->allow[i].target == POLICY_ALL)
			return true;
	return false;
}

static bool may_tell_one(const struct policy *p, const struct policy_address *a)
{
	if (policy_is_public(a))
		return true;
	if (policy_is_never(a))
		return false;
	for (size_t i = 0; i < p->n_allow; i++) {
		const struct policy_rule *rule = &p->allow[i];
		bool is_in = rule->target == POLICY_ALL ||
			     (rule->target == POLICY_RANGE && is_in_rule(a, rule));
		if (policy_is_link_local(a) ? is_exact(rule, a) : is_in)
			return true;
	}
	return false;
}

bool policy_may_tell(const struct policy *p, const struct policy_address *a)
{
	struct policy_address inner[POLICY_INNER_MAX];
	size_t n = policy_inner(a, inner);
	bool may = policy_is_translated(a) || may_tell_one(p, a);
	for (size_t i = 0; i < n && may; i++)
		may = may_tell_one(p, &inner[i]);
	return may;
}

const char *policy_verdict_text(enum policy_verdict v)
{
	static const char *const texts[] = {
		[POLICY_ALLOWED] = "allowed", [POLICY_DENIED] = "denied",
		[POLICY_PRIVATE] = "private", [POLICY_SPECIAL] = "special",
		[POLICY_OF_HOST] = "host",
	};
	return texts[v];
}
