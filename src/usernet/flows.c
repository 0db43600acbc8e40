/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/flows.h"

#include <string.h>

static struct flow *at(struct flows *f, uint16_t link)
{
	return &f->all[link - 1];
}

/* FNV-1a over the key; the salt hides the buckets from the guest. */
static uint32_t bucket_of(const struct flows *f, const struct flow_key *key)
{
	uint64_t hash = 0xcbf29ce484222325u ^ f->salt;
	const uint16_t ports[] = { key->kind, key->guest_port, key->port };
	for (unsigned i = 0; i < 3; i++)
		hash = (hash ^ ports[i]) * 0x100000001b3u;
	for (unsigned i = 0; i < 16; i++)
		hash = (hash ^ key->peer.bytes[i] ^ (uint64_t)key->guest.bytes[i] << 8) *
		       0x100000001b3u;
	return (uint32_t)((hash ^ hash >> 32) % FLOWS_BUCKETS);
}

static bool is_same(const struct flow_key *a, const struct flow_key *b)
{
	return a->kind == b->kind && a->guest_port == b->guest_port && a->port == b->port &&
	       memcmp(&a->guest, &b->guest, sizeof(a->guest)) == 0 &&
	       memcmp(&a->peer, &b->peer, sizeof(a->peer)) == 0;
}

/* ---- the order by age ---- */

static void unlink_age(struct flows *f, uint16_t link)
{
	struct flow *flow = at(f, link);
	*(flow->older ? &at(f, flow->older)->younger : &f->oldest) = flow->younger;
	*(flow->younger ? &at(f, flow->younger)->older : &f->youngest) = flow->older;
}

static void link_youngest(struct flows *f, uint16_t link, int64_t now_ns)
{
	struct flow *flow = at(f, link);
	flow->seen_ns = now_ns;
	flow->younger = 0;
	flow->older = f->youngest;
	*(f->youngest ? &at(f, f->youngest)->younger : &f->oldest) = link;
	f->youngest = link;
}

/* ---- the table ---- */

static uint16_t *find(struct flows *f, const struct flow_key *key)
{
	uint16_t *link = &f->buckets[bucket_of(f, key)];
	while (*link && !is_same(&at(f, *link)->key, key))
		link = &at(f, *link)->next;
	return link;
}

static uint16_t link_of(const struct flows *f, const struct flow *flow)
{
	return (uint16_t)(flow - f->all + 1);
}

void flows_remove(struct flows *f, struct flow *flow)
{
	if (!flow->is_used)
		return;
	uint16_t *place = find(f, &flow->key);
	*place = flow->next;
	unlink_age(f, link_of(f, flow));
	flow->is_used = false;
	flow->next = f->free;
	f->free = link_of(f, flow);
}

struct flow *flows_oldest(struct flows *f)
{
	return f->oldest ? at(f, f->oldest) : NULL;
}

struct flow *flows_younger(struct flows *f, const struct flow *flow)
{
	return flow->younger ? at(f, flow->younger) : NULL;
}

struct flow *flows_next_to_go(struct flows *f)
{
	uint16_t max = f->max ? f->max : FLOWS_MAX;
	return f->free || f->n < max ? NULL : flows_oldest(f);
}

struct flow *flows_find(struct flows *f, const struct flow_key *key)
{
	uint16_t link = *find(f, key);
	return link ? at(f, link) : NULL;
}

struct flow *flows_get(struct flows *f, const struct flow_key *key, int64_t now_ns)
{
	uint16_t link = *find(f, key);
	if (!link)
		return NULL;
	bool is_fresh = key->kind == FRAME_TCP || now_ns - at(f, link)->seen_ns < FLOWS_IDLE_NS;
	unlink_age(f, link);
	link_youngest(f, link, is_fresh ? now_ns : now_ns - FLOWS_IDLE_NS);
	return is_fresh ? at(f, link) : NULL;
}

bool flows_has(struct flows *f, const struct flow_key *key, int64_t now_ns)
{
	return flows_get(f, key, now_ns) != NULL;
}

struct flow *flows_add(struct flows *f, const struct flow_key *key, int64_t now_ns)
{
	uint16_t *place = find(f, key);
	if (*place) { /* it was silent for too long */
		at(f, *place)->seen_ns = now_ns;
		return at(f, *place);
	}
	struct flow *oldest = flows_next_to_go(f);
	if (oldest)
		flows_remove(f, oldest);
	uint16_t link = f->free ? f->free : ++f->n;
	if (link == f->free)
		f->free = at(f, link)->next;
	struct flow *flow = at(f, link);
	*flow = (struct flow){ .key = *key, .is_used = true, .fd = -1 };
	place = &f->buckets[bucket_of(f, key)];
	flow->next = *place;
	*place = link;
	link_youngest(f, link, now_ns);
	return flow;
}

size_t flow_write_reset(const struct flow *flow, bool to_guest, uint8_t ret[FRAME_MAX])
{
	const struct flow_key *k = &flow->key;
	const struct frame heads = {
		.from = to_guest ? k->peer : k->guest,
		.to = to_guest ? k->guest : k->peer,
		.from_port = to_guest ? k->port : k->guest_port,
		.to_port = to_guest ? k->guest_port : k->port,
		.flags = FRAME_RST,
		.sequence = to_guest ? flow->guest_next : flow->peer_next,
	};
	const uint8_t *peer_mac = flow->mac, *guest_mac = flow->mac + 6;
	return frame_write_tcp(to_guest ? guest_mac : peer_mac, to_guest ? peer_mac : guest_mac,
			       &heads, ret);
}
