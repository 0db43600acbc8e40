/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/netns/nat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/netns/netlink.h"

#define PRIORITY_FILTER	    0
#define PRIORITY_SOURCE_NAT 100
#define PRIORITY_GUARD	    1
#define PRIORITY_BEFORE_NAT (-150) /* after conntrack, before NF_IP_PRI_NAT_DST */
#define IP_SOURCE_OFFSET    12u	   /* in the header, RFC 791 */
#define IP_TARGET_OFFSET    16u
#define PORT_TARGET_OFFSET  2u /* of TCP's and UDP's */
#define PROHIBITED	    13 /* communication administratively prohibited, RFC 1812 */
#define BATCH_FULL	    (NL_SIZE - 1024u) /* no rule is longer than the rest */

#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 0x2
#endif

static void message(struct nl *m, unsigned type, uint16_t flags)
{
	const struct nfgenmsg body = { .nfgen_family = NFPROTO_IPV4 };
	nl_message(m, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags | NLM_F_ACK, &body,
		   sizeof(body));
}

static void batch(struct nl *m, uint16_t type)
{
	const struct nfgenmsg body = { .res_id = htons(NFNL_SUBSYS_NFTABLES) };
	nl_message(m, type, 0, &body, sizeof(body));
}

static void add_chain(struct nl *m, const char *table, const char *name, const char *type,
		      uint32_t hook, int priority)
{
	message(m, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	nl_string(m, NFTA_CHAIN_TABLE, table);
	nl_string(m, NFTA_CHAIN_NAME, name);
	size_t nest = nl_nest(m, NFTA_CHAIN_HOOK);
	nl_be32(m, NFTA_HOOK_HOOKNUM, hook);
	nl_be32(m, NFTA_HOOK_PRIORITY, (uint32_t)priority);
	nl_nest_end(m, nest);
	nl_string(m, NFTA_CHAIN_TYPE, type);
}

/* A rule is a list of expressions, each with a name and data of its own. */
struct expr {
	size_t element, data;
};

static struct expr begin(struct nl *m, const char *name)
{
	struct expr e = { .element = nl_nest(m, NFTA_LIST_ELEM) };
	nl_string(m, NFTA_EXPR_NAME, name);
	e.data = nl_nest(m, NFTA_EXPR_DATA);
	return e;
}

static void end(struct nl *m, struct expr e)
{
	nl_nest_end(m, e.data);
	nl_nest_end(m, e.element);
}

static void add_value(struct nl *m, uint16_t attr, const void *data, size_t len)
{
	size_t nest = nl_nest(m, attr);
	nl_attr(m, NFTA_DATA_VALUE, data, len);
	nl_nest_end(m, nest);
}

static void compare(struct nl *m, uint32_t how, const void *data, size_t len)
{
	struct expr e = begin(m, "cmp");
	nl_be32(m, NFTA_CMP_SREG, NFT_REG_1);
	nl_be32(m, NFTA_CMP_OP, how);
	add_value(m, NFTA_CMP_DATA, data, len);
	end(m, e);
}

static void load(struct nl *m, uint32_t header, uint32_t offset, uint32_t len)
{
	struct expr e = begin(m, "payload");
	nl_be32(m, NFTA_PAYLOAD_DREG, NFT_REG_1);
	nl_be32(m, NFTA_PAYLOAD_BASE, header);
	nl_be32(m, NFTA_PAYLOAD_OFFSET, offset);
	nl_be32(m, NFTA_PAYLOAD_LEN, len);
	end(m, e);
}

static void load_source(struct nl *m)
{
	load(m, NFT_PAYLOAD_NETWORK_HEADER, IP_SOURCE_OFFSET, sizeof(struct in_addr));
}

/* Keep the bits of a mask. */
static void mask_with(struct nl *m, const void *mask, const void *zero, uint32_t len)
{
	struct expr e = begin(m, "bitwise");
	nl_be32(m, NFTA_BITWISE_SREG, NFT_REG_1);
	nl_be32(m, NFTA_BITWISE_DREG, NFT_REG_1);
	nl_be32(m, NFTA_BITWISE_LEN, len);
	add_value(m, NFTA_BITWISE_MASK, mask, len);
	add_value(m, NFTA_BITWISE_XOR, zero, len);
	end(m, e);
}

/* key: the interface that a packet came by, or the one that it leaves by.  how: is it this one, or
 * another? */
static void compare_interface(struct nl *m, uint32_t key, uint32_t how, const char *interface)
{
	char name[IFNAMSIZ] = "";
	snprintf(name, sizeof(name), "%s", interface);
	struct expr e = begin(m, "meta");
	nl_be32(m, NFTA_META_DREG, NFT_REG_1);
	nl_be32(m, NFTA_META_KEY, key);
	end(m, e);
	compare(m, how, name, sizeof(name));
}

static void is_interface(struct nl *m, uint32_t key, const char *interface)
{
	compare_interface(m, key, NFT_CMP_EQ, interface);
}

static void is_new(struct nl *m)
{
	const uint32_t mask = NF_CT_STATE_BIT(IP_CT_NEW), zero = 0;
	struct expr e = begin(m, "ct");
	nl_be32(m, NFTA_CT_DREG, NFT_REG_1);
	nl_be32(m, NFTA_CT_KEY, NFT_CT_STATE);
	end(m, e);
	mask_with(m, &mask, &zero, sizeof(mask));
	compare(m, NFT_CMP_NEQ, &zero, sizeof(zero));
}

/* chain: for NFT_JUMP and NFT_GOTO, else NULL. */
static void decide(struct nl *m, int code, const char *chain)
{
	struct expr e = begin(m, "immediate");
	nl_be32(m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	size_t data = nl_nest(m, NFTA_IMMEDIATE_DATA);
	size_t verdict = nl_nest(m, NFTA_DATA_VERDICT);
	nl_be32(m, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		nl_string(m, NFTA_VERDICT_CHAIN, chain);
	nl_nest_end(m, verdict);
	nl_nest_end(m, data);
	end(m, e);
}

static void drop(struct nl *m)
{
	decide(m, NF_DROP, NULL);
}

/* The sender is told so. */
static void refuse(struct nl *m)
{
	const uint8_t code = PROHIBITED;
	struct expr e = begin(m, "reject");
	nl_be32(m, NFTA_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
	nl_attr(m, NFTA_REJECT_ICMP_CODE, &code, sizeof(code));
	end(m, e);
}

/* Begin a rule.  Returns its list of expressions, which the caller ends. */
static size_t begin_rule(struct nl *m, const char *table, const char *chain)
{
	message(m, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	nl_string(m, NFTA_RULE_TABLE, table);
	nl_string(m, NFTA_RULE_CHAIN, chain);
	return nl_nest(m, NFTA_RULE_EXPRESSIONS);
}

/* While the interface is down, the default route leads to the machine's address: to another
 * machine. */
static void keep_from_strangers(struct nl *m, const char *table, const struct in_addr *machine,
				const char *interface)
{
	add_chain(m, table, "strays", "filter", NF_INET_POST_ROUTING, PRIORITY_FILTER);
	size_t rule = begin_rule(m, table, "strays");
	compare_interface(m, NFT_META_OIFNAME, NFT_CMP_NEQ, interface);
	load(m, NFT_PAYLOAD_NETWORK_HEADER, IP_TARGET_OFFSET, sizeof(*machine));
	compare(m, NFT_CMP_EQ, machine, sizeof(*machine));
	drop(m);
	nl_nest_end(m, rule);
}

int nat_masquerade(int fd, const char *table, struct in_addr source, const char *interface)
{
	struct nl m = { 0 };
	batch(&m, NFNL_MSG_BATCH_BEGIN);
	message(&m, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	nl_string(&m, NFTA_TABLE_NAME, table);
	nl_be32(&m, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);

	add_chain(&m, table, "out", "nat", NF_INET_POST_ROUTING, PRIORITY_SOURCE_NAT);
	size_t rule = begin_rule(&m, table, "out");
	load_source(&m);
	compare(&m, NFT_CMP_EQ, &source, sizeof(source));
	end(&m, begin(&m, "masq"));
	nl_nest_end(&m, rule);

	add_chain(&m, table, "through", "filter", NF_INET_FORWARD, PRIORITY_FILTER);
	rule = begin_rule(&m, table, "through");
	is_interface(&m, NFT_META_OIFNAME, interface);
	is_new(&m);
	drop(&m);
	nl_nest_end(&m, rule);

	rule = begin_rule(&m, table, "through");
	is_interface(&m, NFT_META_IIFNAME, interface);
	load_source(&m);
	compare(&m, NFT_CMP_NEQ, &source, sizeof(source));
	drop(&m);
	nl_nest_end(&m, rule);
	keep_from_strangers(&m, table, &source, interface);
	batch(&m, NFNL_MSG_BATCH_END);
	return nl_do(fd, &m);
}

/* ---- the guard ---- */

/* What a message of a guard names. */
struct guard {
	int fd;
	const char *table, *base, *interface;
	bool local;
	char public[16], closed[16], rules[16]; /* names of chains; the last is the steps' */
	struct nl m;
};

static int send_batch(struct guard *g)
{
	batch(&g->m, NFNL_MSG_BATCH_END);
	int r = nl_do(g->fd, &g->m);
	g->m = (struct nl){ 0 };
	batch(&g->m, NFNL_MSG_BATCH_BEGIN);
	return r;
}

static int send_if_full(struct guard *g)
{
	return g->m.len > BATCH_FULL ? send_batch(g) : 0;
}

static void change_chain(struct guard *g, unsigned type, const char *name)
{
	bool rules = type == NFT_MSG_DELRULE;
	message(&g->m, type, type == NFT_MSG_NEWCHAIN ? NLM_F_CREATE | NLM_F_EXCL : 0);
	nl_string(&g->m, rules ? NFTA_RULE_TABLE : NFTA_CHAIN_TABLE, g->table);
	nl_string(&g->m, rules ? NFTA_RULE_CHAIN : NFTA_CHAIN_NAME, name);
}

static void is_to(struct nl *m, const struct policy_v4 *to)
{
	const uint32_t mask = to->bits ? htonl(UINT32_MAX << (32 - to->bits)) : 0, zero = 0;
	if (!to->bits)
		return;
	load(m, NFT_PAYLOAD_NETWORK_HEADER, IP_TARGET_OFFSET, sizeof(to->address));
	if (to->bits < 32)
		mask_with(m, &mask, &zero, sizeof(mask));
	compare(m, NFT_CMP_EQ, to->address, sizeof(to->address));
}

static void is_protocol(struct nl *m, uint32_t how, uint8_t protocol)
{
	struct expr e = begin(m, "meta");
	nl_be32(m, NFTA_META_DREG, NFT_REG_1);
	nl_be32(m, NFTA_META_KEY, NFT_META_L4PROTO);
	end(m, e);
	compare(m, how, &protocol, sizeof(protocol));
}

/* Only TCP, UDP and ICMP come this far, and ICMP has no port. */
static void is_port(struct nl *m, uint16_t first, uint16_t last)
{
	const uint16_t low = htons(first), high = htons(last);
	if (first == 0 && last == UINT16_MAX)
		return;
	is_protocol(m, NFT_CMP_NEQ, IPPROTO_ICMP);
	load(m, NFT_PAYLOAD_TRANSPORT_HEADER, PORT_TARGET_OFFSET, sizeof(low));
	compare(m, NFT_CMP_GTE, &low, sizeof(low));
	compare(m, NFT_CMP_LTE, &high, sizeof(high));
}

static int add_step(struct guard *g, const struct wall_step *step)
{
	size_t rule = begin_rule(&g->m, g->table, g->rules);
	is_to(&g->m, &step->to);
	is_port(&g->m, step->first, step->last);
	switch (step->verdict) {
	case WALL_ACCEPT:
		decide(&g->m, NF_ACCEPT, NULL);
		break;
	case WALL_REFUSE:
		refuse(&g->m);
		break;
	case WALL_DROP:
		drop(&g->m);
		break;
	case WALL_ACCEPT_IF_PUBLIC:
		decide(&g->m, NFT_JUMP, g->public);
		break;
	case WALL_REFUSE_IF_PUBLIC:
		decide(&g->m, NFT_JUMP, g->closed);
		break;
	}
	nl_nest_end(&g->m, rule);
	return send_if_full(g);
}

/* A chain that returns when the address is not public; else it accepts or refuses. */
static int add_public(struct guard *g, const char *chain, bool accepts)
{
	static const enum policy_v4_kind kinds[] = { POLICY_V4_NEVER, POLICY_V4_LINK_LOCAL,
						     POLICY_V4_PRIVATE };
	struct policy_v4 range;
	int r = 0;
	change_chain(g, NFT_MSG_NEWCHAIN, chain);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (size_t i = 0; policy_v4_range(kinds[k], i, &range) && r == 0; i++) {
			size_t rule = begin_rule(&g->m, g->table, chain);
			is_to(&g->m, &range);
			decide(&g->m, NFT_RETURN, NULL);
			nl_nest_end(&g->m, rule);
			r = send_if_full(g);
		}
	size_t rule = begin_rule(&g->m, g->table, chain);
	if (accepts)
		decide(&g->m, NF_ACCEPT, NULL);
	else
		refuse(&g->m);
	nl_nest_end(&g->m, rule);
	return r == 0 ? send_if_full(g) : r;
}

/* The kernel's routes say what kind of address it is. */
static void is_no_unicast(struct nl *m)
{
	const uint32_t unicast = RTN_UNICAST;
	struct expr e = begin(m, "fib");
	nl_be32(m, NFTA_FIB_DREG, NFT_REG_1);
	nl_be32(m, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	nl_be32(m, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
	end(m, e);
	compare(m, NFT_CMP_NEQ, &unicast, sizeof(unicast));
}

static size_t begin_base_rule(struct guard *g)
{
	size_t rule = begin_rule(&g->m, g->table, g->base);
	is_interface(&g->m, NFT_META_IIFNAME, g->interface);
	if (g->local)
		is_no_unicast(&g->m);
	return rule;
}

/* The base chain, which leads to the steps. */
static void lead_to_steps(struct guard *g)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP };
	for (size_t i = 0; i < sizeof(protocols); i++) {
		size_t rule = begin_base_rule(g);
		is_protocol(&g->m, NFT_CMP_EQ, protocols[i]);
		decide(&g->m, NFT_GOTO, g->rules);
		nl_nest_end(&g->m, rule);
	}
	size_t rule = begin_base_rule(g);
	drop(&g->m);
	nl_nest_end(&g->m, rule);
}

static int add_steps(struct guard *g, const struct wall_step *steps, size_t n)
{
	const struct wall_step rest = { .last = UINT16_MAX, .verdict = WALL_REFUSE };
	int r = 0;
	change_chain(g, NFT_MSG_NEWCHAIN, g->rules);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_step(g, &steps[i]);
	return r == 0 ? add_step(g, &rest) : r;
}

static void remove_chain(struct guard *g, const char *name)
{
	change_chain(g, NFT_MSG_DELRULE, name);
	change_chain(g, NFT_MSG_DELCHAIN, name);
}

int nat_guard(int fd, const char *table, enum nat_guard which, const char *interface,
	      const struct wall_step *steps, size_t n, unsigned serial)
{
	bool forwarded = which == NAT_GUARD_FORWARDED;
	struct guard g = { .fd = fd, .table = table, .interface = interface };
	char old[sizeof(g.rules)];
	g.local = !forwarded;
	g.base = forwarded ? "guard" : "local";
	snprintf(g.public, sizeof(g.public), "public%d", which);
	snprintf(g.closed, sizeof(g.closed), "closed%d", which);
	snprintf(g.rules, sizeof(g.rules), "%s%u", forwarded ? "out" : "in", serial);
	snprintf(old, sizeof(old), "%s%u", forwarded ? "out" : "in", serial - 1);
	batch(&g.m, NFNL_MSG_BATCH_BEGIN);
	int r = 0;
	if (serial == 0)
		r = add_public(&g, g.public, true);
	if (serial == 0 && r == 0)
		r = add_public(&g, g.closed, false);
	if (r == 0)
		r = add_steps(&g, steps, n);
	if (r == 0)
		r = send_batch(&g);
	if (r < 0)
		return r;
	/* all at once */
	if (serial == 0)
		add_chain(&g.m, table, g.base, "filter",
			  forwarded ? NF_INET_FORWARD : NF_INET_PRE_ROUTING,
			  forwarded ? PRIORITY_GUARD : PRIORITY_BEFORE_NAT);
	else
		change_chain(&g, NFT_MSG_DELRULE, g.base);
	lead_to_steps(&g);
	if (serial > 0)
		remove_chain(&g, old);
	return send_batch(&g);
}
