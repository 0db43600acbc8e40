/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_FLOWS_H
#define USERNET_FLOWS_H

/*
 * The allowed flows: which port of the guest talks to which address outside.
 *
 * The table has a fixed size: a new flow replaces the one that was silent for longest.  A flow
 * other than TCP's is forgotten after FLOWS_IDLE_NS of silence.
 *
 * A pointer to a flow is valid until the next call that may forget one.  To remember a flow for
 * longer, keep its key.
 */

#include <stdbool.h>
#include <stdint.h>

#include "usernet/frame.h"

#define FLOWS_MAX     1024u
#define FLOWS_BUCKETS 1024u
#define FLOWS_IDLE_NS (300ll * 1000000000)

struct flow_key {
	uint8_t kind; /* enum frame_kind */
	uint16_t guest_port, port;
	struct policy_address guest, peer;
};

struct flow {
	struct flow_key key;
	int64_t seen_ns;
	bool is_used; /* else this place of the table is free */
	/* TCP's */
	int fd;			 /* the host's socket; -1: not known */
	bool is_open;		 /* the peer has answered */
	uint32_t guest_next;	 /* the sequence number that the guest waits for */
	uint32_t peer_next;	 /* and the other side */
	bool has_next;		 /* the other side has sent its sequence number */
	uint16_t n_early;	 /* segments that libslirp may hold until missing ones come, */
	uint32_t early_end;	 /* and where the last of them ends */
	uint8_t mac[12];	 /* of the guest's frames: destination and source */
	uint16_t next;		 /* in its bucket; 0: none, else index + 1 */
	uint16_t older, younger; /* by seen_ns; as next */
};

struct flows {
	uint64_t salt; /* a random number, so that a guest cannot fill one bucket on purpose */
	uint16_t max;  /* limit; 0: FLOWS_MAX */
	uint16_t n, oldest, youngest;
	uint16_t free; /* places that are free again, linked by next */
	uint16_t buckets[FLOWS_BUCKETS];
	struct flow all[FLOWS_MAX];
};

/* Find a flow, and note that it was seen now.  NULL: there is none. */
struct flow *flows_get(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* Find a flow, even an old one, and change nothing. */
struct flow *flows_find(struct flows *f, const struct flow_key *key);

/* Does this flow exist?  Notes that it was seen now. */
bool flows_has(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* The flow that the next new one replaces; NULL: there is a free place. */
struct flow *flows_next_to_go(struct flows *f);

/* Add a flow, which must be new. */
struct flow *flows_add(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* Forget a flow, unless that has happened already. */
void flows_remove(struct flows *f, struct flow *flow);

/* Walk through all flows, beginning with the one that was silent for longest; NULL at the end. */
struct flow *flows_oldest(struct flows *f);
struct flow *flows_younger(struct flows *f, const struct flow *flow);

/* Write the segment that ends the connection of one side.  Returns its length. */
size_t flow_write_reset(const struct flow *flow, bool to_guest, uint8_t ret[FRAME_MAX]);

#endif
