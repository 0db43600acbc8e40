/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/netns/wall.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/own.h"

#define ALL_PORTS 0, UINT16_MAX

static const struct policy_v4 everywhere;

static void add(struct wall *w, struct policy_v4 to, uint16_t first, uint16_t last,
		enum wall_verdict verdict)
{
	w->steps[w->n++] = (struct wall_step){ to, first, last, verdict };
}

static void add_kind(struct wall *w, enum policy_v4_kind kind)
{
	struct policy_v4 range;
	for (size_t i = 0; policy_v4_range(kind, i, &range); i++)
		add(w, range, ALL_PORTS, WALL_REFUSE);
}

/* Rules for exactly one address: they open the host's own and link-local ones too. */
static void add_exact(struct wall *w, const struct policy *p)
{
	for (size_t i = 0; i < p->n_allow; i++) {
		const struct policy_rule *rule = &p->allow[i];
		struct policy_v4 to;
		if (!policy_rule_v4(rule, &to) || to.bits != 32)
			continue;
		add(w, to, rule->first, rule->last, WALL_ACCEPT);
		w->host[w->n_host++] = w->steps[w->n - 1];
	}
}

static int refuse_domain(const struct policy_rule *rule, struct mvm_error *err)
{
	return mvm_error_set(err, -EOPNOTSUPP,
			     "this backend cannot hold a guest to domains, such as '%s%s': name "
			     "addresses, or use the backend qemu",
			     rule->below ? "*." : "", rule->domain);
}

static int add_port(struct wall *w, const struct policy_rule *rule, struct mvm_error *err)
{
	if (rule->first != rule->last)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "this backend opens single ports of the host, not %u to %u",
				     rule->first, rule->last);
	if (w->n_ports == WALL_PORTS_MAX)
		return mvm_error_set(err, -E2BIG, "this backend opens at most %u ports of the host",
				     WALL_PORTS_MAX);
	w->ports[w->n_ports++] = rule->first;
	return 0;
}

static int add_allowed(struct wall *w, const struct policy *p, struct mvm_error *err)
{
	int r = 0;
	for (size_t i = 0; i < p->n_allow && r == 0; i++) {
		const struct policy_rule *rule = &p->allow[i];
		struct policy_v4 to;
		if (rule->target == POLICY_DOMAIN)
			r = refuse_domain(rule, err);
		else if (rule->target == POLICY_HOST)
			r = add_port(w, rule, err);
		else if (rule->target == POLICY_INTERNET)
			add(w, everywhere, rule->first, rule->last, WALL_ACCEPT_IF_PUBLIC);
		else if (policy_rule_v4(rule, &to))
			add(w, to, rule->first, rule->last, WALL_ACCEPT);
	}
	return r;
}

static void add_denied(struct wall *w, const struct policy *p)
{
	for (size_t i = 0; i < p->n_deny; i++) {
		const struct policy_rule *rule = &p->deny[i];
		struct policy_v4 to = everywhere;
		if (rule->target == POLICY_INTERNET)
			add(w, everywhere, rule->first, rule->last, WALL_REFUSE_IF_PUBLIC);
		else if (policy_rule_is_everything(rule) || policy_rule_v4(rule, &to))
			add(w, to, rule->first, rule->last, WALL_REFUSE);
	}
}

int wall_compile(const struct policy *p, struct wall *ret, struct mvm_error *err)
{
	static const struct policy_v4 many = { { 224 }, 3 }; /* multicast and broadcast */
	*ret = (struct wall){ .names = policy_may_ask(p, "") };
	for (size_t i = 0; i < p->n_deny; i++)
		if (p->deny[i].target == POLICY_DOMAIN)
			return refuse_domain(&p->deny[i], err);
	add(ret, many, ALL_PORTS, WALL_DROP);
	add_kind(ret, POLICY_V4_NEVER);
	add_exact(ret, p);
	add_kind(ret, POLICY_V4_LINK_LOCAL);
	int r = add_allowed(ret, p, err);
	if (r < 0)
		return r;
	add_denied(ret, p);
	add(ret, everywhere, ALL_PORTS, WALL_ACCEPT_IF_PUBLIC);
	add(ret, everywhere, ALL_PORTS, WALL_REFUSE);
	return 0;
}

int wall_read(char *const *allow, size_t n_allow, char *const *deny, size_t n_deny,
	      struct wall *ret, struct mvm_error *err)
{
	AUTO_FREE struct policy *p = calloc(1, sizeof(*p));
	if (!p)
		return mvm_error_oom(err);
	int r = 0;
	for (size_t i = 0; i < n_allow && r == 0; i++)
		r = policy_add(p->allow, &p->n_allow, allow[i], err);
	for (size_t i = 0; i < n_deny && r == 0; i++)
		r = policy_add(p->deny, &p->n_deny, deny[i], err);
	return r < 0 ? r : wall_compile(p, ret, err);
}
