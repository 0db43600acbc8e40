/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/gate.h"

#include <errno.h>
#include <string.h>

static bool is_one_of(const struct policy_address two[2], const struct policy_address *a)
{
	return memcmp(&two[0], a, sizeof(*a)) == 0 || memcmp(&two[1], a, sizeof(*a)) == 0;
}

/* libslirp takes each address of the virtual IPv6 network for ::1, so no rule may open one. */
static bool is_virtual(const struct gate *g, const struct policy_address *a)
{
	bool v4 = policy_is_v4(a);
	return memcmp(a->bytes, g->host[v4 ? 0 : 1].bytes, v4 ? 15 : 8) == 0;
}

struct asked {
	const struct gate *gate;
	int64_t now_ns;
};

static bool was_told(void *arg, const struct policy_rule *rule,
		     const struct policy_address *address)
{
	const struct asked *asked = arg;
	const struct gate *g = asked->gate;
	bool denies = rule >= g->policy.deny && rule < g->policy.deny + g->policy.n_deny;
	if (!denies)
		return names_has(&g->names, rule, address, asked->now_ns);
	/* a denied address stays denied after the answer's time to live */
	return names_has(&g->names, rule, address, INT64_MIN) ||
	       names_has(&g->recent, rule, address, INT64_MIN);
}

static bool is_hosts(const struct gate *g, const struct policy_address *address)
{
	struct policy_address inner[POLICY_INNER_MAX];
	size_t n = policy_inner(address, inner);
	bool is = g->is_hosts(g->arg, address);
	for (size_t i = 0; i < n && !is; i++)
		is = g->is_hosts(g->arg, &inner[i]);
	return is;
}

static enum policy_verdict judge(struct gate *g, const struct policy_address *address,
				 uint16_t port, int64_t now_ns)
{
	struct asked asked = { g, now_ns };
	const struct policy_peer peer = {
		.address = *address,
		.port = port,
		.is_host = is_one_of(g->host, address),
		.is_hosts = is_hosts(g, address),
	};
	if (!peer.is_host && is_virtual(g, address))
		return POLICY_SPECIAL;
	return policy_judge(&g->policy, &peer, was_told, &asked);
}

/* A guest that mvm has not configured asks for its address; libslirp answers. */
static bool is_dhcp(const struct frame *f, uint16_t from, uint16_t to)
{
	return f->kind == FRAME_UDP && f->from_port == from && f->to_port == to;
}

static bool is_ping6(const struct frame *f)
{
	return f->kind == FRAME_PING && !policy_is_v4(&f->to);
}

static struct flows *table_of(struct gate *g, uint8_t kind)
{
	return kind == FRAME_TCP ? &g->tcp : &g->others;
}

/* ---- segments out of order ---- */

/* libslirp keeps them all until the missing ones come, each in a buffer for a whole frame.  So only
 * a few pass; the others are lost, as on a wire. */

static void forget_early(struct gate *g, struct flow *flow)
{
	g->n_early -= flow->n_early;
	flow->n_early = 0;
}

void gate_forget(struct gate *g, struct flows *flows, struct flow *flow)
{
	forget_early(g, flow);
	flows_remove(flows, flow);
}

static bool is_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* libslirp has acknowledged all bytes before next. */
static void note_next(struct gate *g, struct flow *flow, uint32_t next)
{
	flow->peer_next = next;
	flow->has_next = true;
	if (flow->n_early > 0 && !is_after(flow->early_end, next))
		forget_early(g, flow);
}

/* May this segment of the guest's pass? */
static bool has_room_for(struct gate *g, struct flow *flow, const struct frame *f)
{
	uint32_t end = f->sequence + (uint32_t)f->payload_len + ((f->flags & FRAME_FIN) != 0);
	if (end == f->sequence || !flow->has_next || !is_after(f->sequence, flow->peer_next))
		return true;
	if (flow->n_early >= GATE_FLOW_EARLY_MAX || g->n_early >= GATE_EARLY_MAX)
		return false;
	if (flow->n_early == 0 || is_after(end, flow->early_end))
		flow->early_end = end;
	flow->n_early++;
	g->n_early++;
	return true;
}

static struct flow *flow_of(struct gate *g, const struct frame *f, const struct flow_key *key,
			    int64_t now_ns)
{
	struct flow *flow = flows_get(table_of(g, (uint8_t)f->kind), key, now_ns);
	if (flow || f->kind != FRAME_TCP)
		return flow;
	flow = flows_get(&g->in, key, now_ns);
	g->visits += flow && f->payload_len > 0;
	return flow;
}

static bool is_forwarded(const struct gate *g, uint16_t guest_port)
{
	for (size_t i = 0; i < g->n_forwards; i++)
		if (g->forwards[i] == guest_port)
			return true;
	return false;
}

