/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/netns/nat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "vmm/netns/netlink.h"

#define PRIORITY_FILTER	    0
#define PRIORITY_SOURCE_NAT 100
#define IP_SOURCE_OFFSET    12u /* in the header, RFC 791 */

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

static void load_source(struct nl *m)
{
	struct expr e = begin(m, "payload");
	nl_be32(m, NFTA_PAYLOAD_DREG, NFT_REG_1);
	nl_be32(m, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
	nl_be32(m, NFTA_PAYLOAD_OFFSET, IP_SOURCE_OFFSET);
	nl_be32(m, NFTA_PAYLOAD_LEN, sizeof(struct in_addr));
	end(m, e);
}

/* key: the interface that a packet came by, or the one that it leaves by. */
static void is_interface(struct nl *m, uint32_t key, const char *interface)
{
	char name[IFNAMSIZ] = "";
	snprintf(name, sizeof(name), "%s", interface);
	struct expr e = begin(m, "meta");
	nl_be32(m, NFTA_META_DREG, NFT_REG_1);
	nl_be32(m, NFTA_META_KEY, key);
	end(m, e);
	compare(m, NFT_CMP_EQ, name, sizeof(name));
}

static void is_new(struct nl *m)
{
	const uint32_t mask = NF_CT_STATE_BIT(IP_CT_NEW), zero = 0;
	struct expr e = begin(m, "ct");
	nl_be32(m, NFTA_CT_DREG, NFT_REG_1);
	nl_be32(m, NFTA_CT_KEY, NFT_CT_STATE);
	end(m, e);
	e = begin(m, "bitwise");
	nl_be32(m, NFTA_BITWISE_SREG, NFT_REG_1);
	nl_be32(m, NFTA_BITWISE_DREG, NFT_REG_1);
	nl_be32(m, NFTA_BITWISE_LEN, sizeof(mask));
	add_value(m, NFTA_BITWISE_MASK, &mask, sizeof(mask));
	add_value(m, NFTA_BITWISE_XOR, &zero, sizeof(zero));
	end(m, e);
	compare(m, NFT_CMP_NEQ, &zero, sizeof(zero));
}

static void drop(struct nl *m)
{
	struct expr e = begin(m, "immediate");
	nl_be32(m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	size_t data = nl_nest(m, NFTA_IMMEDIATE_DATA);
	size_t verdict = nl_nest(m, NFTA_DATA_VERDICT);
	nl_be32(m, NFTA_VERDICT_CODE, NF_DROP);
	nl_nest_end(m, verdict);
	nl_nest_end(m, data);
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
	batch(&m, NFNL_MSG_BATCH_END);
	return nl_do(fd, &m);
}