static void end(struct gate *g, struct flows *flows, struct flow *flow)
{
	if (flow->key.kind == FRAME_TCP && g->on_end)
		g->on_end(g->arg, flow);
	gate_forget(g, flows, flow);
}

/* The flow to forget: the one that was silent for longest.  A TCP flow that nobody has answered
 * goes first, so a flood of them leaves connections alone. */
static struct flow *next_to_go(struct flows *flows)
{
	struct flow *oldest = flows_next_to_go(flows);
	if (!oldest || oldest->key.kind != FRAME_TCP)
		return oldest;
	for (struct flow *f = oldest; f; f = flows_younger(flows, f))
		if (!f->is_open)
			return f;
	return oldest;
}

static enum gate_verdict begin(struct gate *g, const struct frame *f, const struct flow_key *key,
			       int64_t now_ns)
{
	struct flows *flows = table_of(g, (uint8_t)f->kind);
	bool again = flows_has(flows, key, now_ns);
	if (!again && g->is_full) {
		g->dropped++;
		return GATE_DROP;
	}
	struct flow *going = again ? NULL : next_to_go(flows);
	if (going)
		end(g, flows, going);
	if (!again)
		flows_add(flows, key, now_ns);
	g->begins = true;
	g->begun = *key;
	return GATE_PASS;
}

static struct flow *begun(struct gate *g)
{
	return g->begins ? flows_find(table_of(g, g->begun.kind), &g->begun) : NULL;
}

struct flow *gate_opened(struct gate *g, int fd, int64_t now_ns)
{
	if (!g->begins || g->begun.kind != FRAME_TCP)
		return NULL;
	struct flow *flow = begun(g);
	if (!flow)
		flow = flows_add(&g->tcp, &g->begun, now_ns);
	flow->fd = fd;
	return flow;
}

void gate_passed(struct gate *g, const uint8_t mac[12])
{
	struct flow *flow = begun(g);
	g->begins = false;
	if (!flow)
		return;
	memcpy(flow->mac, mac, sizeof(flow->mac));
	struct flow *in = flow->key.kind == FRAME_TCP ? flows_find(&g->in, &flow->key) : NULL;
	if (flow->key.kind == FRAME_TCP && flow->fd < 0)
		gate_forget(g, &g->tcp, flow);
	else if (in)
		gate_forget(g, &g->in, in); /* this socket has replaced it */
}

enum gate_verdict gate_out(struct gate *g, const struct frame *f, int64_t now_ns)
{
	g->begins = false;
	static const struct policy_address all = { { [10] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	bool to_all = memcmp(&f->to, &all, sizeof(all)) == 0;
	if (f->kind == FRAME_ARP || (to_all && is_dhcp(f, 68, 67)))
		return GATE_PASS;
	if (is_one_of(g->resolver, &f->to) && f->to_port == 53 &&
	    (f->kind == FRAME_UDP || f->kind == FRAME_TCP))
		return GATE_DNS;
	if (f->kind == FRAME_BAD || f->kind == FRAME_PART) {
		g->dropped++;
		return GATE_DROP;
	}
	if (is_one_of(g->resolver, &f->to)) {
		g->refused++;
		g->last = (struct gate_refusal){ POLICY_SPECIAL, f->to, f->to_port,
						 (uint8_t)f->kind };
		if (f->kind != FRAME_TCP)
			return GATE_REFUSE;
		return f->resets ? GATE_DROP : GATE_RESET;
	}
	const struct flow_key key = { (uint8_t)f->kind, f->from_port, f->to_port, f->from, f->to };
	/* judge a new connection even if it looks like an earlier one */
	struct flow *flow = f->opens ? NULL : flow_of(g, f, &key, now_ns);
	if (flow && (f->flags & FRAME_ACK))
		flow->guest_next = f->acknowledged;
	if (flow && f->kind == FRAME_TCP && !has_room_for(g, flow, f)) {
		g->dropped++;
		return GATE_DROP;
	}
	if (flow)
		return GATE_PASS;
	enum policy_verdict verdict = judge(g, &f->to, f->to_port, now_ns);
	/* libslirp has no route for it, and would log a line for each */
	if (verdict == POLICY_ALLOWED && is_ping6(f))
		verdict = POLICY_DENIED;
	/* A clone has this connection from its snapshot, or the rules have closed it since.  Linux
	 * takes an ICMP error on a connection for temporary, and would wait. */
	if (f->kind == FRAME_TCP && !f->opens) {
		g->dropped++;
		return f->resets ? GATE_DROP : GATE_RESET;
	}
	if (verdict == POLICY_ALLOWED)
		return begin(g, f, &key, now_ns);
	g->refused++;
	g->last = (struct gate_refusal){ verdict, f->to, f->to_port, (uint8_t)f->kind };
	/* RFC 1122, 3.2.2: no error about an error, nor about a packet for many */
	return f->reports || policy_is_multicast(&f->to) ? GATE_DROP : GATE_REFUSE;
}

static void add_in(struct gate *g, const struct flow_key *key, int64_t now_ns)
{
	struct flow *going = flows_next_to_go(&g->in);
	if (going)
		gate_forget(g, &g->in, going);
	flows_add(&g->in, key, now_ns);
}

static struct gate_parts *parts_of(struct gate *g, const struct frame *f)
{
	for (unsigned i = 0; i < GATE_PARTS_MAX; i++) {
		struct gate_parts *p = &g->parts[i];
		if (p->is_used && p->id == f->part_of &&
		    memcmp(&p->from, &f->from, sizeof(f->from)) == 0 &&
		    memcmp(&p->to, &f->to, sizeof(f->to)) == 0)
			return p;
	}
	return NULL;
}

/* A large datagram: its first fragment has the ports, and the others follow. */
static enum gate_verdict part_in(struct gate *g, const struct frame *f, int64_t now_ns)
{
	if (f->is_first) {
		struct frame whole = *f;
		whole.kind = FRAME_UDP;
		enum gate_verdict verdict = gate_in(g, &whole, now_ns);
		if (verdict == GATE_PASS)
			g->parts[g->next_part++ % GATE_PARTS_MAX] =
				(struct gate_parts){ true, f->part_of, f->from, f->to };
		return verdict;
	}
	struct gate_parts *parts = parts_of(g, f);
	if (!parts) {
		g->dropped++;
		return GATE_DROP;
	}
	parts->is_used = !f->is_last;
	return GATE_PASS;
}

enum gate_verdict gate_in(struct gate *g, const struct frame *f, int64_t now_ns)
{
	const struct flow_key key = { (uint8_t)f->kind, f->to_port, f->from_port, f->to, f->from };
	if (f->kind == FRAME_TCP && !f->opens) {
		/* it comes from nobody to whom the guest has spoken first */
		struct flow *flow = flow_of(g, f, &key, now_ns);
		if (flow && (f->flags & FRAME_ACK)) {
			note_next(g, flow, f->acknowledged);
			flow->is_open = true;
		}
		return GATE_PASS;
	}
	if (f->kind == FRAME_PART)
		return part_in(g, f, now_ns);
	if (f->kind == FRAME_BAD) {
		g->dropped++;
		return GATE_DROP;
	}
	bool begins = f->kind == FRAME_UDP || f->kind == FRAME_TCP;
	if (!begins || (is_one_of(g->host, &f->from) && is_dhcp(f, 67, 68)))
		return GATE_PASS;
	if (f->kind == FRAME_UDP && flows_has(&g->others, &key, now_ns))
		return GATE_PASS;
	if (f->kind == FRAME_UDP || !is_forwarded(g, f->to_port)) {
		g->dropped++;
		return GATE_DROP;
	}
	g->visits++;
	if (!flows_has(&g->in, &key, now_ns))
		add_in(g, &key, now_ns);
	return GATE_PASS;
}

int gate_forward(struct gate *g, uint16_t guest_port)
{
	if (g->n_forwards == GATE_FORWARDS_MAX)
		return -E2BIG;
	g->forwards[g->n_forwards++] = guest_port;
	return 0;
}

static bool is_in_rules(const struct policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_allow; i++)
		if (policy_rule_names(&p->allow[i], name))
			return true;
	for (size_t i = 0; i < p->n_deny; i++)
		if (policy_rule_names(&p->deny[i], name))
			return true;
	return false;
}

bool gate_told(struct gate *g, const char *name, const struct dns_answers *answers, int64_t now_ns)
{
	for (size_t i = 0; i < answers->n; i++)
		if (!policy_may_tell(&g->policy, &answers->addresses[i]))
			return false;
	struct names *names = is_in_rules(&g->policy, name) ? &g->names : &g->recent;
	names_add(names, name, answers->addresses, answers->n_named, answers->ttl_s, now_ns);
	return true;
}

/* End the flows that the rules refuse now.  This walks by place in the table: ending one runs
 * libslirp, which may end others. */
static void judge_again(struct gate *g, struct flows *flows)
{
	for (uint16_t i = 0; i < flows->n; i++) {
		struct flow *f = &flows->all[i];
		if (!f->is_used || judge(g, &f->key.peer, f->key.port, 0) == POLICY_ALLOWED)
			continue;
		end(g, flows, f);
	}
}

void gate_judge_again(struct gate *g)
{
	judge_again(g, &g->tcp);
	judge_again(g, &g->others);
}

void gate_set_policy(struct gate *g, const struct policy *policy)
{
	g->policy = *policy;
	gate_judge_again(g);
}
